//! The control protocol's frames: replies and events out of bytes, in whatever pieces they come. Pure.
//!
//! A reply is one or more lines, `250-text`, `250+text` with data behind it, and `250 text` at the end (control-spec,
//! "Message format"). An event has the code 650 and may come between two replies, never within one.

/// The longest message that is read: a consensus in `ns/all` has some three megabytes.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Capacity that an idle connection keeps.
const IDLE_CAPACITY_BYTES: usize = 4 << 10;

/// The code of events.
const EVENT: u16 = 650;

/// One line of a message, with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What stands behind the code.
    pub text: String,
    /// The lines of data behind it, where there are some.
    pub data: Option<String>,
}

/// A whole reply or event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its code.
    pub code: u16,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// Bytes came that are not the control protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A line has no code.
    #[error("`{0}` is not a line of the control protocol")]
    NoCode(String),
    /// A message does not end.
    #[error("a message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
}

/// Bytes on the way to be messages. Dropping a future that reads into it loses nothing.
#[derive(Debug, Default)]
pub struct Framing {
    /// What has come and is not yet in a line.
    pub buffer: Vec<u8>,
    /// How much of the buffer has been used.
    used: usize,
    /// How much of the buffer has been searched for the end of a line.
    searched: usize,
    lines: Vec<Line>,
    length: usize,
    in_data: bool,
}

impl Message {
    /// Whether it came by itself and answers nothing.
    pub fn is_event(&self) -> bool {
        self.code == EVENT
    }

    /// Whether it says that a command was carried out.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// tor's own words, with their code.
    pub fn words(&self) -> String {
        let texts: Vec<&str> = self.lines.iter().map(|line| line.text.as_str()).collect();
        format!("{} {}", self.code, texts.join("; "))
    }
}

impl Framing {
    /// Takes the next whole message out of the buffer; `None` when more bytes are needed.
    pub fn next(&mut self) -> Result<Option<Message>, FramingError> {
        while let Some(line) = self.take_line()? {
            if let Some(message) = self.add(&line)? {
                return Ok(Some(message));
            }
        }
        self.compact();
        Ok(None)
    }

    /// Takes the next line, without its end.
    fn take_line(&mut self) -> Result<Option<String>, FramingError> {
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.searched - self.used > MAX_MESSAGE_BYTES { Err(FramingError::TooLong) } else { Ok(None) };
        };
        let end = self.searched + end;
        let line = &self.buffer[self.used..end];
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        self.used = end + 1;
        self.searched = self.used;
        self.length += line.len();
        if self.length > MAX_MESSAGE_BYTES { Err(FramingError::TooLong) } else { Ok(Some(line)) }
    }

    /// Adds a line to the message; gives the message when it was the last.
    fn add(&mut self, line: &str) -> Result<Option<Message>, FramingError> {
        if self.in_data {
            self.add_data(line);
            return Ok(None);
        }
        let (code, separator, text) =
            split(line).ok_or_else(|| FramingError::NoCode(line.chars().take(80).collect()))?;
        self.in_data = separator == '+';
        self.lines.push(Line { text: text.to_owned(), data: self.in_data.then(String::new) });
        if separator != ' ' {
            return Ok(None);
        }
        self.length = 0;
        Ok(Some(Message { code, lines: std::mem::take(&mut self.lines) }))
    }

    fn add_data(&mut self, line: &str) {
        if line == "." {
            self.in_data = false;
            return;
        }
        if let Some(data) = self.lines.last_mut().and_then(|last| last.data.as_mut()) {
            // A leading dot is doubled on the wire.
            data.push_str(line.strip_prefix('.').unwrap_or(line));
            data.push('\n');
        }
    }

    /// Gives back what a long reply needed: a hundred idle connections keep next to nothing.
    fn compact(&mut self) {
        self.buffer.drain(..self.used);
        self.searched -= self.used;
        self.used = 0;
        if self.buffer.len() < IDLE_CAPACITY_BYTES {
            self.buffer.shrink_to(IDLE_CAPACITY_BYTES);
        }
    }
}

/// Splits a line into its code, its separator and its text.
fn split(line: &str) -> Option<(u16, char, &str)> {
    let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let separator = line.get(3..4).and_then(|text| text.chars().next()).filter(|c| matches!(c, ' ' | '-' | '+'))?;
    Some((code, separator, &line[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] =
        b"250-version=0.4.9.11\r\n250+config-text=\r\nA 1\r\n..dot\r\n650 not an event\r\n.\r\n250 OK\r\n\
        650-CONF_CHANGED\r\n650-SocksPort=0\r\n650 OK\r\n552 Unrecognized key \"x\"\r\n";

    fn messages(pieces: impl Iterator<Item = u8>) -> Vec<Message> {
        let mut framing = Framing::default();
        let mut messages = Vec::new();
        for byte in pieces {
            framing.buffer.push(byte);
            messages.extend(framing.next().unwrap());
        }
        messages
    }

    #[test]
    fn replies_and_events_come_out_of_single_bytes() {
        let found = messages(WIRE.iter().copied());
        assert_eq!(found.iter().map(Message::is_event).collect::<Vec<_>>(), [false, true, false]);
        let text = found[0].lines[1].data.as_deref();
        assert_eq!(text, Some("A 1\n.dot\n650 not an event\n"));
        assert_eq!(found[2].words(), "552 Unrecognized key \"x\"");
        assert!(!found[2].is_ok());
    }

    #[test]
    fn all_messages_come_out_of_one_piece() {
        let mut framing = Framing { buffer: WIRE.to_vec(), ..Framing::default() };
        let mut found = Vec::new();
        while let Some(message) = framing.next().unwrap() {
            found.push(message);
        }
        assert_eq!(found, messages(WIRE.iter().copied()));
        assert!(framing.buffer.is_empty());
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error() {
        for wire in ["HTTP/1.1 400\r\n", "25é\r\n", "250\r\n", "\r\n"] {
            let mut framing = Framing { buffer: wire.as_bytes().to_vec(), ..Framing::default() };
            assert!(matches!(framing.next(), Err(FramingError::NoCode(_))), "{wire}");
        }
    }
}
