// What a .tflite file says about itself: sib_tf.json in the ZIP archive behind the flatbuffer, stored uncompressed.

const NAME = 'sib_tf.json';
const FORMAT = 1;
const END = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const END_LENGTH = 22;
const LONGEST_COMMENT = 0xffff;
const EXPORT = 'Export it with python -m export.tflite --shapes=static.';

/**
 * Reads the description of an exported file and checks the file against it.
 *
 * @param {Uint8Array} bytes the whole file.
 * @return {Promise<object>} image_size, feature_dim, num_steps, way, max_support, max_query, gradient_network, ...
 * @throws {Error} not such a file, damaged, of another format, or without fixed sizes; the message says the way out.
 */
export async function readMetadata(bytes) {
  if (latin1(bytes.subarray(4, 8)) !== 'TFL3') throw new Error(`It is not a .tflite file. ${EXPORT}`);
  const { description, modelSize } = describe(bytes);
  if (description.format !== FORMAT) {
    throw new Error(`It has format ${description.format}; this page reads ${FORMAT}. Take the page of that version.`);
  }
  // The runtime checks the structure only: broken weights would give wrong answers.
  const digest = await sha256(bytes.subarray(0, modelSize));
  if (digest && description.model_sha256 && digest !== description.model_sha256) {
    throw new Error('It is damaged (its checksum differs). Copy it or export it again.');
  }
  if (description.head_only) throw new Error(`It has the head alone, and takes no pictures. ${EXPORT}`);
  if (!description.max_query) throw new Error(`Its sizes are not fixed, which a browser needs. ${EXPORT}`);
  return description;
}

/** A file's description, and the length of the model before it. */
export function describe(bytes) {
  try {
    const entries = readDirectory(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    const entry = entries.find(({ name }) => name === NAME);
    return {
      description: JSON.parse(new TextDecoder().decode(storedBytes(bytes, entry))),
      modelSize: Math.min(...entries.map(({ header }) => header)),
    };
  } catch {
    throw new Error(`It holds no ${NAME}: it was not written by export.tflite, or is damaged. ${EXPORT}`);
  }
}

/** The archive's entries; reading past the end of the file throws, as everything here does on broken bytes. */
export function readDirectory(view) {
  const end = findEnd(view);
  const count = view.getUint16(end + 10, true);
  const directory = end - view.getUint32(end + 12, true);
  // Offsets count from the archive's start; ZIP tools differ on whether the flatbuffer before it is part of that.
  const shift = directory - view.getUint32(end + 16, true);
  const entries = [];
  for (let at = directory; entries.length < count; at = entries.at(-1).next) entries.push(readEntry(view, at, shift));
  return entries;
}

/** What the entry of a name says, in a file that `readMetadata` has checked; null without such an entry. */
export function storedText(bytes, name) {
  const entries = readDirectory(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const entry = entries.find((one) => one.name === name);
  return entry ? new TextDecoder().decode(storedBytes(bytes, entry)) : null;
}

function findEnd(view) {
  const last = view.byteLength - END_LENGTH;
  for (let at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
    if (view.getUint32(at, true) === END) return at;
  }
  throw new Error('no archive');
}

function readEntry(view, at, shift) {
  if (view.getUint32(at, true) !== DIRECTORY_ENTRY) throw new Error('broken directory');
  const [name, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
  return {
    name: new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, name)),
    method: view.getUint16(at + 10, true),
    crc: view.getUint32(at + 16, true),
    size: view.getUint32(at + 20, true),
    header: view.getUint32(at + 42, true) + shift,
    next: at + 46 + name + extra + comment,
  };
}

/** The bytes of an entry, which must not be compressed. */
export function storedBytes(bytes, { method, size, header }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset + header, 30);
  if (method !== 0 || view.getUint32(0, true) !== LOCAL_HEADER) throw new Error('not stored');
  const start = header + 30 + view.getUint16(26, true) + view.getUint16(28, true);
  return bytes.subarray(start, start + size);
}

/** SHA-256 in hexadecimal; null where the browser offers no hashing, which is on pages that are neither https nor localhost. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function latin1(bytes) {
  return String.fromCharCode(...bytes);
}
