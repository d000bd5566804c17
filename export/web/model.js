// An exported file in LiteRT's runtime for browsers: embed, adapt and classify on typed arrays, padding and masks.

import { readMetadata } from './metadata.js';

const PACKAGES = new URL('node_modules/@litertjs/', import.meta.url).href;

/**
 * A compiled file with fixed sizes; one episode at a time.
 *
 * Attributes: `description`, what the file says about itself; `accelerator`, 'wasm' or 'webgpu'.
 */
export class Model {
  #compiled;
  #Tensor;

  constructor(description, compiled, Tensor, accelerator) {
    this.description = description;
    this.accelerator = accelerator;
    this.#compiled = compiled;
    this.#Tensor = Tensor;
  }

  /**
   * Compiles a file.
   *
   * @param {Uint8Array} bytes of the file.
   * @param {string} accelerator 'wasm' (the CPU; works everywhere) or 'webgpu'.
   * @return {Promise<Model>}
   * @throws {Error} the message says why, and the way out.
   */
  static async load(bytes, accelerator = 'wasm') {
    const description = await readMetadata(bytes);
    const litert = await loadRuntime();
    const options = accelerator === 'webgpu' ? { accelerator, gpuOptions: { precision: 'fp32' } } : { accelerator };
    let compiled;
    try {
      compiled = await litert.loadAndCompile(bytes, options);
    } catch (error) {
      if (accelerator === 'webgpu') throw new Error(`The GPU does not take it (${reason(error)}). Use the CPU.`);
      throw new Error(`It is damaged, or too new for this runtime (${reason(error)}). Export it again.`);
    }
    const missing = ['embed', 'adapt', 'classify'].filter((name) => !(name in compiled.signatures));
    if (missing.length) throw new Error(`It lacks the signature ${missing[0]}. Export it again.`);
    // The runtime goes to the CPU by itself where the GPU lacks an operation.
    return new Model(description, compiled, litert.Tensor, compiled.options.accelerator);
  }

  /** Pixels [size, size, 3] of one picture, 0 to 255 -> features [D]. */
  async embed(pixels) {
    const size = this.description.image_size;
    const { features } = await this.#run('embed', { images: [Float32Array.from(pixels), [1, size, size, 3]] });
    return features;
  }

