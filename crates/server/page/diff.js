// What differs between two snapshots.

import { call, query } from './api.js';
import { snapshotChoice } from './choose.js';
import { announce, field, h, link, table } from './dom.js';
import { wireOf, wireOfTyped } from './path.js';
import { show } from './problem.js';
import { bytes, code, count, counted } from './text.js';

const STEP = 1000;
const SIGNS = { created: ['+', 'good'], changed: ['~', 'busy'], deleted: ['−', 'bad'] };

/** The view. */
export async function diff(page) {
  const [older, newer] = [page.query.get('old'), page.query.get('new')];
  const path = page.query.get('path') || '/';
  const limit = Number(page.query.get('limit')) || STEP;
  const failed = h('div', { class: 'place' });
  const chosen = await snapshotChoice(page, page.query.get('cluster'), ['Before', 'After'], [older, newer], failed);
  const below = h('input', { type: 'text', value: path, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' });
  const go = (event) => {
    event.preventDefault();
    const [before, after] = chosen.selects.map((select) => select.value);
    location.hash = `#/diff${query({ cluster: chosen.cluster.value, old: before, new: after, path: below.value })}`;
  };
  page.body.append(h('form', { class: 'filter', on: { submit: go } }, chosen.fields, field('Below', below), h('button', { class: 'primary' }, 'Compare')), failed);
  if (!older || !newer) return;
  const place = h('div', { class: 'body' }, h('p', { class: 'muted' }, 'Comparing…'));
  page.body.append(place);
  try {
    const ids = [older, newer].map(encodeURIComponent);
    const found = await call(`/snapshots/${ids[0]}/diff/${ids[1]}${query({ limit }, { path: wireOfTyped(path) })}`, { signal: page.signal });
    place.replaceChildren(...result(found, older, newer));
    announce(inWords(found.summary));
    if (found.truncated) {
      const more = query({ cluster: page.query.get('cluster'), old: older, new: newer, path, limit: limit * 10 });
      place.append(h('p', null, `Only the first ${count(found.changes.length)} are listed. `, link(`#/diff${more}`, `Up to ${count(limit * 10)}`)));
    }
  } catch (error) {
    show(place, error);
  }
}

function inWords({ created, changed, deleted, stat_only: statOnly, unread }) {
  const rest = statOnly > 0 ? `; of ${count(statOnly)} more only the stat differs` : '';
  const hidden = unread > 0 ? `; ${counted(unread, 'node')} could not be read whole and were not compared` : '';
  return `${count(created)} created, ${count(changed)} changed, ${count(deleted)} deleted${rest}${hidden}`;
}

function result({ summary, changes }, older, newer) {
  const words = h('p', { class: 'summary', 'data-summary': '' }, inWords(summary));
  if (changes.length === 0) return [words];
  return [words, table('What differs', ['Path', 'How', 'What', 'Before and after', 'Look'], changes.map((change) => row(change, older, newer)))];
}

function row(change, older, newer) {
  const { old: before, new: after } = change;
  const [sign, tone] = SIGNS[change.change] ?? ['?', 'plain'];
  const look = (snapshot, node, words) => node &&
    link(`#/snapshots/${snapshot}/nodes?path=${wireOf(node)}`, words, h('span', { class: 'unseen' }, ` ${node.path}`));
  return [
    code(change.path, 'path'),
    h('span', { class: `mark ${tone}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, sign), change.change),
    [change.data && 'data', change.acl && 'ACL', change.kind && 'type', change.recreated && 'created again'].filter(Boolean).join(', '),
    both(before, after),
    h('span', { class: 'links' }, look(older, before, 'Before'), look(newer, after, 'After')),
  ];
}

function both(before, after) {
  const size = (node) => (node.data_bytes === null ? 'null' : node.data_bytes === 0 ? 'empty' : bytes(node.data_bytes));
  if (!before) return `${size(after)}, ${after.kind}`;
  if (!after) return `${size(before)}, ${before.kind}`;
  const turned = (a, b) => (a === b ? `${a}` : `${a} → ${b}`);
  return [turned(size(before), size(after)), `version ${turned(before.version, after.version)}`,
    before.kind === after.kind ? null : turned(before.kind, after.kind)].filter(Boolean).join(', ');
}
