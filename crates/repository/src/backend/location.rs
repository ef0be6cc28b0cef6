//! Repository URLs: what they mean and what they need.
//!
//! Options override the environment, which the caller hands in as a map: this library reads none itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientOptions;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig, StaticCredentialProvider};
use url::Url;

use super::driver::Driver;
use super::error::{Operation, StoreError, StoreErrorKind};
use super::local::LocalDirectory;
use super::remote::Bucket;

/// How to reach a store and how hard to lean on it.
#[derive(Clone)]
pub struct StoreOptions {
    /// Settings by name: `endpoint`, `region`, `virtual_hosted_style_request`, `session_token`, `allow_http`, and any
    /// other configuration key of the store's kind. `connections`, `timeout`, `connect_timeout` (seconds) and
    /// `retries` stand for the fields below.
    pub options: BTreeMap<String, String>,
    /// Environment variables of the ecosystem (`AWS_…`, `GOOGLE_…`, `AZURE_…`, `OBS_…`); others are ignored.
    pub environment: BTreeMap<String, String>,
    /// Requests in flight at most.
    pub connections: usize,
    /// How long one request may take, besides a second for every 128 KiB of its body.
    pub timeout: Duration,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How often a request that may succeed when repeated is repeated.
    pub retries: usize,
    /// Upload limit, KiB/s.
    pub limit_upload: Option<u32>,
    /// Download limit, KiB/s.
    pub limit_download: Option<u32>,
}

/// Bytes a second (1 Mbit/s) that a connection may be slow without being taken for dead.
pub(super) const SLOWEST: u64 = 128 << 10;

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            options: BTreeMap::new(),
            environment: BTreeMap::new(),
            connections: 16,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            retries: 5,
            limit_upload: None,
            limit_download: None,
        }
    }
}

impl StoreOptions {
    /// With the fields that `options` speaks of set from there; what is left there is for the store's client.
    pub(super) fn resolved(&self) -> Result<Self, String> {
        let mut resolved = self.clone();
        for (name, value) in &self.options {
            let number = |least: u32, most: u32| match value.parse::<u32>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(format!("the option {name} is a whole number from {least} to {most}, not `{value}`")),
            };
            let seconds = || number(1, 86_400).map(|n| Duration::from_secs(n.into()));
            match name.to_ascii_lowercase().replace('-', "_").as_str() {
                "connections" => resolved.connections = number(1, 1024)? as usize,
                "timeout" => resolved.timeout = seconds()?,
                "connect_timeout" => resolved.connect_timeout = seconds()?,
                "retries" => resolved.retries = number(0, 100)? as usize,
                _ => continue,
            }
            resolved.options.remove(name);
        }
        Ok(resolved)
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be credentials; names are not.
        f.debug_struct("StoreOptions")
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

pub(super) struct Opened {
    pub(super) driver: Box<dyn Driver>,
    /// The location without credentials.
    pub(super) name: String,
    /// Where the bytes really go: endpoint, bucket and prefix.
    pub(super) identity: String,
}

/// The location or an option is not valid, for this reason.
pub(super) fn invalid(location: &str, because: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, Operation::Open, "").on(&without_credentials(location)).because(because)
}

