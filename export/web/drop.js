// Files dropped on the page: pictures on a panel, models anywhere.

/** Lets an element take dropped pictures: `take` is called with the files. */
export function takePictures(element, take) {
  element.addEventListener('dragover', () => element.classList.add('dropping'));
  for (const type of ['dragleave', 'drop']) {
    element.addEventListener(type, () => element.classList.remove('dropping'));
  }
  element.addEventListener('drop', (event) => {
    const files = [...event.dataTransfer.files];
    if (files.some(isModel)) return; // The page itself takes models, wherever they are dropped.
    event.preventDefault();
    event.stopPropagation();
    if (files.length) take(files);
  });
}

/** Lets the page take what no element took: a model, or else files that lie beside every panel. */
export function takeTheRest(takeModel, stray) {
  // The browser would show such a file in the page's place.
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    const model = files.find(isModel);
    if (model) takeModel(model);
    else if (files.length) stray();
  });
}

function isModel(file) {
  return file.name.endsWith('.tflite');
}
