//! What is wrong with a file, or remarkable about it: what, where and what to do.
//!
//! A diagnostic never carries or shows a secret: what stands in a secret's place is masked in every snippet.

mod mask;

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

/// Whether a file with this diagnostic is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted, and somebody should know.
    Warning,
}

/// How a diagnostic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Text alone: logs, pipes, files.
    Plain,
    /// With colours, for a terminal. They carry no meaning.
    Coloured,
}

/// One remark about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// The file's name, as it was given.
    pub file: String,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// The column, from 1, in characters; 0 when it is about the whole file.
    pub column: usize,
    /// The dotted path, as in `pools[1].countries[0]`; empty when it is about the whole file.
    pub path: String,
    /// What is so.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
    /// The bytes it is about.
    #[serde(skip)]
    pub(super) span: Range<usize>,
    /// Bytes that no snippet may show.
    #[serde(skip)]
    pub(super) hidden: Arc<[Range<usize>]>,
    /// The line it is about, where that stands in another file than the document.
    #[serde(skip)]
    pub(super) excerpt: Option<String>,
}

/// A line of a file other than the document.
pub(super) struct Excerpt<'a> {
    /// The line's number, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// Where the document names the file.
    pub path: String,
    /// The line's text.
    pub text: &'a str,
}

/// No more of a line is kept for a snippet.
const LONGEST_EXCERPT_BYTES: usize = 120;

impl Diagnostic {
    /// Makes a diagnostic about a whole file.
    pub fn of_file(severity: Severity, file: &str, message: impl Into<String>, help: &str) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message: message.into(),
            help: help.to_owned(),
            span: 0..0,
            hidden: Arc::default(),
            excerpt: None,
        }
    }

    /// Makes a diagnostic about a part of a line of a file other than the document; nothing is said yet.
    pub(super) fn of_excerpt(severity: Severity, file: &str, excerpt: Excerpt<'_>, span: Range<usize>) -> Self {
        let Excerpt { line, column, path, text } = excerpt;
        let kept = text[..floor(text, LONGEST_EXCERPT_BYTES)].to_owned();
        Self { line, column, path, span, excerpt: Some(kept), ..Self::of_file(severity, file, "", "") }
    }

    /// The same, with what is so and what to do.
    pub(super) fn saying(self, message: &str, help: &str) -> Self {
        Self { message: message.to_owned(), help: help.to_owned(), ..self }
    }

    /// Writes it for people as plain text, with the lines of `source` it is about.
    pub fn render(&self, source: &str) -> String {
        self.render_as(source, Look::Plain)
    }

    /// Writes it for people in a given look.
    pub fn render_as(&self, source: &str, look: Look) -> String {
        let renderer = match look {
            Look::Plain => Renderer::plain(),
            Look::Coloured => Renderer::styled(),
        };
        let shown = mask::mask(self.excerpt.as_deref().unwrap_or(source), &self.hidden);
        renderer.render(&self.report(&shown))
    }

    fn report<'a>(&'a self, shown: &'a str) -> Vec<Group<'a>> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.title());
        if self.line == 0 {
            let file = annotate_snippets::Origin::path(self.file.as_str());
            return vec![title.element(file).elements(self.help_element())];
        }
        let annotation = AnnotationKind::Primary.span(self.shown_span(shown)).label(self.path.as_str());
        let first_line = if self.excerpt.is_some() { self.line } else { 1 };
        let snippet = Snippet::source(shown).line_start(first_line).path(self.file.as_str()).annotation(annotation);
        vec![title.element(snippet).elements(self.help_element())]
    }

    fn help_element(&self) -> Option<annotate_snippets::Message<'_>> {
        (!self.help.is_empty()).then(|| Level::HELP.message(self.help.as_str()))
    }

    /// The message on one line: it may quote what stands in the file.
    fn title(&self) -> String {
        self.message.replace(char::is_control, " ")
    }

    /// The bytes to be marked: the first line of the span, inside the text, on the borders of characters.
    fn shown_span(&self, shown: &str) -> Range<usize> {
        let start = floor(shown, self.span.start);
        let end = floor(shown, self.span.end).max(start);
        let line_end = shown[start..].find('\n').map_or(shown.len(), |length| start + length);
        start..end.min(line_end).max(start)
    }

    /// Writes it as one line, `file:line:column: path: message; help`, for logs.
    pub fn one_line(&self) -> String {
        let place = match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        };
        let parts = [place, self.path.clone(), self.title()];
        let text = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(": ");
        if self.help.is_empty() { text } else { format!("{text}; {}", self.help) }
    }
}

/// The border of a character at or before a byte.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
