// One visit: the model, what was given, and what was learned from it. Whatever changes is learned from at once.

import { Episode, makePicture } from './episode.js';
import { learn, Stopped } from './learning.js';

const FIRST_CLASSES = 2;

/** Whether pictures embedded by one model fit another, by their descriptions. */
export function sameBackbone(one, other) {
  const key = ({ backbone, feature_dim: dim, image_size: size }) => JSON.stringify([backbone.name, backbone.weights, dim, size]);
  return key(one) === key(other);
}

function sameLimits(one, other) {
  return ['image_size', 'way', 'max_support', 'max_query', 'gradient_network', 'num_steps'].every(
    (name) => one[name] === other[name],
  );
}

/**
 * The state of the page.
 *
 * Attributes: `model`, null until there is one; `episode`; `result` of `learn`, null while there is none; `step`, that
 * is shown.
 */
export class Visit {
  model = null;
  episode = null;
  result = null;
  step = 0;
  #changes = 0;
  #learning = false;
  #stopped = false;
  // Models that another has replaced; freed when no round of learning uses them.
  #retired = [];
  #on;

  /**
   * @param {object} on what to do: `show()` everything; `showAnswers()`; `busy(boolean)`; `progress(done, of)`, null
   *     when it is over; `tell(sentences)`; `learned()`, when a change has been learned from.
   */
  constructor(on) {
    this.#on = on;
  }

  /** Takes another model; what was given stays, where that model can take it. */
  replaceModel(loaded) {
    const old = this.model;
    this.model = loaded;
    if (old) this.#retired.push(old);
    if (!old || !sameLimits(old.description, loaded.description) || !this.#adopt(old)) {
      if (this.episode && !this.episode.isEmpty) {
        this.#on.tell(['This model takes other pictures or numbers of them: the page was cleared.']);
      }
      this.startOver();
      return;
    }
    this.episode.description = loaded.description;
    this.changed();
  }

  /** Lets features of which there is no picture any more pass for the new model's; returns whether they do. */
  #adopt(old) {
    const bare = this.episode.pictures.filter(({ pixels, source }) => !pixels && !source);
    if (bare.length && !sameBackbone(old.description, this.model.description)) return false;
    for (const picture of bare) picture.embeddedBy = this.model;
    this.episode.learnAnew();
    return true;
  }

  startOver() {
    const episode = new Episode(this.model.description);
    for (let i = 0; i < Math.min(FIRST_CLASSES, this.model.description.way); i++) episode.addClass();
    this.begin(episode);
  }

  /** Goes on with another episode. */
  begin(episode) {
    this.episode = episode;
    this.step = this.model.description.num_steps;
    this.changed();
  }

  /** Adds pictures, each as `makePicture` takes it, to a class, or to the pile if `target` is null. */
  give(target, pictures) {
    for (const picture of pictures) this.episode.add(target, makePicture(picture));
    if (pictures.length) this.changed();
  }

  /** Must be called after every change of the episode. */
  changed() {
    this.#changes++;
    this.result = null;
    if (!this.#learning) this.#learn();
    this.#on.show();
  }

  /** Leaves out the pictures that were not looked at yet. */
  stop() {
    this.#stopped = true;
  }

  async #learn() {
    this.#learning = true;
    this.#on.busy(true);
    const all = { embedded: 0, embedMilliseconds: 0 };
    // What changes while the model computes makes another round.
    for (let seen = -1; seen !== this.#changes; ) {
      seen = this.#changes;
      const learned = await this.#learnOnce(this.model, this.episode);
      for (const name of Object.keys(all)) all[name] += learned?.[name] ?? 0;
      if (seen === this.#changes) this.result = learned && !learned.missing ? { ...learned, ...all } : null;
    }
    this.#learning = false;
    for (const old of this.#retired.splice(0)) old.delete();
    this.#on.progress(null);
    this.#on.busy(false);
    this.#on.show();
    this.#on.learned();
  }

  async #learnOnce(model, episode) {
    const problems = [];
    const broken = (picture, error) => {
      episode.remove(picture);
      problems.push(error.message);
    };
    this.#stopped = false;
    try {
      return await learn(model, episode, { progress: this.#on.progress, broken, stopped: () => this.#stopped });
    } catch (error) {
      if (error instanceof Stopped) problems.push(this.#leaveOut(model, episode));
      else problems.push(`The model failed (${error.message}). Reload the page; if it stays, export the file again.`);
      return null;
    } finally {
      if (problems.length) this.#on.tell(problems);
    }
  }

  /** Removes what was not looked at, and says so; what is left makes another round. */
  #leaveOut(model, episode) {
    const left = episode.pictures.filter(({ embeddedBy }) => embeddedBy !== model);
    for (const picture of left) episode.remove(picture);
    this.#changes++;
    return `Stopped: ${left.length} ${left.length === 1 ? 'picture was' : 'pictures were'} left out.`;
  }
}
