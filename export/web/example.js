// Built-in pictures for a first look, drawn by this page: letters for small models, things for those of photographs.

import { Episode, makePicture } from './episode.js';
import { drawLetter, LETTERS } from './letters.js';
import { fitPicture, thumbnail } from './picture.js';
import { seededRandom, shuffled, SIDE } from './seeded.js';
import { drawThing, THINGS } from './things.js';

const CLASSES = 5;
// Of the examples and of the pile, in [0, 1].
const EASY = 0.2;
const HARD = 0.8;
const KINDS = {
  // Not the best seed: with the demo's model adaptation gains on it about what it gains on average over other seeds.
  letters: { names: LETTERS, draw: drawLetter, each: 5, seed: 8 },
  // Of ten seeds one on which the steps change two answers; on the others they change none to two.
  pictures: { names: THINGS, draw: drawThing, each: 8, seed: 5 },
};

/**
 * Begins with an example: some classes, one clear picture of each, and a pile of harder ones.
 *
 * @param {Visit} visit whose model a joint one gets exactly as many classes as it takes.
 * @param {string} kind 'letters' or 'pictures'.
 * @throws {Error} the model needs more classes than there are.
 */
export function fillExample(visit, kind) {
  const { classes, pile } = drawExample(visit.model.description, kind);
  const size = visit.model.description.image_size;
  const picture = (canvas, truth = null) => {
    const pixels = fitPicture(canvas, canvas.width, canvas.height, size);
    return makePicture({ pixels, thumb: thumbnail(pixels, size), truth });
  };
  const episode = new Episode(visit.model.description);
  for (const { name, example } of classes) episode.add(episode.addClass(name), picture(example));
  for (const { truth, canvas } of pile) episode.add(null, picture(canvas, episode.classes[truth]));
  visit.begin(episode);
}

/** Draws the classes and the pile of an example; `truth` is the number of a picture's class. */
export function drawExample(description, kind) {
  const { names: all, draw, each, seed } = KINDS[kind];
  const random = seededRandom(seed);
  const side = Math.max(SIDE, description.image_size);
  const count = description.gradient_network === 'joint' ? description.way : Math.min(CLASSES, description.way);
  if (count > all.length) throw new Error(`The example has ${all.length} classes; this model needs ${count}.`);
  const names = all.slice(0, count);
  const perClass = Math.max(1, Math.min(each, Math.floor(description.max_query / count)));
  const drawn = (name, difficulty) => drawOn(side, (context) => draw(context, name, difficulty, random));
  const pile = names.flatMap((name, truth) =>
    Array.from({ length: perClass }, () => ({ truth, canvas: drawn(name, HARD) })),
  );
  return {
    classes: names.map((name) => ({ name, example: drawn(name, EASY) })),
    pile: shuffled(pile, random),
  };
}

function drawOn(side, draw) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = side;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.scale(side / SIDE, side / SIDE);
  draw(context);
  return canvas;
}
