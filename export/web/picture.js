// Pictures as the model takes them: decode, lay on white, crop to the middle square, scale.

import { upright, webpOrientation } from './orientation.js';
import { fitSquare } from './resample.js';

// Pillow's limit, so that the page and the Python runner take the same files.
const MOST_PIXELS = 89_478_485;
// A colour profile, if there is one, stands before the pixels; EXIF and previews may stand before it.
const PROFILE_WITHIN = 1 << 20;
const PROFILE = /iCCP|ICC_PROFILE\0|ICCP|colr(?:prof|rICC)/; // PNG, JPEG, WebP, and AVIF or HEIF.
// Side in pixels that pictures are shown at, in style.css, and that what is kept of them has.
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
  let bitmap, orientation;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    orientation = webpOrientation(bytes);
    bitmap = await createImageBitmap(file, {
      // What else says something about colours, such as a gamma, Pillow does not read.
      colorSpaceConversion: hasProfile(bytes) ? 'default' : 'none',
      premultiplyAlpha: 'none',
      imageOrientation: orientation === 1 ? 'from-image' : 'none',
    });
  } catch {
    throw new Error(`${name} cannot be read as a picture; it is broken, or in a format this browser does not know.`);
  }
  try {
    if (bitmap.width * bitmap.height > MOST_PIXELS) {
      throw new Error(`${name} has more than ${MOST_PIXELS.toLocaleString('en')} pixels; make it smaller.`);
    }
    return fitPicture(bitmap, bitmap.width, bitmap.height, size, orientation);
  } finally {
    bitmap.close();
  }
}

function hasProfile(bytes) {
  return PROFILE.test(new TextDecoder('latin1').decode(bytes.subarray(0, PROFILE_WITHIN)));
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
  const canvas = globalThis.document?.createElement('canvas') ?? new OffscreenCanvas(1, 1);
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
