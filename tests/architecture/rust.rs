//! Just enough of Rust to read the tree: code without comments, texts and tests, and the paths in it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file of `src/`, tests left out.
pub struct Module {
    /// Its place, from the root of the repository.
    pub file: String,
    /// Its path in the crate: `["tor", "control"]`.
    pub path: Vec<String>,
    /// Its code: comments, texts and tests are blanks; the lines are where they were.
    pub code: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Reads all of `src/` but the tests.
pub fn modules() -> Vec<Module> {
    let files = files_under("src").into_iter().filter(|file| file.ends_with(".rs"));
    files.filter(|file| !file.ends_with("/tests.rs") && !file.contains("/tests/")).map(Module::read).collect()
}

/// Lists the files under a folder, from the root of the repository.
pub fn files_under(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            // What npm has installed is nobody's here.
            if entry.ends_with("node_modules") {
                continue;
            }
            if entry.is_dir() {
                folders.push(entry);
            } else {
                found.push(entry.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

impl Module {
    fn read(file: String) -> Self {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let inner = file.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        let path = inner.split('/').filter(|it| *it != "lib" && *it != "main").map(str::to_owned).collect();
        Self { file, path, code: without_tests(mask(&text)) }
    }

    /// How many lines it has, without its tests at the end.
    pub fn length(&self) -> usize {
        self.code.trim_end().lines().count()
    }

    /// The number of the line of a place in the code.
    pub fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// The words of the code that can be names, with their places.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    /// The names that it declares: functions, types, constants, variables.
    pub fn declared(&self) -> Vec<(usize, &str)> {
        const BEFORE_A_NAME: [&str; 11] =
            ["fn", "struct", "enum", "trait", "mod", "type", "const", "static", "let", "mut", "ref"];
        let words: Vec<_> = self.words().collect();
        let pairs = words.windows(2).filter(|pair| BEFORE_A_NAME.contains(&pair[0].1));
        pairs.map(|pair| pair[1]).collect()
    }

    /// Its functions: name, first line, number of lines.
    pub fn functions(&self) -> Vec<(&str, usize, usize)> {
        let words: Vec<_> = self.words().collect();
        let named = words.windows(2).filter(|pair| pair[0].1 == "fn");
        let measure = |pair: &[(usize, &'_ str)]| {
            let body = block(&self.code, pair[1].0)?;
            Some((pair[0].0, body.end))
        };
        named
            .filter_map(|pair| {
                let (from, to) = measure(pair)?;
                Some((pair[1].1, self.line(from), self.line(to) - self.line(from) + 1))
            })
            .collect()
    }

    /// The paths inside this crate that it names, each from the crate's root, with its place.
    pub fn imports(&self, all: &BTreeSet<Vec<String>>) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for (at, word) in self.words().filter(|(at, _)| !self.code[..*at].ends_with("::")) {
            let Some(start) = self.start(word, all) else { continue };
            if self.code[at + word.len()..].starts_with("::") {
                tree(&self.code, at + word.len(), start, &mut |path| found.push((at, path)));
            }
        }
        found
    }

    /// The module that a path begins at, if it begins with this word.
    fn start(&self, word: &str, all: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
        match word {
            "crate" => Some(Vec::new()),
            "self" => Some(self.path.clone()),
            "super" => Some(self.path[..self.path.len().saturating_sub(1)].to_vec()),
            _ => {
                let child = [self.path.clone(), vec![word.to_owned()]].concat();
                all.contains(&child).then_some(child)
            }
        }
    }
}

/// Follows a path, or a tree of paths in braces, from the `::` at a place; gives the place behind it.
fn tree(code: &str, mut at: usize, mut path: Vec<String>, found: &mut dyn FnMut(Vec<String>)) -> usize {
    while code[at..].starts_with("::") {
        at = skip_blanks(code, at + 2);
        if code[at..].starts_with('{') {
            return branches(code, at + 1, &path, found);
        }
        let Some((start, word)) = words(&code[at..]).next().filter(|(start, _)| *start == 0) else { break };
        match word {
            "super" => drop(path.pop()),
            "self" => {}
            _ => path.push(word.to_owned()),
        }
        at += start + word.len();
    }
    found(path);
    at
}

/// Follows the branches of a tree of paths, up to its closing brace.
fn branches(code: &str, mut at: usize, path: &[String], found: &mut dyn FnMut(Vec<String>)) -> usize {
    loop {
        at = skip_blanks(code, at);
        let Some(next) = code[at..].chars().next() else { return at };
        match next {
            '}' => return at + 1,
            _ if next.is_alphabetic() || next == '_' => {
                let word = words(&code[at..]).next().unwrap().1;
                let branch = if word == "self" { path.to_vec() } else { [path, &[word.to_owned()]].concat() };
                at = tree(code, at + word.len(), branch, found);
            }
            _ => at += next.len_utf8(),
        }
    }
}

fn skip_blanks(code: &str, at: usize) -> usize {
    at + code[at..].len() - code[at..].trim_start().len()
}

/// The words of a text that can be names, with their places.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |it: char| it.is_alphanumeric() || it == '_';
    let parts = text.split(move |it| !is_part(it));
    parts.filter(|word| !word.is_empty()).map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// The block in braces that begins behind a place, unless a semicolon outside brackets comes first.
fn block(code: &str, from: usize) -> Option<Range<usize>> {
    let mut brackets = 0;
    let begin = code[from..].char_indices().find_map(|(at, it)| {
        match it {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            _ => {}
        }
        (brackets == 0 && matches!(it, '{' | ';')).then_some((at, it))
    });
    let (begin, _) = begin.filter(|(_, it)| *it == '{')?;
    let mut depth = 0;
    for (at, it) in code[from + begin..].char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(from + begin..from + begin + at);
        }
    }
    None
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(mut code: String) -> String {
    const MARK: &str = "#[cfg(test)]";
    while let Some(from) = code.find(MARK) {
        let behind = from + MARK.len();
        let end = match block(&code, behind) {
            Some(body) => body.end + 1,
            None => behind + code[behind..].find(';').map_or(0, |at| at + 1),
        };
        let blanks = blank(&code[from..end]);
        code.replace_range(from..end, &blanks);
    }
    code
}

fn blank(text: &str) -> String {
    text.bytes().map(|it| if it == b'\n' { '\n' } else { ' ' }).collect()
}

/// Blanks comments, and what stands in texts and characters.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let hidden = hidden_length(rest, masked.chars().next_back());
        if hidden > 0 {
            masked += &blank(&rest[..hidden]);
            rest = &rest[hidden..];
            continue;
        }
        let shown = rest.chars().next().unwrap();
        masked.push(shown);
        rest = &rest[shown.len_utf8()..];
    }
    masked
}

/// How many bytes at the beginning of a text are a comment, a text or a character.
fn hidden_length(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    let starts_a_word = !before.is_some_and(|it| it.is_alphanumeric() || it == '_');
    let raw = rest.strip_prefix('b').unwrap_or(rest);
    if starts_a_word && raw.starts_with("r\"") || raw.starts_with("r#") {
        return rest.len() - raw.len() + raw_text(raw);
    }
    0
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, it) in rest.char_indices().skip(1) {
        match it {
            '"' if !escaped => return at + 1,
            _ => escaped = it == '\\' && !escaped,
        }
    }
    rest.len()
}

