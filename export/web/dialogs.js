// The two windows in which a picture is made: by drawing and by camera. Each stays open for the next picture.

import { startCamera } from './camera.js';
import { Drawing } from './draw.js';

const byId = (id) => document.getElementById(id);

/** What both windows share: whom the pictures are for, and what is told after each. */
class PictureDialog {
  #count = 0;

  /**
   * @param {string} prefix of the ids of its elements.
   * @param {function} add takes the target and the picture (source, width, height).
   */
  constructor(prefix, add) {
    this.dialog = byId(`${prefix}-dialog`);
    this.title = byId(`${prefix}-title`);
    this.status = byId(`${prefix}-status`);
    this.add = add;
    byId(`${prefix}-close`).addEventListener('click', () => this.dialog.close());
  }

  open(target, title) {
    this.target = target;
    this.#count = 0;
    this.title.textContent = title;
    this.status.textContent = '';
    this.dialog.showModal();
  }

  give(source, width, height) {
    this.add(this.target, source, width, height);
    this.#count++;
    this.status.textContent = this.#count === 1 ? 'Added.' : `${this.#count} added.`;
  }
}

/** Drawing, with undo. */
export class DrawDialog extends PictureDialog {
  constructor(add) {
    super('draw', add);
    this.drawing = new Drawing(byId('draw-canvas'), (text) => this.#changed(text));
    byId('draw-undo').addEventListener('click', () => this.drawing.undo());
    byId('draw-clear').addEventListener('click', () => this.drawing.clear());
    byId('draw-add').addEventListener('click', () => this.#add());
    this.dialog.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && event.target === byId('draw-canvas')) this.#add();
      if (event.key.toLowerCase() === 'z' && (event.ctrlKey || event.metaKey)) this.drawing.undo();
    });
  }

  open(target, title) {
    super.open(target, title);
    this.drawing.clear();
    byId('draw-canvas').focus();
  }

  #add() {
    if (this.drawing.isEmpty) return;
    const picture = this.drawing.picture();
    this.give(picture, picture.width, picture.height);
    const { textContent } = this.status;
    this.drawing.clear();
    this.status.textContent = textContent;
    // The button that was pressed is now disabled; the next stroke comes on the canvas.
    byId('draw-canvas').focus();
  }

  #changed(text) {
    if (!this.drawing) return; // Called while it is being made.
    byId('draw-add').disabled = this.drawing.isEmpty;
    for (const id of ['draw-undo', 'draw-clear']) byId(id).disabled = this.drawing.isEmpty;
    this.status.textContent = text;
  }
}

/** The camera; it runs only while its window is open. */
export class CameraDialog extends PictureDialog {
  #stop = null;

  constructor(add) {
    super('camera', add);
    this.video = byId('camera-video');
    this.take = byId('camera-take');
    this.take.addEventListener('click', () => {
      this.give(this.video, this.video.videoWidth, this.video.videoHeight);
    });
    this.dialog.addEventListener('close', () => {
      this.#stop?.();
      this.#stop = null;
    });
  }

  async open(target, title) {
    super.open(target, title);
    this.take.disabled = true;
    this.status.textContent = 'Starting the camera …';
    try {
      const stop = await startCamera(this.video);
      // It may have been closed while the browser asked for leave.
      if (!this.dialog.open) return stop();
      this.#stop = stop;
      this.take.disabled = false;
      this.status.textContent = '';
      this.take.focus();
    } catch (error) {
      this.status.textContent = error.message;
    }
    return undefined;
  }
}
