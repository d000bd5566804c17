// The page: who tells whom. Input (files, folders, drawings, camera) changes the visit's episode; the episode is shown,
// learned from as soon as nothing is missing, and kept in the browser.

import { cameraProblem } from './camera.js';
import { showClasses } from './class_view.js';
import { CameraDialog, DrawDialog } from './dialogs.js';
import { takePictures, takeTheRest } from './drop.js';
import { fillExample } from './example.js';
import { byClass, listed } from './folders.js';
import { LabelDialog } from './label_dialog.js';
import { hasWebGpu } from './model.js';
import { showModel } from './model_view.js';
import { tell } from './notice.js';
import { keepOffline } from './offline.js';
import { canvasIsFaithful, fitPicture, thumbnail } from './picture.js';
import { showPile, showProgress } from './pile_view.js';
import { RemoteModel } from './remote_model.js';
import { openSaved, prepareToSave, saveLearned } from './saving.js';
import { loadChecked } from './self_check.js';
import { forget, keepSoon, restored } from './store.js';
import { Visit } from './visit.js';

const MODEL = 'model.tflite';
const byId = (id) => document.getElementById(id);

let modelBytes = null;
let modelName = '';
let fileTarget = null;

const visit = new Visit({
  show,
  tell,
  busy: (busy) => byId('results').setAttribute('aria-busy', String(busy)),
  progress: (done, of) => showProgress(done, of, show),
  learned: () => keepSoon(visit),
});
const drawDialog = new DrawDialog(addPixels);
const cameraDialog = new CameraDialog(addPixels);
const labelDialog = new LabelDialog(visit);

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
    const { model: loaded, problem } = await loadChecked(RemoteModel.load, bytes, accelerator);
    [modelBytes, modelName] = [bytes, name];
    const isFirst = !visit.model;
    visit.replaceModel(loaded);
    const kept = isFirst && (await restored(loaded));
    if (kept) visit.begin(kept);
    if (problem) tell([problem]);
  } catch (error) {
    const rest = visit.model ? ' The page goes on with the model that it had.' : '';
    tell([`${name} cannot be used. ${error.message}${rest}`]);
  }
  showModel(visit.model, modelName);
  byId('accelerator-field').hidden = !(visit.model && (await hasWebGpu()));
}

async function useModelFile(file) {
  tell([]);
  await useModel(new Uint8Array(await file.arrayBuffer()), file.name);
}

// --- Pictures ---

function agreesToLose() {
  return visit.episode.isEmpty || window.confirm('Your pictures and what was learned will be removed. Go on?');
}

/** Adds one picture to a class, or to the pile if `target` is null. */
function addPixels(target, source, width, height) {
  const size = visit.model.description.image_size;
  const pixels = fitPicture(source, width, height, size);
  visit.give(target, [{ pixels, thumb: thumbnail(pixels, size) }]);
}

function addFiles(target, files) {
  tell([]);
  visit.give(target, files.map(({ file }) => ({ source: file })));
}

/** Folders: each is a class of its name, and pictures beside them are unlabelled. */
function addFolders(files) {
  tell([]);
  const { classes, unlabelled } = byClass(files);
  try {
    for (const [name, own] of classes) {
      visit.give(visit.episode.classNamed(name), own.map((file) => ({ source: file })));
    }
  } catch (error) {
    tell([`${error.message} The folders after it were left out.`]);
  }
  visit.give(null, unlabelled.map((file) => ({ source: file })));
}

function giveBy(way, target) {
  const title = target ? `an example of ${target.name}` : 'an unlabelled picture';
  if (way === 'draw') return drawDialog.open(target, `Draw ${title}`);
  if (way === 'camera') return cameraDialog.open(target, `Take ${title}`);
  fileTarget = target;
  return byId(way === 'folder' ? 'picture-folder' : 'picture-files').click();
}

// --- Showing ---

function show() {
  showClasses(visit.episode, {
    give: giveBy,
    drop: (card, one) => takePictures(card, (files) => addFiles(one, files)),
    rename: (one, name) => {
      one.name = name;
      showAnswers();
      keepSoon(visit);
    },
    removeClass: (one) => {
      visit.episode.removeClass(one);
      visit.changed();
    },
    removePicture,
  });
  showAnswers();
  byId('save').disabled = !(visit.result ?? visit.episode.learnedBefore);
}