  /**
   * Learns the classes of one episode.
   *
   * @param {Float32Array[]} support features [D] of the labelled pictures, at most `max_support`.
   * @param {number[]} labels one for each, 0 .. classes - 1, every class at least once; at most `way` classes.
   * @param {Float32Array[]} query features [D] of the unlabelled pictures, 1 to `max_query`.
   * @return {Promise<Float32Array[]>} [K + 1] times weights [classes, D]: theta^0, the prototypes, to theta^K. Of files
   *   that sample a posterior each class has `weights_dim` numbers.
   */
  async adapt(support, labels, query) {
    const { way, max_support: supports, max_query: queries, feature_dim: dim, num_steps: steps } = this.description;
    const outputs = await this.#run('adapt', {
      support: [padded(support, supports, dim), [1, supports, dim]],
      support_labels: [Int32Array.from({ length: supports }, (_, i) => labels[i] ?? 0), [1, supports]],
      support_mask: [mask(support.length, supports), [1, supports]],
      query: [padded(query, queries, dim), [1, queries, dim]],
      query_mask: [mask(query.length, queries), [1, queries]],
    });
    const numbers = this.#weightsDim;
    const length = (Math.max(...labels) + 1) * numbers;
    const path = outputs.weights_by_step;
    return Array.from({ length: steps + 1 }, (_, k) => path.slice(k * way * numbers, k * way * numbers + length));
  }

  /**
   * Classifies pictures.
   *
   * @param {Float32Array[]} query features [D], 1 to `max_query`.
   * @param {Float32Array} weights [classes, D], of one step.
   * @return {Promise<{logits: Float32Array[], probabilities: Float32Array[]}>} for every picture, [classes].
   */
  async classify(query, weights) {
    const { way, max_query: queries, feature_dim: dim } = this.description;
    const numbers = this.#weightsDim;
    const outputs = await this.#run('classify', {
      query: [padded(query, queries, dim), [1, queries, dim]],
      // Classes with weights of zero get no probability.
      weights: [padded([weights], 1, way * numbers), [1, way, numbers]],
    });
    const rows = (values) => query.map((_, i) => values.slice(i * way, i * way + weights.length / numbers));
    return { logits: rows(outputs.logits), probabilities: rows(outputs.probabilities) };
  }

  /**
   * Classifies any number of pictures after several steps.
   *
   * @param {Float32Array[]} query features [D].
   * @param {Float32Array[]} path weights [classes, D] of each step.
   * @return {Promise<object[]>} for every step what `classify` returns.
   */
  async classifyAll(query, path) {
    const most = this.description.max_query;
    const answers = path.map(() => ({ logits: [], probabilities: [] }));
    for (let start = 0; start < query.length; start += most) {
      const part = query.slice(start, start + most);
      for (const [i, weights] of path.entries()) {
        const { logits, probabilities } = await this.classify(part, weights);
        answers[i].logits.push(...logits);
        answers[i].probabilities.push(...probabilities);
      }
    }
    return answers;
  }

  get #weightsDim() {
    return this.description.weights_dim ?? this.description.feature_dim;
  }

  /** Frees the runtime's memory. */
  delete() {
    this.#compiled.delete();
  }

  async #run(signature, inputs) {
    const tensors = {};
    for (const [name, [data, shape]] of Object.entries(inputs)) tensors[name] = new this.#Tensor(data, shape);
    let outputs = {};
    try {
      outputs = await this.#compiled.signatures[signature].run(tensors);
      const values = await Promise.all(
        Object.entries(outputs).map(async ([name, tensor]) => [name, await tensor.data()]),
      );
      return Object.fromEntries(values);
    } finally {
      // The runtime's memory is not collected as JavaScript's is.
      for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.delete();
    }
  }
}

/**
 * Whether models can run on a GPU here. The classifier's small operations stay on the CPU, which takes a runtime that
 * waits for the GPU in between (JavaScript Promise Integration).
 */
export async function hasWebGpu() {
  if (!navigator.gpu || !('Suspending' in WebAssembly)) return false;
  return (await navigator.gpu.requestAdapter().catch(() => null)) !== null;
}

let runtime;

function loadRuntime() {
  runtime ??= startRuntime().catch((error) => {
    runtime = undefined;
    throw new Error(
      `The LiteRT runtime could not be started (${reason(error)}). Run "npm ci" in the folder of this page, and use a ` +
        'browser with WebAssembly SIMD (Chromium 91, Firefox 89, Safari 16.4 or later).',
    );
  });
  return runtime;
}

async function startRuntime() {
  const litert = await importRuntime();
  // In a worker the runtime would look for its files beside the worker.
  globalThis.Module = { locateFile: (name) => `${PACKAGES}core/wasm/${name}` };
  await litert.loadLiteRt(`${PACKAGES}core/wasm/`, { jspi: await hasWebGpu() });
  return litert;
}

/** Import maps do not reach workers, so the one package that the runtime asks for by name is given its address. */
async function importRuntime() {
  const response = await fetch(`${PACKAGES}core/dist/index.js`);
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  const code = (await response.text()).replace('"@litertjs/wasm-utils"', `"${PACKAGES}wasm-utils/dist/index.js"`);
  const address = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  try {
    return await import(address);
  } finally {
    URL.revokeObjectURL(address);
  }
}

function reason(error) {
  return String(error?.message ?? error?.type ?? error).split('\n')[0].slice(0, 120);
}

function padded(rows, length, dim) {
  const all = new Float32Array(length * dim);
  rows.forEach((row, i) => all.set(row, i * dim));
  return all;
}

function mask(count, length) {
  return new Float32Array(length).fill(1, 0, count);
}
