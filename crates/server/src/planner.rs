//! Which task is due, decided by nothing but the schedules, what happened so far, and the moment it is asked at: time comes in
//! from outside, so that years of it can be tested in a second.
//!
//! A task never overlaps itself. A run whose time passed while nothing could run is run once, or not at all, as configured; one
//! that failed is tried again, later each time, until its schedule comes round. A clock that is set back makes nothing wait for
//! hours, one that is set forward makes nothing run twice.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::OnMissed;
use crate::schedule::Schedule;

/// The first time that something failed is tried again; twice as long after each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// Never longer.
const LONGEST_RETRY: Duration = Duration::from_mins(15);
/// A run that is later than this was missed, not delayed.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// Clocks are adjusted by less all the time.
const SET_BACK: SignedDuration = SignedDuration::from_secs(5);

/// What is done on a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Backing a cluster up, copying and forgetting.
    Backup,
    /// Checking the repository.
    Check,
    /// Giving space back.
    Prune,
}

/// What is done for whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    /// The cluster.
    pub cluster: String,
    /// What.
    pub work: Work,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match self.work {
            Work::Backup => "backup",
            Work::Check => "check",
            Work::Prune => "prune",
        };
        write!(f, "{work} of {}", self.cluster)
    }
}

/// When a task is run.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The schedule.
    pub schedule: Schedule,
    /// Each run is later by up to this.
    pub jitter: Duration,
    /// Whether the very first run is at once.
    pub instant_first: bool,
    /// What becomes of runs that were missed.
    pub on_missed: OnMissed,
}

/// Why a task is run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its time has come.
    Schedule,
    /// The last run failed.
    Retry,
    /// Somebody asked.
    Request,
}

/// How a run ended, as far as the next is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing to make up for.
    Done,
    /// It is tried again.
    Failed,
    /// Trying again would end the same: somebody has to decide.
    Held,
}

#[derive(Debug)]
struct Entry {
    rule: Rule,
    /// When it is due by its schedule, jitter included.
    next: Option<Timestamp>,
    /// The schedule's own moment of that.
    base: Option<Timestamp>,
    retry: Option<Timestamp>,
    failures: u32,
    running: bool,
    paused: bool,
}

/// All tasks.
#[derive(Debug, Default)]
pub struct Planner {
    entries: BTreeMap<Task, Entry>,
    seen: Option<Timestamp>,
}

impl Planner {
    /// Adds a task that last began at `last`, or never.
    pub fn add(&mut self, task: Task, rule: Rule, last: Option<Timestamp>, paused: bool, now: Timestamp) {
        let mut entry = Entry { rule, next: None, base: None, retry: None, failures: 0, running: false, paused };
        let first = match last.filter(|last| *last <= now) {
            // What a clock that was wrong wrote down says nothing.
            None if entry.rule.instant_first => entry.rule.schedule.not_before(now),
            None => entry.rule.schedule.next_after(now),
            Some(last) => match entry.rule.schedule.next_after(last) {
                Some(missed) if missed <= now && entry.rule.on_missed == OnMissed::Skip => {
                    entry.rule.schedule.next_after(now)
                }
                next => next,
            },
        };
        entry.schedule(&task, first);
        self.entries.insert(task, entry);
    }

    /// Other tasks from now on; what runs is still running.
    pub fn replace(&mut self, next: Self) {
        let before = std::mem::replace(self, next);
        self.seen = before.seen;
        for (task, entry) in before.entries.into_iter().filter(|(_, entry)| entry.running) {
            if let Some(own) = self.entries.get_mut(&task) {
                own.running = entry.running;
            }
        }
    }

    /// What is due. Each is taken to be running from now on, until [`Self::ended`].
    pub fn tick(&mut self, now: Timestamp) -> Vec<(Task, Reason)> {
        let set_back = self.seen.is_some_and(|seen| seen.duration_since(now) > SET_BACK);
        self.seen = Some(now);
        let mut due = Vec::new();
        for (task, entry) in &mut self.entries {
            if set_back {
                entry.clock_set_back(task, now);
            }
            if entry.running || entry.paused {
                continue;
            }
            if entry.next.is_some_and(|next| next <= now) {
                let late = entry.next.is_some_and(|next| now.duration_since(next) > LATE);
                entry.go_on(task, now);
                if late && entry.rule.on_missed == OnMissed::Skip {
                    continue;
                }
                entry.begin();
                due.push((task.clone(), Reason::Schedule));
            } else if entry.retry.is_some_and(|retry| retry <= now) {
                entry.begin();
                due.push((task.clone(), Reason::Retry));
            }
        }
        due
    }

    /// Takes a task to be running because somebody asked for it; `false` where it is already, or is none.
    pub fn begin(&mut self, task: &Task) -> bool {
        match self.entries.get_mut(task) {
            Some(entry) if !entry.running => {
                entry.begin();
                true
            }
            _ => false,
        }
    }

