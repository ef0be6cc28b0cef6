// A snapshot's tree, and the node chosen in it.

import { call, query } from './api.js';
import { field, h, link } from './dom.js';
import { nodeView } from './node.js';
import { shown, wireOf, wireOfTyped } from './path.js';
import { show } from './problem.js';
import { remarks } from './snapshots.js';
import { tree } from './tree.js';
import { at, code, visible } from './text.js';

const PAGE = 1000;

/** The view. */
export async function browse(page) {
  const { signal } = page;
  const found = await call(`/snapshots/${page.id}`, { signal });
  page.title(`Browse ${found.short_id}`, 'Browse ', code(found.short_id));
  const nodes = `/snapshots/${found.id}/nodes`;
  const load = (wire, after, limit = PAGE) => call(`${nodes}${query({ limit }, { path: wire, after })}`, { signal });

  const detail = h('section', { class: 'panel detail', 'aria-label': 'Node' });
  const failed = h('div', { class: 'place' });
  const typed = h('input', { type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' });
  const chosen = (node) => {
    const wire = wireOf(node);
    failed.replaceChildren();
    typed.value = node.path_base64 ? '' : node.path;
    history.replaceState(null, '', `#${nodes}${query({}, { path: wire })}`);
    detail.replaceChildren(...nodeView(page, found, node, wire));
  };
  const view = tree(`Tree of snapshot ${found.short_id}`, load, chosen, (error) => show(failed, error));
  const reveal = async (wire) => {
    try {
      if (await view.reveal(wire)) return;
      // Not within reach in the tree: shown alone, if it is there at all.
      chosen((await load(wire, null, 1)).node);
    } catch (error) {
      if (error.status === 404) detail.replaceChildren(h('p', { class: 'empty' }, 'No such node in this snapshot: ', code(shown(wire))));
      else show(failed, error);
    }
  };
  const go = (event) => {
    event.preventDefault();
    reveal(wireOfTyped(typed.value));
  };
  page.body.append(
    h('p', { class: 'links' }, link(`#/snapshots/${found.id}`, 'The snapshot'), h('span', { class: 'muted' }, visible(found.cluster), ' at ', at(found.time)), remarks(found)),
    h('form', { class: 'filter wide', role: 'search', on: { submit: go } }, field('Path', typed), h('button', null, 'Go')),
    failed,
    h('div', { class: 'browse' }, h('div', { class: 'panel treebox' }, view.element), detail));
  await reveal(page.query.raw('path') || '%2F');
}
