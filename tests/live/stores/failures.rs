//! Stores that refuse, are not there, or die in the middle: a clear error with its code, and nothing lost.

use std::time::Duration;

use rstest::rstest;
use testing::stores::Kind;

use super::program::Place;
use crate::run::Ran;
use crate::turn;

/// Long enough for any busy machine, and shorter than retries that do not end.
const PATIENCE: Duration = Duration::from_mins(2);

#[rstest]
#[case::secret(Kind::Versitygw, "AWS_SECRET_ACCESS_KEY", "not the secret")]
#[case::access(Kind::Versitygw, "AWS_ACCESS_KEY_ID", "nobody")]
#[case::token(Kind::Versitygw, "AWS_SESSION_TOKEN", "expired")]
#[case::azure_key(Kind::Azurite, "AZURE_STORAGE_ACCOUNT_KEY", "bm90IHRoZSBrZXk=")]
#[case::azure_account(Kind::Azurite, "AZURE_STORAGE_ACCOUNT_NAME", "nobody")]
fn wrong_credentials(#[case] kind: Kind, #[case] variable: &str, #[case] value: &str) {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(kind) else { return };
    let place = place.with_repository();
    for line in ["snapshots", "backup zookeeper", "init --new-key-file other"] {
        Ran::of(place.command(line).env(variable, value).timeout(PATIENCE))
            .ends(1)
            .says("the credentials were not accepted");
    }
    assert!(place.snapshots().is_empty());
}

#[test]
fn a_wrong_region() {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(Kind::Versitygw) else { return };
    let place = place.with_repository();
    let ran = Ran::of(place.command("snapshots -o region=eu-nowhere-1").timeout(PATIENCE)).ends(1);
    ran.says("not valid; correct the URL or the option").says("eu-nowhere-1");
}

/// The fake of Google's store fails with an error of its own where the real one says which bucket is missing.
#[rstest]
#[case(Kind::Versitygw, "there is no such bucket; make it first")]
#[case(Kind::FakeGcs, "gs://no-such-bucket/prod: ")]
#[case(Kind::Azurite, "there is no such bucket; make it first")]
fn a_bucket_that_does_not_exist(#[case] kind: Kind, #[case] words: &str) {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(kind) else { return };
    let url = format!("{}://no-such-bucket/prod", place.server.scheme());
    let place = place.at(&url);
    Ran::of(place.command("init --new-key-file key").timeout(PATIENCE)).ends(1).says(words).says(&url);
    Ran::of(place.command("snapshots").timeout(PATIENCE)).ends(10).says(&url);
    Ran::of(place.command("backup zookeeper").timeout(PATIENCE)).ends(10).says(&url);
}

/// An account that nothing was granted to.
#[test]
fn a_bucket_of_somebody_else() {
    let _turn = turn::of_a_server();
    let Some(place) = Place::new(Kind::Versitygw) else { return };
    let place = place.with_repository();
    place.server.make_account("guest", "secret-of-the-guest").unwrap();
    for line in ["snapshots", "backup zookeeper", "init --new-key-file other"] {
        let mut command = place.command(line);
        command.env("AWS_ACCESS_KEY_ID", "guest").env("AWS_SECRET_ACCESS_KEY", "secret-of-the-guest");
        Ran::of(command.timeout(PATIENCE)).ends(1).says("permission denied").says("s3://backups/prod");
    }
}

/// Whoever may only read can list, read and restore; a backup says what it may not do and leaves nothing.
#[test]
fn a_store_that_may_only_be_read() {
    let _turn = turn::of_a_server();
    let Some(mut place) = Place::new(Kind::Versitygw) else { return };
    place = place.with_repository();
    place.zooark("backup zookeeper").ends(0);
    place.server.start_with(&["--readonly"]).unwrap();
    place = place.with_source("after");
    let ran = Ran::of(place.command("backup zookeeper").timeout(PATIENCE)).ends(1).says("permission denied");
    assert!(ran.stderr.contains("packs/") || ran.stderr.contains("snapshots/"), "{}", ran.stderr);
    assert_eq!(place.snapshots().len(), 1);
    place.zooark("check --read-data").ends(0);
    place.zooark("restore latest datadir:restored").ends(0);
    place.server.start_with(&[]).unwrap();
    place.zooark("backup zookeeper").ends(0);
    assert_eq!(place.snapshots().len(), 2);
}

/// The server is killed with an upload in it. Started again in time, the backup goes on; otherwise it fails. In both
/// cases the next one works and nothing is damaged.
#[rstest]
#[case::in_time(true)]
#[case::too_late(false)]
fn a_server_killed_during_an_upload(#[case] in_time: bool) {
    let _turn = turn::alone();
    let Some(mut place) = Place::new(Kind::Versitygw) else { return };
    place = place.with_repository();
    place.zooark("backup zookeeper").ends(0);
    place = place.with_source("after");
    let wire = place.server.tripwire("PUT /backups/prod/packs/").unwrap();
    let retries = if in_time { 40 } else { 1 };
    let line = format!("backup zookeeper --full --force -o endpoint={} -o retries={retries}", wire.endpoint());
    let mut child = place.spawn(&line);
    wire.wait().unwrap();
    assert!(child.try_wait().unwrap().is_none(), "it waits for an answer");
    place.server.kill().unwrap();
    if in_time {
        place.server.start_again().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(!in_time)), "{words}");
    if !in_time {
        assert!(words.contains("packs/") && words.contains("try again later"), "{words}");
        place.server.start_again().unwrap();
    }
    let stored = place.snapshots().len();
    assert_eq!(stored, if in_time { 2 } else { 1 });
    place.zooark("check --read-data").ends(0);
    place.zooark("backup zookeeper --force").ends(0);
    place.zooark("check --read-data --no-cache").ends(0);
    assert_eq!(place.snapshots().len(), stored + 1);
}
