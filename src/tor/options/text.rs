//! How tor writes options: the lines of a torrc, of `config-text` and of GETCONF, and their quoting.

/// Writes a value for a torrc: as it is where tor reads it back unchanged, quoted otherwise.
pub fn torrc_value(value: &str) -> String {
    let plain = !value.is_empty()
        && value.trim() == value
        && !value.starts_with('"')
        && !value.ends_with('\\')
        && !value.chars().any(|c| c.is_control() || c == '#');
    if plain { value.to_owned() } else { quote(value) }
}

/// Writes a value as a quoted string with C's escapes, which torrcs and the control protocol read alike.
pub fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\{:03o}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads a value as tor writes it: quoted only where it has to be.
pub fn unquote(written: &str) -> String {
    let written = written.trim();
    match written.strip_prefix('"').and_then(unescape) {
        Some(value) => value,
        None => written.to_owned(),
    }
}

/// Reads the rest of a quoted string behind its opening quote; `None` when it never closes.
fn unescape(rest: &str) -> Option<String> {
    let mut value = Vec::with_capacity(rest.len());
    let mut bytes = rest.bytes().peekable();
    loop {
        match bytes.next()? {
            b'"' => return Some(String::from_utf8_lossy(&value).into_owned()),
            b'\\' => match bytes.next()? {
                b'n' => value.push(b'\n'),
                b'r' => value.push(b'\r'),
                b't' => value.push(b'\t'),
                b'x' => value.push(digits(&mut bytes, 0, 2, 16)),
                digit @ b'0'..=b'7' => value.push(digits(&mut bytes, digit - b'0', 2, 8)),
                other => value.push(other),
            },
            byte => value.push(byte),
        }
    }
}

/// Reads up to `most` more digits of a byte.
fn digits(bytes: &mut std::iter::Peekable<std::str::Bytes<'_>>, first: u8, most: usize, radix: u32) -> u8 {
    let mut byte = u32::from(first);
    for _ in 0..most {
        let Some(digit) = bytes.peek().and_then(|next| char::from(*next).to_digit(radix)) else { break };
        byte = byte * radix + digit;
        bytes.next();
    }
    u8::try_from(byte & 0xff).unwrap_or_default()
}

/// Reads the lines of a torrc or of `config-text` as names and values.
///
/// Continued lines are not joined: nothing that is read here is ever written with them.
pub fn lines(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (name, written) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let written = written.trim_start();
        let quoted = written.starts_with('"');
        let bare = if quoted { written } else { written.split('#').next().unwrap_or_default() };
        Some((name, unquote(bare)))
    })
}
