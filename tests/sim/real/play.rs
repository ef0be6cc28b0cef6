//! One schedule: who does what, who goes on, how time passes, what fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use repository::cache::CacheOptions;
use repository::keys::Credentials;
use repository::simulated::Simulation;
use repository::{InitOptions, LineageId, PruneOptions, Repository};

mod effects;
mod temper;
mod told;

use super::GRACE;
use super::deeds::{Deed, Outcome, perform};
use super::host::Host;
use super::oracle::{Oracle, Verifier};
use super::stage::{Request, Stage, Standing};
use super::trees::Source;
use crate::random::Random;
use temper::Temper;
pub use temper::Variant;
pub use told::{Told, report};

/// A request that was given up is done within this time or never.
const LATEST: Duration = Duration::from_mins(5);

/// A command under way.
struct Running {
    deed: Deed,
    began: SystemTime,
    /// A request of it failed or was done late.
    disturbed: bool,
    /// Manifests it wrote.
    own: BTreeSet<String>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    paused: Option<Pause>,
}

/// A host that does not go on.
struct Pause {
    turns: u32,
    /// Its clocks stand still, as a virtual machine's do.
    since: Option<SystemTime>,
}

/// A request that was given up and is still on its way.
struct Late {
    due: SystemTime,
    request: Request,
    deed: Deed,
    began: SystemTime,
}

struct Play {
    random: Random,
    temper: Temper,
    variant: Variant,
    /// Lists that cannot be read.
    spoilt: BTreeSet<String>,
    simulation: Simulation,
    stage: Arc<Stage>,
    hosts: Vec<Host>,
    running: Vec<Option<Running>>,
    late: Vec<Late>,
    sources: Vec<(LineageId, Source)>,
    oracle: Oracle,
    verifier: Verifier,
    caches: Option<tempfile::TempDir>,
    began: SystemTime,
    told: Told,
}

/// Plays one schedule; what went wrong.
pub fn play(seed: u64, variant: Variant) -> (Told, Result<(), String>) {
    let mut random = Random::new(seed);
    let temper = Temper::of(&mut random, variant);
    let mut play = Play::new(seed, random, temper, variant);
    let result = play.run();
    (std::mem::take(&mut play.told), result)
}

impl Play {
    fn new(seed: u64, random: Random, temper: Temper, variant: Variant) -> Self {
        let began = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 56);
        let simulation = Simulation::starting(began);
        simulation.set_creates_exclusively(temper.exclusive);
        let verifier = Verifier::new();
        let options = InitOptions { grace_s: GRACE.as_secs(), ..InitOptions::new(Credentials::None) };
        let (store, cache) = (simulation.store(), CacheOptions::none());
        verifier.runtime.block_on(Repository::init(&store, &options, &cache)).unwrap();
        let stage = Stage::new(temper.hosts);
        let hosts = (0..temper.hosts).map(|number| Host::new(number, &stage, &simulation)).collect();
        let sources = (0..temper.lineages).map(|n| {
            let id = u8::try_from(n + 1).unwrap();
            (LineageId([id; 16]), Source::new(seed << 8 | u64::from(id)))
        });
        let caches = temper.cached.then(|| tempfile::tempdir().unwrap());
        Self {
            random,
            running: (0..temper.hosts).map(|_| None).collect(),
            sources: sources.collect(),
            late: Vec::new(),
            oracle: Oracle::new(&verifier.open(&simulation)),
            told: Told { lines: vec![format!("{temper:?}")], ..Told::default() },
            temper,
            variant,
            spoilt: BTreeSet::new(),
            simulation,
            stage,
            hosts,
            verifier,
            caches,
            began,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let mut left = self.temper.deeds;
        loop {
            let idle: Vec<usize> = (0..self.hosts.len()).filter(|h| self.running[*h].is_none()).collect();
            let busy = self.hosts.len() - idle.len();
            if left > 0 && !idle.is_empty() && (busy == 0 || self.random.one_in(12)) {
                left -= 1;
                let host = idle[self.random.below(u32::try_from(idle.len()).unwrap()) as usize];
                self.start(host);
            } else if busy == 0 {
                break;
            }
            self.time_passes()?;
            if let Some(host) = self.next_host() {
                self.turn(host)?;
            }
        }
        self.simulation.advance(LATEST);
        self.arrivals()?;
        self.verifier.all_restore(&self.simulation, &self.oracle)?;
        self.say("the end: everybody has gone");
        if self.variant.repairs {
            self.verifier.repair(&self.simulation)?;
        }
        self.verifier.garbage_goes(&self.simulation, &mut self.oracle)
    }

