// Snapshots over time as a drawing: nodes as a line, bytes that each added as bars below, on one axis of time. The first backup adds
// a thousand times what later ones do, so the bars' scale is logarithmic. The table
// beside it holds the same figures, so the drawing is one image with a title and a description.

import { freshId, h, svg } from './dom.js';
import { bytes, count, moment } from './text.js';

const LEFT = 64;
const RIGHT = 12;
const NODES = { top: 18, height: 96 };
const ADDED = { top: 156, height: 60 };
const HEIGHT = 242;

/** The chart of one cluster's snapshots, oldest first. It is drawn anew as its width changes. */
export function chart(cluster, snapshots) {
  const box = h('figure', { class: 'chart' });
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now > 0 && now !== width) {
      width = now;
      box.replaceChildren(draw(cluster, snapshots, width));
    }
  }).observe(box);
  return box;
}

function draw(cluster, snapshots, width) {
  const times = snapshots.map((snapshot) => Date.parse(snapshot.time));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const inner = width - LEFT - RIGHT;
  const pad = Math.min(14, inner / 20);
  const x = (time) => LEFT + (last > first ? pad + ((time - first) / (last - first)) * (inner - 2 * pad) : inner / 2);
  const nodes = linear(snapshots.map((snapshot) => snapshot.nodes), NODES);
  const added = logarithmic(snapshots.map((snapshot) => snapshot.added_bytes), ADDED);
  const bar = Math.max(1.5, Math.min(10, inner / snapshots.length / 2));

  const title = svg('title', { id: freshId('chart') }, `Snapshots of ${cluster}: nodes and added bytes over time`);
  const about = svg('desc', { id: freshId('chart') }, describe(snapshots, times));
  const points = snapshots.map((snapshot, index) => [x(times[index]), nodes.y(snapshot.nodes), snapshot]);
  return svg('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-labelledby': `${title.id} ${about.id}` },
    title, about,
    axis(nodes, NODES, 'Nodes', width, count),
    axis(added, ADDED, 'Added (logarithmic)', width, bytes),
    svg('path', { class: 'line', d: points.map(([px, py], index) => `${index === 0 ? 'M' : 'L'}${px.toFixed(1)} ${py.toFixed(1)}`).join('') }),
    points.map(([px, py, snapshot]) => point(px, py, snapshot)),
    points.map(([px, , snapshot]) => {
      const top = added.y(snapshot.added_bytes);
      const height = Math.max(1, ADDED.top + ADDED.height - top);
      return svg('rect', { class: 'bar', x: (px - bar / 2).toFixed(1), y: (ADDED.top + ADDED.height - height).toFixed(1), width: bar, height: height.toFixed(1) },
        svg('title', null, tip(snapshot)));
    }),
    timeAxis(first, last, x, width));
}

function linear(values, { top, height }) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (high === low) {
    const room = Math.max(1, Math.round(low * 0.01));
    [low, high] = [Math.max(0, low - room), high + room];
  }
  return { low, high, y: (value) => top + height - ((value - low) / (high - low)) * height };
}

/** From a power of 32 below the least to one above the most: 32 B, 1 KiB, 32 KiB, 1 MiB, … */
function logarithmic(values, { top, height }) {
  const power = (value) => Math.log2(Math.max(1, value)) / 5;
  const least = Math.floor(Math.min(...values.map(power)));
  const most = Math.max(least + 1, Math.ceil(Math.max(...values.map(power))));
  const y = (value) => top + height - (Math.max(0, power(value) - least) / (most - least)) * height;
  return { low: 32 ** least, high: 32 ** most, y };
}

function axis({ low, high, y }, { top }, name, width, words) {
  const label = (value) => [
    svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    svg('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, words(Math.round(value)))];
  return svg('g', null, svg('text', { class: 'name', x: LEFT, y: top - 6 }, name), label(low), label(high));
}

function timeAxis(first, last, x, width) {
  const text = (time, anchor) => svg('text', { x: x(time), y: HEIGHT - 6, 'text-anchor': anchor }, moment(time).slice(0, 16));
  if (last === first) return text(first, 'middle');
  const middle = width > 560 ? text((first + last) / 2, 'middle') : null;
  return svg('g', null, text(first, 'start'), middle, text(last, 'end'));
}

function point(x, y, snapshot) {
  const odd = snapshot.suspect || snapshot.incomplete;
  const title = svg('title', null, tip(snapshot));
  return odd
    ? svg('path', { class: 'point odd', d: `M${x} ${y - 6}l6 6-6 6-6-6z` }, title)
    : svg('circle', { class: 'point', cx: x.toFixed(1), cy: y.toFixed(1), r: 3 }, title);
}

function tip(snapshot) {
  const odd = snapshot.suspect ? ', suspect' : snapshot.incomplete ? ', incomplete' : '';
  return `${snapshot.short_id}, ${moment(snapshot.time)} UTC: ${count(snapshot.nodes)} nodes, ${bytes(snapshot.added_bytes)} added${odd}`;
}

function describe(snapshots, times) {
  const last = snapshots[snapshots.length - 1];
  const nodes = snapshots.map((snapshot) => snapshot.nodes);
  const added = snapshots.reduce((sum, snapshot) => sum + snapshot.added_bytes, 0);
  const odd = snapshots.filter((snapshot) => snapshot.suspect || snapshot.incomplete).length;
  return `${count(snapshots.length)} snapshots from ${moment(Math.min(...times))} to ${moment(Math.max(...times))} UTC. ` +
    `Nodes between ${count(Math.min(...nodes))} and ${count(Math.max(...nodes))}, last ${count(last.nodes)}. ` +
    `${bytes(added)} added in all. ${odd > 0 ? `${odd} of them suspect or incomplete, drawn as diamonds. ` : ''}` +
    'The table below has the same figures.';
}
