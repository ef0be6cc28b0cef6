use std::collections::BTreeMap;

use super::*;

const SMALL: &str = "[repository]\nurl = \"/r\"\n[auth]\nallow_loopback_without_token = true\n[[cluster]]\nname = \"a\"\nsource = \"zk://h:2181\"\nschedule = \"@every 10m\"\n";

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    read::parse(text, "zooark.toml", &variables).map_err(|error| error.0)
}

#[test]
fn the_example_holds() {
    let text = include_str!("../../../../deploy/zooark.toml");
    let config = parse(text, &[]).unwrap();
    assert!(!config.clusters.is_empty() && config.clusters[0].when().is_some());
}

#[test]
fn variables_stand_in_for_keys() {
    let config = parse(
        SMALL,
        &[
            ("ZOOARK_REPOSITORY_URL", "s3://b"),
            ("ZOOARK_SERVER_LISTEN", "127.0.0.1:9"),
            ("ZOOARK_SERVER_REQUESTS_PER_SECOND", "7"),
            ("ZOOARK_CLUSTER_SOURCE", "zk://other:1"),
            ("ZOOARK_CLUSTER_RETENTION", "{ keep_last = 3 }"),
            ("ZOOARK_LOG_FORMAT", "json"),
            ("ZOOARK_SOMETHING_ELSE", "x"),
            ("ZOOARK_SERVER_STATE_DIR", ""),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.repository.url, "s3://b");
    assert_eq!((config.server.address().port(), config.server.requests_per_second), (9, Some(7)));
    assert_eq!(config.clusters[0].source, "zk://other:1");
    assert_eq!(config.clusters[0].policy().unwrap().last, 3);
    assert_eq!(config.log.format, LogFormat::Json);
    let wrong = parse(SMALL, &[("ZOOARK_SERVER_LISTEN", "nowhere")]).unwrap_err();
    assert!(wrong.starts_with("the variable ZOOARK_SERVER_LISTEN: "), "{wrong}");
}

#[test]
fn of_several_clusters_a_variable_names_one() {
    let cluster =
        |name: &str| format!("[[cluster]]\nname = \"{name}\"\nsource = \"zk://h:2181\"\nschedule = \"@every 10m\"\n");
    let text = format!("{SMALL}{}{}", cluster("prod"), cluster("prod-eu.1"));
    let variables = [
        ("ZOOARK_CLUSTER_PROD_SOURCE", "zk://prod:1"),
        ("ZOOARK_CLUSTER_PROD_EU_1_SOURCE", "zk://eu:1"),
        ("ZOOARK_CLUSTER_NOBODY_SOURCE", "zk://x:1"),
    ];
    let config = parse(&text, &variables).unwrap();
    let sources: Vec<&str> = config.clusters.iter().map(|cluster| cluster.source.as_str()).collect();
    assert_eq!(sources, ["zk://h:2181", "zk://prod:1", "zk://eu:1"]);
    let target = format!("{SMALL}[[restore_target]]\nname = \"staging\"\ntarget = \"zk://h:1\"\n");
    let config = parse(&target, &[("ZOOARK_RESTORE_TARGET_TARGET", "zk://other:1")]).unwrap();
    assert_eq!(config.restore_targets[0].target, "zk://other:1");
}

#[test]
fn mistakes_name_the_line_or_the_cluster() {
    let with = |more: &str| parse(&format!("{SMALL}{more}\n"), &[]).unwrap_err();
    for (more, says) in [
        ("shedule = \"x\"", "zooark.toml line 9: unknown field `shedule`"),
        ("jitter = \"soon\"", "zooark.toml line 9: \"soon\" is no duration"),
        ("time_zone = \"Mars/Olympus\"", "line 9: \"Mars/Olympus\" is no time zone"),
        ("full = \"often\"", "line 9: write \"never\""),
        ("check = { schedule = \"61 * * * *\" }", "line 9"),
        ("retention = { keep_last = 3, keep_lats = 1 }", "line 9: unknown field `keep_lats`"),
        ("backup_interval = 60", "give one of them"),
        ("copies = [\"offsite\"]", "no [[copy]] has that name"),
        ("max_copies = 0", "would keep nothing"),
        ("retention = { }", "give one of keep_*"),
        ("sasl_user = \"u\"", "sasl_password_file"),
        ("include = [\"[\"]", "cluster \"a\""),
        ("[[cluster]]\nname = \"a\"\nsource = \"zk://h:1\"\nbackup_interval = 1", "two [[cluster]] have the name"),
        ("[[restore_target]]\nname = \"t\"\ntarget = \"datadir:/x\"", "restores into ensembles only"),
        ("[[notify]]\nurl = \"mailto:x\"", "http://"),
        ("[server]\nlisten = \"0.0.0.0:1\"", "there are no tokens"),
        ("[server]\nweb_server_port = 1", "there are no tokens"),
    ] {
        let error = with(more);
        assert!(error.contains(says), "{more}: {error}");
    }
    let nobody = parse(&SMALL.replace("true", "false"), &[]).unwrap_err();
    assert!(nobody.contains("nobody could ask"), "{nobody}");
    let nothing = parse("[repository]\nurl = \"/r\"\n", &[]).unwrap_err();
    assert!(nothing.contains("no [[cluster]]"), "{nothing}");
}

#[test]
fn other_tools_words_mean_the_same() {
    let text = SMALL.replace("schedule = \"@every 10m\"", "backup_interval = 600\nmax_copies = 5");
    let config = parse(&text, &[]).unwrap();
    let cluster = &config.clusters[0];
    assert_eq!(cluster.policy().unwrap().last, 5);
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(cluster.when().unwrap().next_after(now).unwrap().as_second(), 600);
}

#[test]
fn every_nth_is_full() {
    let full = |every: Full| (0..7).filter(|number| every.is_due(*number)).count();
    assert_eq!((full(Full::Never), full(Full::EveryTime), full(Full::Every(3))), (0, 7, 3));
}