    /// A run is over.
    pub fn ended(&mut self, task: &Task, how: Ended, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(task) else { return };
        entry.running = false;
        match how {
            Ended::Done | Ended::Held => entry.failures = 0,
            Ended::Failed => {
                let factor = 1_u32.checked_shl(entry.failures.min(16)).unwrap_or(u32::MAX);
                let wait = FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY);
                entry.failures = entry.failures.saturating_add(1);
                entry.retry = now.checked_add(wait).ok();
            }
        }
    }

    /// Whether a task's schedule is set aside. What is running goes on.
    pub fn pause(&mut self, cluster: &str, paused: bool, now: Timestamp) {
        for (task, entry) in self.entries.iter_mut().filter(|(task, _)| task.cluster == cluster) {
            if entry.paused && !paused && entry.next.is_some_and(|next| next <= now) {
                // Nothing was missed: it was not wanted.
                entry.go_on(task, now);
            }
            entry.paused = paused;
            entry.retry = None;
        }
    }

    /// When a task is run next; `None` where it is paused.
    pub fn next_of(&self, task: &Task) -> Option<Timestamp> {
        let entry = self.entries.get(task).filter(|entry| !entry.paused)?;
        [entry.next, entry.retry].into_iter().flatten().min()
    }
}

impl Entry {
    fn begin(&mut self) {
        self.running = true;
        self.retry = None;
    }

    fn schedule(&mut self, task: &Task, base: Option<Timestamp>) {
        self.base = base;
        self.next = base.and_then(|base| base.checked_add(jitter(&self.rule, task, base)).ok());
    }

    /// To the first moment after now. Periods are counted from the one before, so that they do not drift.
    fn go_on(&mut self, task: &Task, now: Timestamp) {
        let schedule = match (self.rule.schedule.clone(), self.base) {
            (schedule @ Schedule::Every { from: None, .. }, base) => {
                schedule.starting(base.filter(|base| *base <= now))
            }
            (schedule, _) => schedule,
        };
        self.schedule(task, schedule.next_after(now));
    }

    /// What lies further ahead than it can is brought back.
    fn clock_set_back(&mut self, task: &Task, now: Timestamp) {
        let sooner = self.rule.schedule.next_after(now);
        if let (Some(sooner), Some(base)) = (sooner, self.base)
            && sooner < base
        {
            self.schedule(task, Some(sooner));
        }
        if self.retry.is_some_and(|retry| retry.duration_since(now) > SignedDuration::from_secs(15 * 60)) {
            self.retry = Some(now);
        }
    }
}

