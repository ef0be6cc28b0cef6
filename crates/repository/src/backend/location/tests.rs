//! What URLs, options and variables mean.

use object_store::signer::Signer as _;
use rstest::rstest;

use super::*;

/// Where an object's requests go, as a signed URL shows without a connection.
#[rstest]
#[case(&[], "https://s3.us-east-1.amazonaws.com/b/p/x")]
#[case(&["AWS_DEFAULT_REGION=eu-west-1"], "https://s3.eu-west-1.amazonaws.com/b/p/x")]
#[case(&["AWS_DEFAULT_REGION=eu-west-1", "AWS_REGION=eu-west-3"], "https://s3.eu-west-3.amazonaws.com/b/p/x")]
#[case(&["AWS_REGION=eu-west-3", "virtual_host=true"], "https://b.s3.eu-west-3.amazonaws.com/p/x")]
#[case(&["AWS_ENDPOINT_URL=http://h:1"], "http://h:1/b/p/x")]
#[case(&["AWS_ENDPOINT_URL=http://h:1", "AWS_ENDPOINT_URL_S3=http://h:2"], "http://h:2/b/p/x")]
#[case(&["AWS_ENDPOINT_URL=http://h:1", "endpoint=http://h:3"], "http://h:3/b/p/x")]
#[case(&["endpoint=https://h", "virtual_host=true"], "https://b.h/p/x")]
#[case(&["endpoint=https://b.h", "virtual-host=true"], "https://b.h/p/x")]
#[tokio::test]
async fn s3_goes_where_it_is_told(#[case] given: &[&str], #[case] expected: &str) {
    assert_eq!(signed(false, given).await, expected);
}

#[rstest]
#[case(&[], "https://b.obs.cn-north-4.myhuaweicloud.com/p/x")]
#[case(&["OBS_REGION=ap-southeast-3"], "https://b.obs.ap-southeast-3.myhuaweicloud.com/p/x")]
#[case(&["region=eu-west-101"], "https://b.obs.eu-west-101.myhuaweicloud.com/p/x")]
#[case(&["OBS_ENDPOINT=http://127.0.0.1:9"], "http://127.0.0.1:9/b/p/x")]
#[tokio::test]
async fn obs_is_s3_with_huawei_s_endpoint(#[case] given: &[&str], #[case] expected: &str) {
    assert_eq!(signed(true, given).await, expected);
}

async fn signed(huawei: bool, given: &[&str]) -> String {
    let mut options = StoreOptions::default();
    for pair in ["AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"].iter().chain(given) {
        let (name, value) = pair.split_once('=').unwrap();
        let environment = name.starts_with("AWS_") || name.starts_with("OBS_");
        let map = if environment { &mut options.environment } else { &mut options.options };
        map.insert(name.to_owned(), value.to_owned());
    }
    let (store, _) = amazon("b", huawei, &options).unwrap();
    let mut url = store.signed_url("GET".parse().unwrap(), &Path::from("p/x"), Duration::from_mins(1)).await.unwrap();
    url.set_query(None);
    url.to_string()
}

/// The account's name used to hide the endpoint, and so whether plain HTTP was asked for.
#[test]
fn azure_s_endpoint_counts_whatever_else_is_given() {
    let mut options = StoreOptions::default();
    for (name, value) in [
        ("AZURE_STORAGE_ACCOUNT_KEY", "Yg=="),
        ("AZURE_STORAGE_ACCOUNT_NAME", "a"),
        ("AZURE_ENDPOINT", "http://127.0.0.1:9/a"),
    ] {
        options.environment.insert(name.to_owned(), value.to_owned());
    }
    assert_eq!(azure("c", &options).unwrap().1, "http://127.0.0.1:9/a");
    options.environment.remove("AZURE_ENDPOINT");
    assert_eq!(azure("c", &options).unwrap().1, "a");
}

#[test]
fn limits_of_requests_are_settings_too() {
    let mut options = StoreOptions::default();
    for (name, value) in [("timeout", "7"), ("connect-timeout", "2"), ("retries", "0"), ("Connections", "3")] {
        options.options.insert(name.to_owned(), value.to_owned());
    }
    options.options.insert("region".to_owned(), "r".to_owned());
    let resolved = options.resolved().unwrap();
    assert_eq!((resolved.timeout, resolved.connect_timeout), (Duration::from_secs(7), Duration::from_secs(2)));
    assert_eq!((resolved.retries, resolved.connections), (0, 3));
    assert_eq!(resolved.options.keys().collect::<Vec<_>>(), ["region"]);
}
