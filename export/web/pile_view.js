// Shows the pile: each unlabelled picture with its class at the chosen step, and the one it had before adaptation.

import { fromTemplate, hue, showList } from './class_view.js';
import { answersAt } from './learning.js';
import { showPixels } from './picture.js';

const kept = new Map();
const byId = (id) => document.getElementById(id);

/**
 * @param {Episode} episode
 * @param {object|null} result of `learn`; null while there is none.
 * @param {number} step the one to show, 0 .. K.
 * @param {function(object)} remove is called with the picture whose button was pressed.
 */
export function showPile(episode, result, step, remove) {
  showList(byId('pile'), episode.pile, kept, (picture) => makeAnswer(picture, remove));
  const before = result && answersAt(result, 0);
  const now = result && answersAt(result, step);
  episode.pile.forEach((picture, i) => {
    const element = kept.get(picture.id);
    element.querySelector('canvas').setAttribute('aria-label', `Unlabelled picture ${i + 1}`);
    element.querySelector('.remove').setAttribute('aria-label', `Remove unlabelled picture ${i + 1}`);
    element.classList.toggle('answered', result !== null);
    if (result) showAnswer(element, episode, result.classes, result.probabilities[step][i], now[i], before[i]);
    else element.classList.remove('changed');
  });
  showHint(episode);
  showStep(episode, result, step);
  showSummary(episode, result, step, before, now);
}

function makeAnswer(picture, remove) {
  const element = fromTemplate('answer-template');
  showPixels(element.querySelector('canvas'), picture.pixels, Math.sqrt(picture.pixels.length / 3));
  element.querySelector('.remove').addEventListener('click', () => remove(picture));
  return element;
}

function showAnswer(element, episode, classes, probabilities, now, before) {
  const hueOf = (index) => hue(episode.classes.indexOf(classes[index]));
  const changed = now.index !== before.index;
  element.classList.toggle('changed', changed);
  element.dataset.hue = hueOf(now.index);
  element.querySelector('.label').textContent = classes[now.index].name;
  element.querySelector('.percent').textContent = percent(now.probability);
  element.querySelector('.before').textContent =
    `${changed ? 'changed; before ' : 'before '}${classes[before.index].name} ${percent(before.probability)}`;
  showBar(element.querySelector('.bar'), probabilities, hueOf);
}

/** One part for each class, as wide as it is probable; parts are kept, so that they can slide. */
function showBar(bar, probabilities, hueOf) {
  while (bar.children.length < probabilities.length) bar.append(document.createElement('span'));
  while (bar.children.length > probabilities.length) bar.lastChild.remove();
  probabilities.forEach((probability, i) => {
    bar.children[i].dataset.hue = hueOf(i);
    bar.children[i].style.flexGrow = probability;
  });
}

function showHint({ pile, description }) {
  byId('pile-hint').textContent = pile.length
    ? `${pile.length} of at most ${description.max_query}. The more there are, the more there is to learn from.`
    : `Up to ${description.max_query} pictures, drawn, taken, chosen or dropped here; the model learns from them too.`;
}

function showStep({ description }, result, step) {
  const steps = description.num_steps;
  const text = step === 0 ? 'k = 0: prototypes, before adaptation' : `k = ${step} of ${steps}`;
  const slider = byId('step');
  byId('stepper').hidden = result === null;
  slider.max = steps;
  slider.value = step;
  slider.setAttribute('aria-valuetext', text);
  byId('step-value').textContent = text;
  if (byId('step-ticks').children.length === steps + 1) return;
  const ticks = Array.from({ length: steps + 1 }, (_, k) => Object.assign(document.createElement('option'), { value: k }));
  byId('step-ticks').replaceChildren(...ticks);
}

function showSummary(episode, result, step, before, now) {
  if (!result) {
    byId('summary').textContent = episode.missing ?? 'Learning …';
    byId('timing').textContent = '';
    return;
  }
  const { pile, embedded, embedMilliseconds, adaptMilliseconds } = result;
  const moved = now.filter(({ index }, i) => index !== before[i].index).length;
  const sentences = [
    step === 0
      ? `${count(pile.length, 'picture')} by the nearest examples alone.`
      : `After ${count(step, 'step')}, ${moved} of ${count(pile.length, 'answer')} changed.`,
    rightAnswers(result, before, now, step),
    leftOut(episode),
  ];
  byId('summary').textContent = sentences.filter(Boolean).join(' ');
  const embedding = embedded ? `${count(embedded, 'new picture')} embedded in ${duration(embedMilliseconds)}. ` : '';
  byId('timing').textContent = `${embedding}Adapted in ${duration(adaptMilliseconds)}, on this device.`;
}

/** The example knows its letters, which the model does not see. */
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

function percent(probability) {
  return `${Math.round(probability * 100)} %`;
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function duration(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}
