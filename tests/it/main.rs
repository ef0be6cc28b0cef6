//! The whole program, command by command, as a person runs it: own home, own cache, no network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod basics;
mod bed;
mod config;
mod copy;
mod daemon;
mod damage;
mod damage_matrix;
mod each;
mod faults;
mod forget;
mod incomplete;
mod inspect;
mod keys;
mod kills;
mod limits;
mod main_job;
mod once;
mod power;
mod repair;
mod run;
mod runbook;
mod served;
mod service;
mod service_operated;
mod service_week;
mod stored;
mod terminal;
mod version_one;
