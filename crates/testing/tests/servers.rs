//! The fixture itself: a server starts, serves its client, survives a kill, and dies with its handle.

use testing::server::{Client, Server, Setup, VERSIONS};

#[test]
fn a_server_serves_its_own_client_and_comes_back_after_a_kill() {
    for version in [VERSIONS[0], VERSIONS[5]] {
        let mut server = Server::start(version, Setup::default()).unwrap();
        let mut client = Client::connect(version, &server.address()).unwrap();
        client.run("create a /x one").unwrap();
        let before = client.dump().unwrap();
        assert_eq!(before[b"/x".as_slice()].data.unwrap().0, 3);
        server.kill9().unwrap();
        server.start_again().unwrap();
        assert_eq!(client.dump().unwrap(), before);
    }
}
