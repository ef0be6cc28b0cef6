// One snapshot: what it is, where to go from it, and what an admin may change about it.

import { call, query } from './api.js';
import { announce, button, confirmed, facts, field, h, link } from './dom.js';
import { attempt } from './problem.js';
import { mark } from './states.js';
import { remarks } from './snapshots.js';
import { ago, at, bytes, code, count, now, visible } from './text.js';

/** The view. */
export async function snapshot(page) {
  const found = await call(`/snapshots/${page.id}`, { signal: page.signal });
  fill(page, found);
}

function fill(page, found) {
  page.title(`Snapshot ${found.short_id}`, 'Snapshot ', code(found.short_id));
  const before = found.parent_id;
  page.body.replaceChildren(
    h('p', { class: 'links' },
      link(`#/snapshots/${found.id}/nodes`, 'Browse its tree'),
      before ? link(`#/diff${query({ old: before, new: found.id, cluster: found.cluster })}`, 'Compare with the one before') : null,
      link(`#/restore${query({ snapshot: found.id, cluster: found.cluster })}`, 'Plan a restore'),
      link(`#/snapshots${query({ cluster: found.cluster })}`, `All of ${visible(found.cluster)}`)),
    h('p', null, remarks(found)),
    found.suspect ? h('div', { class: 'problem' }, h('p', null, h('strong', null, 'Held back as suspect. '), visible(found.suspect))) : '',
    h('div', { class: 'panel' }, facts(
      ['Time', [at(found.time), ' · ', ago(found.time)]],
      ['Cluster', visible(found.cluster)],
      ['Taken by', visible(found.host)],
      ['Nodes', count(found.nodes)],
      ['Added', bytes(found.added_bytes)],
      ['Whole', bytes(found.raw_bytes)],
      ['State', consistency(found)],
      ['Complete', found.incomplete ? mark('incomplete', 'no: some of the source could not be read') : 'yes'],
      ['Verified', found.verified_at ? at(found.verified_at) : 'not yet'],
      ['Number', count(found.seq)],
      ['Before it', before ? link(`#/snapshots/${before}`, code(before.slice(0, 8))) : 'none'],
      ['Source', code(found.source), true],
      ['Id', code(found.id, 'long')],
      ['Digest', code(found.state_digest, 'long')])),
    keep(page, found));
}

function consistency({ consistency: how, zxid_low: low, zxid_high: high }) {
  return how === 'exact' ? ['exact, at ', code(high)] : [`${how}, between `, code(low), ' and ', code(high)];
}

function keep(page, found) {
  const place = h('div', { class: 'place' });
  const path = `/snapshots/${found.id}`;
  const change = (body, said) => attempt(place, async () => {
    const changed = await call(path, { method: 'PATCH', body, role: 'admin', signal: page.signal });
    fill(page, changed);
    announce(said);
    page.body.querySelector('h2').focus();
  });
  const tags = h('input', { type: 'text', value: found.tags.join(', '), autocomplete: 'off', spellcheck: 'false' });
  const until = h('input', { type: 'date', value: (found.protected_until ?? '').slice(0, 10) });
  const protect = () => {
    if (until.value === '') {
      until.focus();
      announce('Choose a day first');
      return Promise.resolve();
    }
    return change({ protected_until: `${until.value}T23:59:59Z` }, 'Protected');
  };
  const forget = async () => {
    const sure = await confirmed(`Forget ${found.short_id}?`,
      `The snapshot of ${visible(found.cluster)} at ${found.time} can then no longer be restored. Nothing brings it back.`, 'Forget it');
    if (!sure) return;
    const gone = await attempt(place, () => call(path, { method: 'DELETE', role: 'admin', signal: page.signal }));
    if (gone) location.hash = `#/snapshots${query({ cluster: found.cluster })}`;
  };
  const isKept = found.protected_until && Date.parse(found.protected_until) > now();
  const wanted = () => tags.value.split(/[\s,]+/).filter(Boolean);
  return h('section', { class: 'panel' }, h('h2', { tabindex: '-1' }, 'Keeping it'),
    isKept ? h('p', null, 'Not forgotten before ', at(found.protected_until), '.') : null,
    h('div', { class: 'body' },
      h('form', { class: 'inline', on: { submit: (event) => event.preventDefault() } },
        field('Tags', tags), button('Save the tags', () => change({ tags: wanted() }, 'Tags saved'), { type: 'submit' })),
      h('form', { class: 'inline', on: { submit: (event) => event.preventDefault() } },
        field('Protected until the end of', until), button('Protect', protect, { type: 'submit' }),
        isKept ? button('No longer protect', () => change({ protected_until: null }, 'No longer protected')) : null)),
    place,
    h('div', { class: 'actions' }, button('Forget this snapshot', forget, { class: 'danger' })));
}
