// Shows the classes: one card each, with its name, its examples and the ways to give more. Cards are kept between
// calls, so that the keyboard's focus stays where it is.

import { showPixels } from './picture.js';

// More are counted, not shown.
const MOST_SHOWN = 12;
const cards = new Map();
const byId = (id) => document.getElementById(id);

/** Copies a template's element. */
export function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/**
 * Makes a list show `items`, one element each, made once by `make` and kept in `kept` by the items' ids. Where the
 * focused element goes, its neighbour gets the focus.
 */
export function showList(list, items, kept, make) {
  const focused = [...list.children].findIndex((child) => child.contains(document.activeElement));
  const wanted = items.map((item) => {
    if (!kept.has(item.id)) kept.set(item.id, make(item));
    return kept.get(item.id);
  });
  const gone = focused >= 0 && !wanted.includes(list.children[focused]);
  for (const child of [...list.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((element, i) => {
    if (list.children[i] !== element) list.insertBefore(element, list.children[i] ?? null);
  });
  const ids = new Set(items.map(({ id }) => id));
  for (const id of [...kept.keys()]) if (!ids.has(id)) kept.delete(id);
  if (gone) focusNear(list, focused);
}

function focusNear(list, index) {
  const neighbour = list.children[Math.min(index, list.children.length - 1)];
  const fallback = list.closest('section').querySelector('.ways button, #add-class');
  (neighbour?.querySelector('.remove') ?? list.parentElement.querySelector('.ways button') ?? fallback)?.focus();
}

/** The colour of a class, by its place; names tell classes apart, colours only help. */
export function hue(index) {
  return String(index % 10);
}

/**
 * @param {Episode} episode
 * @param {object} on what to do: `give(way, class)`, `drop(element, class)`, `rename(class, name)`,
 *     `removeClass(class)`, `removePicture(picture)`.
 */
export function showClasses(episode, on) {
  const { classes, description } = episode;
  showList(byId('classes'), classes, cards, (one) => makeCard(one, on));
  classes.forEach((one, i) => showCard(cards.get(one.id), one, i, on));
  const full = classes.length >= description.way;
  byId('add-class').disabled = full;
  const exactly = description.gradient_network === 'joint' ? 'exactly' : 'at most';
  byId('classes-hint').textContent = full
    ? `This model takes ${exactly} ${description.way} classes.`
    : 'One example of each, better three to five. Files can be dropped on a class.';
}

function makeCard(one, on) {
  const card = fromTemplate('class-template');
  card.kept = new Map();
  const name = card.querySelector('.name');
  name.value = one.name;
  name.addEventListener('input', () => {
    on.rename(one, name.value.trim() || 'Unnamed');
    label(card, one);
  });
  card.querySelector('.class-head .remove').addEventListener('click', () => on.removeClass(one));
  for (const button of card.querySelectorAll('.ways button')) {
    button.addEventListener('click', () => on.give(button.dataset.way, one));
  }
  on.drop(card, one);
  return card;
}

function showCard(card, one, index, on) {
  card.dataset.hue = hue(index);
  const name = card.querySelector('.name');
  // Not while it is typed in.
  if (document.activeElement !== name) name.value = one.name;
  const pictures = one.examples.filter(({ thumb, source }) => thumb || source);
  showList(card.querySelector('.thumbs'), pictures.slice(0, MOST_SHOWN), card.kept, (picture) => {
    const thumb = fromTemplate('thumb-template');
    thumb.querySelector('.remove').addEventListener('click', () => on.removePicture(picture));
    return thumb;
  });
  for (const picture of pictures.slice(0, MOST_SHOWN)) showThumb(card.kept.get(picture.id), picture);
  const more = card.querySelector('.more');
  const hidden = one.examples.length - Math.min(pictures.length, MOST_SHOWN);
  more.hidden = hidden === 0;
  more.textContent = hidden === one.examples.length ? `${hidden} of a saved file` : `and ${hidden} more`;
  label(card, one);
}

/** Shows a picture in its element, once it has been looked at. */
export function showThumb(element, picture) {
  if (!picture.thumb || element.dataset.shown) return;
  element.dataset.shown = 'yes';
  showPixels(element.querySelector('canvas'), picture.thumb, Math.sqrt(picture.thumb.length / 3));
}

/** Names everything on a card for those who do not see it. */
function label(card, one) {
  const set = (selector, text) => card.querySelector(selector).setAttribute('aria-label', text);
  set('.name', 'Name of the class');
  set('.class-head .remove', `Remove the class ${one.name}`);
  set('.thumbs', `Examples of ${one.name}`);
  set('[data-way="draw"]', `Draw an example of ${one.name}`);
  set('[data-way="files"]', `Files of examples of ${one.name}`);
  set('[data-way="camera"]', `Camera, for examples of ${one.name}`);
  [...card.querySelectorAll('.thumb')].forEach((thumb, i) => {
    thumb.querySelector('canvas').setAttribute('aria-label', `Example ${i + 1} of ${one.name}`);
    thumb.querySelector('.remove').setAttribute('aria-label', `Remove example ${i + 1} of ${one.name}`);
  });
}
