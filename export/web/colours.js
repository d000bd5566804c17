// Colours to sRGB. Browsers convert what a file's profile says as they decode it, but not in all formats, and before
// the picture is scaled; in training it is done last. So the few pixels that are left of a picture are converted: as a
// PNG with the profile, which every browser hears.

import { greyLevels } from './grey_profile.js';
import { writePng } from './png.js';

/**
 * Converts colours to sRGB.
 *
 * @param {Uint8Array} pixels [size, size, 3].
 * @param {number} size
 * @param {Uint8Array} profile of `pixels`; one for pictures of another kind, or broken, says nothing.
 * @return {Promise<Uint8Array>} [size, size, 3].
 */
export async function toSrgb(pixels, size, profile) {
  const forGrey = String.fromCharCode(...profile.subarray(16, 20)) === 'GRAY';
  if (forGrey) return greyToSrgb(pixels, profile);
  const png = await writePng(pixels, size, profile);
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: 'default', premultiplyAlpha: 'none' });
  const context = newCanvas(size, size).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return Uint8Array.from(context.getImageData(0, 0, size, size).data.filter((_, i) => i % 4 !== 3));
}

function greyToSrgb(pixels, profile) {
  const levels = greyLevels(profile);
  const isGrey = pixels.every((value, i) => value === pixels[i - (i % 3)]);
  return levels && isGrey ? pixels.map((value) => levels[value]) : pixels;
}

/** A canvas that is not on the page, in workers too. */
export function newCanvas(width, height) {
  if (typeof document === 'undefined') return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement('canvas'), { width, height });
}
