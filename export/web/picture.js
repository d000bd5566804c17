// Pictures as the model takes them: decode, lay on white, crop to the middle square, scale.

import { newCanvas, toSrgb } from './colours.js';
import { upright } from './orientation.js';
import { splitPicture } from './picture_file.js';
import { fitSquare } from './resample.js';

// Pillow's limit, so that the page and the Python runner take the same files.
const MOST_PIXELS = 89_478_485;
// Side in pixels that pictures are shown at, in pile.css, and that what is kept of them has.
const SHOWN = 64;
const THUMBNAIL = 96;

/**
 * Decodes a picture file; EXIF orientation counts, colours are converted to sRGB, transparent parts show white.
 *
 * @param {Blob} file in any format that the browser reads.
 * @param {number} size side of the result in pixels.
 * @return {Promise<Uint8Array>} [size, size, 3], RGB.
 * @throws {Error} it cannot be read; the message names the file and says why.
 */
export async function readPicture(file, size) {
  const name = file.name ?? 'The picture';
  let bitmap, parts, pixels;
  try {
    parts = await splitPicture(new Uint8Array(await file.arrayBuffer()));
    bitmap = await createImageBitmap(parts.blob, {
      colorSpaceConversion: parts.keepsProfile ? 'default' : 'none',
      premultiplyAlpha: 'none',
      imageOrientation: parts.orientation === 1 ? 'from-image' : 'none',
    });
  } catch {
    throw new Error(`${name} cannot be read as a picture; it is broken, or in a format this browser does not know.`);
  }
  try {
    if (bitmap.width * bitmap.height > MOST_PIXELS) {
      throw new Error(`${name} has more than ${MOST_PIXELS.toLocaleString('en')} pixels; make it smaller.`);
    }
    pixels = fitPicture(bitmap, bitmap.width, bitmap.height, size, parts.orientation);
  } finally {
    bitmap.close();
  }
  return parts.profile ? toSrgb(pixels, size, parts.profile) : pixels;
}

/**
 * Takes the pixels of anything that a canvas can draw.
 *
 * @param {CanvasImageSource} source a bitmap, canvas or video.
 * @param {number} width of `source` in its own pixels.
 * @param {number} height likewise.
 * @param {number} size side of the result.
 * @param {number} orientation of `source`, as EXIF counts.
 * @return {Uint8Array} [size, size, 3], RGB.
 */
export function fitPicture(source, width, height, size, orientation = 1) {
  const canvas = newCanvas(1, 1);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const read = (left, top, across, down) => {
    [canvas.width, canvas.height] = [across, down];
    context.fillStyle = 'white';
    context.fillRect(0, 0, across, down);
    if (orientation === 1) {
      context.drawImage(source, left, top, across, down, 0, 0, across, down);
    } else {
      context.translate(-left, -top);
      context.transform(...upright(orientation, width, height));
      context.drawImage(source, 0, 0);
    }
    return context.getImageData(0, 0, across, down).data;
  };
  return orientation < 5 ? fitSquare(read, width, height, size) : fitSquare(read, height, width, size);
}

/** Pixels [size, size, 3] -> what is kept to be shown: the same, or fewer. */
export function thumbnail(pixels, size) {
  if (size <= THUMBNAIL) return pixels;
  const read = (left, top, across, down) => withAlpha(pixels.subarray(top * size * 3, (top + down) * size * 3));
  return fitSquare(read, size, size, THUMBNAIL);
}

/** Shows pixels [size, size, 3] on a canvas of that many pixels; those that are enlarged keep their edges. */
export function showPixels(canvas, pixels, size) {
  [canvas.width, canvas.height] = [size, size];
  canvas.classList.toggle('small', size < SHOWN);
  canvas.getContext('2d').putImageData(new ImageData(withAlpha(pixels), size, size), 0, 0);
}

function withAlpha(pixels) {
  const rgba = new Uint8ClampedArray((pixels.length / 3) * 4).fill(255);
  for (let i = 0; i < pixels.length; i++) rgba[i + Math.floor(i / 3)] = pixels[i];
  return rgba;
}

/** Whether the browser gives back the pixels that were drawn; some add noise against being recognised. */
export function canvasIsFaithful() {
  const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => (i * 89) % 256);
  const canvas = document.createElement('canvas');
  showPixels(canvas, pixels, 16);
  return fitPicture(canvas, 16, 16, 16).every((value, i) => value === pixels[i]);
}
