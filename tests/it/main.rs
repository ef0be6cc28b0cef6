//! The whole program, command by command, as a person runs it: own home, own cache, no network.

mod basics;
mod config;
mod inspect;
mod run;
