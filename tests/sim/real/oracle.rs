//! What must hold whatever happens, and what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repository::cache::CacheOptions;
use repository::check::{CheckOptions, ReadData, Severity, check};
use repository::crypto::Crypto;
use repository::keys::Credentials;
use repository::manifest::{Manifest, ManifestBody, decode_manifest, parse_path};
use repository::simulated::Simulation;
use repository::{LineageId, PruneOptions, Repository};
use tokio::runtime::Runtime;

use super::deeds::{Deed, holds};
use super::stage::{Ask, Request};
use super::trees::Tree;
use super::whole_text;

/// What happened so far, as far as promises go.
pub struct Oracle {
    crypto: Crypto,
    pub trees: Vec<Arc<Tree>>,
    /// Manifests of snapshots that were ever written: the number of the tree.
    pub written: BTreeMap<String, usize>,
    /// Snapshots that a backup said it stored.
    pub promised: BTreeSet<String>,
    /// Snapshots that somebody began to forget.
    pub doomed: BTreeSet<String>,
    /// Manifests that may lack packs, by what `docs/concurrency.md` leaves open.
    pub exempt: BTreeSet<String>,
    /// Manifests under a number that was used before.
    pub reused: BTreeSet<String>,
    numbers: BTreeSet<(LineageId, u64)>,
    packs: BTreeSet<String>,
    /// Whether something was deleted since the snapshots were last read.
    pub stale: bool,
}

impl Oracle {
    /// Nothing happened yet.
    pub fn new(repository: &Repository) -> Self {
        Self {
            crypto: Crypto::unencrypted(repository.id()),
            trees: Vec::new(),
            written: BTreeMap::new(),
            promised: BTreeSet::new(),
            doomed: BTreeSet::new(),
            exempt: BTreeSet::new(),
            reused: BTreeSet::new(),
            numbers: BTreeSet::new(),
            packs: BTreeSet::new(),
            stale: false,
        }
    }

