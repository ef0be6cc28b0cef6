// Choosing a snapshot: by cluster, then by time.

import { call, query } from './api.js';
import { choice, field, h } from './dom.js';
import { show } from './problem.js';
import { count, moment, visible } from './text.js';

const MOST = 500;

/**
 * Controls for a cluster and for one or more of its snapshots: `{ fields, selects }`. `wanted` are ids that should be
 * chosen at first, in the order of `labels`; those not given are the newest, the last label first.
 */
export async function snapshotChoice(page, cluster, labels, wanted, failed) {
  const { signal } = page;
  const clusters = (await call('/clusters', { signal })).map(({ name }) => name);
  const read = async (name) => (await call(`/snapshots${query({ cluster: name, limit: MOST })}`, { signal })).snapshots;
  const first = clusters.includes(cluster) || clusters.length === 0 ? cluster : clusters[0];
  const which = choice([...clusters.map((name) => [name, visible(name)]), ['', 'All clusters']], first);
  const selects = labels.map(() => h('select', { required: true }));
  const fill = (all, ids) => {
    selects.forEach((select, index) => {
      const id = ids[index] || all[Math.min(selects.length - 1 - index, all.length - 1)]?.id;
      const listed = all.map((snapshot) => [snapshot.id, words(snapshot, which.value === '')]);
      // One that is older than the list reaches, or given by a short id.
      const known = all.find((snapshot) => snapshot.id.startsWith(id));
      if (id && !known) listed.push([id, id.slice(0, 8)]);
      select.replaceChildren(...listed.map(([value, text]) => h('option', { value, selected: value === (known?.id ?? id) }, text)));
    });
  };
  fill(await read(first), wanted);
  which.addEventListener('change', async () => {
    try {
      fill(await read(which.value), []);
    } catch (error) {
      show(failed, error);
    }
  });
  return { cluster: which, selects, fields: [field('Cluster', which), ...selects.map((select, index) => field(labels[index], select))] };
}

function words(snapshot, withCluster) {
  const odd = snapshot.suspect ? ' · suspect' : snapshot.incomplete ? ' · incomplete' : '';
  const cluster = withCluster ? ` · ${visible(snapshot.cluster)}` : '';
  return `${moment(snapshot.time)} · ${snapshot.short_id}${cluster} · ${count(snapshot.nodes)} nodes${odd}`;
}
