// What went wrong, on top of the page, until it is closed or the next thing is done.

const byId = (id) => document.getElementById(id);

/** Shows sentences, one a line, in place of those before; none hides them all. */
export function tell(problems) {
  const items = problems.map((text) => Object.assign(document.createElement('li'), { textContent: text }));
  byId('notice-list').replaceChildren(...items);
  byId('notice').hidden = items.length === 0;
}

byId('notice-close').addEventListener('click', () => tell([]));
