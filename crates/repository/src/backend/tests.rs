use std::time::Duration;

use bytes::Bytes;
use rstest::rstest;

use super::faults::{Effect, faulty};
use super::*;

fn quick() -> StoreOptions {
    StoreOptions { retries: 3, timeout: Duration::from_secs(5), ..StoreOptions::default() }
}

#[tokio::test]
async fn memory_conforms() {
    conformance::run(&Store::memory()).await;
}

#[tokio::test]
async fn a_directory_conforms() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("repo");
    conformance::run(&Store::open(path.to_str().unwrap(), &quick()).unwrap()).await;
    let url = format!("file://{}", path.display());
    assert!(Store::open(&url, &quick()).unwrap().list_sorted("").await.unwrap().is_empty());
}

/// An S3 server in this process, on a free loopback port.
pub(crate) async fn s3(root: &std::path::Path, options: StoreOptions) -> Store {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use s3s::auth::SimpleAuth;
    use s3s::service::S3ServiceBuilder;
    std::fs::create_dir_all(root.join("bucket")).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single("key", "secret"));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A client that hangs up is not this server's concern.
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    let environment = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")];
    let mut options =
        StoreOptions { environment: environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), ..options };
    options.environment.insert("AWS_ENDPOINT_URL".to_owned(), format!("http://127.0.0.1:{port}"));
    Store::open("s3://bucket/some/prefix", &options).unwrap()
}

/// This server checks the condition of a create without locking, as some stores in the field do: the probe must notice
/// whenever a race shows it, so what it finds is not asserted here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_conforms() {
    let root = tempfile::tempdir().unwrap();
    let store = s3(root.path(), quick()).await;
    conformance::run_without_exclusive_creates(&store).await;
    crate::probe::creates_exclusively(&store).await.unwrap();
    assert!(store.list_sorted("").await.unwrap().is_empty(), "the probe leaves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_keeps_a_repository_below_its_prefix() {
    let root = tempfile::tempdir().unwrap();
    let store = s3(root.path(), quick()).await;
    store.put("packs/202611/a", Bytes::from_static(b"abcdef")).await.unwrap();
    assert_eq!(std::fs::read(root.path().join("bucket/some/prefix/packs/202611/a")).unwrap(), b"abcdef");
    assert_eq!(store.get_range("packs/202611/a", 2..4).await.unwrap(), "cd");
    assert_eq!(store.get_tail("packs/202611/a", 2).await.unwrap().bytes, "ef");
    let listed = store.list_sorted("packs/").await.unwrap();
    assert_eq!(listed.iter().map(|o| o.path.as_str()).collect::<Vec<_>>(), ["packs/202611/a"]);
    assert!(store.get("packs/202611/b", 1).await.unwrap_err().is_not_found());
    store.delete("packs/202611/a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_s3_credentials_are_told_apart_from_an_absent_object() {
    let root = tempfile::tempdir().unwrap();
    let mut options = quick();
    options.options.insert("secret_access_key".to_owned(), "wrong".to_owned());
    let error = s3(root.path(), options).await.get("config", 10).await.unwrap_err();
    assert!(matches!(error.kind, StoreErrorKind::Permission | StoreErrorKind::Auth), "{error:?}");
    assert!(error.to_string().starts_with("cannot read config in s3://bucket/some/prefix: "), "{error}");
}

#[rstest]
#[case("", "empty")]
#[case("ftp://host/x", "unknown scheme `ftp`")]
#[case("s3:///x", "")]
#[case("s3://user:pw@bucket/x", "credentials do not belong")]
fn bad_locations(#[case] location: &str, #[case] text: &str) {
    let error = Store::open(location, &quick()).unwrap_err();
    assert_eq!((error.kind, error.operation), (StoreErrorKind::Invalid, Operation::Open));
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains(text), "{cause}");
    assert!(!error.to_string().contains("pw"), "no password in {error}");
}

