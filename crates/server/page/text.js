// Numbers, times and paths as people read them. Times are UTC, as the commands print them.

import { h } from './dom.js';

const GROUPED = new Intl.NumberFormat('en');
const UNITS = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
// Controls, and characters that are invisible or turn the direction of what follows: in a path they only deceive.
const DECEIVING = /[\p{Cc}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** How far the daemon's clock is ahead of this one, milliseconds. */
let clockAhead = 0;

/** Learns the daemon's clock from the Date of an answer. */
export function setClock(date) {
  const there = Date.parse(date ?? '');
  // A Date is cut to seconds: half of one is its mean error.
  if (!Number.isNaN(there)) clockAhead = there + 500 - Date.now();
}

/** Now, by the daemon's clock, milliseconds. */
export function now() {
  return Date.now() + clockAhead;
}

/** `1,034,234`. */
export function count(number) {
  return GROUPED.format(number);
}

/** `1 node`, `2 nodes`. */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `1.5 MiB`; bytes below one KiB are exact. */
export function bytes(number) {
  if (number < 1024) return `${number} B`;
  let value = number / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 100 ? value.toFixed(1) : GROUPED.format(Math.round(value))} ${UNITS[unit]}`;
}

/** `50 s`, `4 min`, `3 h 20 min`, `2 d 4 h`. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value, unit, rest, small) => (rest > 0 ? `${value} ${unit} ${rest} ${small}` : `${value} ${unit}`);
  if (whole < 90) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.round(minutes / 60);
  return hours < 30 * 24 ? two(Math.floor(hours / 24), 'd', hours % 24, 'h') : `${count(Math.round(hours / 24))} d`;
}

/** `2026-11-20 10:00:00`, UTC; the text itself where it is no time. */
export function moment(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString().slice(0, 19).replace('T', ' ');
}

/** A point of time: when, by calendar. */
export function at(time) {
  const date = new Date(time);
  const machine = Number.isNaN(date.getTime()) ? null : date.toISOString();
  return h('time', { datetime: machine }, `${moment(time)} UTC`);
}

/** A point of time: how long ago, or in how long. */
export function ago(time) {
  const seconds = (now() - Date.parse(time)) / 1000;
  const words = seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
  return h('time', { datetime: time, title: `${moment(time)} UTC` }, words);
}

/** Text from outside on one line: what could hide or turn it is shown escaped. */
export function visible(text) {
  return text.replace(DECEIVING, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** The same over several lines, for values. */
export function visibleLines(text) {
  return text.replace(DECEIVING, (c) => (c === '\n' || c === '\t' ? c : `\\u{${c.codePointAt(0).toString(16)}}`));
}

/** A path, an id or anything else that is read letter by letter. */
export function code(text, className) {
  return h('code', { class: className }, visible(text));
}
