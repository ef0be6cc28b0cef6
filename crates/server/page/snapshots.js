// Snapshots over time: a chart for each cluster and the list.

import { call, query } from './api.js';
import { chart } from './chart.js';
import { choice, field, h, link, table } from './dom.js';
import { mark } from './states.js';
import { at, bytes, code, count, counted, now, visible } from './text.js';

const STEP = 200;
const MOST_CHARTS = 4;

/** The view. */
export async function snapshots(page) {
  const cluster = page.query.get('cluster');
  const tag = page.query.get('tag');
  const limit = Number(page.query.get('limit')) || STEP;
  const { signal } = page;
  const [clusters, found] = await Promise.all([
    call('/clusters', { signal }),
    call(`/snapshots${query({ cluster, tag, limit })}`, { signal }),
  ]);
  page.body.append(filter(clusters, cluster, tag));
  if (found.unreadable > 0) {
    page.body.append(h('div', { class: 'problem' }, h('p', null, h('strong', null, counted(found.unreadable, 'snapshot')), ' could not be read. ',
      h('code', null, 'zooark check'), ' tells why.')));
  }
  if (found.snapshots.length === 0) {
    page.body.append(h('p', { class: 'empty' }, 'No snapshot matches.'));
    return;
  }
  page.body.append(...charts(found.snapshots), list(found.snapshots, cluster === ''));
  if (found.snapshots.length >= limit) {
    page.body.append(h('p', null, `These are the newest ${count(limit)}. `,
      link(`#/snapshots${query({ cluster, tag, limit: limit * 5 })}`, `Up to ${count(limit * 5)}`)));
  }
}

function filter(clusters, cluster, tag) {
  const names = clusters.map(({ name }) => name);
  // One that the configuration no longer names may still have snapshots.
  if (cluster && !names.includes(cluster)) names.push(cluster);
  const which = choice([['', 'All clusters'], ...names.map((name) => [name, visible(name)])], cluster);
  const tagged = h('input', { type: 'text', value: tag, autocomplete: 'off', spellcheck: 'false' });
  const go = (event) => {
    event?.preventDefault();
    location.hash = `#/snapshots${query({ cluster: which.value, tag: tagged.value.trim() })}`;
  };
  return h('form', { class: 'filter', role: 'search', on: { submit: go } },
    field('Cluster', which), field('Tag', tagged), h('button', null, 'Show'));
}

function charts(all) {
  const groups = new Map();
  for (const snapshot of all) groups.set(snapshot.cluster, [snapshot, ...(groups.get(snapshot.cluster) ?? [])]);
  const drawn = [...groups].slice(0, MOST_CHARTS).map(([cluster, own]) =>
    h('section', { class: 'panel' }, h('h2', null, visible(cluster)), chart(visible(cluster), own)));
  const left = groups.size - drawn.length;
  return left > 0 ? [...drawn, h('p', { class: 'muted' }, `${counted(left, 'more cluster')}: choose one to see its chart.`)] : drawn;
}

function list(all, withCluster) {
  const rows = all.map((snapshot) => [
    link(`#/snapshots/${snapshot.id}`, code(snapshot.short_id)),
    at(snapshot.time),
    ...(withCluster ? [visible(snapshot.cluster)] : []),
    count(snapshot.nodes),
    bytes(snapshot.added_bytes),
    bytes(snapshot.raw_bytes),
    remarks(snapshot),
    link(`#/snapshots/${snapshot.id}/nodes`, 'Browse', h('span', { class: 'unseen' }, ` ${snapshot.short_id}`)),
  ]);
  return table('Snapshots, newest first', ['Snapshot', 'Time', ...(withCluster ? ['Cluster'] : []), '>Nodes', '>Added', '>Whole', 'Remarks', 'Look'], rows);
}

/** What a person should know of a snapshot before trusting it, and its tags. */
export function remarks(snapshot) {
  const kept = snapshot.protected_until && Date.parse(snapshot.protected_until) > now();
  return h('span', { class: 'remarks' },
    snapshot.suspect ? mark('suspect') : null,
    snapshot.incomplete ? mark('incomplete') : null,
    snapshot.consistency === 'fuzzy' ? mark('fuzzy') : null,
    kept ? mark('protected') : null,
    snapshot.tags.map((tag) => h('span', { class: 'tag' }, visible(tag))));
}
