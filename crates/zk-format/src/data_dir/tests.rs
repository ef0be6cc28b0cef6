#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use rstest::rstest;
use tempfile::TempDir;

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"").unwrap();
}

#[test]
fn the_folder_or_its_parent_may_be_named() {
    let root = TempDir::new().unwrap();
    touch(&root.path().join("version-2/snapshot.5"));
    let parent = DataDir::open(root.path(), None).unwrap();
    let folder = DataDir::open(&root.path().join("version-2"), None).unwrap();
    assert_eq!(parent, folder);
    // Files copied elsewhere, without the folder.
    let bare = TempDir::new().unwrap();
    touch(&bare.path().join("log.1"));
    assert_eq!(DataDir::open(bare.path(), None).unwrap().log_folder(), bare.path());
}

#[test]
fn what_is_no_data_directory_is_refused_by_name() {
    let root = TempDir::new().unwrap();
    touch(&root.path().join("notes.txt"));
    assert!(matches!(DataDir::open(root.path(), None), Err(DataDirError::NotADataDir { path }) if path == root.path()));
    let absent = root.path().join("absent");
    assert!(matches!(DataDir::open(&absent, None), Err(DataDirError::Io { .. })));
    fs::create_dir(root.path().join("version-2")).unwrap();
    let empty = DataDir::open(root.path(), None).unwrap();
    assert!(matches!(empty.list_some(), Err(DataDirError::Empty { .. })));
}

#[test]
fn files_are_listed_by_the_number_in_their_names() {
    let (data, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let names =
        ["snapshot.9", "snapshot.10.gz", "snapshot.200000001.snappy", "snapshot.x", "snapshot.1.tmp", "log.1", "myid"];
    for name in names {
        touch(&data.path().join("version-2").join(name));
    }
    for name in ["log.b", "log.200000001", "log.1", "log.1.bak", "snapshot.ff"] {
        touch(&log.path().join("version-2").join(name));
    }
    let listing = DataDir::open(data.path(), Some(log.path())).unwrap().list().unwrap();
    let snapshots: Vec<_> = listing.snapshots.iter().map(|file| (file.zxid.0, file.compression)).collect();
    let expected = [(0x2_0000_0001, Compression::Snappy), (0x10, Compression::Gzip), (9, Compression::None)];
    assert_eq!(snapshots, expected);
    let logs: Vec<_> = listing.logs.iter().map(|file| file.first.0).collect();
    assert_eq!(logs, [1, 0xb, 0x2_0000_0001]);
    for (zxid, first) in [(0, 1), (1, 1), (0xa, 1), (0xb, 0xb), (0x2_0000_0000, 0xb), (0x3_0000_0000, 0x2_0000_0001)] {
        assert_eq!(listing.logs_from(Zxid(zxid)).first().map(|log| log.first), Some(Zxid(first)), "{zxid:#x}");
    }
}

#[test]
fn epochs_and_numbers_are_read() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("version-2");
    touch(&folder.join("snapshot.300000001"));
    let dir = DataDir::open(root.path(), None).unwrap();
    assert_eq!((dir.my_id().unwrap(), dir.accepted_epoch().unwrap(), dir.highest_epoch().unwrap()), (None, None, 3));
    fs::write(root.path().join("myid"), "2\n").unwrap();
    fs::write(folder.join("acceptedEpoch"), "7").unwrap();
    fs::write(folder.join("currentEpoch"), "6").unwrap();
    assert_eq!(dir.my_id().unwrap(), Some(2));
    assert_eq!((dir.current_epoch().unwrap(), dir.highest_epoch().unwrap()), (Some(6), 7));
    fs::write(folder.join("currentEpoch"), "six").unwrap();
    assert!(matches!(dir.current_epoch(), Err(DataDirError::NotANumber { .. })));
    fs::write(folder.join("currentEpoch"), [0xff, 0xfe]).unwrap();
    assert!(matches!(dir.current_epoch(), Err(DataDirError::NotANumber { .. })));
}

#[test]
fn a_configuration_names_directories_and_members() {
    let root = TempDir::new().unwrap();
    let text = "# a comment\n! another\n tickTime = 2000\ndataDir=data\ndataLogDir : /logs\\\n  /here\nclientPort=2181\n\
                dynamicConfigFile=zoo.cfg.dynamic.10000000a\nserver.3=ignored:1:2\n";
    fs::write(root.path().join("zoo.cfg"), text).unwrap();
    let members = "server.1=h1:2888:3888:participant;2181\nserver.2=h2:2888:3888:observer;2181\n";
    fs::write(root.path().join("zoo.cfg.dynamic.10000000a"), members).unwrap();
    let config = ServerConfig::read(&root.path().join("zoo.cfg")).unwrap();
    assert_eq!(config.data_dir, root.path().join("data"));
    assert_eq!(config.data_log_dir.as_deref(), Some(Path::new("/logs/here")));
    assert_eq!(config.client_address.as_deref(), Some("localhost:2181"));
    let ids: Vec<_> = config.servers.iter().map(|server| server.id).collect();
    assert_eq!((ids, config.dynamic_version), (vec![3, 1, 2], Some(0x1_0000_000a)));
    assert_eq!(config.servers[1].address, "h1:2888:3888:participant;2181");
}

#[rstest]
#[case("clientPort=1\n", 0, "dataDir")]
#[case("dataDir=/d\nserver.x=h:1:2\n", 2, "server.x")]
fn a_configuration_that_says_too_little_is_named_by_line(#[case] text: &str, #[case] at: usize, #[case] about: &str) {
    let root = TempDir::new().unwrap();
    let path = root.path().join("zoo.cfg");
    fs::write(&path, text).unwrap();
    match ServerConfig::read(&path) {
        Err(DataDirError::Config { line, problem, .. }) => {
            assert_eq!(line, at);
            assert!(problem.contains(about), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}
