// Failures, said where they happened: what the daemon said of it, and what would help.

import { announce, h } from './dom.js';
import { visible } from './text.js';

let askForToken = () => {};

/** What to do when the daemon does not know who asks. */
export function onUnknown(action) {
  askForToken = action;
}

/** Shows a failure in `place`, instead of what is there. A request that was given up is none. */
export function show(place, error) {
  if (error.name === 'AbortError') return;
  if (error.status === 401) {
    askForToken(error);
    return;
  }
  place.replaceChildren(box(error));
  announce(`${error.title ?? 'Failed'}. ${error.message}`);
}

/** A failure as an element. */
export function box(error) {
  const title = error.title ?? 'The page itself failed';
  const detail = error.status === undefined ? String(error) : error.detail;
  const needs = error.needs
    ? h('p', null, 'This needs a token of the role ', h('strong', null, error.needs), error.needs === 'admin' ? '.' : ' or admin.')
    : null;
  return h('div', { class: 'problem' },
    h('p', null, h('strong', null, visible(title)), error.status > 0 ? h('span', { class: 'muted' }, ` ${error.status}`) : null),
    detail && detail !== title ? h('p', null, visible(detail)) : null, needs);
}

/** Does something and shows in `place` how it failed; true where it did not. */
export async function attempt(place, action) {
  place.replaceChildren();
  try {
    await action();
    return true;
  } catch (error) {
    show(place, error);
    return false;
  }
}
