// Jobs: what ran, runs and waits.

import { call, query } from './api.js';
import { choice, field, h, link, table } from './dom.js';
import { every } from './poll.js';
import { box, show } from './problem.js';
import { mark } from './states.js';
import { ago, span, visible } from './text.js';

const REFRESH_MS = 5000;
const STATES = ['queued', 'running', 'succeeded', 'incomplete', 'refused', 'failed', 'cancelled'];

/** The view. */
export async function jobs(page) {
  const cluster = page.query.get('cluster');
  const state = page.query.get('state');
  const { signal } = page;
  const place = h('div', null);
  const trouble = h('div', { class: 'place' });
  let before = '';
  const load = async () => {
    const found = await call(`/jobs${query({ cluster, state })}`, { signal });
    trouble.replaceChildren();
    const same = JSON.stringify(found);
    // Only what changed is drawn anew: whoever is on a link stays there.
    if (same === before) return;
    before = same;
    const on = place.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
    place.replaceChildren(list(found));
    if (on) [...place.querySelectorAll('a')].find((a) => a.getAttribute('href') === on)?.focus();
  };
  const clusters = await call('/clusters', { signal });
  page.body.append(filter(clusters, cluster, state), trouble, place);
  await load();
  await every(REFRESH_MS, signal, () => load().catch((error) => {
    if (error.status === 401) show(trouble, error);
    else if (error.name !== 'AbortError') trouble.replaceChildren(box(error));
  }));
}

function filter(clusters, cluster, state) {
  const which = choice([['', 'All clusters'], ...clusters.map(({ name }) => [name, visible(name)])], cluster);
  const how = choice([['', 'Any state'], ...STATES.map((name) => [name, name])], state);
  const go = (event) => {
    event.preventDefault();
    location.hash = `#/jobs${query({ cluster: which.value, state: how.value })}`;
  };
  return h('form', { class: 'filter', role: 'search', on: { submit: go } },
    field('Cluster', which), field('State', how), h('button', null, 'Show'));
}

function list(found) {
  if (found.length === 0) return h('p', { class: 'empty' }, 'No job matches.');
  const rows = found.map((job) => [
    link(`#/jobs/${encodeURIComponent(job.id)}`, `${job.kind}`, h('span', { class: 'unseen' }, ` ${job.id}`)),
    mark(job.state),
    job.cluster === null ? '–' : visible(job.cluster),
    ago(job.started_at ?? job.queued_at),
    lasted(job),
    job.reason,
    visible(job.error?.message ?? job.notes[0] ?? ''),
  ]);
  return table('Jobs, newest first', ['Job', 'State', 'Cluster', 'Began', '>Took', 'Why', 'Said'], rows);
}

/** How long a job took; nothing while it has not ended. */
export function lasted({ started_at: from, ended_at: to }) {
  if (!from || !to) return '–';
  const milliseconds = Date.parse(to) - Date.parse(from);
  return milliseconds < 10000 ? `${(milliseconds / 1000).toFixed(1)} s` : span(milliseconds / 1000);
}
