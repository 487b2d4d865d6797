//! What of a git object is signed: its bytes, split by us. Whether a signature is good is `signature`'s business.
//!
//! libgit2 finds a signature anywhere in a commit, also in its message, where it signs nothing. So only the header
//! counts here, up to the first blank line, and anything that two readers could understand in two ways is refused.

use sha2::{Digest as _, Sha256};

/// What opens a signature of OpenSSH.
pub const ARMOUR_BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
/// The header that carries a commit's signature.
const SIGNATURE_HEADER: &[u8] = b"gpgsig";
/// The header that carries the signature of the same commit in a SHA-256 repository.
const OTHER_SIGNATURE_HEADER: &[u8] = b"gpgsig-sha256";

/// A git object, split into what is signed and the signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bytes that are signed.
    pub payload: Vec<u8>,
    /// The signature as it stands in the object; `None` where there is none.
    pub signature: Option<Vec<u8>>,
}

/// Why an object could not be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header lacks what git writes, or has it in another order.
    #[error("its header is not what git writes")]
    Header,
    /// There are several signature headers.
    #[error("it has several `gpgsig` headers; exactly one is believed")]
    SeveralSignatures,
    /// There is a signature header for SHA-256 repositories.
    #[error("it has a `gpgsig-sha256` header, which signs something else")]
    Sha256Signature,
    /// A tag's signature is not its end, or there are several.
    #[error("its signature is not the one thing at its end")]
    TagSignature,
}

impl Signed {
    /// Splits a raw commit.
    pub fn of_commit(raw: &[u8]) -> Result<Self, Malformed> {
        let end = header_end(raw).ok_or(Malformed::Header)?;
        let fields = fields(&raw[..end]).ok_or(Malformed::Header)?;
        check_order(&fields)?;
        if fields.iter().any(|field| field.name == OTHER_SIGNATURE_HEADER) {
            return Err(Malformed::Sha256Signature);
        }
        let mut signatures = fields.iter().filter(|field| field.name == SIGNATURE_HEADER);
        let signature = signatures.next();
        if signatures.next().is_some() {
            return Err(Malformed::SeveralSignatures);
        }
        Ok(match signature {
            Some(field) => Self {
                payload: [&raw[..field.start], &raw[field.end..]].concat(),
                signature: Some(unfold(&raw[field.start + SIGNATURE_HEADER.len() + 1..field.end])),
            },
            None => Self { payload: raw.to_vec(), signature: None },
        })
    }

    /// Splits a raw annotated tag, whose signature stands at the end of its message.
    pub fn of_tag(raw: &[u8]) -> Result<Self, Malformed> {
        let starts = line_starts(raw).filter(|start| raw[*start..].starts_with(ARMOUR_BEGIN.as_bytes()));
        let starts: Vec<usize> = starts.collect();
        match starts[..] {
            [] => Ok(Self { payload: raw.to_vec(), signature: None }),
            [start] => Ok(Self { payload: raw[..start].to_vec(), signature: Some(raw[start..].to_vec()) }),
            _ => Err(Malformed::TagSignature),
        }
    }

    /// The SHA-256 of what is signed: two objects with the same one say the same.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.payload).into()
    }
}

/// A header field with its continuation lines.
struct Field<'a> {
    name: &'a [u8],
    start: usize,
    /// Behind its last newline.
    end: usize,
}

/// Where the header ends: behind the newline before the first blank line.
fn header_end(raw: &[u8]) -> Option<usize> {
    raw.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 1)
}

fn line_starts(raw: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let after = raw.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after)
}

/// Splits a header; a line that begins with a space continues the field before it.
fn fields(header: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut start = 0;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        if line.starts_with(b" ") {
            fields.last_mut()?.end = end;
        } else {
            let name_length = line.iter().position(|byte| *byte == b' ')?;
            fields.push(Field { name: &line[..name_length], start, end });
        }
        start = end;
    }
    (!header.contains(&0)).then_some(fields)
}

/// Requires git's order, so that what we call signed is what libgit2 reads as tree and parents.
fn check_order(fields: &[Field<'_>]) -> Result<(), Malformed> {
    let mut names = fields.iter().map(|field| field.name).peekable();
    let tree = names.next() == Some(b"tree");
    while names.next_if_eq(&&b"parent"[..]).is_some() {}
    let people = names.next() == Some(b"author") && names.next() == Some(b"committer");
    let known: [&[u8]; 4] = [b"tree", b"parent", b"author", b"committer"];
    let once = names.all(|name| !known.contains(&name));
    if tree && people && once { Ok(()) } else { Err(Malformed::Header) }
}

/// Takes the space off each continuation line.
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut lines = value.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let rest = lines.flat_map(|line| line[1..].iter());
    first.iter().chain(rest).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
    const PEOPLE: &str = "author A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n";

    fn commit(headers: &str, message: &str) -> Vec<u8> {
        format!("{TREE}{PEOPLE}{headers}\n{message}").into_bytes()
    }

    #[test]
    fn the_payload_is_the_object_without_its_signature() {
        let signed = Signed::of_commit(&commit("gpgsig one\n two\n three\nencoding x\n", "message\n")).unwrap();
        assert_eq!(signed.payload, commit("encoding x\n", "message\n"));
        assert_eq!(signed.signature.unwrap(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_signature_in_the_message_is_none() {
        let raw = commit("", "message\n\ngpgsig -----BEGIN SSH SIGNATURE-----\n");
        assert_eq!(Signed::of_commit(&raw).unwrap(), Signed { payload: raw, signature: None });
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let refusal = |raw: &[u8]| Signed::of_commit(raw).unwrap_err();
        assert_eq!(refusal(&commit("gpgsig a\ngpgsig b\n", "")), Malformed::SeveralSignatures);
        assert_eq!(refusal(&commit("gpgsig a\ngpgsig-sha256 b\n", "")), Malformed::Sha256Signature);
        assert_eq!(refusal(&commit("tree 1\n", "")), Malformed::Header);
        assert_eq!(refusal(&commit("gpgsig\n", "")), Malformed::Header);
        assert_eq!(refusal(&commit("a \0\n", "")), Malformed::Header);
        assert_eq!(refusal(format!("gpgsig a\n{TREE}{PEOPLE}\n").as_bytes()), Malformed::Header);
        assert_eq!(refusal(format!("{TREE}gpgsig a\n{PEOPLE}\n").as_bytes()), Malformed::Header);
        assert_eq!(refusal(format!(" {TREE}{PEOPLE}\n").as_bytes()), Malformed::Header);
        assert_eq!(refusal(TREE.as_bytes()), Malformed::Header);
        assert_eq!(refusal(b""), Malformed::Header);
    }

    #[test]
    fn a_tag_is_split_at_its_one_signature() {
        let tag = format!("object 1\n\nmessage\n{ARMOUR_BEGIN}\nabc\n");
        let signed = Signed::of_tag(tag.as_bytes()).unwrap();
        assert_eq!(signed.payload, b"object 1\n\nmessage\n");
        assert_eq!(signed.signature.unwrap(), format!("{ARMOUR_BEGIN}\nabc\n").into_bytes());
        let twice = format!("{tag}{ARMOUR_BEGIN}\n");
        assert_eq!(Signed::of_tag(twice.as_bytes()), Err(Malformed::TagSignature));
    }
}
