//! A host: a thread with clocks of its own that runs the real code against the stage.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use repository::backend::Store;
use repository::cache::CacheOptions;
use repository::clock::{self, Clock};
use repository::keys::Credentials;
use repository::simulated::Simulation;
use repository::{Repository, Rule};
use tokio::runtime::Runtime;
use ulid::Ulid;

use super::stage::{Life, Stage, store};

/// How a host's clocks differ from the store's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Skew {
    /// The wall, milliseconds.
    pub wall_ms: i64,
    /// How long the host was frozen as a whole: its clocks stood still.
    pub frozen: Duration,
    names: u64,
}

/// A host's clocks.
#[derive(Debug)]
pub struct Clocks {
    simulation: Simulation,
    host: usize,
    skew: Mutex<Skew>,
}

impl Clocks {
    pub fn change(&self, change: impl FnOnce(&mut Skew)) {
        change(&mut self.skew.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn skew(&self) -> Skew {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl clock::Host for Clocks {
    fn wall(&self) -> SystemTime {
        let Skew { wall_ms, frozen, .. } = self.skew();
        let ahead = Duration::from_millis(wall_ms.unsigned_abs());
        let now = self.simulation.now() - frozen;
        if wall_ms < 0 { now - ahead } else { now + ahead }
    }

    fn running(&self) -> Duration {
        let since = self.simulation.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.saturating_sub(self.skew().frozen)
    }

    fn name(&self) -> Ulid {
        let ms = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut number = 0;
        self.change(|skew| {
            skew.names += 1;
            number = skew.names;
        });
        let random = crate::random::Random::new((self.host as u64) << 40 | number).next();
        Ulid::from_parts(u64::try_from(ms).unwrap_or(0), u128::from(random) << 16 | u128::from(number))
    }
}

/// What a job of a host has at hand.
pub struct Inside {
    pub runtime: Runtime,
    repository: Option<Repository>,
}

impl Inside {
    /// The repository: opened, or still open from before.
    pub fn open(
        &mut self,
        store: &Store,
        clocks: &Arc<Clocks>,
        cache: &CacheOptions,
        without: Option<Rule>,
    ) -> Result<Repository, String> {
        if let Some(open) = &self.repository {
            return Ok(open.clone());
        }
        let opened = self.runtime.block_on(Repository::open(store, &Credentials::None, cache));
        let clock = Clock::simulated(Arc::clone(clocks) as Arc<dyn clock::Host>);
        let mut opened = opened.map_err(|error| super::whole_text(&error))?.with_clock(clock);
        if let Some(rule) = without {
            opened = opened.breaking(rule);
        }
        self.repository = Some(opened.clone());
        Ok(opened)
    }

    /// Forgets what a process has in memory.
    pub fn close(&mut self) {
        self.repository = None;
    }
}

type Job = Box<dyn FnOnce(&mut Inside) + Send>;

/// A thread that does one job after another.
pub struct Host {
    pub clocks: Arc<Clocks>,
    pub life: Life,
    pub store: Store,
    number: usize,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    pub fn new(number: usize, stage: &Arc<Stage>, simulation: &Simulation) -> Self {
        let (jobs, todo) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            // One thread for computing: what it reads comes in an order that depends on nothing else.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let mut inside = Inside { runtime, repository: None };
            for job in todo {
                job(&mut inside);
            }
            inside.close();
            drop(inside);
            drop(pool);
        });
        let life = Life::default();
        Self {
            clocks: Arc::new(Clocks { simulation: simulation.clone(), host: number, skew: Mutex::default() }),
            store: store(stage, number, &life),
            life,
            number,
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    pub fn start(&self, job: Job) {
        self.jobs.as_ref().expect("the host is up").send(job).expect("the host is up");
    }

    /// A new process on this host.
    pub fn revive(&mut self, stage: &Arc<Stage>) {
        self.life = Life::default();
        self.store = store(stage, self.number, &self.life);
        self.start(Box::new(Inside::close));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}