    fn say(&mut self, what: &str) {
        let at = self.simulation.now().duration_since(self.began).unwrap_or_default().as_secs();
        self.told.lines.push(format!("{at:>7} s  {what}"));
    }

    fn time_passes(&mut self) -> Result<(), String> {
        let idle = self.running.iter().all(Option::is_none);
        let (often, longest) = self.temper.jumps;
        let step = if self.random.one_in(if idle { 2 } else { often }) {
            let longest = if idle { 9_000 } else { longest };
            Duration::from_secs(u64::from(self.random.below(longest)))
        } else {
            Duration::from_millis(u64::from(self.random.below(3_000)))
        };
        self.simulation.advance(step);
        if self.random.one_in(60) {
            // Somebody sets a clock.
            let host = self.random.below(u32::try_from(self.hosts.len()).unwrap()) as usize;
            let by = i64::from(self.random.below(20_000)) - 10_000;
            self.hosts[host].clocks.change(|skew| skew.wall_ms = by * 1000);
        }
        if self.temper.spoils > 0 && self.random.one_in(self.temper.spoils) {
            self.spoil();
        }
        self.arrivals()
    }

    /// A list cannot be read any more, by those who have not read it.
    fn spoil(&mut self) {
        let lists: Vec<String> =
            self.simulation.paths().into_iter().filter(|path| path.starts_with("condemned/")).collect();
        if lists.is_empty() {
            return;
        }
        let path = lists[self.random.below(u32::try_from(lists.len()).unwrap()) as usize].clone();
        self.simulation.spoil(&path);
        self.say(&format!("SPOILT: {path}"));
        self.spoilt.insert(path);
        self.told.spoilt += 1;
        for running in self.running.iter_mut().flatten() {
            running.disturbed = true;
        }
    }

