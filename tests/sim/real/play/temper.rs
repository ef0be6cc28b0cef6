//! How a schedule is: how many take part, how often what fails, how time passes.

use repository::Rule;

use crate::random::Random;

/// What is played besides what a seed says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variant {
    /// Condemned lists are spoilt, and repaired.
    pub repairs: bool,
    /// All rules hold but this one.
    pub without: Option<Rule>,
}

/// How one schedule is: drawn from its seed.
#[derive(Clone, Debug)]
pub struct Temper {
    pub hosts: usize,
    pub lineages: usize,
    pub deeds: u32,
    pub exclusive: bool,
    pub cached: bool,
    /// One request in so many fails; 0 for none.
    pub faults: u32,
    /// One request in so many is a process's last; 0 for none.
    pub crashes: u32,
    /// One turn in so many takes long, at most so many seconds.
    pub jumps: (u32, u32),
    /// One turn in so many suspends its host.
    pub pauses: u32,
    /// How often each command comes.
    pub weights: [u32; 7],
    /// One turn in so many, somebody spoils a condemned list; 0 for none.
    pub spoils: u32,
}

impl Temper {
    pub fn of(random: &mut Random, variant: Variant) -> Self {
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
            weights: [
                6 + random.below(6),
                2 + random.below(4),
                2 + random.below(5),
                2,
                1,
                1,
                if variant.repairs { 4 } else { 0 },
            ],
            spoils: if variant.repairs { 150 } else { 0 },
        }
    }
}
