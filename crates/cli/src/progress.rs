//! The engine's monitor: bars on a terminal, a line now and then in a log, status objects for `--json`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Monitor, Phase, Unit};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::output::{self, Output};

/// A log line for work that lasts longer than this, and again after each such span.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A status object at most this often.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// A bar appears, and its clock moves on, this often: what is over sooner does not flicker.
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bars with rate and time left.
    Bars,
    /// Plain lines on standard error.
    Lines,
    /// JSON objects on standard output.
    Status,
    /// Not at all.
    None,
}

/// Shows what the engine does and tells it when to stop.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    output: Arc<Output>,
    stop: Arc<AtomicBool>,
    bars: MultiProgress,
    running: Mutex<HashMap<Phase, Running>>,
}

#[derive(Debug)]
struct Running {
    unit: Unit,
    total: Option<u64>,
    done: u64,
    since: Instant,
    shown: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows in this style; stops the engine once `stop` is true.
    pub fn new(style: Style, output: Arc<Output>, stop: Arc<AtomicBool>) -> Self {
        let target = if style == Style::Bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { style, output, stop, bars: MultiProgress::with_draw_target(target), running: Mutex::new(HashMap::new()) }
    }

    /// Takes the bars away, so that results stand on a clean line.
    pub fn clear(&self) {
        let _ = self.bars.clear();
    }

    fn with(&self, phase: Phase, change: impl FnOnce(&mut Running)) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = running.get_mut(&phase) {
            change(entry);
        }
    }

    fn show(&self, phase: Phase, entry: &mut Running) {
        match self.style {
            Style::Lines if entry.shown.elapsed() >= LINE_EVERY => {
                entry.shown = Instant::now();
                self.output.say(line(phase, entry));
            }
            Style::Status if entry.shown.elapsed() >= STATUS_EVERY => {
                entry.shown = Instant::now();
                // A reader that went away must not stop the operation; the summary's write tells of it.
                let _ = self.output.object_now(&json!({
                    "message_type": "status",
                    "phase": phase.name(),
                    "unit": entry.unit.name(),
                    "done": entry.done,
                    "total": entry.total,
                    "elapsed_ms": u64::try_from(entry.since.elapsed().as_millis()).unwrap_or(u64::MAX),
                }));
            }
            _ => {}
        }
    }
}

impl Monitor for Progress {
    fn begin(&self, phase: Phase, unit: Unit, total: Option<u64>) {
        let bar = (self.style == Style::Bars).then(|| self.bars.add(bar(phase, unit, total)));
        if let Some(bar) = &bar {
            bar.enable_steady_tick(TICK);
        }
        let now = Instant::now();
        let entry = Running { unit, total, done: 0, since: now, shown: now, bar };
        let before = self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(phase, entry);
        if let Some(bar) = before.and_then(|before| before.bar) {
            bar.finish_and_clear();
        }
    }

    fn advance(&self, phase: Phase, done: u64) {
        self.with(phase, |entry| {
            entry.done = entry.done.saturating_add(done);
            if let Some(bar) = &entry.bar {
                bar.set_position(entry.done);
            }
            self.show(phase, entry);
        });
    }

    fn end(&self, phase: Phase) {
        let ended = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&phase);
        if let Some(bar) = ended.and_then(|entry| entry.bar) {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        if self.style == Style::Bars {
            self.bars.suspend(|| self.output.say(text));
        } else {
            self.output.say(text);
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn bar(phase: Phase, unit: Unit, total: Option<u64>) -> ProgressBar {
    let (amount, rate) = match unit {
        Unit::Bytes => ("{binary_bytes}/{binary_total_bytes}", "{binary_bytes_per_sec}"),
        Unit::Nodes | Unit::Transactions | Unit::Snapshots | Unit::Packs => ("{human_pos}/{human_len}", "{per_sec:.0}"),
    };
    let template = match total {
        Some(_) => format!("{{prefix:10}} {{wide_bar}} {amount}  {rate}  {{eta}} left"),
        None => format!("{{prefix:10}} {{spinner}} {}  {rate}", amount.split('/').next().unwrap_or(amount)),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style).with_prefix(phase.name())
}

fn line(phase: Phase, entry: &Running) -> String {
    let amount = |number| match entry.unit {
        Unit::Bytes => output::bytes(number),
        unit => format!("{} {}", output::count(number), unit.name()),
    };
    let elapsed = output::duration(entry.since.elapsed());
    match entry.total {
        Some(total) => format!("{}: {} of {} after {elapsed}", phase.name(), amount(entry.done), amount(total)),
        None => format!("{}: {} after {elapsed}", phase.name(), amount(entry.done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_a_phase_that_begins_again() {
        let progress = Progress::new(Style::None, Arc::new(Output::new(false, true)), Arc::new(AtomicBool::new(false)));
        progress.begin(Phase::Reading, Unit::Bytes, Some(4));
        progress.advance(Phase::Reading, 3);
        progress.with(Phase::Reading, |entry| assert_eq!((entry.done, entry.total), (3, Some(4))));
        progress.begin(Phase::Reading, Unit::Nodes, None);
        progress.with(Phase::Reading, |entry| {
            assert!(line(Phase::Reading, entry).starts_with("reading: 0 nodes after "));
        });
        progress.end(Phase::Reading);
        assert!(progress.running.lock().unwrap().is_empty());
    }

    #[test]
    fn a_raised_flag_cancels() {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Progress::new(Style::None, Arc::new(Output::new(false, true)), Arc::clone(&stop));
        assert!(progress.check().is_ok());
        stop.store(true, Ordering::Relaxed);
        assert!(progress.check().is_err());
    }
}
