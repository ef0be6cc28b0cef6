// The page: which view belongs to the address, where the focus goes, and the token. Each view gets a `page` with its
// parameters, a place to fill and a signal that ends its requests when another view takes over.

import { token } from './api.js';
import { announce, field, h } from './dom.js';
import { onUnknown, show } from './problem.js';
import { visible } from './text.js';
import { clusters } from './clusters.js';
import { snapshots } from './snapshots.js';
import { snapshot } from './snapshot.js';
import { browse } from './browse.js';
import { diff } from './diff.js';
import { jobs } from './jobs.js';
import { job } from './job.js';
import { restore } from './restore.js';
import { plan } from './plan.js';

const ROUTES = [
  [/^\/clusters$/, 'clusters', 'Clusters', clusters],
  [/^\/snapshots$/, 'snapshots', 'Snapshots', snapshots],
  [/^\/snapshots\/([\w~-]+)$/, 'snapshots', 'Snapshot', snapshot],
  [/^\/snapshots\/([\w~-]+)\/nodes$/, 'snapshots', 'Browse', browse],
  [/^\/diff$/, 'diff', 'Compare two snapshots', diff],
  [/^\/restore$/, 'restore', 'Plan a restore', restore],
  [/^\/restore\/([\w-]+)$/, 'restore', 'Plan of a restore', plan],
  [/^\/jobs$/, 'jobs', 'Jobs', jobs],
  [/^\/jobs\/([\w-]+)$/, 'jobs', 'Job', job],
];

const main = document.getElementById('main');
const signOut = document.getElementById('sign-out');
let shown = null;

/** The parts of `#/path?name=value`; `raw` gives a part as it stands, for paths of znodes. */
function address() {
  const [path, search = ''] = location.hash.replace(/^#/, '').split(/\?(.*)/s);
  const parts = new Map(search.split('&').filter(Boolean).map((part) => {
    const [name, text = ''] = part.split(/=(.*)/s);
    return [name, text];
  }));
  const decoded = (name) => {
    try {
      return decodeURIComponent(parts.get(name) ?? '');
    } catch {
      return '';
    }
  };
  return { path, query: { get: decoded, raw: (name) => parts.get(name) ?? '' } };
}

async function route(focus = true) {
  const { path, query } = address();
  const found = ROUTES.map(([pattern, ...rest]) => [pattern.exec(path), ...rest]).find(([match]) => match);
  if (!found) {
    location.replace('#/clusters');
    return;
  }
  const [match, section, title, view] = found;
  const page = begin(title, section, focus);
  page.query = query;
  page.id = match[1];
  try {
    await view(page);
  } catch (error) {
    if (!page.signal.aborted) show(page.body, error);
  }
}

/** Makes room for a view. */
function begin(title, section, focus) {
  shown?.abort();
  shown = new AbortController();
  for (const item of document.querySelectorAll('nav a')) {
    if (item.dataset.section === section) item.setAttribute('aria-current', 'page');
    else item.removeAttribute('aria-current');
  }
  signOut.hidden = !token.get();
  announce('');
  const heading = h('h1', { tabindex: '-1' });
  const body = h('div', { class: 'body' });
  const page = {
    signal: shown.signal,
    body,
    /** Names the page: plain text for the window, and elements in the heading. */
    title(text, ...children) {
      document.title = `${visible(text)} · ZooArk`;
      heading.replaceChildren(...(children.length > 0 ? children : [visible(text)]));
    },
  };
  page.title(title);
  main.replaceChildren(heading, body);
  if (focus) {
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
  return page;
}

function askForToken(problem) {
  if (problem && problem.token !== token.get()) {
    // An answer to what was asked before a new token was given.
    route();
    return;
  }
  const refused = token.get() !== null;
  token.clear();
  const page = begin('Who is asking?', null, false);
  const input = h('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', required: true });
  const send = (event) => {
    event.preventDefault();
    const given = input.value.trim();
    // A header takes no other characters, and no token has them.
    if (!/^[\x21-\x7e]+$/.test(given)) {
      show(page.body.querySelector('.place'), Object.assign(new Error(), { status: 0, title: 'That is no token', detail: 'A token is one word.' }));
      return;
    }
    token.set(given);
    route();
  };
  page.body.append(h('form', { class: 'narrow panel', on: { submit: send } },
    h('p', null, refused ? 'The daemon does not know this token.' : 'The daemon answers only to those with a token.',
      problem?.detail ? h('small', { class: 'below' }, visible(problem.detail)) : null),
    field('Token', input, 'Kept in this tab until it is closed, and sent to this daemon only.'),
    h('div', { class: 'place' }),
    h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Go on'))));
  input.focus();
  announce(refused ? 'The token was refused' : 'A token is needed');
}

onUnknown(askForToken);
signOut.addEventListener('click', () => {
  token.clear();
  askForToken();
});
document.getElementById('skip').addEventListener('click', (event) => {
  // The address after # is the page's own, so the link itself would lead away.
  event.preventDefault();
  main.focus();
});
window.addEventListener('hashchange', () => route());
route(false);