#[test]
fn unknown_options_are_errors_and_unknown_variables_are_not() {
    let mut options = quick();
    options.environment.insert("AWS_PAGER".to_owned(), "less".to_owned());
    options.environment.insert("AWS_ACCESS_KEY_ID".to_owned(), "a".to_owned());
    options.environment.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "b".to_owned());
    for location in ["s3://b/p", "s3a://b/p", "obs://b/p"] {
        assert!(Store::open(location, &options).is_ok(), "{location}");
    }
    options.options.insert("colour".to_owned(), "blue".to_owned());
    assert_eq!(Store::open("s3://b/p", &options).unwrap_err().kind, StoreErrorKind::Invalid);
    assert!(!format!("{options:?}").contains("blue"));
}

#[rstest]
#[case(StoreErrorKind::Throttled, true)]
#[case(StoreErrorKind::Unreachable, true)]
#[case(StoreErrorKind::TimedOut, true)]
#[case(StoreErrorKind::Permission, false)]
#[case(StoreErrorKind::Auth, false)]
#[case(StoreErrorKind::Full, false)]
#[case(StoreErrorKind::ReadOnly, false)]
#[tokio::test]
async fn only_what_may_succeed_is_repeated(#[case] kind: StoreErrorKind, #[case] repeated: bool) {
    let (store, plan) = faulty(&Store::memory(), &quick());
    plan.add(Operation::Put, "", Effect::Fail(kind));
    let result = store.put("x", Bytes::from_static(b"1")).await;
    assert_eq!(result.is_ok(), repeated);
    assert_eq!(store.counters().put, if repeated { 2 } else { 1 });
    assert_eq!(plan.left(), 0);
}

/// A create that went through but whose answer was lost must not look like another writer's.
#[tokio::test]
async fn a_create_whose_answer_was_lost_is_recognised() {
    let (store, plan) = faulty(&Store::memory(), &quick());
    plan.add(Operation::Create, "", Effect::DoThenFail(StoreErrorKind::TimedOut));
    store.put_if_absent("x", Bytes::from_static(b"mine")).await.unwrap();
    plan.add(Operation::Create, "", Effect::Fail(StoreErrorKind::TimedOut));
    let error = store.put_if_absent("x", Bytes::from_static(b"other")).await.unwrap_err();
    assert!(error.is_already_exists());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_given_up_after_three_time_outs() {
    let (store, plan) = faulty(&Store::memory(), &StoreOptions::default());
    for _ in 0..6 {
        plan.add(Operation::Get, "", Effect::Slow(Duration::from_hours(1)));
    }
    let began = tokio::time::Instant::now();
    assert_eq!(store.get("x", 1).await.unwrap_err().kind, StoreErrorKind::TimedOut);
    assert_eq!((store.counters().get, plan.left()), (3, 3));
    assert!(began.elapsed() < Duration::from_mins(2));
}

#[tokio::test(start_paused = true)]
async fn a_large_body_has_the_time_it_needs() {
    let (store, plan) = faulty(&Store::memory(), &StoreOptions { retries: 0, ..StoreOptions::default() });
    plan.add(Operation::Put, "", Effect::Slow(Duration::from_secs(31)));
    assert_eq!(store.put("small", Bytes::from_static(b"1")).await.unwrap_err().kind, StoreErrorKind::TimedOut);
    plan.add(Operation::Put, "", Effect::Slow(Duration::from_secs(31)));
    store.put("large", Bytes::from(vec![0; 1 << 20])).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_store_says_so() {
    let mut options = StoreOptions { retries: 0, ..quick() };
    for (name, value) in [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")] {
        options.environment.insert(name.to_owned(), value.to_owned());
    }
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    options.options.insert("endpoint".to_owned(), format!("http://127.0.0.1:{port}"));
    let store = Store::open("s3://bucket", &options).unwrap();
    assert_eq!(store.get("config", 10).await.unwrap_err().kind, StoreErrorKind::Unreachable);
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_behind() {
    let (store, plan) = faulty(&Store::memory(), &quick());
    plan.add(Operation::Put, "packs/", Effect::Fail(StoreErrorKind::Full));
    let error = store.put("packs/202611/x", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert!(error.to_string().contains("no space left"));
    assert!(store.list_sorted("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_where_the_repository_should_be_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let store = Store::open(path.to_str().unwrap(), &quick()).unwrap();
    assert!(store.get("config", 10).await.unwrap_err().is_not_found());
    assert!(store.put("config", Bytes::from_static(b"x")).await.is_err());
}
