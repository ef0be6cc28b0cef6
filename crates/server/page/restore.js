// Planning a restore: nothing is written before the plan has been shown and confirmed.

import { call } from './api.js';
import { snapshotChoice } from './choose.js';
import { announce, busy, button, choice, field, h, tick } from './dom.js';
import { attempt } from './problem.js';
import { visible } from './text.js';

const POLICIES = [
  ['fail', 'Refuse the restore'],
  ['skip', 'Leave them as they are'],
  ['overwrite', 'Overwrite them'],
  ['newer', 'Overwrite those older than the snapshot’s'],
];

/** The view. */
export async function restore(page) {
  const failed = h('div', { class: 'place' });
  const [targets, chosen] = await Promise.all([
    call('/restore-targets', { signal: page.signal }),
    snapshotChoice(page, page.query.get('cluster'), ['Snapshot'], [page.query.get('snapshot')], failed),
  ]);
  if (targets.length === 0) {
    page.body.append(h('p', { class: 'empty' }, 'The configuration names no place to restore to: add a ', h('code', null, '[[restore_target]]'),
      ', or use ', h('code', null, 'zooark restore'), '.'));
    return;
  }
  const text = (value) => h('input', { type: 'text', value, required: true, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false' });
  const path = text(page.query.get('path') || '/');
  const target = choice([['', 'Choose…'], ...targets.map(({ name, target: where }) => [name, visible(`${name}: ${where}`)])], '', { required: true });
  const conflict = choice(POLICIES, 'fail');
  const remove = tick('Delete what the snapshot lacks', {}, 'Below the path, in the target. The plan names each node first.');
  const moves = remaps(text);
  const send = h('button', { class: 'primary' }, 'Make the plan');
  const go = (event) => {
    event.preventDefault();
    return busy(send, () => attempt(failed, async () => {
      announce('Making the plan');
      const body = {
        snapshot: chosen.selects[0].value, path: path.value.trim(), target: target.value, conflict: conflict.value,
        delete: remove.control.checked, remap: moves.value(), dry_run: false,
      };
      const made = await call('/restores', { method: 'POST', body, role: 'restore', signal: page.signal });
      location.hash = `#/restore/${encodeURIComponent(made.plan_id)}`;
    }));
  };
  page.body.append(
    h('p', { class: 'muted' }, 'First a plan is made, which changes nothing. What it would do is shown, and done only once confirmed.'),
    h('form', { class: 'panel form', on: { submit: go } },
      h('fieldset', null, h('legend', null, 'From'), chosen.fields, field('Path', path, 'This node and everything below it.')),
      h('fieldset', null, h('legend', null, 'Into'), field('Target', target), field('Nodes that differ there', conflict), remove.element),
      moves.element, failed, h('div', { class: 'actions' }, send)));
}

/** Pairs of paths: what lies below the first in the snapshot goes below the second in the target. */
function remaps(text) {
  const list = h('div');
  const rows = [];
  const add = button('Put a subtree elsewhere', () => {
    const [from, to] = [text(''), text('')];
    const number = rows.length + 1;
    const entry = { from, to };
    const remove = button('Remove', () => {
      rows.splice(rows.indexOf(entry), 1);
      row.remove();
      add.focus();
    });
    const row = h('div', { class: 'row', role: 'group', 'aria-label': `Moved subtree ${number}` },
      field('From, in the snapshot', from), field('To, in the target', to), remove);
    rows.push(entry);
    list.append(row);
    from.focus();
  });
  const element = h('fieldset', null, h('legend', null, 'Moved'), list, add);
  return { element, value: () => rows.map(({ from, to }) => ({ from: from.value.trim(), to: to.value.trim() })) };
}
