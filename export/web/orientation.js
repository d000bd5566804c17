// How EXIF says that a WebP is turned: some browsers hear that of other formats only.

const ORIENTATION = 0x0112;

/**
 * @param {Uint8Array} bytes of a picture file, the whole of it.
 * @return {number} 1 to 8, as EXIF counts; 1 where nothing is said, and for other files than WebP.
 */
export function webpOrientation(bytes) {
  if (latin1(bytes, 0, 4) !== 'RIFF' || latin1(bytes, 8, 4) !== 'WEBP') return 1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    for (let at = 12; at < bytes.length; ) {
      const size = view.getUint32(at + 4, true);
      if (latin1(bytes, at, 4) === 'EXIF') return orientation(bytes, view, at + 8);
      at += 8 + size + (size % 2);
    }
  } catch {
    // Reading past the end: broken EXIF says nothing.
  }
  return 1;
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

function orientation(bytes, view, start) {
  const tiff = latin1(bytes, start, 4) === 'Exif' ? start + 6 : start;
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
