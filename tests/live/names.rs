//! Counters of sequential names: they are seen by what the next child is called.

use testing::server::Client;

/// What the next sequential child of `/next` is called; it is created.
pub fn next_name(client: &mut Client) -> String {
    next_name_of(client, "a")
}

/// The same by a session of that name.
pub fn next_name_of(client: &mut Client, session: &str) -> String {
    client.run(&format!("sequential {session} /next/n- x")).unwrap()
}

/// `/next` after three sequential children, of which one is gone.
pub fn count_with_a_gap(client: &mut Client) {
    client.run("create a /next x").unwrap();
    for _ in 0..3 {
        next_name(client);
    }
    client.run("delete a /next/n-0000000001").unwrap();
}