/// A character; a lifetime is none.
fn character(rest: &str) -> usize {
    let mut inside = rest.chars().skip(1);
    let length = match (inside.next(), inside.next()) {
        (Some('\\'), _) => rest[3..].find('\'').map(|end| end + 4),
        (Some(it), Some('\'')) => Some(it.len_utf8() + 2),
        _ => None,
    };
    length.unwrap_or(0)
}

fn raw_text(raw: &str) -> usize {
    let marks = raw[1..].bytes().take_while(|it| *it == b'#').count();
    if !raw[1 + marks..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(marks));
    raw[2 + marks..].find(&end).map_or(raw.len(), |at| 2 + marks + at + end.len())
}

#[test]
fn the_reader_of_the_tree_reads_rust() {
    let text = "use crate::{a::{self, B}, c}; // crate::no\nfn f() { let x = '\"'; g(\"crate::no\"); 'l: loop {} }\n\
                #[cfg(test)]\nmod tests {\n use crate::no;\n}\nfn h() { super::k::i(); child::j(); r#\"crate::no\"#; }\n";
    let path = vec!["p".to_owned(), "q".to_owned()];
    let module = Module { file: String::new(), path: path.clone(), code: without_tests(mask(text)) };
    let all = [[path, vec!["child".to_owned()]].concat()].into();
    let found: Vec<String> = module.imports(&all).into_iter().map(|(_, path)| path.join("::")).collect();
    assert_eq!(found, ["a", "a::B", "c", "p::k::i", "p::q::child::j"]);
    assert_eq!(module.functions(), [("f", 2, 1), ("h", 7, 1)]);
    assert_eq!(module.declared().iter().map(|it| it.1).collect::<Vec<_>>(), ["f", "x", "h"]);
}
