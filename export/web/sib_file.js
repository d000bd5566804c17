// What was learned as one file, the .sib of Python's SIBClassifier: labelled and unlabelled rows, the weights made of
// them, and the head. No pictures are in it.

import { sha256 } from './metadata.js';
import { joined, numbers, readNpz, tuple, writeNpz } from './npz.js';

const FORMAT = 1;
const WAY_OUT = 'Save it again, or copy the file again.';
const DEFAULTS = { head: 'general', balanced: false, class_prior: null, max_unlabelled: 2000, random_state: 0 };

/**
 * What a file holds.
 *
 * @typedef {object} Saved
 * @property {string[]} classes names.
 * @property {boolean} numeric whether Python knows the classes as whole numbers.
 * @property {Float32Array[]} support features [D] of labelled rows; `labels`, number[], their classes' numbers.
 * @property {number[]} seen for each class, how many labelled rows there were.
 * @property {Float32Array[]} unlabelled features [D]; `unlabelledSeen`, how many there were.
 * @property {Float32Array[]} weights before and after the steps, each [classes, weights_dim].
 * @property {Float64Array|null} logShift [classes], added to log probabilities.
 * @property {string|null} backbone name of what made the rows.
 * @property {Uint8Array} head bytes of its .tflite file.
 */

/** @param {Saved} saved @return {Promise<Uint8Array>} the bytes of a file; `parameters` beside it are kept. */
export async function writeSib(saved) {
  const order = saved.classes.map((_, i) => i).sort((a, b) => compared(saved.classes[a], saved.classes[b], saved.numeric));
  const place = order.map((_, i) => order.indexOf(i));
  const arrays = {
    head: { descr: '|u1', shape: [saved.head.length], bytes: saved.head },
    weights: weightsArray(saved.weights, order),
    classes: classNames(order.map((i) => saved.classes[i]), saved.numeric),
    support: rows(saved.support, saved.dim),
    numbers: { descr: '<i4', shape: [saved.labels.length], bytes: bytesOf(Int32Array.from(saved.labels, (i) => place[i])) },
    seen: integers(order.map((i) => saved.seen[i])),
    unlabelled: rows(saved.unlabelled, saved.dim),
  };
  if (saved.logShift) {
    const shift = Float64Array.from(order, (i) => saved.logShift[i]);
    arrays.log_shift = { descr: '<f8', shape: [shift.length], bytes: bytesOf(shift) };
  }
  const description = await sealed({
    format: FORMAT,
    parameters: { ...DEFAULTS, ...saved.parameters, backbone: saved.backbone },
    columns: null,
    backbone: saved.backbone,
    labels_are_objects: !saved.numeric,
    unlabelled_seen: saved.unlabelledSeen,
    digests: await digestsOf(arrays),
  });
  const bytes = new TextEncoder().encode(description);
  return writeNpz({ description: { descr: '|u1', shape: [bytes.length], bytes }, ...arrays });
}

/**
 * @param {Uint8Array} bytes of a file.
 * @return {Promise<Saved>} with `parameters`, Python's.
 * @throws {Error} it is damaged or of another format; the message says the way out.
 */
export async function readSib(bytes) {
  let arrays, description;
  try {
    ({ description, ...arrays } = readNpz(bytes));
    description = JSON.parse(new TextDecoder().decode(description.bytes));
    const digests = await digestsOf(arrays);
    // Without hashing, which browsers keep from pages that are neither https nor localhost, the checksums have to do.
    const differs = (name) => digests[name] !== null && digests[name] !== description.digests[name];
    if (Object.keys(arrays).some(differs)) throw new Error('its digests differ');
  } catch (error) {
    throw new Error(`It is no saved classifier, or is damaged (${error.message}). ${WAY_OUT}`);
  }
  if (description.format !== FORMAT) throw new Error(`It has format ${description.format}; this page reads ${FORMAT}.`);
  return {
    classes: namesOf(arrays.classes),
    numeric: arrays.classes.descr[1] === 'i',
    support: rowsOf(arrays.support),
    labels: integersOf(arrays.numbers),
    seen: integersOf(arrays.seen),
    unlabelled: rowsOf(arrays.unlabelled),
    unlabelledSeen: description.unlabelled_seen,
    weights: rowsOf({ ...arrays.weights, shape: [2, arrays.weights.shape[1] * arrays.weights.shape[2]] }),
    logShift: arrays.log_shift ? numbers(arrays.log_shift, Float64Array) : null,
    dim: arrays.support.shape[1],
    backbone: description.backbone,
    head: arrays.head.bytes,
    parameters: description.parameters,
  };
}

