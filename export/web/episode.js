// What the visitor has given: classes with examples, and a pile of unlabelled pictures. State and its limits, no page.

let lastId = 0;
const STARTED = Date.now().toString(36);

/**
 * A picture. Of files `source` is kept, of drawings and the camera `pixels`; of what comes from storage or a saved file
 * there are neither, but `features`.
 *
 * @param {object} given `pixels` [size, size, 3] RGB; `thumb` the same, small; `source` a File; `truth`, its class,
 *     where that is known; `features` [D] with `embeddedBy`, the model that made them.
 */
export function makePicture(given) {
  const nothing = { pixels: null, thumb: null, source: null, truth: null, features: null, embeddedBy: null };
  const id = ++lastId;
  // Ids are of this visit; storage has keys.
  return { ...nothing, key: `${STARTED}-${id}`, ...given, id };
}

/** The classes and the pile of one visitor, within the limits of a model. */
export class Episode {
  classes = [];
  pile = [];
  // Unlabelled rows of a saved file: they are learned from, and not shown.
  kept = [];
  // What a saved file had learned, until the classes change: `learning.js` says what is in it.
  learnedBefore = null;
  // Rows that were seen and are not here; whether Python knows the classes as whole numbers.
  unlabelledSeen = 0;
  numeric = false;

  /** @param {object} description of the model: `way`, `max_support`, `max_query`, `gradient_network`. */
  constructor(description) {
    this.description = description;
  }

  /** Adds a class; throws where the model takes no more. */
  addClass(name = '') {
    const { way } = this.description;
    if (this.classes.length >= way) throw new Error(`This model takes at most ${way} classes.`);
    const added = { id: ++lastId, name: name || this.#freeName(), examples: [], seenBefore: 0 };
    this.classes.push(added);
    return added;
  }

  /** The class of that name, which is added where there is none; throws where the model takes no more. */
  classNamed(name) {
    const empty = this.classes.find((one) => one.examples.length === 0 && /^Class [A-Z]$/.test(one.name));
    const found = this.classes.find((one) => one.name === name);
    if (!found && empty) empty.name = name;
    return found ?? empty ?? this.addClass(name);
  }

  removeClass(removed) {
    this.classes = this.classes.filter((one) => one !== removed);
    if (removed.examples.length > 0) this.learnAnew();
  }

  /** Adds a picture to a class, or to the pile if `target` is null. */
  add(target, picture) {
    (target ? target.examples : this.pile).push(picture);
    if (target) this.learnAnew();
  }

  remove(picture) {
    this.pile = this.pile.filter((one) => one !== picture);
    for (const one of this.classes) {
      if (!one.examples.includes(picture)) continue;
      one.examples = one.examples.filter((example) => example !== picture);
      this.learnAnew();
    }
  }

  /** Learns from the unlabelled pictures too, where what a saved file had learned would be taken. */
  learnAnew() {
    this.learnedBefore = null;
  }

  /** Labels a picture of the pile, or an example anew. */
  label(picture, target) {
    this.remove(picture);
    this.add(target, picture);
  }

  /** The classes that take part: those with an example. */
  get learned() {
    return this.classes.filter(({ examples }) => examples.length > 0);
  }

  /** All pictures and rows. */
  get pictures() {
    return [...this.classes.flatMap(({ examples }) => examples), ...this.pile, ...this.kept];
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

  #freeName() {
    const taken = new Set(this.classes.map(({ name }) => name));
    const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].map((letter) => `Class ${letter}`);
    return letters.find((name) => !taken.has(name)) ?? `Class ${this.classes.length + 1}`;
  }
}
