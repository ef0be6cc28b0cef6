// States of clusters and jobs: always a word, a shape and a colour, so that none of them has to carry the meaning alone.

import { h, svg } from './dom.js';

const SHAPES = {
  tick: () => [svg('circle', { cx: 8, cy: 8, r: 7 }), svg('path', { d: 'M4.5 8.2 7 10.7 11.5 5.6', class: 'cut' })],
  cross: () => [svg('path', { d: 'M5 1h6l4 4v6l-4 4H5l-4-4V5z' }), svg('path', { d: 'M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2', class: 'cut' })],
  warning: () => [svg('path', { d: 'M8 1 15.5 15H.5z' }), svg('path', { d: 'M8 5.8v4.4M8 12v1.4', class: 'cut' })],
  diamond: () => [svg('path', { d: 'M8 .5 15.5 8 8 15.5.5 8z' }), svg('path', { d: 'M8 4.2v4.6M8 10.4v1.4', class: 'cut' })],
  bars: () => [svg('path', { d: 'M3 2h3.6v12H3zM9.4 2H13v12H9.4z' })],
  ring: () => [svg('circle', { cx: 8, cy: 8, r: 6, class: 'line' })],
  arrow: () => [svg('path', { d: 'M3 1.5 14.5 8 3 14.5z' })],
  stop: () => [svg('path', { d: 'M2 2h12v12H2z' })],
};

const STATES = {
  ok: ['good', 'tick'],
  failing: ['bad', 'cross'],
  stale: ['warn', 'warning'],
  suspect: ['odd', 'diamond'],
  paused: ['plain', 'bars'],
  never: ['plain', 'ring', 'no backup yet'],
  running: ['busy', 'arrow'],
  queued: ['plain', 'ring'],
  succeeded: ['good', 'tick'],
  incomplete: ['warn', 'warning'],
  refused: ['odd', 'diamond'],
  failed: ['bad', 'cross'],
  cancelled: ['plain', 'stop'],
  fuzzy: ['plain', 'ring'],
  protected: ['plain', 'stop'],
};

/** A state as shape, colour and word; a state that the page does not know is shown by its word. */
export function mark(state, words) {
  const [tone, shape, name] = STATES[state] ?? ['plain', 'ring'];
  return h('span', { class: `mark ${tone}`, 'data-state': state },
    svg('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, SHAPES[shape]()), words ?? name ?? state);
}

/** The tone of a state: the name of its colour. */
export function toneOf(state) {
  return (STATES[state] ?? ['plain'])[0];
}
