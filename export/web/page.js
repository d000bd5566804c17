// The page: its state, and who tells whom. Input (files, drawings, camera) changes the episode; the episode is shown,
// and learned from as soon as nothing is missing.

import { cameraProblem } from './camera.js';
import { showClasses } from './class_view.js';
import { CameraDialog, DrawDialog } from './dialogs.js';
import { takePictures, takeTheRest } from './drop.js';
import { Episode, makePicture } from './episode.js';
import { drawExample } from './example.js';
import { learn } from './learning.js';
import { hasWebGpu, Model } from './model.js';
import { showModel } from './model_view.js';
import { tell } from './notice.js';
import { canvasIsFaithful, fitPicture, readPicture } from './picture.js';
import { showPile } from './pile_view.js';

const MODEL = 'model.tflite';
const FIRST_CLASSES = 2;
const byId = (id) => document.getElementById(id);

let model = null;
let modelBytes = null;
let modelName = '';
let episode = null;
let result = null;
let step = 0;
let fileTarget = null;
// Models that another has replaced; freed when no round of learning uses them.
const retired = [];
let changes = 0;
let learning = false;

const drawDialog = new DrawDialog(addPixels);
const cameraDialog = new CameraDialog(addPixels);

// --- The model ---

async function fetchModel() {
  try {
    const response = await fetch(MODEL, { cache: 'no-cache' });
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    tell([
      `There is no ${MODEL} beside this page (${error.message}). Run "make web", or choose a file that ` +
        '"python -m export.tflite --shapes=static" wrote.',
    ]);
    return null;
  }
}

async function useModel(bytes, name, accelerator = 'wasm') {
  byId('model-status').textContent = `Loading ${name} …`;
  try {
    const loaded = await Model.load(bytes, accelerator);
    [modelBytes, modelName] = [bytes, name];
    replaceModel(loaded);
    if (loaded.accelerator !== accelerator) tell(['The GPU does not take all of this model; it runs on the CPU.']);
  } catch (error) {
    const rest = model ? ' The page goes on with the model that it had.' : '';
    tell([`${name} cannot be used. ${error.message}${rest}`]);
  }
  showModel(model, modelName);
  byId('accelerator-field').hidden = !(model && (await hasWebGpu()));
}

function replaceModel(loaded) {
  const old = model;
  model = loaded;
  if (old) retired.push(old);
  if (!old || !sameLimits(old.description, model.description)) {
    if (episode && !episode.isEmpty) tell(['This model takes other pictures or numbers of them: the page was cleared.']);
    startOver();
    return;
  }
  episode.description = model.description;
  changed();
}

function sameLimits(one, other) {
  return ['image_size', 'way', 'max_support', 'max_query', 'gradient_network', 'num_steps'].every(
    (name) => one[name] === other[name],
  );
}

// --- The episode ---

function startOver() {
  episode = new Episode(model.description);
  step = model.description.num_steps;
  for (let i = 0; i < Math.min(FIRST_CLASSES, model.description.way); i++) episode.addClass();
  changed();
}

function fillExample() {
  const { classes, pile } = drawExample(model.description);
  const size = model.description.image_size;
  const pixelsOf = (canvas) => fitPicture(canvas, canvas.width, canvas.height, size);
  episode = new Episode(model.description);
  step = model.description.num_steps;
  for (const { name, example } of classes) episode.add(episode.addClass(name), makePicture(pixelsOf(example)));
  for (const { truth, canvas } of pile) episode.add(null, makePicture(pixelsOf(canvas), episode.classes[truth]));
  changed();
}

function agreesToLose() {
  return episode.isEmpty || window.confirm('Your pictures will be removed. Go on?');
}

/** Adds one picture to a class, or to the pile if `target` is null; throws where there is no room. */
function addPixels(target, source, width, height) {
  episode.add(target, makePicture(fitPicture(source, width, height, model.description.image_size)));
  changed();
  const room = episode.room(target);
  return { room, reason: room > 0 ? null : episode.fullReason(target) };
}

async function addFiles(target, files) {
  tell([]);
  const problems = [];
  const owner = episode; // Another model may come while files are read.
  const size = model.description.image_size;
  const room = Math.max(0, owner.room(target));
  let added = 0;
  for (const [i, file] of files.entries()) {
    if (added === room) {
      problems.push(`${owner.fullReason(target)} Left out: ${files.slice(i).map(({ name }) => name).join(', ')}.`);
      break;
    }
    try {
      owner.add(target, makePicture(await readPicture(file, size)));
      added++;
    } catch (error) {
      problems.push(error.message);
    }
  }
  tell(problems);
  if (added) changed();
}

