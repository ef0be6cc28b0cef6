// A tree of znodes whose children are asked for as they are opened, a page at a time. By keyboard as trees are: up and
// down, right to open, left to close or to go to the parent, Home, End, Enter to choose.

import { announce, h } from './dom.js';
import { ancestry, nameOf, wireOf } from './path.js';
import { box } from './problem.js';
import { bytes, counted, visible } from './text.js';

const MOST_PAGES = 50;

/**
 * `load(wire, after)` gives `{ node, children, next }`; `chosen(node)` is called with the node that a person chose,
 * `failed(error)` where the daemon does not know who asks.
 */
export function tree(label, load, chosen, failed) {
  const element = h('ul', { role: 'tree', 'aria-label': label, class: 'tree' });
  /** What is known of each item: its node, its wire path, and where its next page begins. */
  const known = new WeakMap();

  const item = (node, level) => {
    const leaf = isLeaf(node);
    const name = nameOf(node);
    const row = h('span', { class: 'node' }, h('span', { class: 'twist', 'aria-hidden': 'true' }),
      h('span', { class: 'name' }, visible(name)), h('span', { class: 'muted' }, ` ${aside(node)}`));
    const li = h('li', { role: 'treeitem', tabindex: '-1', 'aria-level': level, 'aria-selected': 'false', 'aria-expanded': leaf ? null : 'false' }, row);
    known.set(li, { node, wire: wireOf(node), level, group: null, loading: null });
    return li;
  };

  const more = (parent, next) => {
    const li = h('li', { role: 'treeitem', tabindex: '-1', 'aria-level': known.get(parent).level + 1, class: 'more' },
      h('span', { class: 'node' }, `More after ${visible(next.shown)}`));
    known.set(li, { more: parent, next });
    return li;
  };

  const fetchPage = async (li, after) => {
    const state = known.get(li);
    const { children, next } = await load(state.wire, after);
    state.group ??= li.appendChild(h('ul', { role: 'group' }));
    const items = children.map((child) => item(child, state.level + 1));
    state.group.append(...items);
    if (next !== null && next !== undefined && children.length > 0) {
      const last = children[children.length - 1];
      // The exact bytes of the name, which what is shown may not be.
      state.group.append(more(li, { shown: nameOf(last), wire: wireOf(last).split('%2F').pop() }));
    }
    if (state.group.children.length === 0) {
      li.removeAttribute('aria-expanded');
      state.group.remove();
      state.empty = true;
    }
    announce(`${counted(children.length, 'child', 'children')}${next ? ', and more' : ''}`);
    return items;
  };

  /** Opens an item; its children are asked for once. */
  const open = async (li) => {
    const state = known.get(li);
    if (state.more || state.empty || !li.hasAttribute('aria-expanded')) return;
    if (!state.group) {
      state.loading ??= fetchPage(li, null).finally(() => { state.loading = null; });
      li.setAttribute('aria-busy', 'true');
      try {
        await state.loading;
      } finally {
        li.removeAttribute('aria-busy');
      }
    }
    if (state.empty) return;
    state.group.hidden = false;
    li.setAttribute('aria-expanded', 'true');
  };

  const close = (li) => {
    known.get(li).group.hidden = true;
    li.setAttribute('aria-expanded', 'false');
  };

  const isOpen = (li) => li.getAttribute('aria-expanded') === 'true';

  const nextPage = async (li) => {
    const { more: parent, next } = known.get(li);
    const items = await fetchPage(parent, next.wire);
    li.remove();
    return items;
  };

  const focus = (li) => {
    if (!li) return;
    element.querySelector('[tabindex="0"]')?.setAttribute('tabindex', '-1');
    li.setAttribute('tabindex', '0');
    li.focus({ preventScroll: true });
    li.firstElementChild.scrollIntoView({ block: 'nearest' });
  };

  const select = (li) => {
    element.querySelector('[aria-selected="true"]')?.setAttribute('aria-selected', 'false');
    li.setAttribute('aria-selected', 'true');
    chosen(known.get(li).node);
  };

  const guarded = (li, action) => action().catch((error) => {
    if (error.name === 'AbortError') return;
    if (error.status === 401) failed(error);
    else li.append(h('div', { class: 'place', role: 'none' }, box(error)));
  });

  const choose = (li) => {
    li.querySelector(':scope > .place')?.remove();
    if (known.get(li).more) return guarded(li, async () => focus((await nextPage(li))[0]));
    select(li);
    return guarded(li, () => open(li));
  };

  element.addEventListener('click', (event) => {
    const li = event.target.closest('[role=treeitem]');
    if (!li) return;
    focus(li);
    if (event.target.closest('.twist') && isOpen(li)) close(li);
    else choose(li);
  });

  element.addEventListener('keydown', (event) => {
    const li = event.target.closest('[role=treeitem]');
    if (!li || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = {
      ArrowDown: () => focus(after(li, isOpen)),
      ArrowUp: () => focus(before(li, isOpen)),
      ArrowRight: () => (isOpen(li) ? focus(known.get(li).group.firstElementChild) : guarded(li, () => open(li))),
      ArrowLeft: () => (isOpen(li) ? close(li) : focus(parentOf(li))),
      Home: () => focus(element.firstElementChild),
      End: () => focus(lastWithin(element.lastElementChild, isOpen)),
      Enter: () => choose(li),
      ' ': () => choose(li),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  /** Opens the way to a path and chooses it; resolves to whether it is there. */
  const reveal = async (wire) => {
    const way = ancestry(wire);
    let at = element.firstElementChild;
    if (!at) {
      const { node } = await load('%2F', null, 1);
      at = item(node, 1);
      at.setAttribute('tabindex', '0');
      element.append(at);
    }
    for (const step of way.slice(1)) {
      await open(at);
      const found = await child(at, step.wire);
      if (!found) return false;
      at = found;
    }
    focusable(at);
    select(at);
    await open(at);
    at.firstElementChild.scrollIntoView({ block: 'nearest' });
    return true;
  };

  const focusable = (li) => {
    element.querySelector('[tabindex="0"]')?.setAttribute('tabindex', '-1');
    li.setAttribute('tabindex', '0');
  };

  const child = async (li, wire) => {
    const wanted = decodeBytes(wire);
    for (let page = 0; page < MOST_PAGES; page += 1) {
      const { group } = known.get(li);
      if (!group) return null;
      const found = [...group.children].find((one) => known.get(one).wire && decodeBytes(known.get(one).wire) === wanted);
      const last = group.lastElementChild;
      if (found) return found;
      if (!known.get(last)?.more) return null;
      await nextPage(last);
    }
    return null;
  };

  return { element, reveal };
}

/** Two wire forms of one path may differ in what they escape. */
function decodeBytes(wire) {
  return wire.replace(/%([0-9a-f]{2})/gi, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
}

function isLeaf(node) {
  if (typeof node.num_children === 'number') return node.num_children === 0;
  if (node.kind === 'ephemeral') return true;
  // A node whose children never changed has none; the server makes its own without counting them.
  return node.cversion === 0 && node.pzxid === node.czxid && node.path !== '/' && !/^\/zookeeper(\/|$)/.test(node.path);
}

function aside({ data_bytes: size, kind }) {
  const type = kind === 'persistent' || kind === 'unknown' ? '' : `, ${kind}`;
  return `${size === null ? 'null' : bytes(size)}${type}`;
}

function parentOf(li) {
  return li.parentElement.closest('[role=treeitem]');
}

function lastWithin(li, isOpen) {
  let at = li;
  while (isOpen(at)) at = at.querySelector(':scope > [role=group]').lastElementChild;
  return at;
}

function after(li, isOpen) {
  if (isOpen(li)) return li.querySelector(':scope > [role=group]').firstElementChild;
  for (let at = li; at; at = parentOf(at)) {
    if (at.nextElementSibling) return at.nextElementSibling;
  }
  return null;
}

function before(li, isOpen) {
  return li.previousElementSibling ? lastWithin(li.previousElementSibling, isOpen) : parentOf(li);
}
