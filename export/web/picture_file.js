// Picture files in parts: pixels, colour profile, and how the picture is turned. Browsers differ in which formats they
// hear the latter two of; taken apart, every file is the same picture in all of them.

import { isBoxes, splitBoxes } from './boxes.js';
import { orientation } from './orientation.js';
import { concatenated, inflated, isPng, splitPng } from './png.js';

const JPEG_SCAN = 0xda;
const JPEG_APP2 = 0xe2;
const JPEG_PROFILE = 'ICC_PROFILE\0';
const WEBP_PROFILE_FLAG = 0x20;

/**
 * Takes a picture file apart.
 *
 * @param {Uint8Array} bytes of the file.
 * @return {Promise<{blob: Blob, profile: Uint8Array|null, orientation: number, keepsProfile: boolean}>} `blob`: the
 *     picture for `createImageBitmap`, without what is said about its colours; `profile`: for its pixels, see
 *     `toSrgb`; `orientation`: 1 to 8, as EXIF counts, where the page has to turn it; `keepsProfile`: whether the file
 *     has one that only its decoder can use, of CMYK.
 */
export async function splitPicture(bytes) {
  const split = splitterOf(bytes);
  const whole = { parts: [bytes], profile: null, orientation: 1 };
  // Of a broken file the decoder shall say what is left.
  const found = split ? await split(bytes).catch(() => whole) : whole;
  const colours = found.profile && latin1(found.profile, 16, 4);
  const keepsProfile = split === splitJpeg && colours === 'CMYK';
  return {
    // In one piece: Firefox looks for a format's signature in the first piece alone.
    blob: new Blob([keepsProfile ? bytes : concatenated(found.parts)]),
    profile: ['RGB ', 'GRAY'].includes(colours) ? found.profile : null,
    orientation: found.orientation,
    keepsProfile,
  };
}

/** By the content, whatever the name; other formats say nothing of this kind. */
function splitterOf(bytes) {
  if (isPng(bytes)) return splitPngFile;
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return splitJpeg;
  if (latin1(bytes, 0, 4) === 'RIFF' && latin1(bytes, 8, 4) === 'WEBP') return splitWebp;
  return isBoxes(bytes) ? async () => splitBoxes(bytes) : null;
}

async function splitPngFile(bytes) {
  const { pixels, profile, exif } = splitPng(bytes);
  return {
    parts: pixels,
    // One that does not unpack is none.
    profile: profile && (await inflated(profile).catch(() => null)),
    orientation: exif ? orientation(exif) : 1,
  };
}

async function splitJpeg(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [parts, profiles] = [[bytes.subarray(0, 2)], []];
  let at = 2;
  while (view.getUint8(at) === 0xff && view.getUint8(at + 1) !== JPEG_SCAN) {
    const padding = view.getUint8(at + 1) === 0xff;
    const end = padding ? at + 1 : at + 2 + view.getUint16(at + 2);
    const isProfile = view.getUint8(at + 1) === JPEG_APP2 && latin1(bytes, at + 4, 12) === JPEG_PROFILE;
    // Large ones come in several parts.
    if (isProfile) profiles.push({ number: bytes[at + 16], body: bytes.subarray(at + 18, end) });
    else parts.push(bytes.subarray(at, end));
    at = end;
  }
  profiles.sort((one, other) => one.number - other.number);
  return {
    parts: [...parts, bytes.subarray(at)],
    profile: profiles.length ? concatenated(profiles.map(({ body }) => body)) : null,
    orientation: 1,
  };
}

async function splitWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { parts: [bytes.slice(0, 12)], profile: null, orientation: 1 };
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [kind, size] = [latin1(bytes, at, 4), view.getUint32(at + 4, true)];
    const end = at + 8 + size + (size % 2);
    const body = bytes.subarray(at + 8, at + 8 + size);
    if (kind === 'ICCP') found.profile ??= body;
    else found.parts.push(bytes.slice(at, end));
    if (kind === 'VP8X') found.parts.at(-1)[8] &= ~WEBP_PROFILE_FLAG;
    if (kind === 'EXIF') found.orientation = orientation(body);
    at = end;
  }
  const size = found.parts.reduce((total, { length }) => total + length, 0) - 8;
  new DataView(found.parts[0].buffer).setUint32(4, size, true);
  return found;
}

function latin1(bytes, start, length) {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}
