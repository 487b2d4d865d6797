//! What is read out of lists, and what is said about entries.

use std::fmt::Write as _;

use super::*;
use crate::desired::lists::{Given, ListProblem};
use crate::desired::{Diagnostic, load};

const DOCUMENT: &str = "version: 1\nallow_empty: true\naccess:\n  socks: [203.0.113.9, {file: clients.txt}]\n";

fn lists(contents: &[(&str, Result<&[u8], ListProblem>)]) -> Lists {
    contents.iter().map(|(path, content)| (path.parse().unwrap(), content.clone().map(<[u8]>::to_vec))).collect()
}

/// Loads a document with one list: its whitelist, or everything that is said.
fn loaded(document: &str, content: Result<&[u8], ListProblem>) -> Result<(BTreeSet<IpNet>, Vec<String>), Vec<String>> {
    let lists = lists(&[("clients.txt", content)]);
    let said = |diagnostics: Vec<Diagnostic>| diagnostics.iter().map(Diagnostic::one_line).collect();
    match load("pool.yaml", Given { document: document.as_bytes(), lists: &lists }) {
        Ok(loaded) => Ok(((*loaded.desired.access.socks).clone(), said(loaded.warnings))),
        Err(invalid) => Err(said(invalid.diagnostics)),
    }
}

fn refused(content: &[u8]) -> Vec<String> {
    loaded(DOCUMENT, Ok(content)).unwrap_err()
}

#[test]
fn a_list_has_comments_blank_lines_and_any_line_ends() {
    let text = "\u{feff}# clients\r\n198.51.100.7   # office\r\n\n\t2001:db8::/32#v6\n   \n198.51.100.9";
    let (socks, said) = loaded(DOCUMENT, Ok(text.as_bytes())).unwrap();
    let networks: Vec<String> = socks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["198.51.100.7/32", "198.51.100.9/32", "203.0.113.9/32", "2001:db8::/32"]);
    assert_eq!(said, [""; 0]);
}

#[test]
fn every_bad_line_is_said_with_its_place() {
    let text = "198.51.100.7\n 198.51.100.300\n198.51.100.8 198.51.100.9\n# fine\nany\n";
    let said = refused(text.as_bytes());
    let starts = [
        "clients.txt:2:2: access.socks[1]: `198.51.100.300` is not an address or a network; write it as in",
        "clients.txt:3:1: access.socks[1]: there is more than an address or a network on this line; write one a line",
        "clients.txt:5:1: access.socks[1]: `any` is not said here; write `0.0.0.0/0` and `::/0`",
    ];
    assert_eq!(said.len(), starts.len(), "{said:?}");
    said.iter().zip(starts).for_each(|(said, start)| assert!(said.starts_with(start), "{said}"));
}

#[test]
fn errors_of_the_document_and_of_a_list_come_together() {
    let document = DOCUMENT.replace("203.0.113.9", "203.0.113.900");
    let said = loaded(&document, Ok(b"x\n")).unwrap_err();
    let places: Vec<_> = said.iter().map(|it| it.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["pool.yaml:4:11", "clients.txt:1:1"]);
}

#[test]
fn what_is_no_text_is_no_list() {
    assert_eq!(
        refused(b"198.51.100.7\n\xff"),
        ["clients.txt: the file is not UTF-8: byte 14 on line 2; save it as UTF-8"]
    );
    assert_eq!(refused(b"\x7fELF\0"), ["clients.txt: the file has a NUL byte on line 1; save it as plain text"]);
    assert_eq!(
        refused(&[b'x'; 1000]),
        ["clients.txt:1:1: access.socks[1]: this is not an address or a network; check that this is the right file"]
    );
}

#[test]
fn a_list_that_cannot_be_had_is_said_where_it_is_named() {
    use ListProblem as Problem;
    let problems = [
        (Problem::Missing, "does not exist; add it to the same commit"),
        (Problem::Directory, "is a directory; name a text file"),
        (Problem::Link, "is a symbolic link; commit the file itself"),
        (Problem::Outside, "leads out of the directory of the desired state; put the file itself there"),
        (Problem::TooLarge, "has more than 1048576 bytes; check that it is the right file"),
        (Problem::Unreadable("denied".to_owned()), "cannot be read: denied; check who may read it"),
    ];
    for (problem, expected) in problems {
        let said = loaded(DOCUMENT, Err(problem)).unwrap_err();
        let start = format!("pool.yaml:4:31: access.socks[1].file: the list `clients.txt` {expected}");
        assert!(said.len() == 1 && said[0].starts_with(&start), "{said:?}");
    }
    let items: String = (0..=MAX_LISTS).map(|number| format!("{{file: f{number}}}, ")).collect();
    let document = format!("version: 1\nallow_empty: true\naccess: {{socks: [{items}]}}\n");
    let last = loaded(&document, Ok(b"")).unwrap_err().pop().unwrap();
    assert!(last.contains("the list `f16` was not read: a desired state names at most 16;"), "{last}");
}

