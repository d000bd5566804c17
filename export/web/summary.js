// The sentences above the pile: what changed, what is right where that is known, and how long it took.

const byId = (id) => document.getElementById(id);

/** `before` and `now` are the answers of `answersAt`; null with `result`. */
export function showSummary(episode, result, step, before, now) {
  if (!result) {
    byId('summary').textContent = episode.missing ?? 'Learning …';
    if (episode.missing) byId('timing').textContent = '';
    return;
  }
  const { pile, embedded, embedMilliseconds, adaptMilliseconds } = result;
  const sentences = [whatChanged(episode, pile, step, before, now), rightAnswers(result, before, now, step), leftOut(episode)];
  byId('summary').textContent = sentences.filter(Boolean).join(' ');
  const embedding = embedded ? `${count(embedded, 'new picture')} embedded in ${duration(embedMilliseconds)}. ` : '';
  const adapting = episode.learnedBefore ? '' : `Adapted in ${duration(adaptMilliseconds)}, on this device.`;
  byId('timing').textContent = embedding + adapting;
}

function whatChanged({ learnedBefore }, pile, step, before, now) {
  if (learnedBefore) return `${count(pile.length, 'picture')} by what was learned before.`;
  if (step === 0) return `${count(pile.length, 'picture')} by the nearest examples alone.`;
  const moved = now.filter(({ index }, i) => index !== before[i].index).length;
  return `After ${count(step, 'step')}, ${moved} of ${count(pile.length, 'answer')} changed.`;
}

/** The example knows its classes, which the model does not see. */
function rightAnswers({ classes, pile }, before, now, step) {
  if (!pile.every(({ truth }) => classes.includes(truth))) return '';
  const right = (answers) => answers.filter(({ index }, i) => classes[index] === pile[i].truth).length;
  return step === 0
    ? `${right(now)} of ${pile.length} are right.`
    : `${right(now)} of ${pile.length} are right; before, ${right(before)}.`;
}

function leftOut({ classes }) {
  const idle = classes.filter(({ examples }) => examples.length === 0).map(({ name }) => name);
  return idle.length ? `Without an example, and so left out: ${idle.join(', ')}.` : '';
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function duration(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}
