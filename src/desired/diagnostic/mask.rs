//! Hides what stands in a secret's place, so that no snippet shows it.
//!
//! Two ways, both always: the places that the reader found, and, since a file may be too broken to be read, every
//! value after a key that names a secret and every password inside a URL.

use std::ops::Range;

/// The keys whose values are secrets.
const SECRET_KEYS: [&str; 4] = ["password", "bot_token", "secret", "token"];

/// Masks a text; every byte that is hidden becomes `*`, so that all places stay where they are.
pub fn mask(source: &str, hidden: &[Range<usize>]) -> String {
    let mut bytes = source.as_bytes().to_vec();
    let found = after_secret_keys(source).into_iter().chain(passwords_in_urls(source));
    for range in hidden.iter().cloned().chain(found) {
        hide(&mut bytes, range);
    }
    // Whole characters are hidden, so this is still UTF-8; if it ever were not, nothing is better than a secret.
    String::from_utf8(bytes).unwrap_or_default()
}

fn hide(bytes: &mut [u8], range: Range<usize>) {
    let is_inner = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let mut range = range.start.min(bytes.len())..range.end.min(bytes.len());
    while range.start > 0 && range.start < bytes.len() && is_inner(bytes[range.start]) {
        range.start -= 1;
    }
    while range.end < bytes.len() && range.end > range.start && is_inner(bytes[range.end]) {
        range.end += 1;
    }
    bytes[range].iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b'*');
}

fn after_secret_keys(source: &str) -> Vec<Range<usize>> {
    SECRET_KEYS
        .iter()
        .flat_map(|key| source.match_indices(key))
        .filter_map(|(at, key)| value_after(source, at + key.len()))
        .collect()
}

/// The value after a key that ends at `at`; `None` where it is a reference or no value.
fn value_after(source: &str, at: usize) -> Option<Range<usize>> {
    let rest = source[at..].trim_start_matches(['"', '\'']).trim_start_matches(' ').strip_prefix(':')?;
    let value = rest.trim_start_matches([' ', '\t']);
    let start = source.len() - value.len();
    let length = match value.chars().next()? {
        '{' | '\n' | '\r' | '#' => return None,
        quote @ ('"' | '\'') => value[1..].find(quote).map_or(value.len(), |end| end + 2),
        '|' | '>' => block_length(source, at, value),
        _ => value.find([',', '}', '\n']).unwrap_or(value.len()),
    };
    Some(start..start + length)
}

/// The length of a block scalar: all lines that are indented more than the key's, and empty ones.
fn block_length(source: &str, key_end: usize, value: &str) -> usize {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let key_line = source[..key_end].rfind('\n').map_or(0, |at| at + 1);
    let key_indent = indent(&source[key_line..]);
    let mut lines = value.split_inclusive('\n');
    let header = lines.next().map_or(0, str::len);
    let belongs = |line: &&str| line.trim().is_empty() || indent(line) > key_indent;
    header + lines.take_while(belongs).map(str::len).sum::<usize>()
}

fn passwords_in_urls(source: &str) -> Vec<Range<usize>> {
    source.match_indices("://").filter_map(|(at, found)| user_part(source, at + found.len())).collect()
}

/// What stands between `://` and `@`, when there is an `@` before the host ends.
fn user_part(source: &str, start: usize) -> Option<Range<usize>> {
    let authority_end = source[start..].find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(source.len() - start);
    let user_length = source[start..start + authority_end].rfind('@')?;
    Some(start..start + user_length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(source: &str) -> String {
        mask(source, &[])
    }

    #[test]
    fn values_of_secret_keys_are_hidden_and_references_are_not() {
        assert_eq!(masked("password: hunter2\nname: x\n"), "password: *******\nname: x\n");
        assert_eq!(masked("{password: hunter2, to: x}"), "{password: *******, to: x}");
        assert_eq!(masked("\"secret\": \"a, b\" # c\n"), "\"secret\": ****** # c\n");
        assert_eq!(masked("password: {credential: smtp}\n"), "password: {credential: smtp}\n");
        assert_eq!(masked("password: |\n  hunter2\nname: x\n"), "password: *\n*********\nname: x\n");
    }

    #[test]
    fn passwords_inside_urls_are_hidden() {
        assert_eq!(masked("url: https://u:p@host/x@y"), "url: https://***@host/x@y");
        assert_eq!(masked("url: https://host/x@y"), "url: https://host/x@y");
    }

    #[test]
    fn given_places_are_hidden_whole_characters_at_a_time() {
        assert_eq!(mask("aéb", std::slice::from_ref(&(2..3))), "a**b");
        assert_eq!(mask("abc", std::slice::from_ref(&(1..99))), "a**");
    }
}
