//! Data on standard output, words on standard error; tables, sizes and times as people read them.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use jiff::Timestamp;
use serde::Serialize;

/// Standard output could not be written.
#[derive(Debug)]
pub struct OutputError {
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot write to standard output")
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for OutputError {
    fn from(source: io::Error) -> Self {
        Self { source }
    }
}

/// One message of a stream: its type beside the fields of what it carries.
#[derive(Debug, Serialize)]
pub struct Message<'a, T: ?Sized> {
    /// `status`, `error`, `summary`, or what the command documents.
    pub message_type: &'static str,
    /// The rest of the fields.
    #[serde(flatten)]
    pub body: &'a T,
}

/// Where a command's results and words go.
#[derive(Debug)]
pub struct Output {
    /// Whether results are JSON.
    pub json: bool,
    /// Whether words are left out.
    pub quiet: bool,
    stdout: Mutex<BufWriter<Stdout>>,
}

impl Output {
    /// To this process's standard streams.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, stdout: Mutex::new(BufWriter::with_capacity(1 << 16, io::stdout())) }
    }

    /// Writes bytes as they are.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), OutputError> {
        self.locked(|out| out.write_all(bytes))
    }

    /// Writes one line of results.
    pub fn line(&self, text: impl fmt::Display) -> Result<(), OutputError> {
        self.locked(|out| writeln!(out, "{text}"))
    }

    /// Writes one JSON object on a line of its own.
    pub fn object<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), OutputError> {
        self.locked(|out| {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        })
    }

    /// Writes one JSON object and lets the reader have it now.
    pub fn object_now<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), OutputError> {
        self.object(value)?;
        self.flush()
    }

    /// Writes the object that ends a stream of messages.
    pub fn summary<T: Serialize + ?Sized>(&self, body: &T) -> Result<(), OutputError> {
        self.object_now(&Message { message_type: "summary", body })
    }

    /// Writes one JSON document, indented.
    pub fn document<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), OutputError> {
        self.locked(|out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            out.write_all(b"\n")
        })
    }

    /// Writes a table of results.
    pub fn table(&self, table: &Table) -> Result<(), OutputError> {
        self.locked(|out| table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end())))
    }

    /// Says something to the person, unless told to be quiet, after the results written before it.
    pub fn say(&self, text: impl fmt::Display) {
        if !self.quiet {
            // What cannot be written now fails again when the command ends.
            let _ = self.flush();
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Says what must be seen even when told to be quiet.
    pub fn warn(&self, text: impl fmt::Display) {
        let _ = self.flush();
        let _ = writeln!(io::stderr().lock(), "zooark: {text}");
    }

    /// Hands everything to the reader; an error here is as bad as one while writing.
    pub fn flush(&self) -> Result<(), OutputError> {
        self.locked(Write::flush)
    }

    fn locked(&self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) -> Result<(), OutputError> {
        let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(write(&mut stdout)?)
    }
}

/// A table without lines, as restic's are; the named columns are numbers and stand right.
pub fn table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.to_vec());
    for (index, column) in table.column_iter_mut().enumerate() {
        let left = u16::from(index != 0);
        column.set_padding((left, 1));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `1.5 MiB`; bytes below one KiB are exact.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Three decimals of a unit are far within the 52 bits of the mantissa.
    #[expect(clippy::cast_precision_loss, reason = "shown with three decimals")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.9995 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.3} {}", UNITS[unit])
}

/// `1,034,234`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `2026-11-20 10:00:00`, UTC, to the second.
pub fn time(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Milliseconds since 1970 as RFC 3339 UTC with milliseconds; the number itself where no calendar has it.
pub fn time_of_millis(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .map_or_else(|_| format!("{millis} ms"), |moment| moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// `350 ms`, `12.3 s`, `4 min 10 s`.
pub fn duration(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else if span < Duration::from_mins(1) {
        format!("{:.1} s", span.as_secs_f64())
    } else {
        format!("{} min {} s", span.as_secs() / 60, span.as_secs() % 60)
    }
}

/// Text from outside as one safe line: control characters are escaped, so that nothing steers the terminal.
pub fn plain(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_times_read_well() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(1 << 20)], ["0 B", "1023 B", "1.000 KiB", "1.000 MiB"]);
        assert_eq!(bytes(55_600_000), "53.024 MiB");
        assert_eq!([count(0), count(999), count(1000), count(1_034_234)], ["0", "999", "1,000", "1,034,234"]);
        assert_eq!(time_of_millis(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time_of_millis(i64::MAX), "9223372036854775807 ms");
        assert_eq!(duration(Duration::from_millis(61_200)), "1 min 1 s");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J"), "a\\u{1b}[2J");
    }
}
