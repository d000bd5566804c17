// What was given and learned, kept in the browser's IndexedDB: it survives a reload, until it is forgotten.

import { Episode, makePicture } from './episode.js';
import { tell } from './notice.js';
import { sameBackbone } from './visit.js';

const DATABASE = 'sib_tf';
const VERSION = 1;
const KEY = 'visit';
const WAIT_MILLISECONDS = 300;

let database;
let timer = null;
let toldOfFailure = false;
// Before that is known what is kept, nothing takes its place.
let looked = false;
// Changes come one after the other, forgetting among them.
let last = Promise.resolve();

/** Keeps an episode soon: several changes in a row are one. */
export function keepSoon(visit) {
  if (!looked) return;
  said('soon');
  clearTimeout(timer);
  timer = setTimeout(() => {
    timer = null;
    inTurn(() => keep(visit));
  }, WAIT_MILLISECONDS);
}

/** Forgets everything. */
export function forget() {
  clearTimeout(timer);
  timer = null;
  return inTurn(async () => {
    const [stores, done] = await transaction('readwrite');
    for (const store of stores) store.clear();
    await done;
  });
}

/**
 * @param {Model} model
 * @return {Promise<Episode|null>} what was kept; null where there is nothing, or it is of another backbone.
 */
export async function restored(model) {
  try {
    const [[pictures, state], done] = await transaction('readonly');
    const [record, rows] = await Promise.all([answer(state.get(KEY)), answer(pictures.getAll())]);
    await done;
    if (!record || record.version !== VERSION) return null;
    if (sameBackbone(record.description, model.description)) return episodeOf(record, rows, model);
    tell([
      `What this browser keeps was learned with ${record.description.backbone.name}, not with this model. It stays ` +
        'until something else is learned; open that model to go on with it.',
    ]);
  } catch (error) {
    tellOfFailure(error);
  } finally {
    looked = true;
  }
  return null;
}

/** On the page's root, for those who wait for it: 'soon', 'yes' or 'no'. */
function said(kept) {
  document.documentElement.dataset.kept = kept;
}

function inTurn(act) {
  last = last.then(act).then(
    () => said(timer === null ? 'yes' : 'soon'),
    (error) => {
      said('no');
      tellOfFailure(error);
    },
  );
  return last;
}

function tellOfFailure(error) {
  if (!toldOfFailure) tell([`This browser keeps nothing for the next visit (${error.message}). Save it to a file.`]);
  toldOfFailure = true;
}

async function keep({ model, episode }) {
  // What another model has learned is not lost by looking at the page.
  if (episode.isEmpty && !episode.learnedBefore && (await isOfAnother(model))) return;
  const [[pictures, state], done] = await transaction('readwrite');
  const wanted = episode.pictures.filter(({ features }) => features);
  const keys = new Set(wanted.map(({ key }) => key));
  const there = new Set(await answer(pictures.getAllKeys()));
  for (const key of there) if (!keys.has(key)) pictures.delete(key);
  for (const picture of wanted) if (!there.has(picture.key)) pictures.put(recordOf(picture));
  state.put(stateOf(model, episode, keys), KEY);
  await done;
}

async function isOfAnother(model) {
  const [[, state], done] = await transaction('readonly');
  const record = await answer(state.get(KEY));
  await done;
  return record !== undefined && !sameBackbone(record.description, model.description);
}

function recordOf({ key, thumb, features }) {
  return { key, thumb, features };
}

function stateOf({ description }, episode, keys) {
  const kept = (pictures) => pictures.map(({ key }) => key).filter((key) => keys.has(key));
  const { learnedBefore, classes, numeric, unlabelledSeen } = episode;
  const { backbone, feature_dim, image_size } = description;
  return {
    version: VERSION,
    description: { backbone, feature_dim, image_size },
    classes: classes.map(({ name, seenBefore, examples }) => ({ name, seenBefore, examples: kept(examples) })),
    pile: kept(episode.pile),
    truths: episode.pile.map(({ truth }) => classes.indexOf(truth)),
    kept: kept(episode.kept),
    // Classes are told by their places.
    learnedBefore: learnedBefore && { ...learnedBefore, classes: learnedBefore.classes.map((one) => classes.indexOf(one)) },
    numeric,
    unlabelledSeen,
  };
}

function episodeOf(record, rows, model) {
  const byKey = new Map(rows.map((row) => [row.key, row]));
  const picture = (key) => makePicture({ ...byKey.get(key), embeddedBy: model });
  const episode = new Episode(model.description);
  for (const { name, seenBefore, examples } of record.classes) {
    Object.assign(episode.addClass(name), { seenBefore, examples: examples.map(picture) });
  }
  episode.pile = record.pile.map(picture);
  episode.pile.forEach((one, i) => (one.truth = episode.classes[record.truths[i]] ?? null));
  episode.kept = record.kept.map(picture);
  const { learnedBefore, numeric, unlabelledSeen } = record;
  const classes = learnedBefore?.classes.map((place) => episode.classes[place]);
  return Object.assign(episode, { numeric, unlabelledSeen, learnedBefore: learnedBefore && { ...learnedBefore, classes } });
}

/** @return {Promise<[IDBObjectStore[], Promise]>} the stores of pictures and of the state, and the transaction's end. */
async function transaction(mode) {
  database ??= await opened();
  const begun = database.transaction(['pictures', 'state'], mode);
  const done = new Promise((resolve, reject) => {
    begun.oncomplete = resolve;
    begun.onabort = begun.onerror = () => reject(begun.error ?? new Error('it was broken off'));
  });
  return [[begun.objectStore('pictures'), begun.objectStore('state')], done];
}

function opened() {
  const request = indexedDB.open(DATABASE, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('pictures', { keyPath: 'key' });
    request.result.createObjectStore('state');
  };
  return answer(request);
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
