//! A file that goes to the disk while it is written, so that the sync at its end waits for little.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Bytes written between two requests to the disk.
const STEP_BYTES: usize = 32 << 20;

/// Writes to a file and has the written part synced in the background.
pub struct WriteBehind<'f> {
    file: &'f File,
    since: usize,
    nudge: SyncSender<()>,
}

impl WriteBehind<'_> {
    /// Runs `work` with a writer to the file, then `meanwhile` while the rest goes to the disk, and says how the syncs went: the
    /// system reports an error of the disk once, so that a later sync of the file alone would not know.
    pub fn with<T, U>(
        file: &File,
        work: impl FnOnce(WriteBehind<'_>) -> T,
        meanwhile: impl FnOnce(T) -> U,
    ) -> (U, io::Result<()>) {
        thread::scope(|scope| {
            // One request waits at most: it is for everything written until it is served.
            let (nudge, nudges) = sync_channel::<()>(1);
            let syncing = scope.spawn(move || nudges.iter().try_for_each(|()| file.sync_data()));
            let done = work(WriteBehind { file, since: 0, nudge: nudge.clone() });
            let _ = nudge.try_send(());
            drop(nudge);
            let done = meanwhile(done);
            let synced = syncing.join().unwrap_or_else(|_| Err(io::Error::other("the syncing thread panicked")));
            (done, synced)
        })
    }
}

impl Write for WriteBehind<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.since += written;
        if self.since >= STEP_BYTES {
            self.since = 0;
            // Full: it is asked for already. Closed: a sync failed, which is said at the end.
            let _ = self.nudge.try_send(());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