pub(super) fn open(location: &str, options: &StoreOptions) -> Result<Opened, StoreError> {
    let invalid = |text: String| invalid(location, text);
    let Some((scheme, _)) = location.split_once("://").filter(|(s, _)| is_scheme(s)) else {
        if location.is_empty() {
            return Err(invalid("the location is empty".to_owned()));
        }
        return Ok(directory(PathBuf::from(location)));
    };
    let url = Url::parse(location).map_err(|e| invalid(e.to_string()))?;
    match scheme {
        "file" => {
            let path = url.to_file_path().map_err(|()| invalid("not a local path".to_owned()))?;
            return Ok(directory(path));
        }
        "memory" => return Ok(memory()),
        "s3" | "s3a" | "obs" | "gs" | "az" | "azure" => {}
        other => {
            let known = "a path, file, s3, s3a, gs, az, obs";
            return Err(invalid(format!("unknown scheme `{other}`; known are {known}")));
        }
    }
    let bucket = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| invalid("no bucket".to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("credentials do not belong in the URL; use environment variables or options".to_owned()));
    }
    let prefix = Path::from_url_path(url.path()).map_err(|e| invalid(e.to_string()))?;
    let fail = |e: object_store::Error| self::invalid(location, e);
    let (store, endpoint, tail): (Box<dyn ObjectStore>, String, bool) = match scheme {
        "gs" => {
            let (store, endpoint) = google(bucket, options).map_err(fail)?;
            (store, endpoint, true)
        }
        "az" | "azure" => {
            let (store, endpoint) = azure(bucket, options).map_err(fail)?;
            (store, endpoint, false)
        }
        _ => {
            let (store, endpoint) = amazon(bucket, scheme == "obs", options).map_err(fail)?;
            (Box::new(store), endpoint, true)
        }
    };
    let name = without_credentials(location);
    let identity = format!("{scheme}\n{endpoint}\n{bucket}\n{prefix}");
    Ok(Opened { driver: Box::new(Bucket::new(store, prefix, tail)), name, identity })
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn directory(path: PathBuf) -> Opened {
    let name = path.display().to_string();
    let identity = format!("file\n{}", std::path::absolute(&path).unwrap_or_else(|_| path.clone()).display());
    Opened { driver: Box::new(LocalDirectory::new(path)), name, identity }
}

pub(super) fn memory() -> Opened {
    let driver = Box::new(Bucket::new(Box::new(InMemory::new()), Path::default(), true));
    Opened { driver, name: "memory://".to_owned(), identity: "memory".to_owned() }
}

fn without_credentials(location: &str) -> String {
    match Url::parse(location) {
        Ok(mut url) if url.password().is_some() || !url.username().is_empty() => {
            // Both fail only for URLs that cannot carry credentials.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        _ => location.to_owned(),
    }
}

/// Settings for one kind of store: environment first, options over them, names lower-cased.
fn settings<'a>(options: &'a StoreOptions, prefixes: &[&str]) -> Vec<(String, &'a str, bool)> {
    let environment = options.environment.iter().filter(|(name, _)| prefixes.iter().any(|p| name.starts_with(p)));
    let environment = environment.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str(), false));
    let explicit = options.options.iter();
    let explicit = explicit.map(|(name, value)| (name.to_ascii_lowercase().replace('-', "_"), value.as_str(), true));
    environment.chain(explicit).collect()
}

