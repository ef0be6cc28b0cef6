//! What follows from the marker and from what lies in the directory.

use zk_connect::datadir::marker::{Marker, State};

use super::Decision;
use crate::error::{EngineError, ErrorKind};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing {
        /// How that is called.
        decision: Decision,
        /// Why.
        reason: String,
        /// What a person should know.
        note: Option<String>,
    },
    /// Say in the repository and in the marker that it was restored.
    Finish,
    /// Restore.
    Restore {
        /// Why.
        why: String,
    },
    /// Whether the repository knows of this member decides.
    AskRecord,
}

/// The table of the module's head, but for what the repository knows.
pub fn next(marker: Option<&Marker>, has_data: bool, number: u64, asked: &str) -> Result<Next, EngineError> {
    let Some(marker) = marker else { return Ok(if has_data { data_present() } else { Next::AskRecord }) };
    let earlier = marker.number;
    Ok(match marker.state {
        State::Done if earlier >= number => already_done(marker, has_data, number, asked),
        State::Started | State::Restored if earlier > number => {
            return Err(EngineError::new(
                ErrorKind::Refused,
                format!(
                    "restoring once for number {number}: a restore for number {earlier} began in this directory and did \
                     not end; give {earlier}, or a higher number to restore all members again"
                ),
            ));
        }
        State::Restored if earlier == number && has_data => Next::Finish,
        State::Started | State::Restored if earlier == number => {
            Next::Restore { why: format!("a restore for number {number} began before and did not end") }
        }
        State::Started | State::Restored | State::Done => {
            Next::Restore { why: format!("the number was raised from {earlier} to {number}") }
        }
    })
}

fn data_present() -> Next {
    Next::Nothing {
        decision: Decision::DataPresent,
        reason: "the directory holds data that no restore of this kind put there: they stay as they are".to_owned(),
        note: Some(
            "to restore, stop all members and empty the directories of all. Else leave --once away: a member whose volume \
             is replaced later would be restored, alone"
                .to_owned(),
        ),
    }
}

fn already_done(marker: &Marker, has_data: bool, number: u64, asked: &str) -> Next {
    let mut notes = Vec::new();
    if marker.number == number && marker.asked != asked {
        notes.push(format!(
            "{asked} is asked for now, and number {number} was restored from {}: raise the number to restore again",
            marker.asked
        ));
    }
    if !has_data {
        notes.push("the directory is empty: the server copies the tree from the others".to_owned());
    }
    Next::Nothing {
        decision: Decision::AlreadyDone,
        reason: format!("the directory was restored for number {} of cluster {} before", marker.number, marker.cluster),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(number: u64, state: State) -> Marker {
        Marker {
            number,
            state,
            cluster: "prod".to_owned(),
            member: "zk-0".to_owned(),
            asked: "latest".to_owned(),
            snapshot: String::new(),
            file_zxid: String::new(),
            earlier: Vec::new(),
            time: String::new(),
            note: None,
        }
    }

    /// In short what is to be done with number 5.
    fn done(marker: Option<&Marker>, has_data: bool) -> &'static str {
        match next(marker, has_data, 5, "latest") {
            Ok(Next::Nothing { decision: Decision::DataPresent, note: Some(_), .. }) => "data",
            Ok(Next::Nothing { decision: Decision::AlreadyDone, note, .. }) if note.is_none() == has_data => "done",
            Ok(Next::Nothing { .. }) => "other",
            Ok(Next::Finish) => "finish",
            Ok(Next::Restore { .. }) => "restore",
            Ok(Next::AskRecord) => "ask",
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Refused);
                "refused"
            }
        }
    }

    #[test]
    fn the_table() {
        use State::{Done, Restored, Started};
        let cases = [
            (None, "data", "ask"),
            (Some((4, Done)), "restore", "restore"),
            (Some((5, Done)), "done", "done"),
            (Some((6, Done)), "done", "done"),
            (Some((4, Started)), "restore", "restore"),
            (Some((5, Started)), "restore", "restore"),
            (Some((6, Started)), "refused", "refused"),
            (Some((4, Restored)), "restore", "restore"),
            (Some((5, Restored)), "finish", "restore"),
            (Some((6, Restored)), "refused", "refused"),
        ];
        for (given, with_data, empty) in cases {
            let marker = given.map(|(number, state)| marker(number, state));
            assert_eq!(done(marker.as_ref(), true), with_data, "{given:?} with data");
            assert_eq!(done(marker.as_ref(), false), empty, "{given:?}, empty");
        }
    }

    #[test]
    fn another_snapshot_for_a_number_that_is_done_is_pointed_out() {
        let Ok(Next::Nothing { note, .. }) = next(Some(&marker(5, State::Done)), true, 5, "latest~1") else { panic!() };
        assert!(note.unwrap().contains("raise the number"));
    }
}
