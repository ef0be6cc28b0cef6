//! SASL DIGEST-MD5 against servers that know users from a JAAS file.

use std::time::Duration;

use secrecy::SecretString;
use testing::server::{Server, Setup};
use zk_connect::live::{Client, Code, ConnectOptions, CreateMode, LiveError, SaslUser};
use zk_format::{Acl, AclList};

use crate::client::{options, run};
use crate::matrix::on_oldest_and_newest;
use crate::run::{Home, Ran};
use crate::turn;

const JAAS: &str = r#"Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_alice="alice's pass"
    user_bob="bob";
};
"#;

fn as_user(server: &Server, name: &str, password: &str) -> ConnectOptions {
    let sasl = Some(SaslUser { name: name.to_owned(), password: SecretString::from(password) });
    let connect_time_out = Duration::from_secs(2);
    ConnectOptions { auth: Vec::new(), sasl, connect_time_out, ..options(&[server.address()]) }
}

on_oldest_and_newest!(a_user_of_the_jaas_file_is_let_in_as_such);

fn a_user_of_the_jaas_file_is_let_in_as_such(version: &str) {
    let _turn = turn::of_a_server();
    let home = Home::new();
    let jaas = home.path("jaas.conf");
    std::fs::write(&jaas, JAAS).unwrap();
    let setup = Setup::default()
        .property(format!("java.security.auth.login.config={}", jaas.display()))
        .property("zookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider");
    let server = Server::start(version, setup).unwrap();
    run(async {
        let client = Client::connect(as_user(&server, "alice", "alice's pass")).await.unwrap();
        let mine = AclList::encode(&[Acl { perms: 31, scheme: b"sasl".to_vec(), id: b"alice".to_vec() }]);
        client.create_plain(b"/mine", Some(b"secret"), &mine, CreateMode::Persistent).await.unwrap();
        client.disconnect();
        assert_eq!(client.get_data(b"/mine").await.unwrap().value.0.as_deref(), Some(&b"secret"[..]));
        client.close().await;
        let other = Client::connect(as_user(&server, "bob", "bob")).await.unwrap();
        assert!(other.get_data(b"/mine").await.unwrap_err().is(Code::NO_AUTH));

        for (name, password) in [("alice", "wrong"), ("nobody", "x")] {
            let refused = Client::connect(as_user(&server, name, password)).await.unwrap_err();
            assert!(matches!(refused, LiveError::AuthFailed { .. }), "{refused}");
            assert!(refused.to_string().contains("sasl"), "{refused}");
        }
    });
    std::fs::write(home.path("password"), "alice's pass\n").unwrap();
    let ran = |line: &str| {
        let mut command = home.command();
        command.env("ZOOARK_REPOSITORY", home.path("repo")).env("ZOOARK_PASSWORD", "pw").args(line.split(' '));
        Ran::of(&mut command)
    };
    ran("init").ends(0);
    let backup = format!("backup zk://{}", server.address());
    ran(&backup).ends(1).says("/mine: no permission");
    ran(&format!("{backup} --sasl-user alice --sasl-password-file password")).ends(0);
    ran("cat latest:/mine").ends(0).prints("secret");
    ran(&format!("{backup} --sasl-user alice")).ends(2).says("--sasl-password-file");
}

/// What a server without users says to it.
#[test]
fn a_server_that_knows_no_users_is_named() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    let refused = run(Client::connect(as_user(&server, "alice", "x"))).unwrap_err().to_string();
    assert!(refused.contains(&server.address()), "{refused}");
}
