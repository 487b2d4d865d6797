//! Whether standard error is journald's, so that its own protocol can be spoken instead.

use std::os::fd::AsFd;

use rustix::fs::fstat;

/// Whether a stream is the one that systemd names in `JOURNAL_STREAM`: `<device>:<inode>`, in decimal digits.
///
/// systemd.exec(5): a program compares both with what its standard error is, since the variable is inherited and the
/// stream may have been redirected.
pub fn is_journal(stream: impl AsFd, named: Option<&str>) -> bool {
    let named = named.and_then(|named| {
        let (device, inode) = named.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let found = fstat(stream).ok().map(|found| (found.st_dev, found.st_ino));
    named.is_some() && named == found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_stream_is_journalds_where_device_and_inode_are_those_that_are_named() {
        let file = tempfile::tempfile().unwrap();
        let found = file.metadata().unwrap();
        let named = format!("{}:{}", found.dev(), found.ino());
        assert!(is_journal(&file, Some(&named)));
        let other = tempfile::tempfile().unwrap();
        assert!(!is_journal(&other, Some(&named)), "it was inherited, and the stream redirected");
        for bad in [None, Some(""), Some("8"), Some("8:x"), Some(":")] {
            assert!(!is_journal(&file, bad), "{bad:?}");
        }
    }
}
