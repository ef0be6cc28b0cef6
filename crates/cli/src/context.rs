//! What a command works with: settings, where words go, progress, and the wish to stop.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use crate::args::GlobalArgs;
use crate::output::Output;
use crate::progress::{Progress, Style};
use crate::settings::Settings;
use crate::signals;

/// Everything a command needs besides its own arguments.
#[derive(Debug)]
pub struct Context {
    /// What was asked for and configured.
    pub settings: Settings,
    /// Results and words.
    pub output: Arc<Output>,
    /// Handed to the engine.
    pub monitor: Progress,
    /// Whether details were asked for.
    pub verbose: bool,
    /// The daemon's configuration file, which is no file of settings.
    pub daemons_config: Option<PathBuf>,
    stop: Arc<AtomicBool>,
}

impl Context {
    /// Reads the settings; `streams` is whether the command's JSON is a stream of messages, `of_commands` whether the
    /// configuration file is one of settings and not the daemon's.
    pub fn new(global: &GlobalArgs, streams: bool, of_commands: bool) -> anyhow::Result<Self> {
        // A variable that is no text cannot be one of ours, nor one an object store reads.
        let mut environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let (mut global, mut daemons) = (global.clone(), None);
        if !of_commands {
            let named = environment.remove("ZOOARK_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
            daemons = global.config.take().or(named);
        }
        let settings = Settings::load(&global, environment)?;
        let output = Arc::new(Output::new(global.json, global.quiet));
        let stop = Arc::new(AtomicBool::new(false));
        let style = if global.quiet || global.no_progress || (global.json && !streams) {
            Style::None
        } else if global.json {
            Style::Status
        } else if io::stderr().is_terminal() {
            Style::Bars
        } else {
            Style::Lines
        };
        let monitor = Progress::new(style, Arc::clone(&output), Arc::clone(&stop));
        Ok(Self { settings, output, monitor, verbose: global.verbose > 0, daemons_config: daemons, stop })
    }

    /// Hands all results to the reader.
    pub fn finish(&self) -> anyhow::Result<()> {
        self.monitor.clear();
        Ok(self.output.flush()?)
    }

    /// From here on Ctrl-C lets the operation end cleanly. Not earlier: at a prompt it should end the process.
    pub fn catch_interrupts(&self) -> anyhow::Result<()> {
        signals::raise_on_interrupt(Arc::clone(&self.stop)).context("cannot listen for signals")
    }
}
