// Saving what was learned to a file, and opening one: the .sib of Python's SIBClassifier.

import { Episode, makePicture } from './episode.js';
import { describe } from './metadata.js';
import { tell } from './notice.js';
import { readSib, writeSib } from './sib_file.js';

const HEAD = 'head.tflite';
const NAME = 'classes.sib';
// What a head says of itself, in a file of its own or with a backbone.
const OF_THE_HEAD = ['gradient_network', 'num_steps', 'inner_learning_rate', 'step_reduction', 'calibrated', 'known'];

/** Fetches what saving needs, so that it is there without a network, too. */
export function prepareToSave() {
  fetch(HEAD).catch(() => null);
}

/**
 * Gives the visitor a file of what was learned.
 *
 * @throws {Error} two classes have one name, or there is no file of the head; the message says the way out.
 */
export async function saveLearned(visit) {
  const bytes = await savedBytes(visit);
  const link = Object.assign(document.createElement('a'), { download: NAME });
  link.href = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
  link.click();
  // The download begins after this.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function savedBytes({ model, episode, result }) {
  const { classes, ...learned } = result?.learned ?? episode.learnedBefore;
  const names = classes.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw new Error(`Two classes are called ${twice}; give one another name, and save again.`);
  return writeSib({
    ...learned,
    classes: names,
    numeric: episode.numeric && names.every((name) => /^-?\d{1,15}$/.test(name)),
    seen: classes.map(({ examples, seenBefore }) => seenBefore + examples.length),
    unlabelledSeen: Math.max(learned.unlabelled.length, episode.unlabelledSeen + seenNow(episode)),
    parameters: learned.parameters ?? {},
    dim: model.description.feature_dim,
    backbone: model.description.backbone.name,
    head: learned.head ?? (await fetchHead(model)),
  });
}

/** Of the pile nothing was learned while a saved file's classes stand. */
function seenNow({ learnedBefore, kept, pile }) {
  return learnedBefore ? kept.length : kept.length + pile.length;
}

async function fetchHead(model) {
  const response = await fetch(HEAD);
  if (!response.ok) {
    throw new Error(`There is no ${HEAD} beside this page, which a saved file needs. Run "make web".`);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!isHeadOf(bytes, model)) {
    throw new Error(`${HEAD} beside this page is another head than that of the model. Export it with --head_only.`);
  }
  return bytes;
}

function isHeadOf(bytes, { description }) {
  const { description: own } = describe(bytes);
  return OF_THE_HEAD.every((name) => JSON.stringify(own[name]) === JSON.stringify(description[name]));
}

/**
 * Goes on with what a file has learned. Of another head than the model's, its rows are learned from anew.
 *
 * @throws {Error} the file is damaged, of another backbone, or has too many classes.
 */
export async function openSaved(visit, file) {
  const saved = await readSib(new Uint8Array(await file.arrayBuffer()));
  const { description } = visit.model;
  checkFits(saved, description);
  const row = (features) => makePicture({ features, embeddedBy: visit.model });
  const episode = new Episode(description);
  for (const [label, name] of saved.classes.entries()) {
    const added = episode.addClass(name);
    added.examples = saved.support.filter((_, i) => saved.labels[i] === label).map(row);
    added.seenBefore = saved.seen[label] - added.examples.length;
  }
  episode.kept = saved.unlabelled.map(row);
  episode.unlabelledSeen = saved.unlabelledSeen - saved.unlabelled.length;
  episode.numeric = saved.numeric;
  if (isHeadOf(saved.head, visit.model)) episode.learnedBefore = { ...saved, classes: [...episode.classes] };
  else tell([`${file.name} was learned with another head; its rows are learned from anew, with this page's.`]);
  visit.begin(episode);
}

function checkFits({ classes, backbone, dim }, description) {
  const own = description.backbone.name;
  if (backbone !== null && backbone !== own) {
    throw new Error(`It was learned from features of ${backbone}; this page's are of ${own}. Open the page with ${backbone}.`);
  }
  if (dim !== description.feature_dim) {
    throw new Error(`Its features have ${dim} numbers; those of ${own} have ${description.feature_dim}.`);
  }
  if (classes.length > description.way) {
    throw new Error(`It knows ${classes.length} classes; this model takes at most ${description.way}. Export with --way.`);
  }
}
