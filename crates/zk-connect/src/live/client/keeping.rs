//! A session that must not end while nothing is asked of it.
//!
//! A client connects when it has something to ask. One that holds a lock, and meanwhile reads elsewhere, would lose it with a
//! connection that ends then: nobody resumes the session within its time-out.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{About, Client};
use crate::live::error::LiveError;

/// Between two connections, so that a server that ends each of them is not dialled all the time.
const PAUSE: Duration = Duration::from_millis(250);

/// Resumes a session whenever its connection ends, until this is dropped.
#[derive(Debug)]
#[must_use = "the session is resumed as long as this lives"]
pub struct KeptSession {
    _task: JoinSet<()>,
}

impl Client {
    /// From now on every operation is one of the present session: once that is over, all of them fail with
    /// [`LiveError::SessionGone`]. What such a session holds as an ephemeral node is held for as long as anything can be done.
    ///
    /// Until what this gives is dropped the session is also resumed when there is nothing to do. Needs a Tokio runtime.
    pub fn keep_session(&self) -> KeptSession {
        self.current().only_this = true;
        let mut task = JoinSet::new();
        task.spawn(self.clone().resume_always());
        KeptSession { _task: task }
    }

    async fn resume_always(self) {
        loop {
            self.disconnected().await;
            match self.connection(About { operation: "resume the session", path: b"" }).await {
                Ok(_) | Err(LiveError::Unreachable { .. }) => tokio::time::sleep(PAUSE).await,
                // It is over, or nobody wants it any more: whoever asks next is told why.
                Err(_) => return,
            }
        }
    }
}
