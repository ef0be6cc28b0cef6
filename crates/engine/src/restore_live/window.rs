//! Several writes under way, in order.

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc::Receiver;
use zk_connect::live::Client;

use super::writer::{Stopped, Writer};

impl Writer<'_> {
    /// Sends what comes, so many pieces under way, and takes the answers in order; `take` gives what has to be settled.
    ///
    /// Those under way are sent over one connection: once that has ended nothing more is. Nothing is settled while anything
    /// is under way, so that what is looked at holds still and nobody waits for a future that is not polled meanwhile.
    /// Without a piece no connection is needed.
    pub(super) async fn in_window<T, O, D>(
        &self,
        mut pieces: Receiver<T>,
        window: usize,
        send: impl AsyncFn(&Client, T) -> O,
        take: impl Fn(O) -> Option<D>,
        settle: impl AsyncFn(D) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let mut open = true;
        while let Some(first) = pieces.recv().await {
            self.go_on()?;
            let (line, _) = self.until_answered(async || self.client.on_one_connection().await).await?;
            let (mut under_way, mut doubtful) = (FuturesOrdered::new(), Vec::new());
            under_way.push_back(send(&line, first));
            while !under_way.is_empty() {
                self.go_on()?;
                tokio::select! {
                    biased;
                    Some(outcome) = under_way.next() => doubtful.extend(take(outcome)),
                    piece = pieces.recv(), if open && doubtful.is_empty() && under_way.len() < window => match piece {
                        Some(piece) => under_way.push_back(send(&line, piece)),
                        None => open = false,
                    },
                    else => break,
                }
            }
            if !doubtful.is_empty() {
                self.catch_up().await?;
            }
            for piece in doubtful {
                settle(piece).await?;
            }
        }
        Ok(())
    }

    /// Waits until the server has what was committed: of a write whose answer was lost, another server may not know yet.
    pub(super) async fn catch_up(&self) -> Result<(), Stopped> {
        self.until_answered(async || self.client.sync(b"").await).await?;
        Ok(())
    }

    /// Fails once somebody asked to stop.
    pub(super) fn go_on(&self) -> Result<(), Stopped> {
        if self.monitor.cancelled() { Err(Stopped::Cancelled) } else { Ok(()) }
    }
}
