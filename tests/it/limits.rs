//! Disks that are full, and directories that may only be read: an error, nothing lost, and it works when there is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::{Bed, Scene, on_changing_scenes};
use crate::run::{Home, copy_over, recorded};

/// A small file system in memory at a place, gone with this.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where that may not be made.
    pub fn at(path: &Path, kib: u64) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        eprintln!("\nNOT TESTED: a full disk. Mounting a small tmpfs needs root.\n");
        None
    }

    pub fn remount(&self, how: &str) {
        assert!(Command::new("mount").args(["-o", how]).arg(&self.0).status().unwrap().success());
    }

    /// Fills it but for so many pages.
    pub fn fill(&self, free_pages: u64) {
        use std::io::Write as _;
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
        let size = filler.metadata().unwrap().len();
        filler.set_len(size.saturating_sub(free_pages * 4096)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// On a disk that fills up there is an error, and no snapshot that is not whole.
#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let home = Home::new();
    copy_over(&recorded("after"), &home.path("zookeeper"));
    let (mut failed, mut done) = (0, 0);
    for free_pages in 0..16 {
        let Some(disk) = SmallDisk::at(&home.path(&format!("disk{free_pages}")), 256) else { return };
        let repo = format!("--repo disk{free_pages}/r --key-file key{free_pages}");
        home.zooark(&format!("init --repo disk{free_pages}/r --new-key-file key{free_pages}")).ends(0);
        disk.fill(free_pages);
        let ran = home.zooark(&format!("{repo} backup zookeeper"));
        assert!(matches!(ran.code, 0 | 1) && !ran.stderr.contains("panicked"), "{ran:?}");
        let listed = home.zooark(&format!("{repo} --no-cache snapshots --json")).ends(0).json();
        assert_eq!(listed.as_array().unwrap().len(), usize::from(ran.code == 0));
        home.zooark(&format!("{repo} --no-cache check --read-data")).ends(0);
        failed += u32::from(ran.code != 0);
        done += u32::from(ran.code == 0);
    }
    assert!(failed > 0 && done > 0, "{failed} failed, {done} done");
}

on_changing_scenes!(no_room_and_no_right_to_write, unprotect UNPROTECT, verify VERIFY);

/// Everything else that writes, on a disk with no page left, with one, with two: it fails and says so, or works; what can be read
/// is read; with room again all works.
fn no_room_and_no_right_to_write(scene: Scene) {
    let bed = Bed::new(scene);
    // What the command writes to: the target of a copy, else the repository.
    let written = if scene.line.starts_with("copy") { "second" } else { "repository" };
    let path = bed.stored.home.path(written);
    let mut failed = 0;
    for pages in [Some(0), Some(1), Some(3), None] {
        bed.reset();
        let _ = fs::remove_dir_all(&path);
        let Some(disk) = SmallDisk::at(&path, 2048) else { return };
        bed.set_back(written);
        match pages {
            Some(pages) => disk.fill(pages),
            None => disk.remount("remount,ro"),
        }
        let access = bed.way_in(scene.line);
        let ran = bed.run_again(access);
        let place = format!("{} with {pages:?} pages: {ran:?}", scene.line);
        assert!(!ran.stderr.contains("panicked"), "{place}");
        if ran.code != 0 {
            failed += 1;
            let words = ["no space left", "read-only", "the store refuses", "the store keeps"];
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(words.iter().any(|words| said.contains(words)), "{place}");
        }
        let access = bed.way_in(&place);
        bed.holds(access, &place, scene.is_whole);
        disk.remount("remount,rw");
        let _ = fs::remove_file(path.join("filler"));
        bed.recovers(&place);
    }
    assert!(failed >= 1, "{} never failed", scene.line);
}
