// How EXIF says that a picture is turned, and how a canvas turns it back.

const ORIENTATION = 0x0112;

/**
 * @param {Uint8Array} bytes of EXIF.
 * @return {number} 1 to 8, as EXIF counts; 1 where nothing is said, or the bytes are broken.
 */
export function orientation(bytes) {
  try {
    return readOrientation(bytes);
  } catch {
    return 1; // Past the end.
  }
}

/** The six numbers of CanvasRenderingContext2D.setTransform that show a picture upright. */
export function upright(orientation, width, height) {
  return [
    [1, 0, 0, 1, 0, 0],
    [-1, 0, 0, 1, width, 0],
    [-1, 0, 0, -1, width, height],
    [1, 0, 0, -1, 0, height],
    [0, 1, 1, 0, 0, 0],
    [0, 1, -1, 0, height, 0],
    [0, -1, -1, 0, height, width],
    [0, -1, 1, 0, 0, width],
  ][orientation - 1];
}

function readOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tiff = latin1(bytes, 0, 4) === 'Exif' ? 6 : 0;
  const little = latin1(bytes, tiff, 2) === 'II';
  const directory = tiff + view.getUint32(tiff + 4, little);
  const count = view.getUint16(directory, little);
  for (let entry = directory + 2; entry < directory + 2 + 12 * count; entry += 12) {
    if (view.getUint16(entry, little) !== ORIENTATION) continue;
    const value = view.getUint16(entry + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

function latin1(bytes, start, length) {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}
