// Things to tell apart, drawn in many colours, sizes and surroundings: pictures that belong to this project, Apache-2.0.

import { pick, SIDE } from './seeded.js';

const GROUNDS = [
  ['#bfe3ff', '#7fb069'],
  ['#ffe3c2', '#c9a66b'],
  ['#dfe9f2', '#6c8ead'],
  ['#f7d6e0', '#8a9a5b'],
  ['#cdeee2', '#3d7ea6'],
  ['#fff3bf', '#e0b070'],
];
const DRAWERS = { House: drawHouse, Fish: drawFish, Tree: drawTree, Boat: drawBoat, Flower: drawFlower, Car: drawCar };

/** What there is to draw. */
export const THINGS = Object.keys(DRAWERS);

/**
 * @param {CanvasRenderingContext2D} context of a square, `SIDE` long.
 * @param {string} thing one of `THINGS`.
 * @param {number} difficulty in [0, 1], scales how far it is turned, shrunk, moved and hidden.
 * @param {function(): number} random
 */
export function drawThing(context, thing, difficulty, random) {
  const within = (range) => (random() * 2 - 1) * range * difficulty;
  paintScene(context, random);
  context.save();
  context.translate(SIDE / 2 + within(18), SIDE / 2 + within(14));
  context.rotate(within(0.35));
  const scale = 0.95 - 0.45 * random() * difficulty;
  context.scale(random() < 0.5 ? -scale : scale, scale);
  // Shapes are drawn around the middle, 100 wide at most.
  DRAWERS[thing](context, random);
  context.restore();
  if (random() < 0.4 * difficulty) paintBush(context, random);
}

function paintScene(context, random) {
  const [sky, ground] = pick(GROUNDS, random);
  const horizon = SIDE * (0.5 + 0.35 * random());
  fill(context, sky, () => context.rect(0, 0, SIDE, SIDE));
  fill(context, ground, () => context.rect(0, horizon, SIDE, SIDE));
  if (random() < 0.6) fill(context, '#ffffffb0', () => ellipse(context, SIDE * random(), SIDE * 0.18 * (1 + random()), 20, 8));
}

function paintBush(context, random) {
  const x = SIDE * random();
  const green = `hsl(${90 + 50 * random()} 40% ${25 + 20 * random()}%)`;
  for (const across of [-14, 0, 14]) fill(context, green, () => ellipse(context, x + across, SIDE - 4, 14, 15 + 6 * random()));
}

function drawHouse(context, random) {
  const wide = 30 + 12 * random();
  fill(context, tint(random, 55, 70), () => context.rect(-wide, -10, 2 * wide, 48));
  fill(context, tint(random, 60, 38), () => polygon(context, [-wide - 7, -10], [0, -46 - 6 * random()], [wide + 7, -10]));
  fill(context, tint(random, 40, 28), () => context.rect(-8, 12, 16, 26));
  for (const x of [-wide + 6, wide - 18]) fill(context, '#e8f4ff', () => context.rect(x, 0, 12, 12));
}

function drawFish(context, random) {
  const colour = tint(random, 75, 52);
  const tall = 16 + 10 * random();
  fill(context, colour, () => polygon(context, [22, 0], [48, -20], [42, 0], [48, 20]));
  fill(context, tint(random, 70, 40), () => polygon(context, [-8, -tall + 4], [8, -tall - 14], [18, -tall + 8]));
  fill(context, colour, () => ellipse(context, -6, 0, 36, tall));
  const stripe = tint(random, 60, 75);
  for (const x of [-8, 6]) fill(context, stripe, () => ellipse(context, x, 0, 2.5, tall * 0.75));
  fill(context, 'white', () => ellipse(context, -27, -5, 5.5, 5.5));
  fill(context, 'black', () => ellipse(context, -28, -5, 2.6, 2.6));
}

function drawTree(context, random) {
  fill(context, `hsl(${20 + 15 * random()} 45% 30%)`, () => context.rect(-6, 2, 12, 44));
  const green = `hsl(${70 + 70 * random()} ${40 + 25 * random()}% ${28 + 18 * random()}%)`;
  for (const y of [-46, -28, -10]) {
    fill(context, green, () => polygon(context, [-30 - y / 4, y + 30], [0, y - 6], [30 + y / 4, y + 30]));
  }
}

function drawBoat(context, random) {
  fill(context, tint(random, 55, 35), () => polygon(context, [-46, 16], [46, 16], [30, 38], [-32, 38]));
  fill(context, '#5b4636', () => context.rect(-2, -44, 4, 60));
  fill(context, tint(random, 50, 85), () => polygon(context, [5, -44], [5, 10], [40, 10]));
  fill(context, tint(random, 65, 60), () => polygon(context, [-5, -34], [-5, 10], [-32, 10]));
  for (const x of [-30, 0, 30]) fill(context, '#3f87c5', () => ellipse(context, x, 42, 18, 5));
}

function drawFlower(context, random) {
  const green = `hsl(${95 + 40 * random()} 45% 33%)`;
  fill(context, green, () => context.rect(-2.5, 0, 5, 50));
  fill(context, green, () => ellipse(context, 13, 32, 12, 5));
  const petals = 5 + Math.floor(4 * random());
  const colour = tint(random, 75, 62);
  for (let i = 0; i < petals; i++) {
    const angle = (2 * Math.PI * i) / petals;
    fill(context, colour, () => ellipse(context, 21 * Math.cos(angle), -14 + 21 * Math.sin(angle), 13, 13));
  }
  fill(context, `hsl(${40 + 15 * random()} 90% 50%)`, () => ellipse(context, 0, -14, 12, 12));
}

function drawCar(context, random) {
  const colour = tint(random, 65, 48);
  fill(context, colour, () => polygon(context, [-28, -4], [-16, -26], [18, -26], [32, -4]));
  fill(context, '#d9ecf7', () => polygon(context, [-21, -5], [-13, -21], [-1, -21], [-1, -5]));
  fill(context, '#d9ecf7', () => polygon(context, [4, -5], [4, -21], [15, -21], [24, -5]));
  fill(context, colour, () => context.roundRect(-48, -6, 96, 24, 8));
  for (const x of [-26, 26]) {
    fill(context, '#222', () => ellipse(context, x, 18, 12, 12));
    fill(context, '#bbb', () => ellipse(context, x, 18, 5, 5));
  }
}

function tint(random, saturation, lightness) {
  return `hsl(${360 * random()} ${saturation}% ${lightness + 12 * (random() - 0.5)}%)`;
}

function fill(context, colour, path) {
  context.fillStyle = colour;
  context.beginPath();
  path();
  context.fill();
}

function ellipse(context, x, y, across, down) {
  context.ellipse(x, y, across, down, 0, 0, 2 * Math.PI);
}

function polygon(context, ...points) {
  for (const point of points) context.lineTo(...point);
  context.closePath();
}
