// From an episode to answers: what is new is embedded, then the model adapts and classifies the pile at every step.

/** Thrown by `learn` when it is told to stop. */
export class Stopped extends Error {}

/**
 * Learns the classes of an episode and classifies its pile with the weights of every step.
 *
 * What a saved file had learned is taken as it is, with its weights before and after the steps alone.
 *
 * @param {Model} model
 * @param {Episode} episode of which everything is embedded, even if something is missing to learn from it.
 * @param {object} on `progress(done, of)` is told of embedding; `broken(picture, error)` of a file that is no picture;
 *     `stopped()` says whether to stop, which throws `Stopped`.
 * @return {Promise<object>} `classes` and `pile` as they were; `steps`, the numbers of those there are answers of;
 *     `logits` and `probabilities`, indexed [place in steps][picture][class]; `embedded`, the number of new pictures;
 *     `embedMilliseconds`, `adaptMilliseconds`; `learned`, what a saved file has: `classes`, `support` and `labels`,
 *     `unlabelled`, `weights` before and after, `logShift`. Where something is missing: `missing`, `embedded`
 *     and `embedMilliseconds` alone.
 */
export async function learn(model, episode, on) {
  const embedding = await embedNew(model, episode, on);
  const { missing, learnedBefore } = episode;
  const pile = [...episode.pile];
  if (missing) return { missing, ...embedding };
  const start = performance.now();
  const { learned, path, steps } = learnedBefore ? asBefore(model, learnedBefore) : await adapt(model, episode);
  const adaptMilliseconds = performance.now() - start;
  const answers = await model.classifyAll(pile.map(({ features }) => features), path);
  const probabilities = answers.map((answer, i) =>
    learned.logShift && i === answers.length - 1 ? shifted(answer.probabilities, learned.logShift) : answer.probabilities,
  );
  return {
    classes: learned.classes,
    pile,
    steps,
    logits: answers.map(({ logits }) => logits),
    probabilities,
    learned,
    ...embedding,
    adaptMilliseconds,
  };
}

/** Features of all pictures that lack this model's, and of those that come meanwhile. */
async function embedNew(model, episode, { progress, broken, stopped }) {
  let embedMilliseconds = 0;
  let embedded = 0;
  let done = 0;
  const fresh = () => episode.pictures.filter(({ embeddedBy }) => embeddedBy !== model);
  for (let left = fresh(); left.length; left = fresh()) {
    for (const [i, picture] of left.entries()) {
      if (stopped()) throw new Stopped();
      progress(done, done + left.length - i);
      done++;
      const start = performance.now();
      try {
        await embedOne(model, picture);
        embedded++;
      } catch (error) {
        if (!picture.source) throw error;
        broken(picture, error);
      }
      embedMilliseconds += performance.now() - start;
    }
  }
  return { embedded, embedMilliseconds };
}

async function embedOne(model, picture) {
  // What has neither was embedded before the page was loaded, by a model of the same weights.
  if (picture.pixels) picture.features = await model.embed(picture.pixels);
  else if (picture.source) Object.assign(picture, await model.embedFile(picture.source));
  picture.embeddedBy = model;
}

function asBefore(model, learnedBefore) {
  return { learned: learnedBefore, path: learnedBefore.weights, steps: [0, model.description.num_steps] };
}

async function adapt(model, episode) {
  const { max_support: supports, max_query: queries, num_steps: last } = model.description;
  const classes = [...episode.learned];
  const examples = evenSample(classes, supports);
  const support = examples.map(({ picture }) => picture.features);
  const labels = examples.map(({ label }) => label);
  const unlabelled = spread([...episode.kept, ...episode.pile], queries).map(({ features }) => features);
  const path = await model.adapt(support, labels, unlabelled);
  const learned = { classes, support, labels, unlabelled, weights: [path[0], path[last]], logShift: null };
  return { learned, path, steps: path.map((_, k) => k) };
}

/** Examples that the model takes at once, [{picture, label}]: where there are more, of each class as many as can be. */
function evenSample(classes, most) {
  let cap = Math.max(...classes.map(({ examples }) => examples.length));
  const total = () => classes.reduce((sum, { examples }) => sum + Math.min(examples.length, cap), 0);
  while (total() > most) cap--;
  return classes.flatMap(({ examples }, label) => spread(examples, cap).map((picture) => ({ picture, label })));
}

/** At most `most` of a list, spread over all of it: folders are often in the order of their classes. */
function spread(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)]);
}

/** Probabilities whose logarithms a saved file moves, to fit what is known of the classes' shares. */
function shifted(rows, shift) {
  return rows.map((row) => {
    const moved = Array.from(row, (p, i) => Math.log(Math.max(p, 1e-30)) + shift[i]);
    const most = Math.max(...moved);
    const weights = moved.map((value) => Math.exp(value - most));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return Float32Array.from(weights, (weight) => weight / sum);
  });
}

/** The most probable class of each picture after a step: [{index, probability, margin}], margin to the one after it. */
export function answersAt(result, step) {
  return probabilitiesAt(result, step).map((row) => {
    const index = row.indexOf(Math.max(...row));
    const next = Math.max(0, ...row.filter((_, i) => i !== index));
    return { index, probability: row[index], margin: row[index] - next };
  });
}

/** [picture][class] after a step, or after all where there are no answers of it. */
export function probabilitiesAt({ probabilities, steps }, step) {
  return probabilities.at(steps.includes(step) ? steps.indexOf(step) : -1);
}
