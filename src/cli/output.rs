//! The only place that writes to standard output and standard error.

mod terminal;

use std::io::{self, Write as _};

use serde::Serialize;

use crate::desired::diagnostic::{Diagnostic, Look};
pub use terminal::{Size, Terminal};

/// Prints data, with a line end.
pub fn data(text: &str) {
    // A closed pipe is the reader's choice, not an error of ours.
    let _ = writeln!(anstream::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Prints data, with a line end, at once; an error where nobody reads it any more.
pub fn line(text: &str) -> io::Result<()> {
    let mut output = anstream::stdout().lock();
    writeln!(output, "{}", text.trim_end_matches('\n'))?;
    output.flush()
}

/// Prints data as JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Says something to the person at the terminal.
pub fn talk(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.strip_suffix('\n').unwrap_or(text));
}

/// Asks the person at the terminal: the cursor stays behind the question.
pub fn question(text: &str) {
    let mut output = anstream::stderr().lock();
    let _ = write!(output, "{text} ").and_then(|()| output.flush());
}

/// Tells what somebody should know about a desired state, with the lines it is about.
pub fn diagnostics(found: &[Diagnostic], text: &str) {
    found.iter().for_each(|diagnostic| talk(&format!("{}\n", diagnostic.render_as(text, Look::Coloured))));
}

/// Lays rows out in columns, two spaces apart.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
