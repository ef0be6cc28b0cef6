//! What happened in a play.

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
    pub spoilt: u64,
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
        self.spoilt += other.spoilt;
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
