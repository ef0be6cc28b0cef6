//! How much memory a piece of work takes, measured in a process of its own: the test program once more, told to run one
//! test that does the work and then [`tell`]s.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const MARK: &str = "PEAK ";

/// The most memory this process ever had, KiB.
pub fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Tells the process that asked what this one had at most, and what of it `before` the work, KiB.
pub fn tell(before: u64) -> Result<()> {
    println!("{MARK}{} {before}", peak_kib()?);
    Ok(())
}

/// Runs one test of this test program with the variable that lets it work; the most memory it had, and how much of it
/// before its work, KiB.
pub fn of_test(name: &str, variable: &str, value: &str) -> Result<(u64, u64)> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([name, "--exact", "--nocapture"]).env(variable, value).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find_map(|line| line.split_once(MARK).map(|(_, rest)| rest)).context("nothing was told")?;
    let (peak, before) = line.trim().split_once(' ').context("two numbers are told")?;
    Ok((peak.parse()?, before.parse()?))
}
