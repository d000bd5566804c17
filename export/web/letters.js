// Greek letters as printed, turned, tinted and half hidden, drawn with local fonts.

import { pick, SIDE } from './seeded.js';

const FONTS = [
  'Georgia, "DejaVu Serif", "Noto Serif", serif',
  'Arial, "DejaVu Sans", "Noto Sans", sans-serif',
  'Menlo, Consolas, "DejaVu Sans Mono", monospace',
];

/** What there is to draw. */
export const LETTERS = [...'ΨΩΣΦΔΛΞΘΠΓαβγδεζηθλμξπσφψω'];

/**
 * @param {CanvasRenderingContext2D} context of a square, `SIDE` long.
 * @param {string} letter
 * @param {number} difficulty in [0, 1], scales how far a letter is turned, shrunk, sheared, moved and hidden.
 * @param {function(): number} random
 */
export function drawLetter(context, letter, difficulty, random) {
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
  if (difficulty > 0.5 && random() < 0.25) paintBar(context, random);
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
