//! As much of the shell's grammar as the documents use: enough to find each program that a script calls, with its
//! arguments. Whether a script is good shell is asked of bash.

use std::iter::Peekable;
use std::str::Chars;

/// A program that a script calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The line of the script, from 1.
    pub line: usize,
    /// The program and its arguments; what only a run could tell stands there as it is written.
    pub words: Vec<String>,
}

/// Words before which, and behind which, a program is called.
const KEYWORDS: [&str; 13] =
    ["if", "then", "else", "elif", "while", "until", "do", "!", "{", "}", "done", "fi", "time"];

/// Finds the programs that a script calls, also those within `$(…)`.
pub fn calls(script: &str) -> Vec<Call> {
    let mut reader = Reader::new(script, 1);
    reader.read();
    reader.found
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    word: Option<String>,
    words: Vec<String>,
    /// The next word is a file that something is read from or written to.
    is_redirected: bool,
    /// The words that end here-documents whose text is still to come.
    documents: Vec<String>,
    /// The next word ends a here-document.
    names_document: bool,
    began: usize,
    found: Vec<Call>,
}

impl<'a> Reader<'a> {
    fn new(script: &'a str, line: usize) -> Self {
        Self {
            rest: script.chars().peekable(),
            line,
            word: None,
            words: Vec::new(),
            is_redirected: false,
            documents: Vec::new(),
            names_document: false,
            began: line,
            found: Vec::new(),
        }
    }

    fn read(&mut self) {
        while let Some(c) = self.rest.next() {
            match c {
                '\n' => {
                    self.end_call();
                    self.line += 1;
                    self.skip_documents();
                }
                c if c.is_whitespace() => self.end_word(),
                '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '|' | ';' | '&' | '(' | ')' => self.end_call(),
                '<' | '>' => self.redirect(c),
                c => self.take(c),
            }
        }
        self.end_call();
    }

    /// Adds a character, or what it begins, to the word.
    fn take(&mut self, c: char) {
        if self.word.is_none() && self.words.is_empty() {
            self.began = self.line;
        }
        let mut text = self.word.take().unwrap_or_default();
        match c {
            '\\' => match self.rest.next() {
                Some('\n') => {
                    self.line += 1;
                    self.word = (!text.is_empty()).then_some(text);
                    return;
                }
                next => text.extend(next),
            },
            '\'' => {
                while let Some(c) = self.rest.next_if(|c| *c != '\'') {
                    self.line += usize::from(c == '\n');
                    text.push(c);
                }
                self.rest.next();
            }
            '"' => self.quoted(&mut text),
            '$' => self.substituted(&mut text),
            c => text.push(c),
        }
        self.word = Some(text);
    }

    fn quoted(&mut self, text: &mut String) {
        while let Some(c) = self.rest.next() {
            match c {
                '"' => return,
                '\\' => text.extend(self.rest.next()),
                '$' => self.substituted(text),
                c => {
                    self.line += usize::from(c == '\n');
                    text.push(c);
                }
            }
        }
    }

    /// What stands behind a `$`: a program whose output it is, or a name.
    fn substituted(&mut self, text: &mut String) {
        text.push('$');
        if self.rest.next_if_eq(&'(').is_none() {
            return;
        }
        let mut inner = String::new();
        let mut depth = 1;
        for c in self.rest.by_ref() {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            if depth == 0 {
                break;
            }
            inner.push(c);
        }
        let mut within = Reader::new(&inner, self.line);
        within.read();
        self.line += inner.matches('\n').count();
        self.found.append(&mut within.found);
        text.push_str(&format!("({inner})"));
    }

    fn redirect(&mut self, arrow: char) {
        // A number right before it says which stream is meant, and is no argument.
        let is_number = self.word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit()));
        if is_number {
            self.word = None;
        }
        self.end_word();
        let is_double = self.rest.next_if_eq(&arrow).is_some();
        if self.rest.next_if_eq(&'&').is_some() {
            while self.rest.next_if(|c| c.is_ascii_digit() || *c == '-').is_some() {}
            return;
        }
        self.is_redirected = true;
        self.names_document = is_double && arrow == '<';
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.is_redirected) {
            return self.words.push(word);
        }
        if std::mem::take(&mut self.names_document) {
            self.documents.push(word);
        }
    }

    fn end_call(&mut self) {
        self.end_word();
        self.is_redirected = false;
        let is_prefix = |word: &String| KEYWORDS.contains(&word.as_str()) || is_assignment(word);
        let words: Vec<String> = std::mem::take(&mut self.words).into_iter().skip_while(is_prefix).collect();
        // A loop's head names words, and calls nothing.
        if words.first().is_some_and(|word| word != "for") {
            self.found.push(Call { line: self.began, words });
        }
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            loop {
                let mut line = String::new();
                while let Some(c) = self.rest.next_if(|c| *c != '\n') {
                    line.push(c);
                }
                let is_last = self.rest.next().is_none();
                self.line += 1;
                if is_last || line.trim() == end {
                    break;
                }
            }
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

#[test]
fn programs_are_found_with_their_arguments() {
    let words = |script: &str| -> Vec<(usize, String)> {
        calls(script).into_iter().map(|call| (call.line, call.words.join("|"))).collect()
    };
    let one = |line: usize, words: &str| (line, words.to_owned());
    assert_eq!(words("a 'b c' \"d $e\" # f\n"), [one(1, "a|b c|d $e")]);
    assert_eq!(words("a | b && c; d || e"), ["a", "b", "c", "d", "e"].map(|word| one(1, word)));
    assert_eq!(words("X=1 a \\\n  b > c 2>&1 < d\ne"), [one(1, "a|b"), one(3, "e")]);
    assert_eq!(words("a \"$(b c)\" d"), [one(1, "b|c"), one(1, "a|$(b c)|d")]);
    assert_eq!(words("for a in b c; do\n  d \"$a\"; e\ndone"), [one(2, "d|$a"), one(2, "e")]);
    assert_eq!(words("until a | b; do c; done"), ["a", "b", "c"].map(|word| one(1, word)));
    assert_eq!(words("cat > a <<'END'\nb c\nEND\nd"), [one(1, "cat"), one(4, "d")]);
}
