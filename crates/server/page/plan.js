// A plan of a restore: what it would do, what speaks against it, and the confirmation.

import { call, query } from './api.js';
import { announce, busy, facts, field, h, link, table } from './dom.js';
import { saidOfNodes, tableOfNodes } from './job.js';
import { attempt, show } from './problem.js';
import { mark } from './states.js';
import { ago, bytes, code, count, counted, visible } from './text.js';

const COUNTS = [
  ['create', 'created'], ['set', 'given their value'], ['acl', 'given their ACL'], ['type_change', 'replaced, of another type'],
  ['delete', 'deleted'], ['conflict', 'in conflict'], ['skip', 'left as they are'], ['equal', 'equal already'],
  ['ephemeral', 'ephemeral, left out'], ['reserved', 'the server’s own, left out'], ['counters', 'counters raised'],
  ['versions', 'versions raised'], ['versions_differ', 'of another version afterwards'], ['containers', 'of them containers'], ['ttls', 'of them with a time to live'],
];
const TONES = { delete: 'bad', conflict: 'bad', type_change: 'warn', create: 'good' };

/** The view. */
export async function plan(page) {
  let found;
  try {
    found = await call(`/restores/${page.id}`, { role: 'restore', signal: page.signal });
  } catch (error) {
    show(page.body, error);
    if (error.status === 404 || error.status === 410) page.body.append(h('p', null, link('#/restore', 'Make a new plan')));
    return;
  }
  const { offer } = found;
  page.title(`Restore into ${found.target}`);
  const again = `#/restore${query({ snapshot: found.snapshot, path: found.path })}`;
  page.body.append(
    h('div', { class: 'panel' }, facts(
      ['Snapshot', link(`#/snapshots/${found.snapshot}`, code(found.snapshot.slice(0, 8)))],
      ['Path', code(found.path)],
      ['Into', [h('strong', null, visible(found.target)), offer.target ? [' ', code(offer.target)] : null]],
      ['Clients there', clients(offer)],
      ['Good until', ago(found.expires_at)])),
    numbers(offer),
    ...against(offer),
    warnings(offer),
    confirm(page, found, again),
    ...apart(offer),
    items(found));
}

function clients({ connections, live_ephemerals: ephemerals, live_sessions: sessions }) {
  const open = connections === null || connections === undefined ? 'connections unknown' : counted(connections, 'connection');
  return ephemerals > 0 ? `${open}; ${counted(ephemerals, 'ephemeral node')} of ${counted(sessions, 'session')}` : open;
}

function numbers(offer) {
  const shown = COUNTS.filter(([name]) => offer.plan[name] > 0);
  const tiles = shown.map(([name, words]) => h('li', { class: TONES[name] ? `tone-${TONES[name]}` : null, 'data-count': name },
    h('strong', null, count(offer.plan[name])), ` ${words}`));
  const size = offer.plan.bytes > 0 ? h('li', null, h('strong', null, bytes(offer.plan.bytes)), ' of values written') : null;
  return h('section', { class: 'panel' }, h('h2', null, 'What it would do'),
    offer.empty ? h('p', null, mark('ok', 'Nothing'), ': the target is as the snapshot already.') : null,
    h('ul', { class: 'tiles' }, tiles, size));
}

/** What forbids it. */
function against({ conflicts = [], refusals = [] }) {
  const parts = [];
  if (refusals.length > 0) {
    parts.push(h('section', { class: 'problem', 'data-refusals': '' }, h('h2', null, 'It will not be done'), h('ul', null, refusals.map((why) => h('li', null, visible(why))))));
  }
  if (conflicts.length > 0) parts.push(h('section', { class: 'problem', 'data-conflicts': '' }, saidOfNodes('Nodes that differ and forbid it', conflicts)));
  return parts;
}

/** What a person should know before agreeing. */
function warnings({ warnings: all = [] }) {
  return all.length === 0 ? ''
    : h('section', { class: 'panel warned' }, h('h2', null, 'Know before'), h('ul', null, all.map((why) => h('li', null, visible(why)))));
}

/** Nodes that are not restored, or not as they were. */
function apart(offer) {
  const lists = [['Left as they are', offer.skipped], ['Spared by the delete', offer.kept], ['Cannot be as in the snapshot', offer.not_reproducible]];
  const ephemerals = (offer.ephemerals_skipped ?? []).map((path) => ({ path, why: 'its session is gone' }));
  return [...lists, ['Ephemeral nodes left out', ephemerals]].filter(([, all]) => all?.length > 0)
    .map(([title, all]) => h('details', { class: 'panel' }, h('summary', null, `${title} (${count(all.length)})`), tableOfNodes(title, all)));
}

function confirm(page, found, again) {
  const { offer } = found;
  const other = h('p', null, link(again, 'Plan it differently'));
  if ((offer.refusals ?? []).length + (offer.conflicts ?? []).length > 0) return other;
  if (offer.empty) return other;
  const name = h('input', { type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', required: true });
  const place = h('div', { class: 'place' });
  const send = h('button', { class: 'danger' }, 'Restore');
  const go = (event) => {
    event.preventDefault();
    if (name.value.trim() !== found.target) {
      name.setAttribute('aria-invalid', 'true');
      place.replaceChildren(h('p', { class: 'tone-bad', role: 'alert' }, 'That is not the name of the target. Nothing was done.'));
      name.focus();
      return null;
    }
    name.removeAttribute('aria-invalid');
    return busy(send, () => attempt(place, async () => {
      const job = await call(`/restores/${page.id}/apply`, { method: 'POST', role: 'restore', signal: page.signal });
      announce('The restore has begun');
      location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
    }));
  };
  return h('form', { class: 'panel confirm', novalidate: true, on: { submit: go } }, h('h2', null, 'Do it'),
    field(`To confirm, type the target’s name: ${visible(found.target)}`, name), place,
    h('div', { class: 'actions' }, send, link(again, 'Plan it differently')));
}

function items({ items: list, items_total: total }) {
  if (list.length === 0) return '';
  const moved = list.some(({ from }) => from);
  const rows = list.map(({ path, from, action }) => [code(path, 'path'), action, ...(moved ? [from ? code(from, 'path') : ''] : [])]);
  const rest = total - list.length;
  return h('section', { class: 'panel' }, h('h2', null, `Every node (${count(total)})`),
    table('Nodes of the plan, by their path in the target', ['Path', 'Action', ...(moved ? ['From'] : [])], rows),
    rest > 0 ? h('p', { class: 'muted' }, `and ${count(rest)} more`) : null);
}
