//! A terminal that is drawn on, and left as it was found.

use std::io::{self, IsTerminal as _, Write as _};

/// Switches to the second screen, which scrolls nothing away, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Where the size is not told: what every terminal can show.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// How many characters fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// In a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Standard output, where it is a terminal, with a screen of ours on it until this is dropped.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Takes the terminal; `None` where standard output is none, or one that can only print.
    pub fn of_output() -> Option<Self> {
        let can_draw = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        if !io::stdout().is_terminal() || !can_draw {
            return None;
        }
        raw(ENTER).ok()?;
        Some(Self(()))
    }

    /// Draws lines in place of those that were there. Colours are left out where `NO_COLOR` asks for that.
    pub fn draw(&mut self, lines: impl FnOnce(Size) -> String) -> io::Result<()> {
        let lines = lines(size());
        let coloured = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let lines = if coloured { lines } else { anstream::adapter::strip_str(&lines).to_string() };
        // Each line is written over, and what is left of it and below is cleared: nothing flickers.
        raw(&format!("\x1b[H{}\x1b[K\x1b[J", lines.replace('\n', "\x1b[K\r\n")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = raw(LEAVE);
    }
}

fn size() -> Size {
    let told = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    told.map_or(USUAL, |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

fn raw(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
