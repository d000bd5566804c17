// Which pictures to label next: doubtful ones that many others are like, and that are unlike one another. The criterion
// is that of Python's sib_tf.prediction.next_labels, which says what it is worth.

const NEIGHBOURS = 20;
// Of a larger pile, a sample is compared: all pairs are.
const MOST_COMPARED = 1000;
const FEWEST_LENGTH = 1e-12;

/**
 * @param {number[]} margins [pictures], by how much the most probable class is before the one after it, in [0, 1].
 * @param {Float32Array[]} features [pictures] of [D].
 * @param {number} count how many; all that there are, if they are fewer.
 * @return {number[]} places of the pictures that are worth most with a label, the best first.
 */
export function chooseNext(margins, features, count) {
  const compared = Math.min(margins.length, MOST_COMPARED);
  const places = Array.from({ length: compared }, (_, i) => Math.floor((i * margins.length) / compared));
  const unit = directions(places.map((place) => features[place]));
  const near = unit.map((row) => meanOfLargest(unit.map((other) => dot(row, other)), Math.min(NEIGHBOURS, compared)));
  // A picture that nothing is like may still be the only one left.
  const worth = near.map((value, i) => (1 - margins[places[i]] + 1e-6) * Math.max(value, 1e-6));
  const nearest = new Float64Array(compared);
  const chosen = [];
  while (chosen.length < Math.min(count, compared)) {
    const gain = worth.map((value, i) => (chosen.includes(i) ? -1 : value * (1 - nearest[i])));
    const best = gain.indexOf(gain.reduce((most, value) => Math.max(most, value)));
    chosen.push(best);
    unit.forEach((row, i) => (nearest[i] = Math.max(nearest[i], dot(row, unit[best]))));
  }
  return chosen.map((i) => places[i]);
}

/** Rows of length 1, centred in between. */
function directions(rows) {
  const scaled = rows.map(withLengthOne);
  const centre = new Float64Array(scaled[0]?.length ?? 0);
  for (const row of scaled) row.forEach((value, i) => (centre[i] += value / scaled.length));
  return scaled.map((row) => withLengthOne(row.map((value, i) => value - centre[i])));
}

function withLengthOne(row) {
  const length = Math.max(Math.sqrt(dot(row, row)), FEWEST_LENGTH);
  return Float32Array.from(row, (value) => value / length);
}

function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += one[i] * other[i];
  return sum;
}

function meanOfLargest(values, count) {
  const largest = Float64Array.from(values).sort().subarray(values.length - count);
  return largest.reduce((total, value) => total + value, 0) / count;
}
