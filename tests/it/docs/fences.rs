//! The fenced blocks of a page, with the comment that says something of each.

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The page, as a path within the repository.
    pub page: String,
    /// The line of its first line of content.
    pub line: usize,
    /// What stands behind the opening fence.
    pub language: String,
    /// Its content, without the fence's own indentation.
    pub text: String,
    /// The comment on the line before it: `<!-- not run: why -->`.
    pub note: Option<String>,
}

/// A heading, a fence, or a comment that stands alone, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A heading: its line, its depth and its words.
    Heading(usize, usize, String),
    /// A fence.
    Fence(Fence),
    /// A line of prose.
    Prose(usize, String),
}

/// The parts of a page, in their order.
pub fn parts(page: &str, text: &str) -> Vec<Part> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Fence)> = None;
    let mut note = None;
    for (number, line) in (1..).zip(text.lines()) {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match (open.take(), bare.strip_prefix("```")) {
            (Some((_, fence)), Some(_)) => found.push(Part::Fence(fence)),
            (Some((indent, mut fence)), None) => {
                fence.text += line.get(indent..).unwrap_or(bare);
                fence.text.push('\n');
                open = Some((indent, fence));
            }
            (None, Some(language)) => {
                let (page, language) = (page.to_owned(), language.trim().to_owned());
                let note = note.take();
                open = Some((indent, Fence { page, line: number + 1, language, text: String::new(), note }));
            }
            (None, None) => {
                let comment = bare.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                note = comment.map(|comment| comment.trim().to_owned());
                found.push(prose(number, line));
            }
        }
    }
    assert!(open.is_none(), "{page}: a fence is not closed");
    found
}

fn prose(number: usize, line: &str) -> Part {
    let words = line.trim_start_matches('#');
    let depth = line.len() - words.len();
    match words.strip_prefix(' ') {
        Some(words) if depth > 0 => Part::Heading(number, depth, words.trim().to_owned()),
        _ => Part::Prose(number, line.to_owned()),
    }
}

/// The fences of a page.
pub fn fences(page: &str, text: &str) -> Vec<Fence> {
    let fence = |part| if let Part::Fence(fence) = part { Some(fence) } else { None };
    parts(page, text).into_iter().filter_map(fence).collect()
}

impl Fence {
    /// What of it is given to a shell: all of a script, of a session what stands behind its prompts.
    pub fn script(&self) -> Option<String> {
        match self.language.as_str() {
            "sh" | "bash" => Some(self.text.clone()),
            "console" => {
                // Lines that are no command stay as empty ones, so that places are those of the page.
                let command = |line: &str| line.strip_prefix("$ ").unwrap_or_default().to_owned() + "\n";
                Some(self.text.lines().map(command).collect())
            }
            _ => None,
        }
    }
}
