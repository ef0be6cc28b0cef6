//! Several servers that elect a leader.

use anyhow::{Context, Result};

use super::at_least;
use super::process::{PATIENCE, free_port, wait_until};
use super::standalone::{Server, Setup};

/// An ensemble on loopback; member `i` has `myid` `i + 1`.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Server>,
}

impl Ensemble {
    /// Starts `count` servers and waits until each serves.
    pub fn start(version: &str, count: usize, setup: &Setup) -> Result<Self> {
        let mut ensemble = Self::prepare(version, count, setup)?;
        for member in &mut ensemble.members {
            member.launch()?;
        }
        ensemble.wait_ready()?;
        Ok(ensemble)
    }

    /// Servers that know of each other and do not run yet.
    pub fn prepare(version: &str, count: usize, setup: &Setup) -> Result<Self> {
        Self::prepare_with_observers(version, count, 0, setup)
    }

    /// The same with observers behind the voters.
    pub fn prepare_with_observers(version: &str, voters: usize, observers: usize, setup: &Setup) -> Result<Self> {
        let own = |index: usize| if index < voters { setup.clone() } else { setup.clone().line("peerType=observer") };
        let mut members =
            (0..voters + observers).map(|index| Server::prepare(version, own(index))).collect::<Result<Vec<_>>>()?;
        let mut lines = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let (quorum, election) = (free_port()?, free_port()?);
            let role = if index < voters { "participant" } else { "observer" };
            let mut line = format!("server.{}=127.0.0.1:{quorum}:{election}", index + 1);
            if at_least(version, 5) {
                line = format!("{line}:{role};127.0.0.1:{}", member.port());
            } else if role == "observer" {
                line.push_str(":observer");
            }
            lines.push(line);
        }
        if at_least(version, 5) {
            lines.push("reconfigEnabled=true".to_owned());
        }
        for (index, member) in members.iter_mut().enumerate() {
            member.join(index + 1, lines.clone())?;
        }
        Ok(Self { members })
    }

    /// Waits until every member that runs serves.
    pub fn wait_ready(&mut self) -> Result<()> {
        for member in &mut self.members {
            if member.is_running() {
                member.wait_ready()?;
            }
        }
        Ok(())
    }

    /// A member.
    pub fn member(&mut self, index: usize) -> &mut Server {
        &mut self.members[index]
    }

    /// All members.
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// The index of the leader.
    pub fn leader(&self) -> Result<usize> {
        self.members
            .iter()
            .position(|member| member.status().is_ok_and(|status| status.mode == "leader"))
            .context("no member of the ensemble says that it leads")
    }

    /// The indices of the followers that run.
    pub fn followers(&self) -> Vec<usize> {
        (0..self.members.len())
            .filter(|&index| self.members[index].status().is_ok_and(|status| status.mode == "follower"))
            .collect()
    }

    /// Waits until all members that run are at the same zxid.
    pub fn wait_same_zxid(&self) -> Result<()> {
        wait_until(PATIENCE, || {
            let mut zxids: Vec<_> = self.members.iter().filter_map(|member| member.zxid().ok()).collect();
            zxids.dedup();
            zxids.len() == 1
        })
        .context("waiting for the members to reach the same zxid")
    }

    /// Stops all members.
    pub fn stop(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Server::stop)
    }
}
