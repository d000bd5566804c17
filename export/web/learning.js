// From an episode to answers: what is new is embedded, then the model adapts and classifies the pile at every step.

// Model -> picture -> features [D]. By model: one may be replaced by another while it is still at work.
const embeddings = new WeakMap();

/**
 * Learns the classes of an episode and classifies its pile with the weights of every step.
 *
 * @param {Model} model
 * @param {Episode} episode with nothing missing.
 * @param {function(string)} progress is told what is being done.
 * @return {Promise<object>} `classes` and `pile` as they were at the start; `logits` and `probabilities`, indexed
 *     [step 0..K][picture][class]; `embedded`, the number of new pictures; `embedMilliseconds`, `adaptMilliseconds`.
 */
export async function learn(model, episode, progress) {
  const classes = [...episode.learned];
  const pile = [...episode.pile];
  const examples = classes.flatMap((one, label) => one.examples.map((picture) => ({ picture, label })));
  const { features, ...embedding } = await embedNew(
    model,
    [...examples.map(({ picture }) => picture), ...pile],
    progress,
  );
  const support = examples.map(({ picture }) => features.get(picture));
  const labels = examples.map(({ label }) => label);
  const query = pile.map((picture) => features.get(picture));
  const start = performance.now();
  const path = await model.adapt(support, labels, query);
  const adaptMilliseconds = performance.now() - start;
  const answers = [];
  for (const weights of path) answers.push(await model.classify(query, weights));
  return {
    classes,
    pile,
    logits: answers.map(({ logits }) => logits),
    probabilities: answers.map(({ probabilities }) => probabilities),
    ...embedding,
    adaptMilliseconds,
  };
}

async function embedNew(model, pictures, progress) {
  if (!embeddings.has(model)) embeddings.set(model, new WeakMap());
  const features = embeddings.get(model);
  const fresh = pictures.filter((picture) => !features.has(picture));
  let embedMilliseconds = 0;
  for (const [i, picture] of fresh.entries()) {
    progress(`Looking at picture ${i + 1} of ${fresh.length} …`);
    // A large backbone takes its time; the page stays usable between pictures.
    await new Promise((resolve) => setTimeout(resolve));
    const start = performance.now();
    features.set(picture, await model.embed(picture.pixels));
    embedMilliseconds += performance.now() - start;
  }
  return { features, embedded: fresh.length, embedMilliseconds };
}

/** The most probable class of each picture after a step: [{index, probability}]. */
export function answersAt(result, step) {
  return result.probabilities[step].map((row) => {
    const probability = Math.max(...row);
    return { index: row.indexOf(probability), probability };
  });
}
