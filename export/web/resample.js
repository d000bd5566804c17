// The middle square of a picture, scaled as Pillow scales with BILINEAR: the numbers a model was trained on.
//
// A triangle filter, as wide as the shrinking, along the rows and then along the columns. Weights are integers with 22
// bits behind the point and both passes round to 8 bits: only so do all pixels agree.

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);
// Rows are read in strips: phones refuse canvases as large as the pictures that they take.
const STRIP_PIXELS = 1 << 20;

/**
 * Crops a picture to its middle square and scales that.
 *
 * @param {function(number, number, number, number): Uint8ClampedArray} read takes left, top, width and height of a
 *     part and returns its RGBA pixels, [height, width, 4].
 * @param {number} width of the picture, in pixels.
 * @param {number} height likewise.
 * @param {number} size side of the result.
 * @return {Uint8Array} [size, size, 3], RGB.
 */
export function fitSquare(read, width, height, size) {
  // Tall pictures go along the columns first in Pillow 13; in earlier versions none does. A grey level at most.
  if (height - size <= 2 * Math.max(0, width - size)) return fitRowsFirst(read, width, height, size);
  const readTurned = (left, top, across, down) => turned(read(top, left, down, across), down, across, 4);
  return turned(fitRowsFirst(readTurned, height, width, size), size, size, 3);
}

function fitRowsFirst(read, width, height, size) {
  const side = Math.min(width, height);
  const columns = filterWindows(width, (width - side) / 2, side, size);
  const rows = filterWindows(height, (height - side) / 2, side, size);
  const left = columns[0].first;
  const top = rows[0].first;
  const across = end(columns) - left;
  const down = end(rows) - top;
  const narrow = new Uint8Array(down * size * 3);
  const strip = Math.max(1, Math.floor(STRIP_PIXELS / across));
  for (let row = 0; row < down; row += strip) {
    const count = Math.min(strip, down - row);
    filterRows(read(left, top + row, across, count), across, count, columns, left, narrow.subarray(row * size * 3));
  }
  return filterColumns(narrow, size, rows, top);
}

/** [height, width, channels] -> [width, height, channels]. */
function turned(pixels, width, height, channels) {
  const output = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [from, to] = [(y * width + x) * channels, (x * height + y) * channels];
      for (let c = 0; c < channels; c++) output[to + c] = pixels[from + c];
    }
  }
  return output;
}

/** For every pixel of the result: the first input pixel that counts, and the weights of it and those after it. */
function filterWindows(inputSize, start, length, size) {
  const scale = length / size;
  const support = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(inputSize, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, x) => triangle((x + first - centre + 0.5) * (1 / support)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: Int32Array.from(weights, (w) => Math.trunc(0.5 + (w / sum) * 2 ** PRECISION_BITS)) };
  });
}

function triangle(x) {
  return Math.max(0, 1 - Math.abs(x));
}

function end(windows) {
  return Math.max(...windows.map(({ first, weights }) => first + weights.length));
}

/** RGBA [height, width, 4] -> RGB [height, size, 3] in `output`. */
function filterRows(rgba, width, height, windows, left, output) {
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (const { first, weights } of windows) {
      let [red, green, blue] = [HALF, HALF, HALF];
      let from = (y * width + first - left) * 4;
      for (let x = 0; x < weights.length; x++, from += 4) {
        red += rgba[from] * weights[x];
        green += rgba[from + 1] * weights[x];
        blue += rgba[from + 2] * weights[x];
      }
      output[to++] = red >> PRECISION_BITS;
      output[to++] = green >> PRECISION_BITS;
      output[to++] = blue >> PRECISION_BITS;
    }
  }
}

/** RGB [height, size, 3] -> [size, size, 3]. */
function filterColumns(narrow, size, windows, top) {
  const rowLength = size * 3;
  const output = new Uint8Array(size * rowLength);
  windows.forEach(({ first, weights }, y) => {
    for (let x = 0; x < rowLength; x++) {
      let sum = HALF;
      for (let i = 0; i < weights.length; i++) sum += narrow[(first - top + i) * rowLength + x] * weights[i];
      output[y * rowLength + x] = sum >> PRECISION_BITS;
    }
  });
  return output;
}
