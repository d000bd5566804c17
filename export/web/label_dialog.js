// The window in which a picture of the pile gets its class: one by one, or those first whose labels help most.

import { hue } from './class_view.js';
import { answersAt } from './learning.js';
import { showPixels } from './picture.js';
import { chooseNext } from './remote_model.js';

// Suggestions are made for several pictures together, which are unlike one another.
const SUGGESTIONS = 10;
const byId = (id) => document.getElementById(id);

/** Asks for the class of one picture after the other. A digit is the class of that number. */
export class LabelDialog {
  #visit;
  #pictures = [];
  #address = null;
  #place = 0;

  /** @param {Visit} visit whose pictures are labelled. */
  constructor(visit) {
    this.#visit = visit;
    this.dialog = byId('label-dialog');
    byId('label-close').addEventListener('click', () => this.dialog.close());
    byId('label-skip').addEventListener('click', () => this.#next());
    byId('label-new').addEventListener('submit', (event) => this.#labelNew(event));
    this.dialog.addEventListener('keydown', (event) => this.#key(event));
    this.dialog.addEventListener('close', () => this.#closed());
  }

  /** Asks for pictures, one after the other. */
  open(pictures) {
    this.#pictures = [...pictures];
    const answers = [...byId('pile').children];
    this.#place = Math.max(0, answers.findIndex((answer) => answer.contains(document.activeElement)));
    byId('label-title').textContent = pictures.length > 1 ? 'The labels that help most' : 'Which class is this?';
    byId('label-status').textContent = '';
    byId('label-skip').hidden = pictures.length <= 1;
    this.#next();
  }

  /** Asks for those pictures first whose labels are worth most. */
  async openNext() {
    const { pile } = this.#visit.episode;
    const places = await this.#suggested(pile);
    this.open(places.map((place) => pile[place]));
  }

  /** Without answers all are as doubtful. */
  #suggested(pile) {
    const { result, step } = this.#visit;
    const known = pile.filter(({ features }) => features);
    const margins = result ? answersAt(result, step).map(({ margin }) => margin) : known.map(() => 0);
    return chooseNext(margins, known.map(({ features }) => features), SUGGESTIONS).then((chosen) =>
      chosen.map((place) => pile.indexOf(known[place])),
    );
  }

  #next() {
    this.#forgetPicture();
    const left = this.#pictures.filter((picture) => this.#visit.episode.pile.includes(picture));
    if (left.length === 0) return this.dialog.close();
    [this.picture, ...this.#pictures] = left;
    this.#showPicture();
    this.#showClasses();
    byId('label-name').value = '';
    if (!this.dialog.open) this.dialog.showModal();
    return (byId('label-classes').querySelector('button') ?? byId('label-name')).focus();
  }

  #showPicture() {
    const { source, thumb } = this.picture;
    byId('label-picture').hidden = !source;
    byId('label-canvas').hidden = Boolean(source);
    if (source) {
      this.#address = URL.createObjectURL(source);
      byId('label-picture').src = this.#address;
    } else if (thumb) showPixels(byId('label-canvas'), thumb, Math.sqrt(thumb.length / 3));
  }

  /** The browser gives the focus back to what opened the window; where that is gone its neighbour gets it. */
  #closed() {
    this.#forgetPicture();
    const { activeElement } = document;
    if (activeElement !== document.body && !this.dialog.contains(activeElement)) return;
    const { children } = byId('pile');
    const neighbour = children[Math.min(this.#place, children.length - 1)]?.querySelector('.correct');
    (neighbour ?? document.querySelector('#pile-ways button')).focus();
  }

  #forgetPicture() {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    byId('label-picture').removeAttribute('src');
  }

  #showClasses() {
    const { episode } = this.#visit;
    const buttons = episode.classes.map((one, i) => {
      const button = Object.assign(document.createElement('button'), { type: 'button' });
      button.append(Object.assign(document.createElement('span'), { className: 'chip' }), one.name);
      button.dataset.hue = hue(i);
      button.addEventListener('click', () => this.#label(one));
      return button;
    });
    byId('label-classes').replaceChildren(...buttons);
    const full = episode.classes.length >= episode.description.way;
    byId('label-new').hidden = full;
  }

  #label(target) {
    this.#visit.episode.label(this.picture, target);
    this.#visit.changed();
    byId('label-status').textContent = `Labelled ${target.name}.`;
    this.#next();
  }

  #labelNew(event) {
    event.preventDefault();
    const name = byId('label-name').value.trim();
    if (name) this.#label(this.#visit.episode.classNamed(name));
  }

  #key(event) {
    const digit = Number(event.key);
    if (event.target === byId('label-name') || event.ctrlKey || event.metaKey || event.altKey || !(digit >= 1)) return;
    byId('label-classes').children[digit - 1]?.click();
  }
}
