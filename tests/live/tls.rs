//! TLS on servers' secure client port: the right certificates let us in, and each wrong one is named in seconds.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use testing::server::tls::{Authority, PASSWORD, Party};
use testing::server::{Server, Setup};
use zk_connect::live::{Client, ConnectOptions, CreateMode, Tls, TlsFiles};
use zk_format::AclList;

use crate::client::{options, run};
use crate::run::{Home, Ran};
use crate::turn;

const HERE: &str = "IP:127.0.0.1,DNS:localhost";

fn trusting(authority: &Authority) -> TlsFiles {
    TlsFiles { ca: Some(authority.ca()), ..TlsFiles::default() }
}

fn as_party(authority: &Authority, party: &Party) -> TlsFiles {
    TlsFiles { cert: Some(party.cert.clone()), key: Some(party.key.clone()), ..trusting(authority) }
}

fn with(address: &str, files: &TlsFiles) -> ConnectOptions {
    // Far longer than any of this may take: what is hopeless must not be tried until then.
    let patient = Duration::from_mins(10);
    let tls = Some(Tls::load(files).unwrap());
    ConnectOptions { tls, connect_time_out: patient, ..options(&[address.to_owned()]) }
}

async fn reads_and_writes(connect: ConnectOptions) {
    let client = Client::connect(connect).await.unwrap();
    let large = vec![7; 900 << 10];
    client.create_plain(b"/over-tls", Some(&large), &AclList::world(), CreateMode::Persistent).await.unwrap();
    client.disconnect();
    assert_eq!(client.get_data(b"/over-tls").await.unwrap().value.0, Some(large));
    client.delete(b"/over-tls", -1).await.unwrap();
    client.close().await;
}

async fn refusal(connect: ConnectOptions) -> String {
    Client::connect(connect).await.unwrap_err().to_string()
}

fn ran(home: &Home, line: &str) -> Ran {
    let mut command = home.command();
    command.env("ZOOARK_REPOSITORY", home.path("repo")).env("ZOOARK_PASSWORD", "pw").args(line.split_whitespace());
    Ran::of(&mut command)
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}

#[test]
fn a_certificate_for_this_host_from_a_known_authority_is_needed() {
    let _turn = turn::of_a_server();
    let authority = Authority::new().unwrap();
    let party = authority.party("server", HERE).unwrap();
    let (setup, address) = authority.setup(Setup::default(), &party, false).unwrap();
    let server = Server::start("3.9.4", setup).unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    run(async {
        reads_and_writes(with(&address, &trusting(&authority))).await;
        reads_and_writes(with(&format!("localhost:{port}"), &trusting(&authority))).await;

        let stranger = Authority::new().unwrap();
        let refused = refusal(with(&address, &trusting(&stranger))).await;
        assert!(refused.contains(&address) && refused.contains("--tls-ca"), "{refused}");

        // Each kind of port asked in the other's way.
        let refused = refusal(with(&server.address(), &trusting(&authority))).await;
        assert!(refused.contains("secureClientPort"), "{refused}");
        let plain =
            ConnectOptions { connect_time_out: Duration::from_secs(1), ..options(std::slice::from_ref(&address)) };
        let refused = refusal(plain).await;
        assert!(refused.contains("zk+tls://"), "{refused}");
    });
    // The program: roles and versions are asked for over TLS too.
    let home = Home::new();
    ran(&home, "init").ends(0);
    let ca = authority.ca();
    ran(&home, &format!("backup zk+tls://{address} --tls-ca {}", shown(&ca))).ends(0);
    ran(&home, &format!("backup zk+tls://{address}")).ends(1).says("--tls-ca");
    ran(&home, &format!("backup zk://{address} --tls-ca {}", shown(&ca))).ends(2).says("write zk+tls://");
    ran(&home, &format!("backup zk+tls://{address} --tls-ca {}", shown(&party.key))).ends(2).says("no certificate");
}

#[test]
fn a_server_named_otherwise_is_not_spoken_to() {
    let _turn = turn::of_a_server();
    let authority = Authority::new().unwrap();
    let party = authority.party("server", "DNS:zk1.example").unwrap();
    let (setup, address) = authority.setup(Setup::default(), &party, false).unwrap();
    let _server = Server::start("3.9.4", setup).unwrap();
    run(async {
        let refused = refusal(with(&address, &trusting(&authority))).await;
        assert!(refused.contains(&address) && refused.contains("for another host"), "{refused}");
        assert!(refused.contains("zk1.example"), "{refused}");
    });
}

#[rstest::rstest]
#[case("3.5.10")]
#[case("3.9.4")]
fn servers_may_want_a_certificate_of_their_clients(#[case] version: &str) {
    let _turn = turn::of_a_server();
    let authority = Authority::new().unwrap();
    let party = authority.party("server", HERE).unwrap();
    let (setup, address) = authority.setup(Setup::default(), &party, true).unwrap();
    let _server = Server::start(version, setup).unwrap();
    let client = authority.party("client", "").unwrap();
    run(async {
        reads_and_writes(with(&address, &as_party(&authority, &client))).await;
        let store = |file| TlsFiles {
            pkcs12: Some(file),
            password: Some(SecretString::from(PASSWORD)),
            ..trusting(&authority)
        };
        reads_and_writes(with(&address, &store(client.store.clone()))).await;
        reads_and_writes(with(&address, &store(client.java_store().unwrap()))).await;
        let wrong = TlsFiles { password: Some(SecretString::from("wrong")), ..store(client.store.clone()) };
        let refused = Tls::load(&wrong).unwrap_err().to_string();
        assert!(refused.contains("--tls-password-file"), "{refused}");
        let trusted = TlsFiles {
            pkcs12: Some(authority.java_trust_store().unwrap()),
            cert: Some(client.cert.clone()),
            key: Some(client.key.clone()),
            password: Some(SecretString::from(PASSWORD)),
            ca: None,
        };
        reads_and_writes(with(&address, &trusted)).await;

        let refused = refusal(with(&address, &trusting(&authority))).await;
        assert!(refused.contains(&address) && refused.contains("--tls-cert"), "{refused}");
        let stranger = Authority::new().unwrap();
        let other = stranger.party("client", "").unwrap();
        let refused = refusal(with(&address, &as_party(&authority, &other))).await;
        assert!(refused.contains(&address) && refused.contains("certificate"), "{refused}");
    });
}
