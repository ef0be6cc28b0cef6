//! On a terminal: who sits there is asked and shown progress; what is typed is not shown.

use crate::run::{copy_over, recorded};
use crate::stored::Stored;

#[test]
fn a_person_is_asked_for_the_password_and_it_is_not_shown() {
    let stored = Stored::empty();
    let (code, screen) = stored.home.on_a_terminal("init --repo asked", &["open sesame", "open sesame"]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("the same again"), "{screen}");
    for (typed, expected) in [("open sesame", 0), ("wrong", 12)] {
        let (code, screen) = stored.home.on_a_terminal("snapshots --repo asked", &[typed]);
        assert_eq!(code, expected, "{screen}");
        assert!(screen.contains("password of the repository"), "{screen}");
    }
    let (code, screen) = stored.home.on_a_terminal("init --repo other", &["open sesame", "open says me"]);
    assert_ne!(code, 0, "{screen}");
    assert!(!stored.home.path("other").exists());
}

#[test]
fn progress_is_drawn_on_a_terminal_and_nowhere_else() {
    let stored = Stored::empty();
    // Two seconds at one KiB a second.
    let slowly = "backup zookeeper --repo repository --key-file key --limit-upload 1";
    let (code, screen) = stored.home.on_a_terminal(slowly, &[]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains('\u{1b}') && screen.contains("uploading"), "no bar in {screen:?}");
    copy_over(&recorded("after"), &stored.home.path("zookeeper"));
    let piped = stored.zooark("backup zookeeper --limit-upload 1").ends(0);
    assert!(!piped.stdout.contains('\u{1b}') && !piped.stderr.contains('\u{1b}'), "{piped:?}");
    let (code, screen) = stored.home.on_a_terminal(&format!("--quiet {slowly} --force"), &[]);
    assert_eq!((code, screen.contains("uploading")), (0, false), "{screen:?}");
}