    /// Takes note of a request that had its effect; what is wrong with it.
    pub fn saw(
        &mut self,
        simulation: &Simulation,
        request: &Request,
        deed: &Deed,
        own: &BTreeSet<String>,
    ) -> Result<(), String> {
        let path = &request.path;
        match &request.ask {
            Ask::Put(_) | Ask::Create(_) if path.starts_with("packs/") => {
                let is_new = self.packs.insert(path.clone());
                return if is_new { Ok(()) } else { Err(format!("{path} is written a second time")) };
            }
            Ask::Put(bytes) | Ask::Create(bytes) => {
                let Some(number) = parse_path(path) else { return Ok(()) };
                if !self.numbers.insert(number) && simulation.creates_exclusively() {
                    // The writer has to find out, unless it dies before.
                    self.reused.insert(path.clone());
                    self.exempt.insert(path.clone());
                }
                let body = decode_manifest(&self.crypto, path, bytes).map_err(|e| whole_text(&e))?.1;
                match body {
                    ManifestBody::Snapshot(body) => {
                        self.written.insert(path.clone(), body.fields.tags[0].parse().unwrap());
                    }
                    // A tombstone may take a number that was withdrawn.
                    ManifestBody::Tombstone { .. } => drop(self.written.remove(path)),
                }
            }
            Ask::Delete => {
                self.stale |= path.starts_with("packs/") || path.starts_with("index/");
                if self.written.contains_key(path) {
                    let may = match deed {
                        Deed::Forget { doomed } => doomed.contains(path),
                        Deed::BackUp { .. } => own.contains(path),
                        _ => false,
                    };
                    if !may {
                        return Err(format!("{path} is deleted by {deed:?}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads what is there with the real code, outside of the play.
pub struct Verifier {
    pub runtime: Runtime,
}

impl Verifier {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime }
    }

    /// The repository as a newcomer sees it.
    pub fn open(&self, simulation: &Simulation) -> Repository {
        let (store, cache) = (simulation.store(), CacheOptions::none());
        self.runtime.block_on(Repository::open(&store, &Credentials::None, &cache)).unwrap()
    }

    fn manifests(&self, repository: &Repository) -> Result<Vec<Manifest>, String> {
        let listed = self.runtime.block_on(repository.snapshots()).map_err(|e| whole_text(&e))?;
        if let Some((path, error)) = listed.damaged.first() {
            return Err(format!("{path}: {}", whole_text(error)));
        }
        Ok(listed.snapshots.into_iter().map(|s| s.manifest).collect())
    }

    /// Every snapshot that is there holds what it should, and every one that was promised is there.
    pub fn all_restore(&self, simulation: &Simulation, oracle: &Oracle) -> Result<(), String> {
        let repository = self.open(simulation);
        let manifests = self.manifests(&repository)?;
        let there: BTreeSet<&str> = manifests.iter().map(|m| m.path.as_str()).collect();
        let kept = oracle.promised.iter().filter(|path| !oracle.doomed.contains(*path));
        if let Some(gone) = kept.into_iter().find(|path| !there.contains(path.as_str())) {
            return Err(format!("{gone} is gone and nobody forgot it"));
        }
        for manifest in manifests.iter().filter(|m| !oracle.exempt.contains(&m.path)) {
            self.restores(&repository, manifest, oracle)?;
        }
        Ok(())
    }

    /// One snapshot holds what it should.
    pub fn one_restores(&self, simulation: &Simulation, oracle: &Oracle, path: &str) -> Result<(), String> {
        let repository = self.open(simulation);
        match self.manifests(&repository)?.iter().find(|m| m.path == path) {
            Some(manifest) => self.restores(&repository, manifest, oracle),
            None if oracle.doomed.contains(path) => Ok(()),
            None => Err(format!("{path} is gone and nobody forgot it")),
        }
    }

    fn restores(&self, repository: &Repository, manifest: &Manifest, oracle: &Oracle) -> Result<(), String> {
        let version: usize = manifest.body.fields.tags[0].parse().unwrap();
        if oracle.written.get(&manifest.path) != Some(&version) {
            return Err(format!("{} is another snapshot than was written", manifest.path));
        }
        holds(repository, &self.runtime, manifest, &oracle.trees[version])
            .map_err(|e| format!("{} does not restore: {e}", manifest.path))
    }

    /// Grace periods and prunes pass; nothing is left that no snapshot needs, and nothing is damaged.
    pub fn garbage_goes(&self, simulation: &Simulation, oracle: &mut Oracle) -> Result<(), String> {
        let repository = self.open(simulation);
        let dangling: Vec<Manifest> =
            self.manifests(&repository)?.into_iter().filter(|m| oracle.exempt.contains(&m.path)).collect();
        let dangling: Vec<&Manifest> = dangling.iter().collect();
        self.forget(&repository, &dangling, oracle)?;
        for _ in 0..6 {
            self.prune_later(simulation)?;
            self.all_restore(simulation, oracle)?;
        }
        let left = self.prune_later(simulation)?;
        if left.found != left.needed || left.young.packs + left.waiting.packs > 0 {
            return Err(format!("garbage stays: {left:?}"));
        }
        let mut damage = Vec::new();
        let options = CheckOptions { read_data: ReadData::All, digests: true };
        check(&self.open(simulation), &options, &mut |finding| {
            if finding.severity == Severity::Damage {
                damage.push(format!("{}: {}", finding.object, finding.problem));
            }
        })
        .map_err(|e| whole_text(&e))?;
        if !damage.is_empty() {
            return Err(format!("check finds damage: {}", damage.join("; ")));
        }
        let repository = self.open(simulation);
        let all = self.manifests(&repository)?;
        self.forget(&repository, &all.iter().collect::<Vec<_>>(), oracle)?;
        for _ in 0..4 {
            self.prune_later(simulation)?;
        }
        let stays = |path: &&String| ["packs/", "notes/"].iter().any(|kind| path.starts_with(kind));
        match simulation.paths().iter().find(stays) {
            Some(path) => Err(format!("{path} stays when every snapshot is forgotten")),
            None => Ok(()),
        }
    }

    /// What is spoilt is mended.
    pub fn repair(&self, simulation: &Simulation) -> Result<(), String> {
        let done = self.open(simulation).repair_index(false, &mut |_| Ok(()));
        done.map(drop).map_err(|e| format!("repair fails in the end: {}", whole_text(&e)))
    }

    fn forget(&self, repository: &Repository, doomed: &[&Manifest], oracle: &mut Oracle) -> Result<(), String> {
        oracle.doomed.extend(doomed.iter().map(|m| m.path.clone()));
        self.runtime.block_on(repository.forget(doomed, false)).map_err(|e| whole_text(&e)).map(|_| ())
    }

    fn prune_later(&self, simulation: &Simulation) -> Result<repository::Pruned, String> {
        simulation.advance(super::GRACE + std::time::Duration::from_mins(1));
        let pruned = self.open(simulation).prune(&PruneOptions::default(), &mut |_| Ok(()));
        pruned.map_err(|e| format!("prune fails in the end: {}", whole_text(&e)))
    }
}
