//! The daemon: backups on a schedule, retention, checks, and restores on request, with REST, figures and a page.
//!
//! - [`config`] is what it is told, [`tokens`] who may ask for what.
//! - [`schedule`] and [`planner`] decide what is due, as functions of a moment; [`driver`] begins it.
//! - [`leader`] settles which of several daemons works.
//! - [`jobs`] are what runs, [`work`] what they do; [`daemon`] is what all of them share.
//! - [`api`] is what others see of it, [`metrics`] its figures, [`notify`] whom it tells; [`lag`] asks how far ensembles have
//!   gone on since.
//! - [`state`] survives a restart; [`repos`] keeps repositories open.
//! - [`serve`] is the life of the process.

pub mod api;
pub mod config;
pub mod daemon;
pub mod driver;
pub mod jobs;
pub mod lag;
pub mod leader;
pub mod metrics;
pub mod notify;
pub mod planner;
pub mod repos;
pub mod schedule;
pub mod serve;
pub mod state;
pub mod tokens;
pub mod work;

/// Name and version, as snapshots keep them.
pub const PROGRAM: &str = concat!("zooark ", env!("CARGO_PKG_VERSION"));
