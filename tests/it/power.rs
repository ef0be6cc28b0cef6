//! The power fails: what was not synced is gone.
//!
//! The program under test writes down what it does to the file system (`ZOOARK_TEST_RECORD`, see
//! `repository::backend::recorder`). From that the state of the disk after each prefix of it is put together: a file has what
//! was written before its last sync, and a name that was given, changed or taken away counts from the sync of its directory. Of
//! what was not synced either nothing arrived, or a part of it, as a seed has it. In each such state the next commands work,
//! nothing that was there before is missing, and nothing is damaged; and when the command had ended, what it did is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use testing::random::Prng;

use crate::bed::{Bed, Scene, on_changing_scenes};
use crate::run::{Ran, copy_over};
use crate::stored::files_below;

/// States of one command where there is no time for all.
const STATES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

type Names = BTreeMap<PathBuf, Node>;

/// A change of a directory that its sync makes last.
#[derive(Clone, Debug)]
struct Change {
    folder: PathBuf,
    gone: Option<PathBuf>,
    new: Option<(PathBuf, Node)>,
}

impl Change {
    fn apply(&self, names: &mut Names) {
        if let Some(path) = &self.gone {
            names.remove(path);
        }
        if let Some((path, node)) = &self.new {
            names.insert(path.clone(), *node);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Vec<u8>,
    synced: Option<Vec<u8>>,
}

/// A disk and what is on its way to it.
#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<File>,
    /// What is seen while the power is on.
    seen: Names,
    /// What is on the disk.
    lasting: Names,
    pending: Vec<Change>,
}

impl Disk {
    /// Everything below these directories is there for good.
    fn of(roots: &[PathBuf]) -> Self {
        let mut disk = Self::default();
        for root in roots.iter().filter(|root| root.exists()) {
            for path in files_below(root) {
                let content = fs::read(&path).unwrap();
                disk.files.push(File { synced: Some(content.clone()), content });
                disk.seen.insert(path.clone(), Node::File(disk.files.len() - 1));
                for folder in path.ancestors().skip(1) {
                    disk.seen.insert(folder.to_owned(), Node::Folder);
                }
            }
        }
        disk.lasting = disk.seen.clone();
        disk
    }

    fn file(&mut self, path: &Path) -> &mut File {
        let Some(Node::File(file)) = self.seen.get(path).copied() else { panic!("{} is no file", path.display()) };
        &mut self.files[file]
    }

