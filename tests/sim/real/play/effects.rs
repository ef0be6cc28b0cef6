//! What becomes of a request, and what is made of how a command ended.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use repository::backend::StoreErrorKind;

use super::super::GRACE;
use super::super::deeds::{Deed, Outcome};
use super::super::stage::{Ask, Request, Standing};
use super::{LATEST, Late, Play, brief};
use crate::random::Random;

impl Play {
    pub(super) fn serve(&mut self, host: usize, request: &Request) -> Result<(), String> {
        let mut line = format!("host {host} {:?} {}", request.operation(), request.path);
        let one_in = |random: &mut Random, n: u32| n > 0 && random.one_in(n);
        let crash = one_in(&mut self.random, self.temper.crashes);
        let fault = one_in(&mut self.random, self.temper.faults);
        if !crash && !fault {
            let answer = request.carry_out(&self.simulation);
            if let Err(error) = &answer {
                let _ = write!(line, ": {:?}", error.kind);
            }
            self.say(&line);
            if answer.is_ok() {
                self.effect(host, request)?;
            }
            self.stage.answer(host, answer);
            return Ok(());
        }
        let kinds = [StoreErrorKind::Other, StoreErrorKind::TimedOut, StoreErrorKind::Permission];
        let kind = kinds[self.random.below(3) as usize];
        let done = match self.random.below(3) {
            1 => {
                if request.carry_out(&self.simulation).is_ok() {
                    self.effect(host, request)?;
                }
                "done"
            }
            2 if request.changes_something() => {
                let running = self.running[host].as_ref().expect("it is running");
                let wait = Duration::from_secs(u64::from(self.random.below(300)));
                self.late.push(Late {
                    due: self.simulation.now() + wait.min(LATEST),
                    request: request.clone(),
                    deed: running.deed.clone(),
                    began: running.began,
                });
                "late"
            }
            _ => "not done",
        };
        let _ = write!(line, ": {}, {done}", if crash { "CRASH".to_owned() } else { format!("FAILS ({kind:?})") });
        self.say(&line);
        if crash {
            return self.crash(host);
        }
        self.told.faults += 1;
        if let Some(running) = &mut self.running[host] {
            running.disturbed = true;
        }
        self.stage.answer(host, Err(request.fail(kind)));
        Ok(())
    }

    /// The process dies: what it asks from now on comes to nothing, and so does what it concludes.
    fn crash(&mut self, host: usize) -> Result<(), String> {
        self.told.crashes += 1;
        let life = self.hosts[host].life.clone();
        self.stage.bury(host, &life);
        if let Standing::Waits(request) = self.stage.settle(host) {
            return Err(format!("a dead process asks for {}", request.path));
        }
        if let Some(running) = self.running[host].take() {
            let outcome = running.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Outcome::Wrong(text)) = outcome {
                return Err(format!("{}, crashing: {text}", brief(&running.deed)));
            }
        }
        let stage = Arc::clone(&self.stage);
        self.hosts[host].revive(&stage);
        self.after_deletions()
    }

    fn effect(&mut self, host: usize, request: &Request) -> Result<(), String> {
        let Some(running) = &mut self.running[host] else { return Ok(()) };
        if matches!(request.ask, Ask::Create(_) | Ask::Put(_)) {
            running.own.insert(request.path.clone());
        }
        let (deed, own, began) = (running.deed.clone(), running.own.clone(), running.began);
        self.note_effect(request, &deed, &own, began)
    }

    pub(super) fn note_effect(
        &mut self,
        request: &Request,
        deed: &Deed,
        own: &BTreeSet<String>,
        began: SystemTime,
    ) -> Result<(), String> {
        if request.changes_something() {
            self.spoilt.remove(&request.path);
        }
        self.oracle.saw(&self.simulation, request, deed, own)?;
        if matches!(request.ask, Ask::Delete) && request.path.starts_with("packs/") {
            self.told.deleted_packs += 1;
            self.verifier.all_restore(&self.simulation, &self.oracle)?;
        }
        // Too late to be safe by itself: the writer looks again, unless it dies before.
        let took = self.simulation.now().duration_since(began).unwrap_or_default();
        if self.oracle.written.contains_key(&request.path) && took >= GRACE / 2 {
            self.oracle.exempt.insert(request.path.clone());
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, host: usize) -> Result<(), String> {
        let Some(running) = self.running[host].take() else { return Ok(()) };
        let outcome = running.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outcome = outcome.unwrap_or(Outcome::Wrong("it ended without an outcome".to_owned()));
        self.say(&format!("host {host} ends: {outcome:?}"));
        let took = self.simulation.now().duration_since(running.began).unwrap_or_default();
        let what = brief(&running.deed);
        match outcome {
            Outcome::Committed(path) => {
                self.told.commits += 1;
                if self.oracle.reused.contains(&path) {
                    return Err(format!("{path}: its number was used before"));
                }
                // Whoever says that it is stored has looked.
                self.oracle.exempt.remove(&path);
                self.oracle.promised.insert(path.clone());
                self.verifier.one_restores(&self.simulation, &self.oracle, &path)?;
            }
            Outcome::Done => {}
            Outcome::Gone => {
                if let Deed::Read { path, .. } | Deed::Annotate { path } = &running.deed
                    && !self.oracle.doomed.contains(path)
                    && self.oracle.promised.contains(path)
                {
                    return Err(format!("{what}: it is gone and nobody forgot it"));
                }
            }
            Outcome::Wrong(text) => {
                // A cache goes by the number.
                let excused = matches!(&running.deed, Deed::Read { path, .. } if self.oracle.reused.contains(path));
                if !excused {
                    return Err(format!("{what}: {text}"));
                }
            }
            Outcome::Missing(text) => {
                if self.oracle.exempt.is_empty() {
                    return Err(format!("{what}: {text}"));
                }
                let exempt = self.oracle.exempt.clone();
                self.oracle.doomed.extend(exempt);
            }
            Outcome::GaveUp(_) => self.told.gave_up += 1,
            Outcome::Failed(text) => {
                self.told.failed += 1;
                let excused = running.disturbed || self.is_excused(&running.deed, took);
                if !excused {
                    return Err(format!("{what} fails although nothing did: {text}"));
                }
            }
        }
        self.after_deletions()
    }

    /// Whether a command may fail although the store did not: something was taken away under it.
    fn is_excused(&self, deed: &Deed, took: Duration) -> bool {
        match deed {
            Deed::Read { path, .. } => self.oracle.doomed.contains(path) || self.oracle.exempt.contains(path),
            // What it looks at goes while it looks.
            Deed::Check => true,
            // `repair`: a snapshot that it read is forgotten, and pruned, before it looks for its packs.
            Deed::BackUp { .. } | Deed::RepairIndex => took >= GRACE / 2 || !self.oracle.exempt.is_empty(),
            Deed::Prune { .. } => took >= GRACE / 2,
            Deed::Forget { .. } | Deed::Annotate { .. } => false,
        }
    }

    fn after_deletions(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.oracle.stale) {
            self.verifier.all_restore(&self.simulation, &self.oracle)?;
        }
        Ok(())
    }
}
