//! One schedule: who does what, who goes on, how time passes, what fails.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use repository::backend::StoreErrorKind;
use repository::cache::CacheOptions;
use repository::keys::Credentials;
use repository::simulated::Simulation;
use repository::{InitOptions, LineageId, PruneOptions, Repository};

use super::GRACE;
use super::deeds::{Deed, Outcome, perform};
use super::host::Host;
use super::oracle::{Oracle, Verifier};
use super::stage::{Ask, Request, Stage, Standing};
use super::trees::Source;
use crate::random::Random;

/// A request that was given up is done within this time or never.
const LATEST: Duration = Duration::from_mins(5);

/// How one schedule is: drawn from its seed.
#[derive(Clone, Debug)]
struct Temper {
    hosts: usize,
    lineages: usize,
    deeds: u32,
    exclusive: bool,
    cached: bool,
    /// One request in so many fails; 0 for none.
    faults: u32,
    /// One request in so many is a process's last; 0 for none.
    crashes: u32,
    /// One turn in so many takes long, at most so many seconds.
    jumps: (u32, u32),
    /// One turn in so many suspends its host.
    pauses: u32,
    /// How often each command comes.
    weights: [u32; 6],
}

impl Temper {
    fn of(random: &mut Random) -> Self {
        let pick = |random: &mut Random, of: &[u32]| of[random.below(u32::try_from(of.len()).unwrap()) as usize];
        Self {
            hosts: 2 + random.below(4) as usize,
            lineages: 1 + random.below(2) as usize,
            deeds: 16 + random.below(20),
            exclusive: !random.one_in(4),
            cached: random.one_in(4),
            faults: pick(random, &[0, 0, 400, 120, 40]),
            crashes: pick(random, &[0, 400, 150, 50]),
            jumps: (pick(random, &[10, 30, 100]), pick(random, &[60, 1_800, 5_000, 9_000])),
            pauses: pick(random, &[15, 60, 200, 1_000]),
            weights: [6 + random.below(6), 2 + random.below(4), 2 + random.below(5), 2, 1, 1],
        }
    }
}

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

/// What happened, for those who look at a failure, and how much was tried.
#[derive(Debug, Default)]
pub struct Told {
    pub lines: Vec<String>,
    pub deeds: u64,
    pub requests: u64,
    pub crashes: u64,
    pub faults: u64,
    pub commits: u64,
    pub deleted_packs: u64,
    pub gave_up: u64,
    pub failed: u64,
}

impl Told {
    /// Adds the numbers of another play.
    pub fn add(&mut self, other: &Self) {
        self.deeds += other.deeds;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.commits += other.commits;
        self.deleted_packs += other.deleted_packs;
        self.gave_up += other.gave_up;
        self.failed += other.failed;
    }
}

struct Play {
    random: Random,
    temper: Temper,
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
pub fn play(seed: u64) -> (Told, Result<(), String>) {
    let mut random = Random::new(seed);
    let temper = Temper::of(&mut random);
    let mut play = Play::new(seed, random, temper);
    let result = play.run();
    (std::mem::take(&mut play.told), result)
}

impl Play {
    fn new(seed: u64, random: Random, temper: Temper) -> Self {
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
        self.arrivals()
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
        let (result, told) = (Arc::clone(&outcome), deed.clone());
        self.stage.begins(host);
        self.hosts[host].start(Box::new(move |inside| {
            if !daemon {
                inside.close();
            }
            let done = match inside.open(&store, &clocks, &cache) {
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
            disturbed: false,
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

    fn serve(&mut self, host: usize, request: &Request) -> Result<(), String> {
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

    fn note_effect(
        &mut self,
        request: &Request,
        deed: &Deed,
        own: &BTreeSet<String>,
        began: SystemTime,
    ) -> Result<(), String> {
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

    fn ended(&mut self, host: usize) -> Result<(), String> {
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
            Deed::BackUp { .. } => took >= GRACE / 2 || !self.oracle.exempt.is_empty(),
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
    }
}

/// The text of an error that ends a play early.
pub fn report(seed: u64, told: &Told, problem: &str, lines: usize) -> String {
    let from = told.lines.len().saturating_sub(lines);
    format!(
        "seed {seed}: {problem}\n{}\nto see it again: ZOOARK_SIM_SEED={seed} cargo test -p tests --test sim real",
        told.lines[from..].join("\n")
    )
}
