// A job while it runs: followed by its events, or by asking again where those cannot be had.

import { call, events } from './api.js';
import { announce, h } from './dom.js';
import { pause } from './poll.js';
import { bytes, count } from './text.js';

const ASK_AGAIN_MS = 2000;
const SAY_EVERY_MS = 10000;

/** Whether a job is over. */
export function isOver(job) {
  return job.state !== 'queued' && job.state !== 'running';
}

/** Calls `update` with the job whenever it changes, until it is over; resolves to the job as it ended. */
export async function follow(job, signal, update) {
  if (isOver(job)) return job;
  const path = `/jobs/${encodeURIComponent(job.id)}`;
  let last = job;
  const next = (changed) => {
    last = changed;
    update(changed);
  };
  try {
    for await (const { event, data } of events(`${path}/events`, { signal })) {
      if (event === 'progress' || event === 'end') next(JSON.parse(data));
      if (event === 'end') return last;
    }
  } catch (error) {
    if (error.name === 'AbortError' || error.status === 401) throw error;
  }
  // The stream broke off; the job may go on all the same.
  for (let missed = 0; !isOver(last) && !signal.aborted;) {
    try {
      next(await call(path, { signal }));
      missed = 0;
    } catch (error) {
      missed += 1;
      if (error.name === 'AbortError' || error.status > 0 || missed > 30) throw error;
    }
    if (!isOver(last) && !(await pause(ASK_AGAIN_MS, signal))) break;
  }
  return last;
}

/** A bar and words for a job's progress: `{ element, update(job) }`. Says it aloud as phases change, and now and then. */
export function progressBar(name) {
  const bar = h('progress', { 'aria-label': `Progress of ${name}` });
  const words = h('span', { class: 'words' });
  const element = h('div', { class: 'progress' }, bar, words);
  let said = { phase: null, at: 0 };
  const update = (job) => {
    const text = wordsOf(job);
    const { done, total } = job.progress ?? {};
    if (total > 0) {
      bar.max = total;
      bar.value = Math.min(done, total);
    } else {
      bar.removeAttribute('value');
    }
    words.textContent = text;
    const phase = job.progress?.phase ?? job.state;
    if (phase !== said.phase || Date.now() - said.at > SAY_EVERY_MS) {
      said = { phase, at: Date.now() };
      announce(`${name}: ${text}`);
    }
  };
  return { element, update };
}

function wordsOf(job) {
  if (job.state === 'queued') return 'waiting for its turn';
  if (!job.progress) return job.state;
  const { phase, unit, done, total } = job.progress;
  const amount = unit === 'bytes' ? bytes : count;
  const of = total > 0 ? ` of ${amount(total)}` : '';
  return `${phase}: ${amount(done)}${of}${unit === 'bytes' ? '' : ` ${unit}`}`;
}