function giveBy(way, target) {
  const title = target ? `an example of ${target.name}` : 'an unlabelled picture';
  if (episode.room(target) <= 0) return tell([episode.fullReason(target)]);
  if (way === 'draw') return drawDialog.open(target, `Draw ${title}`);
  if (way === 'camera') return cameraDialog.open(target, `Take ${title}`);
  fileTarget = target;
  return byId('picture-files').click();
}

// --- Showing and learning ---

function changed() {
  changes++;
  result = null;
  show();
  learnSoon();
}

function show() {
  showClasses(episode, {
    give: giveBy,
    drop: (card, one) => takePictures(card, (files) => addFiles(one, files)),
    rename: (one, name) => {
      one.name = name;
      showAnswers();
    },
    removeClass: (one) => {
      episode.removeClass(one);
      changed();
    },
    removePicture,
  });
  showAnswers();
}

function showAnswers() {
  showPile(episode, result, step, removePicture);
}

function removePicture(picture) {
  episode.remove(picture);
  changed();
}

async function learnSoon() {
  if (learning) return;
  learning = true;
  byId('results').setAttribute('aria-busy', 'true');
  // What changes while the model computes makes another round.
  for (let seen = -1; seen !== changes; ) {
    seen = changes;
    const learned = episode.missing ? null : await learnOnce();
    if (seen === changes) result = learned;
  }
  learning = false;
  for (const old of retired.splice(0)) old.delete();
  byId('results').setAttribute('aria-busy', 'false');
  showAnswers();
}

async function learnOnce() {
  try {
    return await learn(model, episode, (text) => (byId('timing').textContent = text));
  } catch (error) {
    tell([`The model failed (${error.message}). Reload the page; if it stays, export the file again.`]);
    return null;
  }
}

// --- Wiring ---

async function useModelFile(file) {
  tell([]);
  await useModel(new Uint8Array(await file.arrayBuffer()), file.name);
}

function wire() {
  byId('example').addEventListener('click', () => {
    tell([]);
    try {
      if (agreesToLose()) fillExample();
    } catch (error) {
      tell([error.message]);
    }
  });
  byId('reset').addEventListener('click', () => {
    tell([]);
    if (agreesToLose()) startOver();
  });
  byId('add-class').addEventListener('click', () => {
    episode.addClass();
    changed();
    document.querySelector('#classes > li:last-child .name').select();
  });
  for (const button of document.querySelectorAll('#pile-ways button')) {
    button.addEventListener('click', () => giveBy(button.dataset.way, null));
  }
  byId('step').addEventListener('input', (event) => {
    step = Number(event.target.value);
    showAnswers();
  });
  wireFiles();
}

function wireFiles() {
  byId('picture-files').addEventListener('change', ({ target }) => {
    const files = [...target.files];
    target.value = ''; // The same file may be chosen again.
    addFiles(fileTarget, files);
  });
  byId('choose-model').addEventListener('click', () => byId('model-file').click());
  byId('model-file').addEventListener('change', ({ target }) => {
    const [file] = target.files;
    target.value = '';
    if (file) useModelFile(file);
  });
  byId('accelerator').addEventListener('change', ({ target }) => useModel(modelBytes, modelName, target.value));
  takePictures(byId('pile-panel'), (files) => addFiles(null, files));
  takeTheRest(useModelFile, () => tell(['Drop pictures on a class or on the unlabelled ones.']));
}

async function showCameras() {
  const problem = await cameraProblem();
  document.body.classList.toggle('no-camera', problem !== null);
  byId('camera-note').textContent = problem ?? '';
}

async function start() {
  wire();
  await showCameras();
  navigator.mediaDevices?.addEventListener?.('devicechange', showCameras);
  if (!canvasIsFaithful()) {
    tell(['This browser alters pixels that a page reads back (a privacy setting); answers will be worse for it.']);
  }
  const bytes = await fetchModel();
  if (bytes) await useModel(bytes, MODEL);
  else showModel(null);
}

/**
 * For tests and the console, read only: `sib.description` of the model, and `sib.result`, null until there is one:
 * `classes`, names; `pictures`, how many; `logits` and `probabilities`, [step 0..K][picture][class] in the order of the
 * pile; `embedMilliseconds` of the pictures that were new, `adaptMilliseconds`.
 */
window.sib = Object.freeze({
  get description() {
    return model?.description ?? null;
  },
  get result() {
    if (!result) return null;
    const { classes, pile, logits, probabilities, embedMilliseconds, adaptMilliseconds } = result;
    const plain = (steps) => steps.map((rows) => rows.map((row) => [...row]));
    return {
      classes: classes.map(({ name }) => name),
      pictures: pile.length,
      logits: plain(logits),
      probabilities: plain(probabilities),
      embedMilliseconds,
      adaptMilliseconds,
    };
  },
});

start();
