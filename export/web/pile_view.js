// Shows the pile: each unlabelled picture with its class at the chosen step, and the one it had before adaptation. Of
// thousands a part is shown; `pile_order.js` says which.

import { fromTemplate, hue, showList, showThumb } from './class_view.js';
import { answersAt, probabilitiesAt } from './learning.js';
import { filtered } from './pile_order.js';
import { showSummary } from './summary.js';

// How often pictures are shown as they come in.
const SHOW_MILLISECONDS = 400;
const kept = new Map();
const byId = (id) => document.getElementById(id);
let lastShown = 0;

/**
 * @param {Visit} visit `episode`, `result` and `step` of it are shown.
 * @param {object} on what to do: `remove(picture)`, `label(picture)`, and `filtered()` when other ones are asked for.
 */
export function showPile({ episode, result, step }, on) {
  const before = result && answersAt(result, 0);
  const now = result && answersAt(result, step);
  const shown = filtered(episode, result, now, on.filtered);
  showList(byId('pile'), shown, kept, (picture) => makeAnswer(picture, on));
  const places = new Map(episode.pile.map((picture, i) => [picture, i]));
  for (const picture of shown) {
    const element = kept.get(picture.id);
    const i = places.get(picture);
    showThumb(element, picture);
    element.classList.toggle('answered', result !== null);
    if (result) showAnswer(element, episode, result.classes, probabilitiesAt(result, step)[i], now[i], before[i]);
    else element.classList.remove('changed');
    name(element, i + 1, result && `${result.classes[now[i].index].name} ${percent(now[i].probability)}`);
  }
  byId('pile').classList.toggle('asking', episode.missing !== null);
  showHint(episode);
  showStep(episode, result, step);
  showSummary(episode, result, step, before, now);
  byId('label-next').hidden = episode.pile.length === 0 || episode.learned.length === 0;
  byId('learn-anew').hidden = !(result && episode.learnedBefore);
}

/** Tells how far embedding is, null when it is over; `show` is called now and then. */
export function showProgress(done, of, show) {
  byId('progress').hidden = done === null;
  if (done === null) return;
  Object.assign(byId('progress-bar'), { max: of, value: done });
  byId('progress-text').textContent = `Looking at picture ${done + 1} of ${of} …`;
  if (performance.now() - lastShown < SHOW_MILLISECONDS) return;
  lastShown = performance.now();
  show();
}

function makeAnswer(picture, on) {
  const element = fromTemplate('answer-template');
  element.querySelector('.remove').addEventListener('click', () => on.remove(picture));
  element.querySelector('.correct').addEventListener('click', () => on.label(picture));
  return element;
}

function name(element, number, answer) {
  const set = (selector, text) => element.querySelector(selector).setAttribute('aria-label', text);
  set('canvas', `Unlabelled picture ${number}`);
  set('.remove', `Remove unlabelled picture ${number}`);
  set('.correct', answer ? `Unlabelled picture ${number}, ${answer}: correct it` : `Label unlabelled picture ${number}`);
}

function showAnswer(element, episode, classes, probabilities, now, before) {
  const hueOf = (index) => hue(episode.classes.indexOf(classes[index]));
  const changed = now.index !== before.index;
  element.classList.toggle('changed', changed);
  element.dataset.hue = hueOf(now.index);
  element.querySelector('.label').textContent = classes[now.index].name;
  element.querySelector('.percent').textContent = percent(now.probability);
  element.querySelector('.before').textContent =
    `${changed ? 'changed; before ' : 'before '}${classes[before.index].name} ${percent(before.probability).replace(' ', '\u00a0')}`;
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

function showHint({ pile, description: { max_query: most } }) {
  byId('pile-hint').textContent =
    pile.length > most
      ? `${pile.length} pictures; the model learns from ${most} of them, and answers all.`
      : 'Drawn, taken, chosen or dropped here; the more there are, the more the model learns from them.';
}

function showStep({ description, missing }, result, step) {
  const steps = description.num_steps;
  const text = step === 0 ? 'k = 0: prototypes, before adaptation' : `k = ${step} of ${steps}`;
  const slider = byId('step');
  // Of what a saved file had learned the steps in between are not known. While it learns the slider stays as it is.
  if (result || missing) byId('stepper').hidden = result?.steps.length !== steps + 1;
  slider.max = steps;
  slider.value = step;
  slider.setAttribute('aria-valuetext', text);
  byId('step-value').textContent = text;
  if (byId('step-ticks').children.length === steps + 1) return;
  const ticks = Array.from({ length: steps + 1 }, (_, k) => Object.assign(document.createElement('option'), { value: k }));
  byId('step-ticks').replaceChildren(...ticks);
}

function percent(probability) {
  return `${Math.round(probability * 100)} %`;
}
