// Files and folders dropped on the page: pictures on a panel, models and saved classifiers anywhere.

import { dropped } from './folders.js';

/** Lets an element take dropped pictures: `take` is called with [{file, path}]. */
export function takePictures(element, take) {
  element.addEventListener('dragover', () => element.classList.add('dropping'));
  for (const type of ['dragleave', 'drop']) {
    element.addEventListener(type, () => element.classList.remove('dropping'));
  }
  element.addEventListener('drop', async (event) => {
    // The page itself takes models and saved classifiers, wherever they are dropped.
    if ([...event.dataTransfer.files].some(({ name }) => isModel(name) || isSaved(name))) return;
    event.preventDefault();
    event.stopPropagation();
    const files = await dropped(event.dataTransfer);
    if (files.length) take(files);
  });
}

/**
 * Lets the page take what no element took.
 *
 * @param {object} take `model(file)`, `saved(file)`, and `folders([{file, path}])`, where there is a folder among the
 *     files; `stray()` for files that lie beside every panel.
 */
export function takeTheRest(take) {
  // The browser would show such a file in the page's place.
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', async (event) => {
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    const model = files.find(({ name }) => isModel(name));
    const saved = files.find(({ name }) => isSaved(name));
    if (model) return take.model(model);
    if (saved) return take.saved(saved);
    const found = await dropped(event.dataTransfer);
    if (found.some(({ path }) => path.includes('/'))) return take.folders(found);
    return found.length ? take.stray() : undefined;
  });
}

function isModel(name) {
  return name.endsWith('.tflite');
}

function isSaved(name) {
  return name.endsWith('.sib');
}