    /// Requests that were given up are done after all.
    fn arrivals(&mut self) -> Result<(), String> {
        let now = self.simulation.now();
        let (due, later): (Vec<Late>, Vec<Late>) =
            std::mem::take(&mut self.late).into_iter().partition(|l| l.due <= now);
        self.late = later;
        for Late { request, deed, began, .. } in due {
            if request.carry_out(&self.simulation).is_ok() {
                self.say(&format!("arrives late: {:?} {}", request.operation(), request.path));
                self.note_effect(&request, &deed, &BTreeSet::from([request.path.clone()]), began)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, host: usize) {
        let deed = self.choose();
        let (store, clocks) = (self.hosts[host].store.clone(), Arc::clone(&self.hosts[host].clocks));
        let cache = match &self.caches {
            Some(root) => CacheOptions::at(root.path().join(host.to_string())),
            None => CacheOptions::none(),
        };
        // A daemon goes on with what it has in memory; a command begins anew.
        let daemon = self.random.one_in(2);
        let (stage, outcome) = (Arc::clone(&self.stage), Arc::new(Mutex::new(None)));
        let (result, told, without) = (Arc::clone(&outcome), deed.clone(), self.variant.without);
        self.stage.begins(host);
        self.hosts[host].start(Box::new(move |inside| {
            if !daemon {
                inside.close();
            }
            let done = match inside.open(&store, &clocks, &cache, without) {
                Ok(repository) => perform(&deed, &repository, &inside.runtime),
                Err(error) => Outcome::Failed(error),
            };
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            stage.ends(host);
        }));
        self.told.deeds += 1;
        self.say(&format!("host {host} begins: {}", brief(&told)));
        self.running[host] = Some(Running {
            deed: told,
            began: self.simulation.now(),
            disturbed: !self.spoilt.is_empty(),
            own: BTreeSet::new(),
            outcome,
            paused: None,
        });
    }

    fn choose(&mut self) -> Deed {
        let sum: u32 = self.temper.weights.iter().sum();
        let mut at = self.random.below(sum);
        let kind = self.temper.weights.iter().position(|w| {
            let hit = at < *w;
            at = at.saturating_sub(*w);
            hit
        });
        let there: Vec<String> =
            self.simulation.paths().into_iter().filter(|p| self.oracle.written.contains_key(p)).collect();
        match kind {
            Some(1) if !there.is_empty() => {
                // Mostly the older half; now and then everything.
                let all = self.random.one_in(8);
                let doomed: BTreeSet<String> = there.iter().filter(|_| all || self.random.one_in(2)).cloned().collect();
                self.oracle.doomed.extend(doomed.iter().cloned());
                Deed::Forget { doomed }
            }
            Some(2) => {
                let max_repack = if self.random.one_in(4) { 0 } else { u64::MAX };
                let dry_run = self.random.one_in(12);
                Deed::Prune { options: PruneOptions { max_repack, dry_run, ..PruneOptions::default() } }
            }
            Some(kind @ (3 | 4)) if !there.is_empty() => {
                let path = there[self.random.below(u32::try_from(there.len()).unwrap()) as usize].clone();
                let tree = Arc::clone(&self.oracle.trees[self.oracle.written[&path]]);
                if kind == 3 { Deed::Read { path, tree } } else { Deed::Annotate { path } }
            }
            Some(5) => Deed::Check,
            Some(6) => Deed::RepairIndex,
            _ => {
                let at = self.random.below(u32::try_from(self.sources.len()).unwrap()) as usize;
                let (lineage, source) = &mut self.sources[at];
                source.evolve();
                let tree = source.tree(self.oracle.trees.len());
                self.oracle.trees.push(Arc::clone(&tree));
                Deed::BackUp {
                    lineage: *lineage,
                    tree,
                    full: self.random.one_in(6),
                    same_session: self.random.one_in(2),
                }
            }
        }
    }

    /// Whose turn it is. Everybody waits at a request, or has ended.
    fn next_host(&mut self) -> Option<usize> {
        let busy: Vec<usize> = (0..self.hosts.len()).filter(|h| self.running[*h].is_some()).collect();
        if busy.is_empty() {
            return None;
        }
        let mut awake = Vec::new();
        for host in &busy {
            let running = self.running[*host].as_mut()?;
            let over = match &mut running.paused {
                None => true,
                Some(pause) => {
                    pause.turns = pause.turns.saturating_sub(1);
                    pause.turns == 0 || busy.len() == 1
                }
            };
            if over {
                if let Some(since) = running.paused.take().and_then(|pause| pause.since) {
                    let frozen = self.simulation.now().duration_since(since).unwrap_or_default();
                    self.hosts[*host].clocks.change(|skew| skew.frozen += frozen);
                }
                awake.push(*host);
            }
        }
        if awake.is_empty() {
            return None;
        }
        let host = awake[self.random.below(u32::try_from(awake.len()).unwrap()) as usize];
        if self.random.one_in(self.temper.pauses) {
            let frozen = self.random.one_in(2);
            let turns = 1 + self.random.below(60);
            let since = frozen.then(|| self.simulation.now());
            self.say(&format!("host {host} is {}", if frozen { "frozen" } else { "suspended" }));
            self.running[host].as_mut()?.paused = Some(Pause { turns, since });
            return None;
        }
        Some(host)
    }

    /// A host's request is answered, or its end is noted.
    fn turn(&mut self, host: usize) -> Result<(), String> {
        match self.stage.settle(host) {
            Standing::Ended => self.ended(host),
            Standing::Waits(request) => {
                self.told.requests += 1;
                self.serve(host, &request)?;
                // Everybody stands still before anybody is chosen.
                if matches!(self.stage.settle(host), Standing::Ended) { self.ended(host) } else { Ok(()) }
            }
        }
    }
}

/// A play that ends early lets nobody wait.
impl Drop for Play {
    fn drop(&mut self) {
        for (number, host) in self.hosts.iter().enumerate() {
            self.stage.bury(number, &host.life);
        }
    }
}

fn brief(deed: &Deed) -> String {
    match deed {
        Deed::BackUp { lineage, tree, full, same_session } => {
            let how = (if *full { " full" } else { "" }, if *same_session { " same session" } else { "" });
            format!("back up tree {} of {}{}{}", tree.version, &lineage.to_string()[..2], how.0, how.1)
        }
        Deed::Forget { doomed } => format!("forget {doomed:?}"),
        Deed::Prune { options } => format!("prune {options:?}"),
        Deed::Read { path, tree } => format!("read {path} with tree {}", tree.version),
        Deed::Annotate { path } => format!("annotate {path}"),
        Deed::Check => "check".to_owned(),
        Deed::RepairIndex => "repair index".to_owned(),
    }
}
