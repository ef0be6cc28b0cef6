// Clusters: how each is doing, and what can be done about it. The cards stay while their words change, so that whoever is
// on a button stays there.

import { call, query } from './api.js';
import { announce, button, facts, h, link } from './dom.js';
import { every } from './poll.js';
import { attempt, box, show } from './problem.js';
import { follow, progressBar } from './progress.js';
import { mark, toneOf } from './states.js';
import { ago, at, bytes, code, counted, span, visible } from './text.js';

const REFRESH_MS = 5000;

/** The view. */
export async function clusters(page) {
  const summary = h('p', { class: 'summary' });
  const trouble = h('div', { class: 'place' });
  const list = h('div', { class: 'cards' });
  const cards = new Map();
  const load = async () => {
    const all = await call('/clusters', { signal: page.signal });
    trouble.replaceChildren();
    summary.replaceChildren(...inShort(all));
    for (const cluster of all) {
      if (!cards.has(cluster.name)) {
        cards.set(cluster.name, card(cluster.name, page, () => load()));
        list.append(cards.get(cluster.name).element);
      }
      cards.get(cluster.name).update(cluster);
    }
    for (const [name, { element }] of cards) {
      if (!all.some((cluster) => cluster.name === name)) {
        element.remove();
        cards.delete(name);
      }
    }
  };
  await load();
  page.body.append(summary, trouble, list);
  await every(REFRESH_MS, page.signal, async () => {
    try {
      await load();
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (error.status === 401) show(trouble, error);
      else trouble.replaceChildren(box(error), h('p', { class: 'muted' }, 'What stands below is what was known last.'));
    }
  });
}

function inShort(all) {
  if (all.length === 0) return ['The configuration names no cluster.'];
  const counts = new Map();
  for (const { state } of all) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].flatMap(([state, number]) => [mark(state, `${number} ${mark(state).textContent}`), ' ']);
}

function card(name, page, reload) {
  const state = h('span');
  const error = h('div', { class: 'place' });
  const details = h('div', { class: 'details' });
  const running = h('div', { class: 'place' });
  const failed = h('div', { class: 'place' });
  const heading = h('h2', null, visible(name));
  let followed = null;

  const watch = async (job) => {
    if (followed === job.id) return;
    followed = job.id;
    const bar = progressBar(`${job.kind ?? 'job'} of ${name}`);
    running.replaceChildren(h('div', { class: 'row' }, link(`#/jobs/${encodeURIComponent(job.id)}`, 'Running job'), bar.element));
    try {
      const ended = await follow(job, page.signal, bar.update);
      running.replaceChildren(h('p', null, mark(ended.state, `${ended.kind} ${ended.state}`), ' ',
        link(`#/jobs/${encodeURIComponent(ended.id)}`, 'Its figures')));
      announce(`${ended.kind} of ${name} ${ended.state}`);
      await reload();
    } catch (failure) {
      running.replaceChildren();
      show(failed, failure);
    } finally {
      followed = null;
    }
  };
  const start = (body) => attempt(failed, async () => {
    const path = `/clusters/${encodeURIComponent(name)}/backups`;
    const job = await call(path, { method: 'POST', body, role: 'backup', signal: page.signal });
    announce(`Backup of ${name} started`);
    watch(job);
  });
  const turn = (paused) => attempt(failed, async () => {
    const path = `/clusters/${encodeURIComponent(name)}/${paused ? 'resume' : 'pause'}`;
    update(await call(path, { method: 'POST', role: 'admin', signal: page.signal }));
    announce(`${name} ${paused ? 'goes on' : 'is paused'}`);
  });

  let paused = false;
  const toggle = button('', () => turn(paused));
  const element = h('section', { class: 'card', 'aria-label': name, 'data-cluster': name },
    h('div', { class: 'head' }, heading, state), error, details, running, failed,
    h('div', { class: 'actions' },
      button('Back up now', () => start({}), { class: 'primary' }),
      button('Full backup', () => start({ full: true })),
      toggle,
      link(`#/snapshots${query({ cluster: name })}`, 'Snapshots'),
      link(`#/jobs${query({ cluster: name })}`, 'Jobs')));

  const update = (cluster) => {
    paused = cluster.paused;
    toggle.textContent = paused ? 'Resume' : 'Pause';
    element.className = `card tone-${toneOf(cluster.state)}`;
    state.replaceChildren(mark(cluster.state), cluster.standby ? h('span', { class: 'muted' }, ' standby: another daemon works') : '');
    error.replaceChildren(...lastError(cluster));
    details.replaceChildren(facts(
      ['Last success', lastSuccess(cluster)],
      ['Next run', [cluster.paused ? 'paused' : cluster.next_run ? ago(cluster.next_run) : 'none',
        h('small', { class: 'below' }, 'Schedule ', code(cluster.schedule ?? ''))]],
      ['Last snapshot', lastSnapshot(cluster.last_snapshot), true],
      ['Source', code(cluster.source ?? ''), true]));
    if (cluster.running_job) watch({ id: cluster.running_job, state: 'running' });
  };
  return { element, update };
}

function lastSuccess({ last_success: time, age_seconds: age, max_age_seconds: most }) {
  if (!time) return 'none yet';
  const old = age ?? 0;
  const late = most !== null && most !== undefined && old > most;
  const limit = most ? h('span', { class: late ? 'tone-warn' : 'muted' }, late ? `over the limit of ${span(most)}` : `limit ${span(most)}`) : null;
  return [`${span(old)} ago`, h('small', { class: 'below' }, limit, limit ? h('br') : null, at(time))];
}

function lastSnapshot(snapshot) {
  if (!snapshot) return null;
  return [link(`#/snapshots/${snapshot.id}`, code(snapshot.short_id)), ` ${counted(snapshot.nodes, 'node')}, ${bytes(snapshot.added_bytes)} added`,
    snapshot.suspect ? h('div', null, mark('suspect'), ` ${visible(snapshot.suspect)}`) : null,
    snapshot.incomplete ? h('div', null, mark('incomplete'), ' some of the source could not be read') : null];
}

function lastError({ last_error: text, consecutive_failures: failures }) {
  if (!text) return [];
  const times = failures > 1 ? ` (${failures} in a row)` : '';
  return [h('div', { class: 'problem' }, h('p', null, h('strong', null, `Last error${times}`)), h('p', null, visible(text)))];
}
