// PNG files without what does not change their pixels, and small ones written anew.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
// What describes pixels, and the further frames of animations.
const DESCRIBING = new Set(
  ('acTL bKGD cHRM cICP caBX eXIf fcTL fdAT gAMA gIFg gIFx hIST iCCP iTXt mDCV cLLI oFFs pCAL pHYs sBIT sCAL sPLT ' +
    'sRGB sTER tEXt tIME vpAg zTXt').split(' '),
);

/** @return {boolean} whether a file starts as PNG files do. */
export function isPng(bytes) {
  return SIGNATURE.every((value, i) => bytes[i] === value);
}

/**
 * Takes a PNG file apart.
 *
 * @param {Uint8Array} bytes of the file.
 * @return {{pixels: Uint8Array[], exif: Uint8Array|null, profile: Uint8Array|null}} `pixels`: the file again, of the
 *     chunks alone that pixels are made of; `exif` and `profile` (compressed): those whose checksums are right.
 * @throws {RangeError} the file is cut.
 */
export function splitPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = { pixels: [bytes.subarray(0, 8)], exif: null, profile: null };
  for (let at = 8, kind = ''; kind !== 'IEND'; ) {
    const end = at + 12 + view.getUint32(at);
    kind = latin1(bytes.subarray(at + 4, at + 8));
    const whole = () => crc32(bytes.subarray(at + 4, end - 4)) === view.getUint32(end - 4);
    if (!DESCRIBING.has(kind)) parts.pixels.push(bytes.subarray(at, end));
    else if (kind === 'eXIf' && whole()) parts.exif ??= bytes.subarray(at + 8, end - 4);
    else if (kind === 'iCCP' && whole()) parts.profile ??= packedProfile(bytes.subarray(at + 8, end - 4));
    at = end;
  }
  return parts;
}

/** After a name that ends in 0 comes one byte for the only method that there is. */
function packedProfile(body) {
  return body.subarray(body.indexOf(0) + 2);
}

/**
 * Writes a PNG file.
 *
 * @param {Uint8Array} pixels [height, width, 3], RGB.
 * @param {number} width in pixels.
 * @param {Uint8Array} profile an ICC profile.
 * @return {Promise<Blob>}
 */
export async function writePng(pixels, width, profile) {
  const row = width * 3;
  const height = pixels.length / row;
  const lines = new Uint8Array(height * (row + 1)); // Each starts with the number of its filter, 0: none.
  for (let y = 0; y < height; y++) lines.set(pixels.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, 2], 8); // 8 bits, RGB.
  const named = concatenated([Uint8Array.of(0x70, 0, 0), await deflated(profile)]);
  const chunks = [chunk('IHDR', header), chunk('iCCP', named), chunk('IDAT', await deflated(lines)), chunk('IEND', [])];
  return new Blob([Uint8Array.from(SIGNATURE), ...chunks], { type: 'image/png' });
}

/** Unpacks a zlib stream. */
export function inflated(bytes) {
  return streamed(bytes, new DecompressionStream('deflate'));
}

function deflated(bytes) {
  return streamed(bytes, new CompressionStream('deflate'));
}

async function streamed(bytes, transform) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(transform)).arrayBuffer());
}

function chunk(kind, body) {
  const bytes = new Uint8Array(12 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  bytes.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(body, 8);
  view.setUint32(8 + body.length, crc32(bytes.subarray(4, 8 + body.length)));
  return bytes;
}

export function concatenated(parts) {
  const all = new Uint8Array(parts.reduce((total, { length }) => total + length, 0));
  parts.reduce((at, part) => {
    all.set(part, at);
    return at + part.length;
  }, 0);
  return all;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = CRC[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return ~sum >>> 0;
}

function latin1(bytes) {
  return String.fromCharCode(...bytes);
}
