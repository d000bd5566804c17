// A model that runs in the worker, with the methods that it has there.

let worker;
let lastId = 0;
let lastKey = 0;
const waiting = new Map();

/** An exported file in LiteRT's runtime: `Model` of model.js, whose methods are asked for by messages. */
export class RemoteModel {
  #key;

  constructor(key, { description, accelerator }) {
    this.#key = key;
    this.description = description;
    this.accelerator = accelerator;
  }

  /** As `Model.load`. */
  static async load(bytes, accelerator = 'wasm') {
    const key = ++lastKey;
    return new RemoteModel(key, await ask('load', key, bytes, accelerator));
  }

  /** Pixels [size, size, 3] of one picture, 0 to 255 -> features [D]. */
  embed(pixels) {
    return ask('embed', this.#key, pixels);
  }

  /** A picture file -> {features [D], thumb}: the picture, small. Throws where it cannot be read. */
  embedFile(file) {
    return ask('embedFile', this.#key, file);
  }

  /** As `Model.adapt`. */
  adapt(support, labels, query) {
    return ask('adapt', this.#key, support, labels, query);
  }

  /** As `Model.classify`. */
  classify(query, weights) {
    return ask('classify', this.#key, query, weights);
  }

  /** As `Model.classifyAll`. */
  classifyAll(query, path) {
    return ask('classifyAll', this.#key, query, path);
  }

  /** Frees the runtime's memory. */
  delete() {
    return ask('delete', this.#key);
  }
}

/** As `chooseNext` of next_label.js, in the worker. */
export function chooseNext(margins, features, count) {
  return ask('chooseNext', null, margins, features, count);
}

function ask(call, key, ...values) {
  worker ??= startWorker();
  return new Promise((resolve, reject) => {
    waiting.set(++lastId, { resolve, reject });
    worker.postMessage({ id: lastId, call, key, values });
  });
}

function startWorker() {
  const started = new Worker(new URL('worker.js', import.meta.url));
  started.onmessage = ({ data: { id, value, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  };
  started.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message ?? 'the worker could not be started'));
    waiting.clear();
  };
  return started;
}