function showAnswers() {
  showPile(visit, {
    remove: removePicture,
    label: (picture) => labelDialog.open([picture]),
    filtered: showAnswers,
  });
}

function removePicture(picture) {
  visit.episode.remove(picture);
  visit.changed();
}

// --- Wiring ---

/** Does what a button asks for; what goes wrong is told. */
function onClick(id, act) {
  byId(id).addEventListener('click', async () => {
    tell([]);
    try {
      await act();
    } catch (error) {
      tell([error.message]);
    }
  });
}

function wire() {
  for (const kind of ['letters', 'pictures']) {
    onClick(kind === 'letters' ? 'example' : 'example-pictures', () => agreesToLose() && fillExample(visit, kind));
  }
  onClick('reset', async () => {
    if (!agreesToLose()) return;
    visit.startOver();
    await forget();
  });
  onClick('add-class', () => {
    visit.episode.addClass();
    visit.changed();
    document.querySelector('#classes > li:last-child .name').select();
  });
  onClick('save', () => saveLearned(visit));
  onClick('open', () => byId('saved-file').click());
  onClick('stop', () => visit.stop());
  onClick('label-next', () => labelDialog.openNext());
  onClick('learn-anew', () => {
    visit.episode.learnAnew();
    visit.changed();
  });
  for (const button of document.querySelectorAll('#pile-ways button, #folder-of-classes')) {
    button.addEventListener('click', () => giveBy(button.dataset.way, button.id ? undefined : null));
  }
  byId('step').addEventListener('input', (event) => {
    visit.step = Number(event.target.value);
    showAnswers();
  });
  wireFiles();
}

/** Calls `take` with the files that an input was given; the same ones may be chosen again. */
function onFiles(id, take) {
  byId(id).addEventListener('change', ({ target }) => {
    const files = [...target.files];
    target.value = '';
    if (files.length) take(files);
  });
}

function wireFiles() {
  onFiles('picture-files', (files) => addFiles(fileTarget, listed(files)));
  // Of the button for folders of classes there is no target.
  onFiles('picture-folder', (files) =>
    fileTarget === undefined ? addFolders(listed(files)) : addFiles(fileTarget, listed(files)),
  );
  onFiles('model-file', ([file]) => useModelFile(file));
  onFiles('saved-file', ([file]) => openFile(file));
  byId('choose-model').addEventListener('click', () => byId('model-file').click());
  byId('accelerator').addEventListener('change', ({ target }) => useModel(modelBytes, modelName, target.value));
  takePictures(byId('pile-panel'), (files) => addFiles(null, files));
  takeTheRest({
    model: useModelFile,
    saved: openFile,
    folders: addFolders,
    stray: () => tell(['Drop pictures on a class or on the unlabelled ones.']),
  });
  document.body.classList.toggle('no-folders', !('webkitdirectory' in byId('picture-folder')));
}

async function openFile(file) {
  tell([]);
  try {
    if (agreesToLose()) await openSaved(visit, file);
  } catch (error) {
    tell([`${file.name} cannot be opened. ${error.message}`]);
  }
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
  cameraDialog.dialog.addEventListener('close', showCameras); // What the browser tells may depend on leave.
  if (!canvasIsFaithful()) {
    tell(['This browser alters pixels that a page reads back (a privacy setting); answers will be worse for it.']);
  }
  await keepOffline();
  const bytes = await fetchModel();
  if (bytes) await useModel(bytes, MODEL);
  else showModel(null);
  prepareToSave();
}

/**
 * For tests and the console, read only: `sib.description` of the model, and `sib.result`, null until there is one:
 * `classes`, names; `pictures`, how many; `logits` and `probabilities`, [step 0..K][picture][class] in the order of the
 * pile; `embedMilliseconds` of the pictures that were new, `adaptMilliseconds`.
 */
window.sib = Object.freeze({
  get description() {
    return visit.model?.description ?? null;
  },
  get result() {
    if (!visit.result) return null;
    const { classes, pile, logits, probabilities, embedMilliseconds, adaptMilliseconds } = visit.result;
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
