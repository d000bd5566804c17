// What the visitor has given: classes with examples, and a pile of unlabelled pictures. State and its limits, no page.

/** The most examples of one class, as the method is meant; a file may set a lower limit on all of them together. */
export const EXAMPLES_PER_CLASS = 5;

let lastId = 0;

/** A picture: `pixels` [size, size, 3] RGB; `truth`, its class, where that is known. */
export function makePicture(pixels, truth = null) {
  return { id: ++lastId, pixels, truth };
}

/** The classes and the pile of one visitor, within the limits of a model. */
export class Episode {
  classes = [];
  pile = [];

  /** @param {object} description of the model: `way`, `max_support`, `max_query`, `gradient_network`. */
  constructor(description) {
    this.description = description;
  }

  /** Adds a class; throws where the model takes no more. */
  addClass(name = '') {
    const { way } = this.description;
    if (this.classes.length >= way) throw new Error(`This model takes at most ${way} classes.`);
    const added = { id: ++lastId, name: name || this.#freeName(), examples: [] };
    this.classes.push(added);
    return added;
  }

  removeClass(removed) {
    this.classes = this.classes.filter((one) => one !== removed);
  }

  /** How many more examples `target` takes, or pictures if it is null (the pile). */
  room(target) {
    const { max_support: supports, max_query: queries } = this.description;
    if (!target) return queries - this.pile.length;
    return Math.min(EXAMPLES_PER_CLASS - target.examples.length, supports - this.#supportCount());
  }

  /** Why `room` is 0. */
  fullReason(target) {
    const { max_support: supports, max_query: queries } = this.description;
    if (!target) return `The pile is full: this model takes at most ${queries} unlabelled pictures.`;
    if (target.examples.length >= EXAMPLES_PER_CLASS) {
      return `${target.name} is full: a class takes at most ${EXAMPLES_PER_CLASS} examples.`;
    }
    return `No more examples: this model takes at most ${supports} of all classes together.`;
  }

  /** Adds a picture to a class, or to the pile if `target` is null; throws where there is no room. */
  add(target, picture) {
    if (this.room(target) <= 0) throw new Error(this.fullReason(target));
    (target ? target.examples : this.pile).push(picture);
  }

  remove(picture) {
    this.pile = this.pile.filter((one) => one !== picture);
    for (const one of this.classes) one.examples = one.examples.filter((example) => example !== picture);
  }

  /** The classes that take part: those with an example. */
  get learned() {
    return this.classes.filter(({ examples }) => examples.length > 0);
  }

  get isEmpty() {
    return this.pile.length === 0 && this.learned.length === 0;
  }

  /** What is still missing before the model can adapt, as a sentence; null if nothing is. */
  get missing() {
    const { way, gradient_network: network } = this.description;
    const needed = network === 'joint' ? way : 2;
    const more = needed - this.learned.length;
    const why = network === 'joint' ? ` (this joint model takes exactly ${way})` : '';
    if (more > 0) return `Give examples of ${more} more ${more === 1 ? 'class' : 'classes'}${why}.`;
    return this.pile.length === 0 ? 'Add at least one unlabelled picture to the pile.' : null;
  }

  #supportCount() {
    return this.classes.reduce((total, { examples }) => total + examples.length, 0);
  }

  #freeName() {
    const taken = new Set(this.classes.map(({ name }) => name));
    const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].map((letter) => `Class ${letter}`);
    return letters.find((name) => !taken.has(name)) ?? `Class ${this.classes.length + 1}`;
  }
}