/** Of code points, as Python sorts text, or of numbers. */
function compared(one, other, numeric) {
  if (numeric) return Number(one) - Number(other);
  const [a, b] = [[...one], [...other]].map((letters) => letters.map((letter) => letter.codePointAt(0)));
  const differs = a.findIndex((code, i) => code !== b[i]);
  return differs === -1 ? a.length - b.length : a[differs] - (b[differs] ?? -1);
}

function weightsArray(weights, order) {
  const length = weights[0].length / order.length;
  const parts = weights.flatMap((step) => order.map((i) => bytesOf(step.slice(i * length, (i + 1) * length))));
  return { descr: '<f4', shape: [weights.length, order.length, length], bytes: joined(parts) };
}

function rows(list, dim) {
  return { descr: '<f4', shape: [list.length, dim], bytes: joined(list.map(bytesOf)) };
}

function rowsOf({ descr, shape: [count, length], ...array }) {
  if (descr !== '<f4') throw new Error(`It holds rows of ${descr}, not of float32. ${WAY_OUT}`);
  const all = numbers(array, Float32Array);
  return Array.from({ length: count }, (_, i) => all.slice(i * length, (i + 1) * length));
}

function integers(list) {
  return { descr: '<i8', shape: [list.length], bytes: bytesOf(BigInt64Array.from(list, BigInt)) };
}

function integersOf(array) {
  const Type = { '<i8': BigInt64Array, '<i4': Int32Array, '<u4': Uint32Array, '<i2': Int16Array, '|i1': Int8Array }[array.descr];
  if (!Type) throw new Error(`It holds whole numbers of the type ${array.descr}, which this page does not read.`);
  return Array.from(numbers(array, Type), Number);
}

/** Text as NumPy keeps it, four bytes a letter and all as long as the longest, or whole numbers. */
function classNames(names, numeric) {
  if (numeric) return integers(names);
  const letters = names.map((name) => [...name]);
  const longest = Math.max(...letters.map(({ length }) => length));
  const codes = new Uint32Array(names.length * longest);
  letters.forEach((word, row) => word.forEach((letter, i) => (codes[row * longest + i] = letter.codePointAt(0))));
  return { descr: `<U${longest}`, shape: [names.length], bytes: bytesOf(codes) };
}

function namesOf(array) {
  if (array.descr[1] === 'b') return Array.from(array.bytes, (value) => (value ? 'True' : 'False'));
  if (array.descr[1] !== 'U') return integersOf(array).map(String);
  const longest = Number(array.descr.slice(2));
  const codes = numbers(array, Uint32Array);
  const word = (row) => [...codes.slice(row * longest, (row + 1) * longest)].filter((code) => code !== 0);
  return Array.from({ length: array.shape[0] }, (_, row) => String.fromCodePoint(...word(row)));
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

async function digestsOf(arrays) {
  const digest = async ({ descr, shape, bytes }) =>
    sha256(joined([new TextEncoder().encode(`${descr} ${tuple(shape)} `), bytes]));
  const entries = Object.entries(arrays).map(async ([name, array]) => [name, await digest(array)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** JSON that ends in the SHA-256 of the rest, as Python's sealed_json writes it. */
async function sealed(value) {
  const digest = await sha256(new TextEncoder().encode(canonical(value)));
  if (digest === null) throw new Error('The browser makes no digests here; open the page by https or on localhost.');
  return JSON.stringify({ ...value, sha256: digest }, null, 2);
}

/** As Python's json.dumps with sorted keys, no spaces and ASCII alone; for text, booleans, null and whole numbers. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value && typeof value === 'object') {
    const entries = Object.keys(value).sort().map((name) => `${canonical(name)}:${canonical(value[name])}`);
    return `{${entries.join(',')}}`;
  }
  if (typeof value === 'number') return pythonNumber(value);
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** JavaScript writes the same digits, but 0.00001 where Python has 1e-05. */
function pythonNumber(value) {
  if (Number.isInteger(value) || Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/-(\d)$/, '-0$1');
}
