//! Writes the bench tree as a data directory, or moves one on, so that scripts can measure on it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{BENCH_NODES, BENCH_SEED, Change, Tree};

/// Writes a deterministic data directory: `OUT/version-2/snapshot.<zxid>` and its logs.
#[derive(Debug, Parser)]
struct Options {
    /// Folder to make the data directory in; it must be empty or absent.
    #[arg(long)]
    out: PathBuf,
    /// Folder for the logs, where it is not OUT.
    #[arg(long)]
    log_dir: Option<PathBuf>,
    /// Number of znodes.
    #[arg(long, default_value_t = BENCH_NODES)]
    scale: usize,
    /// Seed of the tree.
    #[arg(long, default_value_t = BENCH_SEED)]
    seed: u64,
    /// States after the first, in order: `random:100`, `clustered:100000`, `sets:10`, `roll` (a new snapshot
    /// file), `epoch` (a new leader). After each one the directory as it is then is announced on standard
    /// output, and the program waits for a line on standard input if `--step` is given.
    #[arg(long, value_delimiter = ',')]
    changes: Vec<String>,
    /// Wait for a line on standard input before each change.
    #[arg(long)]
    step: bool,
    /// As a server without digests, which 3.4 and 3.5 are.
    #[arg(long)]
    no_digests: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.out.is_dir() && options.out.read_dir()?.next().is_some() {
        bail!("{} is not empty: name a new folder", options.out.display());
    }
    let digests = !options.no_digests;
    let setup = Setup { log_dir: options.log_dir, digests, last_zxid: digests };
    let mut directory = EvolvingDir::create(&options.out, Tree::build(options.scale, options.seed), setup)?;
    announce("base", &directory);
    for change in &options.changes {
        if options.step && std::io::stdin().read_line(&mut String::new())? == 0 {
            break;
        }
        match change.split_once(':').map_or((change.as_str(), Ok(0)), |(kind, count)| (kind, count.parse())) {
            ("random", Ok(count)) => drop(directory.commit(Change::Random(count))?),
            ("clustered", Ok(count)) => drop(directory.commit(Change::Clustered(count))?),
            ("sets", Ok(count)) => drop(directory.commit(Change::Sets(count))?),
            ("roll", Ok(_)) => drop(directory.roll()?),
            ("epoch", Ok(_)) => directory.next_epoch(),
            _ => bail!("--changes {change}: give random:N, clustered:N, sets:N, roll or epoch"),
        }
        announce(change, &directory);
    }
    Ok(())
}

/// One line: what was done, the zxid reached, the number of nodes.
fn announce(what: &str, directory: &EvolvingDir) {
    println!("{what} {} {}", directory.tree().zxid(), directory.tree().len());
}
