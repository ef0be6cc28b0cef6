//! Blobs on their way into packs, and packs on theirs into the store.

use std::sync::Arc;

use bytes::Bytes;

use super::BackupSession;
use crate::backend::StoreError;
use crate::blobs::{BlobError, BlobSink, PlainBlob};
use crate::error::RepositoryError;
use crate::ids::{BlobId, BlobKind};
use crate::pack::FinishedPack;
use crate::seal::{BASE_LEVEL, frame_blob, seal_blob, usual_level};

impl BackupSession {
    /// Uploads what was put and waits for it. [`BackupSession::commit`] does so too; whoever must be able to stop calls
    /// this first and drops the session instead: packs that no manifest names are what a stopped upload leaves.
    pub async fn upload_all(&self) -> Result<(), RepositoryError> {
        let last = self.packs().open.take().filter(|p| !p.is_empty());
        if let Some(builder) = last {
            let pack = builder.finish(&self.shared.crypto)?;
            self.start_upload(pack, None);
        }
        let uploads = std::mem::take(&mut self.packs().uploads);
        for upload in uploads {
            match upload.await {
                Ok(done) => done?,
                Err(join) => {
                    let e = StoreError::new(
                        crate::backend::StoreErrorKind::Other,
                        crate::backend::Operation::Put,
                        "packs/",
                    );
                    return Err(e.because(join).on(self.shared.store.name()).into());
                }
            }
        }
        Ok(())
    }

    fn start_upload(&self, pack: FinishedPack, slot: Option<tokio::sync::OwnedSemaphorePermit>) {
        let shared = Arc::clone(&self.shared);
        let FinishedPack { path, bytes, index, footer } = pack;
        let bytes = Bytes::from(bytes);
        let mut packs = self.packs();
        packs.uploaded_bytes = packs.uploaded_bytes.saturating_add(bytes.len() as u64);
        packs.objects = packs.objects.saturating_add(1);
        packs.finished.push((index.clone(), footer));
        let task = self.shared.handle.spawn(async move {
            let result = shared.store.put(&path, bytes.clone()).await;
            drop(slot);
            if result.is_ok() {
                shared.add_index(&index);
                // The next backup and the next `ls` find it in the cache.
                let keep = tokio::task::spawn_blocking(move || {
                    shared.cache.put_pack(&index);
                    if shared.cache.is_open() {
                        let blobs: Vec<(BlobId, Bytes)> = index
                            .located()
                            .filter_map(|(at, blob)| {
                                let start = usize::try_from(at).ok()?;
                                Some((blob.id, bytes.slice(start..start.checked_add(blob.len as usize)?)))
                            })
                            .collect();
                        shared.cache.put_blobs(&index.wrapped, &blobs);
                    }
                });
                // A cache that was not filled is filled by reading.
                let _ = keep.await;
            }
            result
        });
        packs.uploads.push(task);
    }
}

impl BlobSink for BackupSession {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        let level = self.level.unwrap_or_else(|| usual_level(blob.bytes.len()));
        self.put_at(blob, level)
    }
}

/// See [`BackupSession::base_sink`].
#[derive(Debug, Clone, Copy)]
pub struct BaseSink<'a> {
    pub(super) session: &'a BackupSession,
}

impl BlobSink for BaseSink<'_> {
    fn put(&self, blob: PlainBlob<'_>) -> Result<(), BlobError> {
        self.session.put_at(blob, self.session.level.unwrap_or(BASE_LEVEL))
    }
}

impl BackupSession {
    fn put_at(&self, blob: PlainBlob<'_>, level: i32) -> Result<(), BlobError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BlobError::Store {
            id: blob.id,
            kind: blob.kind,
            source,
        };
        {
            let mut packs = self.packs();
            if packs.placed.contains_key(&blob.id) {
                return Ok(());
            }
            if matches!(blob.kind, BlobKind::Node | BlobKind::Refs) && !packs.plain.contains_key(&blob.id) {
                packs.plain.insert(blob.id, (blob.kind, Bytes::copy_from_slice(blob.bytes)));
            }
            if self.base.reachable.contains_key(&blob.id) {
                return Ok(());
            }
            packs.placed.insert(blob.id, None);
        }
        let framed = frame_blob(blob, level).map_err(|e| failed(Box::new(e)))?;
        loop {
            let (pack, key) = {
                let mut packs = self.packs();
                let open = match &mut packs.open {
                    Some(open) => open,
                    None => packs.open.insert(self.shared.new_pack().map_err(|e| failed(Box::new(e)))?),
                };
                (open.id(), open.key().clone())
            };
            let sealed = seal_blob(&self.shared.crypto, &key, &framed).map_err(|e| failed(Box::new(e)))?;
            let full = {
                let mut packs = self.packs();
                // The pack may have been closed meanwhile; its successor has another key.
                let Some(open) = packs.open.as_mut().filter(|open| open.id() == pack) else { continue };
                open.push(blob.id, blob.kind, framed.raw_len, &sealed);
                let is_full = open.is_full();
                packs.placed.insert(blob.id, Some(pack));
                if is_full { packs.open.take() } else { None }
            };
            if let Some(builder) = full {
                let finished = builder.finish(&self.shared.crypto).map_err(|e| failed(Box::new(e)))?;
                let slot = self.shared.handle.block_on(Arc::clone(&self.slots).acquire_owned()).ok();
                self.start_upload(finished, slot);
            }
            return Ok(());
        }
    }
}
