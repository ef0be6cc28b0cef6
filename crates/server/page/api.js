// Talking to the daemon. The token lives in sessionStorage, so that it goes with the tab, and is sent as a header only.

import { setClock } from './text.js';

const TOKEN = 'zooark-token';

/** An answer that is not what was asked for, as the daemon's problem+json says it. */
export class Problem extends Error {
  constructor(status, title, detail, needs) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    /** The role that the request needs, where the token's is not enough. */
    this.needs = needs;
    /** The token that was sent, null for none. */
    this.token = null;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  clear: () => sessionStorage.removeItem(TOKEN),
};

async function open(path, { method = 'GET', body, role = 'read', signal, accept = 'application/json' } = {}) {
  const headers = { Accept: accept };
  const sent = token.get();
  if (sent !== null) headers.Authorization = `Bearer ${sent}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const request = { method, headers, signal, cache: 'no-store', credentials: 'omit', redirect: 'error' };
  if (body !== undefined) request.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, 'The daemon does not answer', 'It may be stopped or starting, or the network between is down.');
  }
  setClock(response.headers.get('Date'));
  if (!response.ok) throw Object.assign(await problem(response, role), { token: sent });
  return response;
}

async function problem(response, role) {
  let said = {};
  try {
    said = JSON.parse(await response.text());
  } catch {
    // Something between the page and the daemon answered: the status is all there is.
  }
  const title = typeof said.title === 'string' ? said.title : `The daemon answered ${response.status}`;
  const detail = typeof said.detail === 'string' ? said.detail : '';
  return new Problem(response.status, title, detail, response.status === 403 ? role : undefined);
}

/** Reads JSON. `options`: method, body, signal, and the role that the request needs. */
export async function call(path, options) {
  const response = await open(`/api/v1${path}`, options);
  return response.status === 204 ? null : response.json();
}

/** Reads a value, no more than `limit` bytes of it: `{ bytes, whole, isNull }`. */
export async function value(path, { limit = Infinity, signal } = {}) {
  const response = await open(`/api/v1${path}`, { role: 'values', signal, accept: 'application/octet-stream' });
  if (response.headers.get('X-Zooark-Null') === 'true') return { bytes: new Uint8Array(), whole: true, isNull: true };
  const parts = [];
  let length = 0;
  let whole = true;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value: part } = await reader.read();
    if (done) break;
    parts.push(part);
    length += part.length;
    if (length > limit) {
      whole = false;
      await reader.cancel();
      break;
    }
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return { bytes: whole ? bytes : bytes.subarray(0, limit), whole, isNull: false };
}

/** Yields the server-sent events of a path as `{ event, data }`. EventSource cannot send the token. */
export async function* events(path, { signal } = {}) {
  const response = await open(`/api/v1${path}`, { signal, accept: 'text/event-stream' });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let event = 'message';
  let data = [];
  for (;;) {
    const { done, value: text } = await reader.read();
    if (done) return;
    // A carriage return at the end may be half of a line break: it waits for what follows.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, content] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (line === '') {
        if (data.length > 0) yield { event, data: data.join('\n') };
        event = 'message';
        data = [];
      } else if (field === 'event') {
        event = content;
      } else if (field === 'data') {
        data.push(content);
      }
    }
  }
}

/** A query string; parts that are null or empty are left out. `raw` parts are in wire form already. */
export function query(parts, raw = {}) {
  const given = ([, part]) => part !== null && part !== undefined && part !== '';
  const encoded = Object.entries(parts).filter(given).map(([name, part]) => `${name}=${encodeURIComponent(part)}`);
  const kept = Object.entries(raw).filter(given).map(([name, part]) => `${name}=${part}`);
  const all = [...encoded, ...kept].join('&');
  return all === '' ? '' : `?${all}`;
}
