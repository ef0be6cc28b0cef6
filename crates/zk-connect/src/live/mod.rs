//! What speaks to running servers; the only place with sockets.

pub mod four_letter;
