// Whether a model gives the answers that it should: its file carries a small episode with its logits. GPUs and their
// drivers are many, and nobody has tried them all.

import { storedText } from './metadata.js';

const NAME = 'sib_tf_golden.json';
const TOLERANCE = 1e-3;
const CELLS = 8;

/**
 * Loads a model and checks it; where a GPU gives other answers, the CPU is used.
 *
 * @param {function(Uint8Array, string): Promise<Model>} load as `Model.load`.
 * @param {Uint8Array} bytes of the file.
 * @param {string} accelerator 'wasm' or 'webgpu'.
 * @return {Promise<{model: Model, problem: string|null}>} `problem`: what is to be told, as a sentence.
 * @throws {Error} as `load` does.
 */
export async function loadChecked(load, bytes, accelerator) {
  const model = await load(bytes, accelerator);
  if (accelerator === 'wasm') return { model, problem: null };
  if (model.accelerator === 'wasm') return { model, problem: 'The GPU does not take all of this model; it runs on the CPU.' };
  const problem = await problemOf(model, goldenOf(bytes));
  if (problem === null) return { model, problem };
  model.delete();
  return { model: await load(bytes, 'wasm'), problem: `${problem} The model runs on the CPU.` };
}

async function problemOf(model, golden) {
  if (golden === null) return null; // A file of an earlier version.
  try {
    const difference = await differenceFrom(golden, model);
    if (difference <= TOLERANCE) return null;
    return `The GPU computes other answers than it should: logits are off by ${difference.toPrecision(2)}, at most ${TOLERANCE} is allowed.`;
  } catch (error) {
    return `The GPU fails (${error.message}).`;
  }
}

/**
 * @param {{classes: number, queries: number, logits: number[][]}} golden what the file says.
 * @param {Model} model
 * @return {Promise<number>} how far logits are from those of the file, at most; NaN where some are no numbers.
 */
export async function differenceFrom(golden, model) {
  const features = [];
  for (let i = 0; i < golden.classes + golden.queries; i++) {
    features.push(await model.embed(picture(i, model.description.image_size)));
  }
  const [support, query] = [features.slice(0, golden.classes), features.slice(golden.classes)];
  const path = await model.adapt(support, support.map((_, label) => label), query);
  const { logits } = await model.classify(query, path.at(-1));
  return Math.max(...golden.logits.flatMap((row, i) => row.map((value, c) => Math.abs(value - logits[i][c]))));
}

/** What a file says of its small episode; null where it says nothing. */
export function goldenOf(bytes) {
  const text = storedText(bytes, NAME);
  return text === null ? null : JSON.parse(text);
}

/** The picture of a number [size, size, 3]: 8 x 8 cells of pseudorandom levels. */
function picture(number, size) {
  let state = number + 1;
  const levels = Uint8Array.from({ length: CELLS * CELLS * 3 }, () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return state >>> 24;
  });
  const cell = (i) => Math.floor((i * CELLS) / size);
  return Uint8Array.from({ length: size * size * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % size, Math.floor(i / 3 / size)];
    return levels[(cell(y) * CELLS + cell(x)) * 3 + (i % 3)];
  });
}