fn client(options: &StoreOptions) -> ClientOptions {
    // Requests are timed out by the store's handle, which knows their size.
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(options.connect_timeout)
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Plain HTTP is used when, and only when, the endpoint was given that way.
fn is_plain_http(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

fn amazon(bucket: &str, huawei: bool, options: &StoreOptions) -> Result<(AmazonS3, String), object_store::Error> {
    let mut builder = AmazonS3Builder::new();
    let mut endpoint = String::new();
    let mut region = String::new();
    let mut virtual_host = false;
    let prefixes: &[&str] = if huawei { &["AWS_", "OBS_"] } else { &["AWS_"] };
    for (name, value, explicit) in settings(options, prefixes) {
        let name = match name.as_str() {
            "aws_endpoint_url_s3" | "obs_endpoint" | "endpoint_url" => "endpoint",
            "obs_access_key_id" => "access_key_id",
            "obs_secret_access_key" => "secret_access_key",
            "obs_security_token" => "session_token",
            "obs_region" => "region",
            "virtual_host" => "virtual_hosted_style_request",
            other => other,
        };
        match name.parse::<AmazonS3ConfigKey>() {
            Ok(AmazonS3ConfigKey::Endpoint) => value.clone_into(&mut endpoint),
            // The general one sorts before `AWS_REGION`, which so has the last word.
            Ok(AmazonS3ConfigKey::Region | AmazonS3ConfigKey::DefaultRegion) => value.clone_into(&mut region),
            Ok(AmazonS3ConfigKey::VirtualHostedStyleRequest) => {
                virtual_host = matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on");
            }
            Ok(key) => builder = builder.with_config(key, value),
            // The environment holds variables meant for other programs; an option was meant for us.
            Err(e) if explicit => return Err(e),
            Err(_) => {}
        }
    }
    if region.is_empty() {
        // A store elsewhere than at Huawei's own endpoint most likely knows no region of theirs.
        (if huawei && endpoint.is_empty() { "cn-north-4" } else { "us-east-1" }).clone_into(&mut region);
    }
    if huawei && endpoint.is_empty() {
        endpoint = format!("https://obs.{region}.myhuaweicloud.com");
        virtual_host = true;
    }
    if !endpoint.is_empty() {
        builder = builder.with_endpoint(if virtual_host { with_host(&endpoint, bucket) } else { endpoint.clone() });
    }
    let store = builder
        .with_region(&region)
        .with_virtual_hosted_style_request(virtual_host)
        .with_bucket_name(bucket)
        .with_client_options(client(options).with_allow_http(is_plain_http(&endpoint)))
        .with_retry(no_retries())
        .build()?;
    Ok((store, if endpoint.is_empty() { region } else { endpoint }))
}

/// The endpoint with the bucket before its host, unless it stands there already: the client takes an endpoint of this
/// style as it is, and would write the prefix into a bucket of the prefix's own name.
fn with_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) if !host.starts_with(&format!("{bucket}.")) => format!("{scheme}://{bucket}.{host}"),
        _ => endpoint.to_owned(),
    }
}

fn google(bucket: &str, options: &StoreOptions) -> Result<(Box<dyn ObjectStore>, String), object_store::Error> {
    let mut builder = GoogleCloudStorageBuilder::new();
    let mut endpoint = String::new();
    let mut unsigned = false;
    for (name, value, explicit) in settings(options, &["GOOGLE_"]) {
        if name == "endpoint" {
            value.clone_into(&mut endpoint);
            builder = builder.with_config(GoogleConfigKey::BaseUrl, value);
            continue;
        }
        match name.parse::<GoogleConfigKey>() {
            Ok(key) => {
                match key {
                    GoogleConfigKey::BaseUrl => value.clone_into(&mut endpoint),
                    GoogleConfigKey::SkipSignature => unsigned = value == "true",
                    _ => {}
                }
                builder = builder.with_config(key, value);
            }
            Err(e) if explicit => return Err(e),
            Err(_) => {}
        }
    }
    if unsigned {
        // The client heeds `skip_signature` only where it reads: for writes it would ask the metadata service.
        let nobody = GcpCredential { bearer: String::new() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    }
    let store = builder
        .with_bucket_name(bucket)
        .with_client_options(client(options).with_allow_http(is_plain_http(&endpoint)))
        .with_retry(no_retries())
        .build()?;
    Ok((Box::new(store), endpoint))
}

fn azure(container: &str, options: &StoreOptions) -> Result<(Box<dyn ObjectStore>, String), object_store::Error> {
    let mut builder = MicrosoftAzureBuilder::new();
    let mut endpoint = String::new();
    let mut account = String::new();
    let mut emulator = false;
    for (name, value, explicit) in settings(options, &["AZURE_"]) {
        match name.parse::<AzureConfigKey>() {
            Ok(key) => {
                match key {
                    AzureConfigKey::Endpoint => value.clone_into(&mut endpoint),
                    AzureConfigKey::AccountName => value.clone_into(&mut account),
                    AzureConfigKey::UseEmulator => emulator = value == "true",
                    _ => {}
                }
                builder = builder.with_config(key, value);
            }
            Err(e) if explicit => return Err(e),
            Err(_) => {}
        }
    }
    let store = builder
        .with_container_name(container)
        .with_client_options(client(options).with_allow_http(emulator || is_plain_http(&endpoint)))
        .with_retry(no_retries())
        .build()?;
    Ok((Box::new(store), if endpoint.is_empty() { account } else { endpoint }))
}

#[cfg(test)]
mod tests;
