// A znode's value: text, JSON laid out, or hex. No value at all (null) and a value of no bytes are different things. Of a
// large value only the beginning is read; the whole can be saved.

import { value } from './api.js';
import { button, choice, field, h, tick } from './dom.js';
import { indent } from './json.js';
import { attempt, show } from './problem.js';
import { bytes as sized, visibleLines } from './text.js';

const LIMIT = 64 * 1024;
const HEX_ROW = 16;
/** Whether values are shown as nodes are chosen: somebody may look over the shoulder. */
let wanted = true;

/** The value of a node, asked for unless the node itself says that there is none. */
export function valueView(page, snapshot, node, wire) {
  if (node.data_bytes === null) return h('p', { class: 'novalue', 'data-value': 'null' }, h('strong', null, 'null'), ': this node has no value.');
  if (node.data_bytes === 0) return h('p', { class: 'novalue', 'data-value': 'empty' }, h('strong', null, 'empty'), ': a value of zero bytes.');
  const path = `/snapshots/${snapshot.id}/value?path=${wire}`;
  const place = h('div', { class: 'value' });
  const load = async () => {
    place.replaceChildren(h('p', { class: 'muted' }, 'Reading…'));
    try {
      const got = await value(path, { limit: LIMIT, signal: page.signal });
      if (wanted) place.replaceChildren(...(got.isNull ? ['null'] : laidOut(page, node, path, got)));
    } catch (error) {
      show(place, error);
    }
  };
  const { element, control } = tick('Show values', { checked: wanted });
  control.addEventListener('change', () => {
    wanted = control.checked;
    if (wanted) load();
    else place.replaceChildren();
  });
  if (wanted) load();
  return h('div', null, element, place);
}

function laidOut(page, node, path, { bytes, whole }) {
  const text = asText(bytes, whole);
  const json = text !== null && whole ? indent(text) : null;
  const forms = [json !== null && ['json', 'JSON, laid out'], text !== null && ['text', 'Text'], ['hex', 'Hex']].filter(Boolean);
  const shown = h('pre', { tabindex: '0', 'aria-label': 'Value', 'data-value': 'bytes' });
  const as = choice(forms, forms[0][0]);
  const draw = () => {
    shown.textContent = { json: () => visibleLines(json), text: () => visibleLines(text), hex: () => hex(bytes) }[as.value]();
  };
  as.addEventListener('change', draw);
  draw();
  const place = h('div', { class: 'place' });
  const save = button('Save as a file', () => attempt(place, async () => {
    const all = whole ? bytes : (await value(path, { signal: page.signal })).bytes;
    const url = URL.createObjectURL(new Blob([all], { type: 'application/octet-stream' }));
    h('a', { href: url, download: fileName(node.path) }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }));
  return [
    h('div', { class: 'row' }, field('As', as), save),
    whole ? '' : h('p', { class: 'cut' }, `Only the first ${sized(LIMIT)} of ${sized(node.data_bytes)} are shown.`),
    shown, place];
}

/** The text that bytes are; null where they are none. */
function asText(bytes, whole) {
  try {
    // A cut in the middle of a character is not the value's fault.
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: !whole });
    return /[\x00-\x08\x0e-\x1f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function hex(bytes) {
  const lines = [];
  for (let from = 0; from < bytes.length; from += HEX_ROW) {
    const row = [...bytes.subarray(from, from + HEX_ROW)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const letters = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${from.toString(16).padStart(6, '0')}  ${digits.padEnd(HEX_ROW * 3)} ${letters}`);
  }
  return lines.join('\n');
}

function fileName(path) {
  return path.slice(path.lastIndexOf('/') + 1).replace(/[^\w.-]+/g, '_').slice(0, 100) || 'root';
}