    fn change(&mut self, gone: Option<&Path>, new: Option<(&Path, Node)>) {
        let folder = gone.or(new.map(|(path, _)| path)).unwrap().parent().unwrap().to_owned();
        let new = new.map(|(path, node)| (path.to_owned(), node));
        let change = Change { folder, gone: gone.map(Path::to_owned), new };
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn act(&mut self, act: &Act) {
        let at = act.at.as_path();
        let moved = act.from.as_ref().map(|from| (from.as_path(), self.seen[from]));
        match act.what.as_str() {
            "create" => {
                self.files.push(File::default());
                let file = Node::File(self.files.len() - 1);
                self.change(None, Some((at, file)));
            }
            "write" => self.file(at).content.clone_from(&act.content),
            "sync" => {
                let file = self.file(at);
                file.synced = Some(file.content.clone());
            }
            "link" => self.change(None, Some((at, moved.unwrap().1))),
            "rename" => self.change(Some(moved.unwrap().0), Some((at, moved.unwrap().1))),
            "remove" => self.change(Some(at), None),
            "make folder" => self.change(None, Some((at, Node::Folder))),
            "sync folder" => {
                let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(|c| c.folder == at);
                let now: Vec<Change> = now;
                for change in now {
                    change.apply(&mut self.lasting);
                }
                self.pending = later;
            }
            other => panic!("{other}?"),
        }
    }

    /// What is found after the power failed. Without a seed nothing arrived that was not synced.
    fn left(&self, seed: Option<u64>) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut random = Prng::new(seed.unwrap_or_default());
        let mut arrives = || seed.is_some() && random.below(2) == 0;
        let mut names = self.lasting.clone();
        self.pending.iter().filter(|_| arrives()).for_each(|change| change.apply(&mut names));
        let mut left = BTreeMap::new();
        for (path, node) in &names {
            let is_reached = path
                .ancestors()
                .skip(1)
                .all(|folder| names.get(folder) == Some(&Node::Folder) || !self.seen.contains_key(folder));
            if let (Node::File(file), true) = (node, is_reached) {
                let File { content, synced } = &self.files[*file];
                let content = match synced {
                    Some(synced) => synced.clone(),
                    None if arrives() => content[..content.len() / 2].to_vec(),
                    None => Vec::new(),
                };
                left.insert(path.clone(), content);
            }
        }
        left
    }
}

/// A call that changed something.
#[derive(Debug)]
struct Act {
    what: String,
    at: PathBuf,
    from: Option<PathBuf>,
    content: Vec<u8>,
}

fn recorded_in(folder: &Path, home: &Path) -> Vec<Act> {
    let log = fs::read_to_string(folder.join("log")).unwrap();
    let parse = |(number, line): (usize, &str)| {
        let [what, at, from] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let content = fs::read(folder.join(number.to_string())).unwrap_or_default();
        let from = (!from.is_empty()).then(|| home.join(from));
        Act { what: what.to_owned(), at: home.join(at), from, content }
    };
    log.lines().enumerate().map(parse).collect()
}

/// The states to look at, the last one among them.
fn chosen(acts: usize) -> BTreeSet<usize> {
    let stride = if testing::server::long() { 1 } else { acts.div_ceil(STATES) };
    (0..=acts).step_by(stride).chain([acts]).collect()
}

on_changing_scenes!(what_was_not_synced_is_not_missed, backup BACKUP, full_backup FULL);

fn what_was_not_synced_is_not_missed(scene: Scene) {
    let bed = Bed::new(scene);
    let home = bed.stored.home.path("");
    bed.reset();
    let record = home.join("record");
    fs::create_dir(&record).unwrap();
    let roots = [home.join("repository"), home.join("second")];
    let before = Disk::of(&roots);
    bed.holds("--key-file key", scene.line, scene.is_whole);
    copy_over(&home.join("cache"), &home.join("cache-before"));
    let mut command = bed.command();
    let ran = Ran::of(command.env("ZOOARK_TEST_RECORD", &record));
    assert_eq!(ran.code, 0, "{ran:?}");
    let access = bed.way_in(scene.line);
    let list = || bed.stored.home.zooark(&format!("--repo repository {access} snapshots --json")).ends(0).stdout;
    let promised = list();
    copy_over(&home.join("cache"), &home.join("cache-after"));
    let acts = recorded_in(&record, &home);
    let mut disk = before;
    let states = chosen(acts.len());
    let mut looked_at = 0;
    for done in 0..=acts.len() {
        for seed in [None, Some(done as u64)].into_iter().filter(|_| states.contains(&done)) {
            bed.reset();
            if seed.is_none() {
                // The cache is on another disk. It is told of an object when that was stored.
                let cache = if done == acts.len() { "cache-after" } else { "cache-before" };
                copy_over(&home.join(cache), &home.join("cache"));
            }
            put(&roots, &disk.left(seed));
            looked_at += 1;
            let newest = acts[..done].last();
            let place = format!("{}: {done} of {} calls, seed {seed:?}, {newest:?}", scene.line, acts.len());
            if done == acts.len() {
                assert_eq!(list(), promised, "{place}");
                (scene.done)(&bed);
            }
            bed.recovers(&place);
        }
        if let Some(act) = acts.get(done) {
            disk.act(act);
        }
    }
    eprintln!("{}: {looked_at} states of a disk after {} calls", scene.line, acts.len());
}

/// Puts what is left of directories in their place.
fn put(roots: &[PathBuf], left: &BTreeMap<PathBuf, Vec<u8>>) {
    let times: BTreeMap<PathBuf, _> = roots
        .iter()
        .filter(|root| root.exists())
        .flat_map(|root| files_below(root))
        .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
        .collect();
    for root in roots {
        let _ = fs::remove_dir_all(root);
    }
    for (path, content) in left {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        if let Some(time) = times.get(path) {
            fs::File::options().write(true).open(path).unwrap().set_modified(*time).unwrap();
        }
    }
}