/// The same for the same run of the same task, whoever asks: a task's runs are spread, and a restart does not move them.
fn jitter(rule: &Rule, task: &Task, base: Timestamp) -> Duration {
    let most = u64::try_from(rule.jitter.as_millis()).unwrap_or(u64::MAX);
    if most == 0 {
        return Duration::ZERO;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in task.to_string().bytes().chain(base.as_millisecond().to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The low bits of this sum hardly know its last bytes.
    hash ^= hash >> 32;
    Duration::from_millis((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) % (most + 1))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn task() -> Task {
        Task { cluster: "prod".to_owned(), work: Work::Backup }
    }

    fn rule(schedule: &str) -> Rule {
        Rule {
            schedule: Schedule::parse(schedule, &TimeZone::UTC).unwrap(),
            jitter: Duration::ZERO,
            instant_first: false,
            on_missed: OnMissed::RunOnce,
        }
    }

    const START: &str = "2026-11-21T10:00:00Z";

    fn planner(rule: Rule, last: Option<&str>) -> Planner {
        let mut planner = Planner::default();
        planner.add(task(), rule, last.map(at), false, at(START));
        planner
    }

    /// Asks each second, each run ending at once; when they began.
    fn runs(planner: &mut Planner, from: &str, seconds: i64) -> Vec<String> {
        let from = at(from);
        let mut began = Vec::new();
        for second in 0..seconds {
            let now = from + SignedDuration::from_secs(second);
            for (task, _) in planner.tick(now) {
                began.push(now.to_string());
                planner.ended(&task, Ended::Done, now);
            }
        }
        began
    }

    #[test]
    fn periods_do_not_drift_and_the_first_run_can_be_at_once() {
        let mut late = planner(rule("@every 10m"), None);
        assert_eq!(runs(&mut late, START, 1801).len(), 3);
        let mut instant = planner(Rule { instant_first: true, ..rule("@every 10m") }, None);
        assert_eq!(runs(&mut instant, START, 1300), [START, "2026-11-21T10:10:00Z", "2026-11-21T10:20:00Z"]);
    }

    #[test]
    fn a_run_that_takes_longer_than_its_period_is_followed_by_one() {
        let mut planner = planner(rule("@every 1m"), None);
        let now = at("2026-11-21T10:01:00Z");
        assert_eq!(planner.tick(now), [(task(), Reason::Schedule)]);
        for minutes in 1..10 {
            assert_eq!(planner.tick(now + SignedDuration::from_mins(minutes)), [], "it overlaps itself");
        }
        let end = now + SignedDuration::from_secs(9 * 60 + 30);
        planner.ended(&task(), Ended::Done, end);
        assert_eq!(planner.tick(end).len(), 1);
        planner.ended(&task(), Ended::Done, end);
        assert_eq!(planner.tick(end), [], "one run for all that were missed");
        assert_eq!(planner.next_of(&task()), Some(now + SignedDuration::from_mins(10)));
    }

    #[test]
    fn what_was_missed_while_nothing_ran() {
        let mut once = planner(rule("0 * * * *"), Some("2026-11-21T03:00:00Z"));
        assert_eq!(runs(&mut once, START, 3601), [START, "2026-11-21T11:00:00Z"]);
        let mut skip = planner(Rule { on_missed: OnMissed::Skip, ..rule("0 * * * *") }, Some("2026-11-21T03:00:00Z"));
        assert_eq!(runs(&mut skip, START, 3601), ["2026-11-21T11:00:00Z"]);
    }

    #[test]
    fn a_machine_that_slept() {
        let mut skip = planner(Rule { on_missed: OnMissed::Skip, ..rule("@every 10m") }, None);
        assert_eq!(runs(&mut skip, "2026-11-21T10:10:00Z", 1).len(), 1);
        assert_eq!(runs(&mut skip, "2026-11-21T15:05:00Z", 1), [""; 0], "it was hours late");
        assert_eq!(runs(&mut skip, "2026-11-21T15:05:01Z", 600).len(), 1);
    }

    #[test]
    fn failures_are_tried_again_later_each_time_until_the_schedule_comes_round() {
        let mut planner = planner(rule("@every 1h"), None);
        let mut now = at("2026-11-21T11:00:00Z");
        assert_eq!(planner.tick(now), [(task(), Reason::Schedule)]);
        let mut waited = Vec::new();
        for _ in 0..9 {
            planner.ended(&task(), Ended::Failed, now);
            let failed = now;
            let reason = loop {
                now += SignedDuration::from_secs(1);
                if let [(_, reason)] = planner.tick(now)[..] {
                    break reason;
                }
            };
            waited.push((now.duration_since(failed).as_secs(), reason));
        }
        let retry = Reason::Retry;
        assert_eq!(
            waited[..7],
            [(15, retry), (30, retry), (60, retry), (120, retry), (240, retry), (480, retry), (900, retry)]
        );
        assert_eq!(waited[7], (900, retry));
        assert_eq!(waited[8].1, Reason::Schedule, "{waited:?}");
        planner.ended(&task(), Ended::Held, now);
        assert_eq!(planner.next_of(&task()), Some(at("2026-11-21T13:00:00Z")), "what is held is not tried again");
    }

    #[test]
    fn a_clock_that_is_set() {
        for schedule in ["@every 10m", "*/10 * * * *"] {
            // Back by a day: it does not wait for a day.
            let mut back = planner(rule(schedule), None);
            assert_eq!(runs(&mut back, START, 1201).len(), 2);
            assert_eq!(runs(&mut back, "2026-11-20T10:20:01Z", 1201).len(), 2, "{schedule}");
            // Forward by a day: one run makes up for all.
            let mut forward = planner(rule(schedule), None);
            assert_eq!(runs(&mut forward, START, 601).len(), 1);
            assert_eq!(runs(&mut forward, "2026-11-22T10:10:01Z", 601).len(), 2, "{schedule}");
        }
        // What was noted by a clock that ran ahead holds nothing up.
        let mut ahead = planner(rule("@every 10m"), Some("2027-01-01T00:00:00Z"));
        assert_eq!(runs(&mut ahead, START, 601).len(), 1);
    }

    #[test]
    fn jitter_is_within_its_bound_differs_and_is_the_same_after_a_restart() {
        let jittered = Rule { jitter: Duration::from_secs(30), ..rule("*/10 * * * *") };
        let began = runs(&mut planner(jittered.clone(), None), START, 6 * 3600);
        assert_eq!(began, runs(&mut planner(jittered, None), START, 6 * 3600));
        assert!((35..=36).contains(&began.len()), "{began:?}");
        let seconds: std::collections::BTreeSet<&str> = began.iter().map(|time| &time[17..19]).collect();
        assert!(
            seconds.len() > 5 && began.iter().all(|time| time[15..16] == *"0" && &time[17..19] <= "30"),
            "{began:?}"
        );
    }

    #[test]
    fn a_pause_is_no_miss() {
        let mut planner = planner(rule("@every 10m"), None);
        planner.pause("prod", true, at(START));
        assert_eq!(planner.next_of(&task()), None);
        assert_eq!(runs(&mut planner, START, 7200), [""; 0]);
        planner.pause("prod", false, at("2026-11-21T12:00:00Z"));
        assert_eq!(runs(&mut planner, "2026-11-21T12:00:00Z", 601).len(), 1);
        assert!(planner.begin(&task()) && !planner.begin(&task()));
    }
}
