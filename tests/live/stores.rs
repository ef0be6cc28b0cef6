//! The repository on object stores that others wrote: versitygw for S3, fake-gcs-server, Azurite.

mod copy;
mod failures;
mod program;
mod rights;

use repository::backend::{Store, StoreOptions, conformance};
use repository::probe::creates_exclusively;
use rstest::rstest;
use testing::stores::{Kind, StoreServer};

use crate::turn;

/// A server with an empty bucket `backups`; none where that is allowed to be missing.
fn started(kind: Kind) -> Option<StoreServer> {
    kind.is_there().then(|| {
        let server = StoreServer::start(kind).unwrap();
        server.make_bucket("backups").unwrap();
        server
    })
}

fn options(server: &StoreServer) -> StoreOptions {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    StoreOptions {
        options: server.options().iter().map(|(key, value)| owned((key, value))).collect(),
        environment: server.environment().into_iter().map(owned).collect(),
        ..StoreOptions::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[rstest]
#[case::s3(Kind::Versitygw, "s3://backups/some/prefix")]
#[case::s3a(Kind::Versitygw, "s3a://backups")]
#[case::obs(Kind::Versitygw, "obs://backups/below")]
#[case::gs(Kind::FakeGcs, "gs://backups/some/prefix")]
#[case::gs_root(Kind::FakeGcs, "gs://backups")]
#[case::az(Kind::Azurite, "az://backups/some/prefix")]
#[case::az_root(Kind::Azurite, "az://backups")]
fn conforms(#[case] kind: Kind, #[case] url: &str) {
    let _turn = turn::of_a_server();
    let Some(server) = started(kind) else { return };
    let store = Store::open(url, &options(&server)).unwrap();
    runtime().block_on(async {
        conformance::run(&store).await;
        assert!(creates_exclusively(&store).await.unwrap());
    });
}

/// What the probe is for: this store does all but heed the condition of a create.
#[test]
fn a_store_that_ignores_the_condition_is_found_out() {
    let _turn = turn::of_a_server();
    let Some(server) = started(Kind::CarelessGcs) else { return };
    let store = Store::open("gs://backups/some/prefix", &options(&server)).unwrap();
    runtime().block_on(async {
        conformance::run_without_exclusive_creates(&store).await;
        assert!(!creates_exclusively(&store).await.unwrap());
        assert!(store.list_sorted("").await.unwrap().is_empty(), "the probe leaves nothing");
    });
}
