// Built-in pictures for a first look: Greek letters as printed, turned, tinted and half hidden, drawn with local fonts.

const LETTERS = [...'ΨΩΣΦΔΛΞΘΠΓαβγδεζηθλμξπσφψω'];
// Lengths below are parts of this; a picture has as many pixels, or as many as the model takes.
const SIDE = 128;
const QUERIES_PER_CLASS = 5;
// Of the examples and of the pile, in [0, 1].
const EASY = 0.2;
const HARD = 0.8;
// Not the best: with the demo's model adaptation gains on it about what it gains on average over other seeds.
const SEED = 8;
const FONTS = [
  'Georgia, "DejaVu Serif", "Noto Serif", serif',
  'Arial, "DejaVu Sans", "Noto Sans", sans-serif',
  'Menlo, Consolas, "DejaVu Sans Mono", monospace',
];

/**
 * Draws an episode: some letters, one clear picture of each, and a pile of harder ones.
 *
 * @param {object} description of the model; a joint one gets exactly as many classes as it takes.
 * @return {{classes: {name: string, example: HTMLCanvasElement}[], pile: {truth: number, canvas: HTMLCanvasElement}[]}}
 *     `truth` is the number of its class.
 */
export function drawExample(description) {
  const random = seededRandom(SEED);
  const side = Math.max(SIDE, description.image_size);
  const count = description.gradient_network === 'joint' ? description.way : Math.min(5, description.way);
  if (count > LETTERS.length) throw new Error(`The example has ${LETTERS.length} letters; this model needs ${count}.`);
  const names = LETTERS.slice(0, count);
  const perClass = Math.max(1, Math.min(QUERIES_PER_CLASS, Math.floor(description.max_query / count)));
  const pile = names.flatMap((letter, truth) =>
    Array.from({ length: perClass }, () => ({ truth, canvas: drawLetter(letter, HARD, random, side) })),
  );
  return {
    classes: names.map((name) => ({ name, example: drawLetter(name, EASY, random, side) })),
    pile: shuffled(pile, random),
  };
}

/** `difficulty` in [0, 1] scales how far a letter is turned, shrunk, sheared, moved and hidden. */
function drawLetter(letter, difficulty, random, side) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = side;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.scale(side / SIDE, side / SIDE);
  const within = (range) => (random() * 2 - 1) * range * difficulty;
  paintGround(context, random);
  context.save();
  context.translate(SIDE / 2 + within(12), SIDE / 2 + within(12));
  context.rotate(within(0.6));
  context.transform(1, 0, within(0.35), 1, 0, 0);
  const weight = random() < 0.4 ? 'bold ' : '';
  context.font = `${weight}${SIDE * (0.95 - 0.35 * random() * difficulty)}px ${pick(FONTS, random)}`;
  context.textAlign = 'center';
  context.fillStyle = `hsl(${random() * 360} 60% ${8 + random() * 20}%)`;
  // Centred by its ink: letters hang differently on the line.
  const { actualBoundingBoxAscent: ascent, actualBoundingBoxDescent: descent } = context.measureText(letter);
  context.fillText(letter, 0, (ascent - descent) / 2);
  context.restore();
  if (difficulty === HARD && random() < 0.25) paintBar(context, random);
  return canvas;
}

function paintGround(context, random) {
  const hue = random() * 360;
  const angle = random() * Math.PI;
  const [x, y] = [(Math.cos(angle) * SIDE) / 2, (Math.sin(angle) * SIDE) / 2];
  const slope = context.createLinearGradient(SIDE / 2 - x, SIDE / 2 - y, SIDE / 2 + x, SIDE / 2 + y);
  slope.addColorStop(0, `hsl(${hue} 45% 88%)`);
  slope.addColorStop(1, `hsl(${hue + 40} 45% ${66 + random() * 14}%)`);
  context.fillStyle = slope;
  context.fillRect(0, 0, SIDE, SIDE);
}

function paintBar(context, random) {
  context.save();
  context.translate(SIDE * (0.3 + 0.4 * random()), SIDE * (0.3 + 0.4 * random()));
  context.rotate(random() * Math.PI);
  context.fillStyle = `hsl(${random() * 360} 50% 50%)`;
  context.fillRect(-SIDE, -SIDE * 0.04, SIDE * 2, SIDE * 0.08);
  context.restore();
}

function pick(list, random) {
  return list[Math.floor(random() * list.length)];
}

function shuffled(list, random) {
  return list
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

/** Mulberry32: the same example at every visit. */
function seededRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
