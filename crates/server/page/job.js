// One job: its progress while it runs, and what came of it.

import { call } from './api.js';
import { announce, button, facts, h, link, table } from './dom.js';
import { lasted } from './jobs.js';
import { attempt } from './problem.js';
import { follow, isOver, progressBar } from './progress.js';
import { mark } from './states.js';
import { at, bytes, code, count, visible } from './text.js';

/** The role that may start, and so cancel, a job of a kind. */
const STARTED_BY = { backup: 'backup', restore: 'restore' };
const MOST_SHOWN = 500;

/** The view. */
export async function job(page) {
  const path = `/jobs/${page.id}`;
  const first = await call(path, { signal: page.signal });
  const name = first.cluster ? `${first.kind} of ${visible(first.cluster)}` : first.kind;
  page.title(`Job: ${name}`);
  const head = h('div');
  const bar = progressBar(name);
  const place = h('div', { class: 'place' });
  const outcome = h('div', { class: 'body' });
  const cancel = button('Cancel', () => attempt(place, async () => {
    update(await call(path, { method: 'DELETE', role: STARTED_BY[first.kind] ?? 'admin', signal: page.signal }));
    announce('Asked to stop');
  }));
  const running = h('div', { class: 'row' }, bar.element, cancel);
  page.body.append(h('div', { class: 'panel' }, head, running, place), outcome);
  const update = (now) => {
    head.replaceChildren(facts(
      ['State', mark(now.state)],
      ['Cluster', now.cluster && visible(now.cluster)],
      ['Why', now.reason],
      ['Queued', at(now.queued_at)],
      ['Began', now.started_at && at(now.started_at)],
      ['Ended', now.ended_at && at(now.ended_at)],
      ['Took', now.ended_at && lasted(now)],
      ['Id', code(now.id)]));
    if (isOver(now)) running.remove();
    else bar.update(now);
    outcome.replaceChildren(...said(now));
  };
  update(first);
  if (isOver(first)) return;
  const hadFocus = () => document.activeElement === cancel;
  const ended = await follow(first, page.signal, (now) => {
    const lost = hadFocus() && isOver(now);
    update(now);
    if (lost) document.querySelector('h1').focus();
  });
  announce(`${name} ${ended.state}`);
}

function said(now) {
  const error = now.error
    ? h('div', { class: 'problem' }, h('p', null, h('strong', null, visible(now.error.kind))), h('p', null, visible(now.error.message)))
    : null;
  const notes = now.notes.length > 0
    ? h('section', { class: 'panel' }, h('h2', null, 'Notes'), h('ul', null, now.notes.map((note) => h('li', null, visible(note)))))
    : null;
  return [error, now.result && now.kind === 'restore' ? restored(now.result) : null, notes, now.result && figures(now.result)].filter(Boolean);
}

/** What a restore left, before all its figures: whether it is as in the snapshot is what one wants to know. */
function restored(result) {
  const differences = result.differences ?? [];
  const failures = result.failures ?? [];
  const lead = differences.length + failures.length > 0
    ? mark('incomplete', 'Not all is as in the snapshot')
    : result.verified ? mark('succeeded', 'Read back, and as planned') : mark('incomplete', 'Not read back');
  return h('section', { class: 'panel', 'data-restored': '' }, h('h2', null, 'Result'),
    h('p', null, lead, ` ${count(result.writes ?? 0)} writes confirmed, ${count(differences.length)} differences, ${count(failures.length)} failures.`),
    result.safety_snapshot
      ? h('p', null, 'What was there before is in snapshot ', link(`#/snapshots/${encodeURIComponent(result.safety_snapshot)}`, code(result.safety_snapshot.slice(0, 8))), '.')
      : null,
    differences.length > 0 ? saidOfNodes('Differences', differences) : null,
    failures.length > 0 ? saidOfNodes('Could not be written', failures) : null);
}

/** Nodes and what is said of each, under a heading. */
export function saidOfNodes(title, all) {
  return h('div', null, h('h3', null, `${title} (${count(all.length)})`), tableOfNodes(title, all));
}

/** Nodes and what is said of each. */
export function tableOfNodes(title, all) {
  const rows = all.slice(0, MOST_SHOWN).map(({ path, why }) => [code(path, 'path'), visible(why)]);
  const rest = all.length - rows.length;
  return [table(title, ['Path', 'Why'], rows), rest > 0 ? h('p', { class: 'muted' }, `and ${count(rest)} more`) : null];
}

/** Every figure of a result by the name that `--json` gives it. */
function figures(result) {
  const simple = (value) => value === null || typeof value !== 'object';
  const entries = Object.entries(result).filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0));
  const pairs = entries.filter(([, value]) => simple(value)).map(([name, value]) => [words(name), shown(name, value)]);
  const larger = entries.filter(([, value]) => !simple(value));
  return h('section', { class: 'panel' }, h('h2', null, 'Figures'), facts(...pairs),
    larger.map(([name, value]) => h('details', null, h('summary', null, words(name)),
      h('pre', { tabindex: '0' }, visibleJson(value)))));
}

function words(name) {
  const text = name.replace(/_(bytes|ms)$/, '').replaceAll('_', ' ');
  return (text.charAt(0).toUpperCase() + text.slice(1)).replace(/^Acl/, 'ACL');
}

function shown(name, value) {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') {
    if (/(^|_)bytes$/.test(name)) return bytes(value);
    return name.endsWith('_ms') ? `${count(value)} ms` : count(value);
  }
  if (name === 'snapshot_id' || name === 'safety_snapshot') return link(`#/snapshots/${encodeURIComponent(value)}`, code(value, 'long'));
  return code(value, value.length > 28 ? 'long' : null);
}

function visibleJson(value) {
  return JSON.stringify(value, null, 2).split('\n').map(visible).join('\n').slice(0, 100000);
}
