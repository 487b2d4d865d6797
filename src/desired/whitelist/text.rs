//! The text of a list: an address or a network a line, comments after `#`.

use std::ops::Range;

use super::super::diagnostic::{Diagnostic, Excerpt, Severity};
use super::super::tree;
use super::super::values::Peer;

/// A list that is text.
pub struct Text<'l> {
    name: String,
    text: &'l str,
}

/// A line of a list, and the part of it that is meant.
#[derive(Debug, Clone)]
pub struct Line<'l> {
    name: &'l str,
    number: usize,
    text: &'l str,
    marked: Range<usize>,
}

/// What is wrong with a line.
pub struct Fault<'l> {
    line: Line<'l>,
    message: String,
    help: String,
}

/// More of what stands in a line is not repeated in a message.
const LONGEST_WORD_CHARS: usize = 60;

impl<'l> Text<'l> {
    /// Takes the bytes of a list for text.
    pub fn read(name: String, bytes: &'l [u8]) -> Result<Self, Box<Diagnostic>> {
        let text = tree::text(&name, bytes)?;
        Ok(Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), name })
    }

    /// Its entries, and what is wrong with the other lines.
    pub fn entries(&self) -> (Vec<(Peer, Line<'_>)>, Vec<Fault<'_>>) {
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        for line in (1..).zip(self.text.lines()).filter_map(|(number, text)| self.line(number, text)) {
            match line.peer() {
                Ok(peer) => entries.push((peer, line)),
                Err((message, help)) => faults.push(Fault { line, message, help }),
            }
        }
        (entries, faults)
    }

    /// A line that is not empty, and not a comment alone.
    fn line(&self, number: usize, text: &'l str) -> Option<Line<'_>> {
        let before_comment = text.split('#').next().unwrap_or_default();
        let entry = before_comment.trim();
        let start = before_comment.len() - before_comment.trim_start().len();
        let line = Line { name: &self.name, number, text, marked: start..start + entry.len() };
        (!entry.is_empty()).then_some(line)
    }
}

impl Line<'_> {
    fn entry(&self) -> &str {
        &self.text[self.marked.clone()]
    }

    /// The entry; otherwise what is wrong, and what to do.
    fn peer(&self) -> Result<Peer, (String, String)> {
        let entry = self.entry();
        if entry.contains(|it: char| it.is_whitespace() || matches!(it, ',' | ';')) {
            let message = "there is more than an address or a network on this line".to_owned();
            return Err((message, "write one a line, and a comment after `#`".to_owned()));
        }
        if entry.chars().count() > LONGEST_WORD_CHARS {
            let message = "this is not an address or a network".to_owned();
            return Err((message, "check that this is the right file".to_owned()));
        }
        entry.parse().map_err(|error: super::super::values::ValueError| {
            let text = error.to_string().replace(char::is_control, " ");
            let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
            (message.to_owned(), help.to_owned())
        })
    }

    /// Says something about the line; `path` is where the document names the list.
    pub fn diagnostic(&self, severity: Severity, path: &str, said: (&str, &str)) -> Diagnostic {
        let column = self.text[..self.marked.start].chars().count() + 1;
        let excerpt = Excerpt { line: self.number, column, path: path.to_owned(), text: self.text };
        Diagnostic::of_excerpt(severity, self.name, excerpt, self.marked.clone()).saying(said.0, said.1)
    }
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "on line {} of {}", self.number, self.name)
    }
}

impl Fault<'_> {
    /// The fault as it is told.
    pub fn diagnostic(&self, path: &str) -> Diagnostic {
        self.line.diagnostic(Severity::Error, path, (&self.message, &self.help))
    }
}