#[test]
fn a_snippet_shows_the_line_of_the_list() {
    let lists = lists(&[("clients.txt", Ok(b"198.51.100.7\n  nobody  # why\n"))]);
    let given = Given { document: DOCUMENT.as_bytes(), lists: &lists };
    let invalid = load("hosts/a/pool.yaml", given).unwrap_err();
    let expected = "error: `nobody` is not an address or a network
 --> hosts/a/clients.txt:2:3
  |
2 |   nobody  # why
  |   ^^^^^^ access.socks[1]
  |
  = help: write it as in `198.51.100.7`, `203.0.113.0/24` or `2001:db8::/32`";
    assert_eq!(invalid.diagnostics[0].render(DOCUMENT), expected);
}

#[test]
fn what_is_not_what_it_looks_like_is_warned_about() {
    let text = "203.0.113.0/24\n198.51.100.7\n198.51.100.7/32\n10.5.0.7/24\n192.168.1.1\nfd00::/8\n0.0.0.0/0\n";
    let (_, said) = loaded(DOCUMENT, Ok(text.as_bytes())).unwrap();
    let expected = [
        "pool.yaml:4:11: access.socks[0]: `203.0.113.9/32` is within `203.0.113.0/24`, on line 1 of clients.txt; ",
        "clients.txt:1:1: access.socks[1]: `203.0.113.0/24` is within `0.0.0.0/0`, on line 7 of clients.txt; ",
        "clients.txt:2:1: access.socks[1]: `198.51.100.7/32` is within `0.0.0.0/0`, on line 7 of clients.txt; ",
        "clients.txt:3:1: access.socks[1]: `198.51.100.7/32` is there twice; the first time on line 2 of clients.txt; ",
        "clients.txt:4:1: access.socks[1]: `10.5.0.7/24` has host bits; it is read as `10.5.0.0/24`; ",
        "clients.txt:4:1: access.socks[1]: `10.5.0.0/24` is a private network, and so are 2 more entries of this whitelist; ",
        "clients.txt:4:1: access.socks[1]: `10.5.0.0/24` is within `0.0.0.0/0`, on line 7 of clients.txt; ",
        "clients.txt:5:1: access.socks[1]: `192.168.1.1/32` is within `0.0.0.0/0`, on line 7 of clients.txt; ",
        "clients.txt:7:1: access.socks[1]: `0.0.0.0/0` lets the whole world in; ",
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    said.iter().zip(expected).for_each(|(said, start)| assert!(said.starts_with(start), "{said}\n{start}"));
}

#[test]
fn needless_and_idle_lists_are_warned_about() {
    let document = DOCUMENT.replace("203.0.113.9", "{file: clients.txt}") + "  panel: [{file: clients.txt}]\n";
    let (_, said) = loaded(&document, Ok(b"# nobody yet\n")).unwrap();
    let starts = [
        "pool.yaml:4:18: access.socks[0].file: the list `clients.txt` names nobody; ",
        "pool.yaml:4:32: access.socks[1]: `clients.txt` is named twice here; ",
    ];
    assert_eq!(said.len(), starts.len(), "{said:?}");
    said.iter().zip(starts).for_each(|(said, start)| assert!(said.starts_with(start), "{said}"));
}

/// A pairwise comparison of so many entries would take minutes.
#[test]
fn a_long_list_is_read_at_once_and_a_longer_whitelist_refused() {
    let mut text = String::new();
    (0..60_000_u32).for_each(|n| writeln!(text, "{}", std::net::Ipv4Addr::from_bits(0x0b00_0000 + 2 * n)).unwrap());
    let (socks, said) = loaded(DOCUMENT, Ok(text.as_bytes())).unwrap();
    assert_eq!((socks.len(), said.len()), (60_001, 0));
    let lists = lists(&[("a", Ok(text.as_bytes())), ("b", Ok(text.as_bytes()))]);
    let document = DOCUMENT.replace("{file: clients.txt}", "{file: a}, {file: b}");
    let invalid = load("f", Given { document: document.as_bytes(), lists: &lists }).unwrap_err();
    let expected = "f:4:3: access.socks: the whitelist has 120001 entries; at most 100000 are taken";
    assert!(invalid.to_string().contains(expected), "{invalid}");
}
