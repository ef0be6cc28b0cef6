//! What no single value shows: names that are there twice, names of nothing, an open door.

use std::collections::BTreeSet;

use engine::Filter;
use zk_connect::Endpoint;

use super::{ClusterConfig, Config, LiveConfig};

pub(super) fn check(config: &Config) -> Result<(), String> {
    if config.clusters.is_empty() {
        return Err("there is no [[cluster]]: nothing would be backed up".to_owned());
    }
    unique("[[cluster]]", config.clusters.iter().map(|cluster| cluster.name.as_str()))?;
    unique("[[copy]]", config.copies.iter().map(|copy| copy.name.as_str()))?;
    unique("[[restore_target]]", config.restore_targets.iter().map(|target| target.name.as_str()))?;
    let copies: BTreeSet<&str> = config.copies.iter().map(|copy| copy.name.as_str()).collect();
    for cluster in &config.clusters {
        one(cluster, &copies).map_err(|problem| format!("cluster {:?}: {problem}", cluster.name))?;
    }
    for target in &config.restore_targets {
        let of = |problem: String| format!("restore_target {:?}: {problem}", target.name);
        match Endpoint::parse(&target.target) {
            Ok(Endpoint::Live(_)) => {}
            Ok(_) => return Err(of("a daemon restores into ensembles only: write zk://HOST:PORT,…".to_owned())),
            Err(error) => return Err(of(error.to_string())),
        }
        live(&target.live()).map_err(of)?;
    }
    for notify in &config.notify {
        if !notify.url.starts_with("http://") && !notify.url.starts_with("https://") {
            return Err(format!("notify: {:?} is no http:// or https:// URL", notify.url));
        }
    }
    doors(config)
}

fn unique<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 200 || !name.chars().all(fits) {
            return Err(format!("{what} name {name:?}: a name has 1 to 200 letters, digits, '-', '_' and '.'"));
        }
        if !seen.insert(name) {
            return Err(format!("two {what} have the name {name:?}"));
        }
    }
    Ok(())
}

fn one(cluster: &ClusterConfig, copies: &BTreeSet<&str>) -> Result<(), String> {
    Endpoint::parse(&cluster.source).map_err(|error| error.to_string())?;
    Filter::new(&cluster.include, &cluster.exclude).map_err(|error| error.to_string())?;
    match (&cluster.schedule, cluster.backup_interval) {
        (None, None) => return Err("give schedule = \"@every 10m\" or backup_interval = 600".to_owned()),
        (Some(_), Some(_)) => return Err("schedule and backup_interval say the same: give one of them".to_owned()),
        (None, Some(0)) => return Err("backup_interval is in seconds, and not 0".to_owned()),
        _ => {}
    }
    if cluster.max_copies == Some(0) {
        return Err("max_copies = 0 would keep nothing: leave it out to keep everything".to_owned());
    }
    if cluster.max_copies.is_some() && cluster.retention.as_ref().is_some_and(|kept| kept.keep_last > 0) {
        return Err("max_copies and retention.keep_last say the same: give one of them".to_owned());
    }
    if cluster.retention.is_some() && cluster.policy().is_none() {
        return Err("retention keeps nothing by its rules: give one of keep_*".to_owned());
    }
    if cluster.max_shrink.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        return Err("max_shrink is a share, 0 to 1".to_owned());
    }
    if cluster.compression.is_some_and(|level| !(1..=19).contains(&level)) {
        return Err("compression is a level of zstd, 1 to 19".to_owned());
    }
    if let Some(unknown) = cluster.copies.iter().find(|name| !copies.contains(name.as_str())) {
        return Err(format!("copies names {unknown:?}, and no [[copy]] has that name"));
    }
    live(&cluster.live())
}

fn live(live: &LiveConfig) -> Result<(), String> {
    match (&live.sasl_user, &live.sasl_password_file) {
        (Some(_), None) => Err("sasl_user needs sasl_password_file".to_owned()),
        (None, Some(_)) => Err("sasl_password_file is the password of nobody: give sasl_user".to_owned()),
        _ => Ok(()),
    }
}

/// Who is not on this machine needs a token; without any, nobody may come from elsewhere.
fn doors(config: &Config) -> Result<(), String> {
    let server = &config.server;
    if server.listen.is_some() && server.web_server_port.is_some() {
        return Err("server: listen and web_server_port say the same: give one of them".to_owned());
    }
    if config.auth.tokens_file.is_some() {
        return Ok(());
    }
    if !server.address().ip().is_loopback() {
        return Err(format!(
            "server: {} can be reached from elsewhere, and there are no tokens: give [auth] tokens_file, or listen on 127.0.0.1",
            server.address()
        ));
    }
    if !config.auth.allow_loopback_without_token {
        return Err(
            "auth: nobody could ask for anything: give tokens_file, or say allow_loopback_without_token = true"
                .to_owned(),
        );
    }
    Ok(())
}
