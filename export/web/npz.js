// NumPy's .npz: a ZIP archive, stored, of arrays as NumPy's .npy has them. Arrays are {descr, shape, bytes}: the type
// as NumPy writes it ('<f4'), the lengths of the axes, and the numbers in rows.

import { readDirectory, storedBytes } from './metadata.js';

const MAGIC = [0x93, ...latin1('NUMPY')];
const LOCAL_HEADER = 0x04034b50;
const DIRECTORY_ENTRY = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
const DATE = 0x21; // 1 January 1980: the same arrays give the same bytes.
const ALIGNED_TO = 64;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ 0xedb88320 : i >>> 1;
  return i;
});

/**
 * @param {Uint8Array} bytes of a .npz file.
 * @return {Object<string, object>} its arrays by name.
 * @throws {Error} it is none, or its checksums differ.
 */
export function readNpz(bytes) {
  const entries = readDirectory(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return Object.fromEntries(
    entries.map((entry) => {
      const content = storedBytes(bytes, entry);
      if (crc32(content) !== entry.crc) throw new Error('its checksum differs');
      return [entry.name.replace(/\.npy$/, ''), readNpy(content)];
    }),
  );
}

/** @param {Object<string, object>} arrays by name. @return {Uint8Array} of a .npz file. */
export function writeNpz(arrays) {
  const members = Object.entries(arrays).map(([name, array]) => ({ name: latin1(`${name}.npy`), data: writeNpy(array) }));
  let offset = 0;
  for (const member of members) {
    member.offset = offset;
    member.crc = crc32(member.data);
    offset += 30 + member.name.length + member.data.length;
  }
  const directory = members.map(directoryEntry);
  const length = directory.reduce((total, entry) => total + entry.length, 0);
  const local = members.flatMap((member) => [localHeader(member), member.data]);
  return joined([...local, ...directory, endOfDirectory(members.length, length, offset)]);
}

/** A view of an array's bytes as numbers: the bytes are copied where they lie unevenly. */
export function numbers(array, Type) {
  return new Type(array.bytes.slice().buffer);
}

function readNpy(content) {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  if (MAGIC.some((byte, i) => content[i] !== byte)) throw new Error('it holds something else than arrays');
  const [start, length] = content[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = String.fromCharCode(...content.subarray(start, start + length));
  const [, descr, order, axes] = /'descr': '([^']+)', 'fortran_order': (False|True), 'shape': \(([^)]*)\)/.exec(header);
  const shape = axes.split(',').map((text) => text.trim()).filter(Boolean).map(Number);
  const bytes = content.subarray(start + length);
  const expected = shape.reduce((total, axis) => total * axis, itemSize(descr));
  if (order === 'True' || bytes.length !== expected) throw new Error('its arrays are not as long as they say');
  return { descr, shape, bytes };
}

function writeNpy({ descr, shape, bytes }) {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple(shape)}, }`;
  const length = Math.ceil((MAGIC.length + 4 + text.length + 1) / ALIGNED_TO) * ALIGNED_TO - MAGIC.length - 4;
  const header = latin1(`${text.padEnd(length - 1)}\n`);
  return joined([Uint8Array.of(...MAGIC, 1, 0, length & 255, length >> 8), header, bytes]);
}

/** The lengths of axes as Python writes them: (2,) or (2, 3). */
export function tuple(shape) {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
}

function itemSize(descr) {
  const [, kind, count] = /^[<|]([biufU])(\d+)$/.exec(descr);
  return Number(count) * (kind === 'U' ? 4 : 1);
}

function localHeader({ name, data, crc }) {
  return joined([little([LOCAL_HEADER, 4], ...fileFields(name, data, crc)), name]);
}

function directoryEntry({ name, data, crc, offset }) {
  const fields = fileFields(name, data, crc);
  return joined([little([DIRECTORY_ENTRY, 4], [VERSION, 2], ...fields, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), name]);
}

function fileFields(name, data, crc) {
  const size = [data.length, 4];
  return [[VERSION, 2], [0, 2], [0, 2], [0, 2], [DATE, 2], [crc, 4], size, size, [name.length, 2], [0, 2]];
}

function endOfDirectory(count, length, offset) {
  return little([END, 4], [0, 2], [0, 2], [count, 2], [count, 2], [length, 4], [offset, 4], [0, 2]);
}

/** Numbers with the lowest byte first, each given as [number, bytes]. */
function little(...fields) {
  return Uint8Array.from(fields.flatMap(([value, size]) => Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 255)));
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

/** One array of bytes after the other. */
export function joined(parts) {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function latin1(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
