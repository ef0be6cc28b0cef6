//! What `docs/format.md` gives as a record's bytes is what the code writes: the last column of its table of golden bytes.

/// Fails unless the document says of this record that it is stored as these bytes.
#[track_caller]
pub(crate) fn assert_documented(record: &str, bytes: &[u8]) {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md");
    let document = std::fs::read_to_string(document).unwrap();
    let start = format!("| {record} | ");
    let rows = document.split("## 17. Golden bytes").nth(1).unwrap();
    let said = rows.lines().find(|line| line.starts_with(&start)).and_then(|line| line.split('`').rev().nth(1));
    let hex = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    assert_eq!(said, Some(hex.as_str()), "docs/format.md says otherwise of: {record}");
}
