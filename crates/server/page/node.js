// One znode of a snapshot: its stat, its ACL, its value.

import { query } from './api.js';
import { facts, h, link, table } from './dom.js';
import { bytes, code, count, moment, visible } from './text.js';
import { valueView } from './value.js';

const PERMS = [['c', 'create'], ['d', 'delete'], ['r', 'read'], ['w', 'write'], ['a', 'admin']];

/** The parts of a node's panel. */
export function nodeView(page, snapshot, node, wire) {
  return [
    h('h2', { class: 'path' }, code(node.path)),
    node.path_base64 ? h('p', { class: 'muted' }, 'Its name is not plain text; what cannot be shown is escaped.') : '',
    h('p', { class: 'links' },
      node.path_base64 ? null : link(`#/restore${query({ snapshot: snapshot.id, cluster: snapshot.cluster, path: node.path })}`, 'Restore from here down')),
    h('section', null, h('h3', null, 'Value'), valueView(page, snapshot, node, wire)),
    h('section', null, h('h3', null, 'Access'), acl(node.acl)),
    h('section', null, h('h3', null, 'Stat'), facts(
      ['Type', node.ttl_ms === null || node.ttl_ms === undefined ? node.kind : `${node.kind}, gone after ${count(node.ttl_ms)} ms idle`],
      ['Bytes', node.data_bytes === null ? 'null' : node.data_bytes < 1024 ? count(node.data_bytes) : `${count(node.data_bytes)} (${bytes(node.data_bytes)})`],
      ['Created', [time(node.ctime), ' ', code(node.czxid)]],
      ['Changed', [time(node.mtime), ' ', code(node.mzxid)]],
      ['Children changed', code(node.pzxid)],
      ['Version', count(node.version)],
      ['Children version', count(node.cversion)],
      ['ACL version', count(node.aversion)],
      ['Owner', node.kind === 'ephemeral' ? code(node.ephemeral_owner) : null])),
  ];
}

function time(milliseconds) {
  const date = new Date(milliseconds);
  // Clients may have written times that no calendar has.
  return Number.isNaN(date.getTime()) ? `${milliseconds} ms` : `${moment(milliseconds)} UTC`;
}

function acl(entries) {
  if (entries === null || entries === undefined) return h('p', null, 'Could not be learnt when the snapshot was taken.');
  if (entries.length === 0) return h('p', null, 'No entry: nobody may do anything.');
  const may = (perms) => {
    const words = PERMS.filter(([letter]) => perms.includes(letter)).map(([, word]) => word);
    return words.length === PERMS.length ? 'everything' : words.join(', ') || 'nothing';
  };
  return table('Access control list', ['Who', 'May', 'Letters'],
    entries.map(({ scheme, id, perms }) => [code(`${scheme}:${id}`), may(perms), code(visible(perms))]));
}
