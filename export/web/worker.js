// The worker: it reads pictures and runs models, so that the page stays alive. Calls and answers are messages.
//
// A classic worker and no module, because LiteRT's runtime comes by importScripts.

const modules = Promise.all([import('./model.js'), import('./picture.js'), import('./next_label.js')]);
const models = new Map();
// One call after the other: a model computes one thing at a time.
let last = Promise.resolve();

const calls = {
  async load(key, bytes, accelerator) {
    const [{ Model }] = await modules;
    const model = await Model.load(bytes, accelerator);
    models.set(key, model);
    return { description: model.description, accelerator: model.accelerator };
  },

  async embed(key, pixels) {
    return models.get(key).embed(pixels);
  },

  /** Reads and embeds a file; the pixels stay here, but for a small picture to show. */
  async embedFile(key, file) {
    const [, { readPicture, thumbnail }] = await modules;
    const model = models.get(key);
    const size = model.description.image_size;
    const pixels = await readPicture(file, size);
    return { features: await model.embed(pixels), thumb: thumbnail(pixels, size) };
  },

  async adapt(key, ...episode) {
    return models.get(key).adapt(...episode);
  },

  async classify(key, ...query) {
    return models.get(key).classify(...query);
  },

  async classifyAll(key, ...query) {
    return models.get(key).classifyAll(...query);
  },

  async delete(key) {
    models.get(key)?.delete();
    models.delete(key);
  },

  async chooseNext(key, ...pile) {
    const [, , { chooseNext }] = await modules;
    return chooseNext(...pile);
  },
};

onmessage = ({ data: { id, call, key, values } }) => {
  const answer = async () => {
    try {
      postMessage({ id, value: await calls[call](key, ...values) });
    } catch (error) {
      postMessage({ id, error: String(error?.message ?? error) });
    }
  };
  last = last.then(answer);
};
