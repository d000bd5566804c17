// Which pictures of the pile are shown, and in which order: of one class or all, the least sure first or as they came,
// a page of them at a time.

const PAGE = 100;
const byId = (id) => document.getElementById(id);
let most = PAGE;
let wired = false;

/**
 * @param {Episode} episode
 * @param {object|null} result of `learn`, and `now`, the answers at the step that is shown.
 * @param {function()} changed is called when the visitor asks for others.
 * @return {object[]} pictures to show.
 */
export function filtered({ pile, missing }, result, now, changed) {
  if (!wired) wire(changed);
  const controls = pile.length > 1 && result !== null;
  // While it learns they stay: the pile below does not jump.
  if (result || missing || pile.length <= 1) byId('pile-controls').hidden = !controls;
  if (controls) showFilter(result.classes, now);
  const chosen = controls ? inOrder(ofClass(pile, result.classes, now), now, pile) : pile;
  showMore(chosen.length);
  return chosen.slice(0, most);
}

function wire(changed) {
  wired = true;
  const again = () => {
    most = PAGE;
    changed();
  };
  byId('pile-filter').addEventListener('change', again);
  byId('pile-order').addEventListener('change', again);
  byId('more').addEventListener('click', () => {
    const { length } = byId('pile').children;
    most += PAGE;
    changed();
    // The keyboard goes on where the new ones begin.
    byId('pile').children[length]?.querySelector('.correct').focus();
  });
}

function showFilter(classes, now) {
  const select = byId('pile-filter');
  const counts = classes.map((_, i) => now.filter(({ index }) => index === i).length);
  const options = [`All (${now.length})`, ...classes.map(({ name }, i) => `${name} (${counts[i]})`)];
  const values = ['', ...classes.map(({ id }) => String(id))];
  const chosen = values.includes(select.value) ? select.value : '';
  select.replaceChildren(...options.map((text, i) => new Option(text, values[i])));
  select.value = chosen;
}

function ofClass(pile, classes, now) {
  const { value } = byId('pile-filter');
  return value ? pile.filter((_, i) => String(classes[now[i].index].id) === value) : pile;
}

function inOrder(pictures, now, pile) {
  if (byId('pile-order').value === 'given') return pictures;
  const margins = new Map(pile.map((picture, i) => [picture, now[i].margin]));
  return [...pictures].sort((one, other) => margins.get(one) - margins.get(other));
}

function showMore(count) {
  const more = byId('more');
  more.hidden = count <= most;
  more.textContent = `Show ${Math.min(PAGE, count - most)} more of ${count - most}`;
}
