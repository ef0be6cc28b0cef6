//! Values that applications keep in ZooKeeper, laid out for a person: `stat --decode`.
//!
//! Only what is text on the wire is shown: JSON (Kafka, Pulsar and others) is indented without touching a number or
//! the order of keys, ClickHouse's and BookKeeper's text is shown as it is. Binary values are named, not guessed at.

use serde::Serialize;
use serde::de::IgnoredAny;

/// A value laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decoded {
    /// What it is, in words.
    pub what: &'static str,
    /// Its text, without control characters that would steer a terminal; absent for binary values.
    pub text: Option<String>,
}

/// Says what the value at this path is.
pub fn decode(path: &str, data: Option<&[u8]>) -> Decoded {
    let Some(data) = data else { return Decoded { what: "no value (null)", text: None } };
    if data.is_empty() {
        return Decoded { what: "an empty value", text: None };
    }
    if let Some(ledger) = data.strip_prefix(b"BookieMetadataFormatVersion\t") {
        return book_keeper_ledger(ledger, data);
    }
    let Some(text) = printable(data) else {
        return Decoded { what: "binary: use `zooark cat`", text: None };
    };
    if data.first().is_some_and(|byte| matches!(byte, b'{' | b'['))
        && serde_json::from_slice::<IgnoredAny>(data).is_ok()
    {
        return Decoded { what: json_owner(path), text: Some(indent(text)) };
    }
    let what = if path.contains("/clickhouse/") { "ClickHouse text" } else { "text" };
    Decoded { what, text: Some(text.to_owned()) }
}

fn book_keeper_ledger(after_magic: &[u8], data: &[u8]) -> Decoded {
    match (after_magic.first(), printable(data)) {
        (Some(b'1' | b'2'), Some(text)) => Decoded { what: "BookKeeper ledger metadata", text: Some(text.to_owned()) },
        _ => Decoded { what: "BookKeeper ledger metadata in binary form: use `zooark cat`", text: None },
    }
}

fn json_owner(path: &str) -> &'static str {
    // Matched anywhere in the path, since each application may live below a chroot.
    let holds = |part: &str| path.contains(part);
    if holds("/brokers/topics/") && path.ends_with("/state") {
        "Kafka partition state (JSON)"
    } else if holds("/brokers/topics/") {
        "Kafka topic (JSON)"
    } else if holds("/brokers/ids/") {
        "Kafka broker (JSON)"
    } else if holds("/config/topics/") || holds("/config/brokers/") || holds("/config/clients/") {
        "Kafka configuration (JSON)"
    } else if path.ends_with("/controller") || path.ends_with("/cluster/id") {
        "Kafka cluster (JSON)"
    } else if holds("/admin/policies/") || holds("/admin/local-policies/") {
        "Pulsar policies (JSON)"
    } else if holds("/admin/clusters/") {
        "Pulsar cluster (JSON)"
    } else if holds("/loadbalance/") {
        "Pulsar load report (JSON)"
    } else {
        "JSON"
    }
}

fn printable(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')).then_some(text)
}

/// Lays valid JSON out with two spaces a level; every token stays byte for byte what it was.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut rest = json.chars().peekable();
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        // Deeper nesting than this is not readable anyway, and must not blow up the output.
        out.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    while let Some(c) = rest.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            ' ' | '\n' | '\t' | '\r' => {}
            '{' | '[' => {
                out.push(c);
                while rest.peek().is_some_and(char::is_ascii_whitespace) {
                    rest.next();
                }
                if let Some(close) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_and_otherwise_untouched() {
        let json = r#"{"z":12345678901234567890.10,"a":["x,{\"",[],{}]}"#;
        let expected = "{\n  \"z\": 12345678901234567890.10,\n  \"a\": [\n    \"x,{\\\"\",\n    [],\n    {}\n  ]\n}";
        assert_eq!(indent(json), expected);
        let strip = |text: &str| text.replace([' ', '\n'], "");
        assert_eq!(strip(&indent(json)), json);
    }

    #[test]
    fn what_is_known_is_named() {
        for (path, data, what) in [
            ("/kafka/brokers/topics/t/partitions/0/state", &b"{\"leader\":1}"[..], "Kafka partition state (JSON)"),
            ("/admin/policies/public/default", b"{}", "Pulsar policies (JSON)"),
            ("/clickhouse/tables/1/metadata", b"metadata format version: 1\n", "ClickHouse text"),
            ("/x", b"{not json", "text"),
            ("/x", b"\x08\x01", "binary: use `zooark cat`"),
            ("/x", b"a\x1b[2J", "binary: use `zooark cat`"),
            (
                "/ledgers/00/0000/L0001",
                b"BookieMetadataFormatVersion\t2\nquorumSize: 2\n",
                "BookKeeper ledger metadata",
            ),
            ("/x", b"", "an empty value"),
        ] {
            assert_eq!(decode(path, Some(data)).what, what, "{path}");
        }
        assert_eq!(decode("/x", None).text, None);
    }
}
