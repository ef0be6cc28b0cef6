// Doing something again and again while the page is looked at.

/** Waits, or ends when the signal does; resolves to whether to go on. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve(false);
      return;
    }
    const timer = setTimeout(() => end(true), milliseconds);
    const stop = () => end(false);
    const end = (on) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
      resolve(on);
    };
    signal.addEventListener('abort', stop);
  });
}

/** Waits until the page is looked at. */
function seen(signal) {
  if (!document.hidden || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      document.removeEventListener('visibilitychange', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    document.addEventListener('visibilitychange', done);
    signal.addEventListener('abort', done);
  });
}

/** Calls `action` every so many milliseconds until the signal ends. `action` handles its own failures. */
export async function every(milliseconds, signal, action) {
  while (await pause(milliseconds, signal)) {
    await seen(signal);
    if (signal.aborted) return;
    await action();
  }
}
