//! tor's directory cache: whether one can be used, and copying it from one instance to another.
//!
//! Only what every client downloads alike is copied: neither guards (`state`) nor keys. A copy is a gain and never a need:
//! where it fails, or tor does not believe it, tor downloads everything by itself.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::files::{instances_in, remove_file};
use super::relays::CircuitLimits;
use super::{InstanceName, TorError};

/// tor's file of the consensus.
const CONSENSUS: &str = "cached-microdesc-consensus";

/// tor's file of the authorities' certificates.
const CERTIFICATES: &str = "cached-certs";

/// tor's directory cache. The consensus comes last: where it is, the rest is too.
const CACHE: [&str; 4] = [CERTIFICATES, "cached-microdescs", "cached-microdescs.new", CONSENSUS];

/// The head of a consensus, with its times, is no longer than this.
const HEAD_BYTES: u64 = 4 << 10;

/// The parameters of a consensus stand in its first so many bytes.
const PARAMS_BYTES: u64 = 64 << 10;

/// How a consensus and a certificate begin, and how both end; another end means that something was cut off.
const BEGINNING: &str = "network-status-version 3 microdesc";
const CERTIFICATE: &str = "dir-key-certificate-version";
const END: &[u8] = b"-----END SIGNATURE-----\n";

/// Whether a DataDirectory has a consensus that is whole and valid now, so that its tor need not download one, and
/// certificates to believe it by: a tor that has the one without the others stands still for minutes.
pub fn is_live(state: &Path, now: Timestamp) -> bool {
    let is_valid = |head: &str| valid_until(head).is_some_and(|until| now < until);
    whole(&state.join(CONSENSUS), BEGINNING).is_some_and(|head| is_valid(&head))
        && whole(&state.join(CERTIFICATES), CERTIFICATE).is_some()
}

/// The head of a file that begins and ends as it has to.
fn whole(path: &Path, beginning: &str) -> Option<String> {
    let (head, tail) = read_ends(path).ok()?;
    (head.starts_with(beginning) && tail == END).then_some(head)
}

/// Copies a live directory cache into a DataDirectory that has none, from an instance that is `up` where there is one,
/// and from the one with the newest consensus among these; gives the instance.
pub fn seed(
    state_root: &Path,
    state: &Path,
    up: impl Fn(&InstanceName) -> bool,
    now: Timestamp,
) -> io::Result<Option<InstanceName>> {
    if is_live(state, now) {
        return Ok(None);
    }
    let directory = |name: &InstanceName| state_root.join(name.to_string());
    let written = |name: &InstanceName| fs::metadata(directory(name).join(CONSENSUS)).and_then(|it| it.modified()).ok();
    let siblings = instances_in(state_root)?.into_iter().filter(|name| is_live(&directory(name), now));
    let Some(sibling) = siblings.max_by_key(|name| (up(name), written(name))) else { return Ok(None) };
    for file in CACHE {
        copy_atomically(&directory(&sibling).join(file), &state.join(file))?;
    }
    Ok(Some(sibling))
}

/// How fast a guard relay lets one client begin circuits, as the consensus of a DataDirectory says.
pub fn circuit_limits(state: &Path) -> Option<CircuitLimits> {
    let mut head = Vec::new();
    File::open(state.join(CONSENSUS)).ok()?.take(PARAMS_BYTES).read_to_end(&mut head).ok()?;
    CircuitLimits::parse(&String::from_utf8_lossy(&head))
}

/// Removes the directory cache of a DataDirectory; its guards and keys stay.
pub fn clear(state: &Path) -> Result<(), TorError> {
    CACHE.iter().rev().try_for_each(|file| remove_file(&state.join(file)))
}

/// Reads the beginning and the last bytes of a file.
fn read_ends(path: &Path) -> io::Result<(String, Vec<u8>)> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let mut tail = vec![0; END.len()];
    file.seek(SeekFrom::End(-i64::try_from(END.len()).unwrap_or_default()))?;
    file.read_exact(&mut tail)?;
    Ok((String::from_utf8_lossy(&head).into_owned(), tail))
}

/// Reads the line `valid-until 2026-03-01 15:00:00`, in UTC.
fn valid_until(head: &str) -> Option<Timestamp> {
    let text = head.lines().find_map(|line| line.strip_prefix("valid-until "))?;
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", text.trim()).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// Copies a file so that a reader sees all of it or nothing; one that is not there is not copied.
///
/// tor replaces these files as a whole, except the journal of descriptors, whose torn end it passes over.
fn copy_atomically(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let directory = to.parent().unwrap_or(Path::new("."));
    let mut copy = tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(directory)?;
    io::copy(&mut source, &mut copy)?;
    copy.persist(to).map(drop).map_err(|failed| failed.error)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    const NOON: &str = "2026-03-01T12:00:00Z";

    fn noon() -> Timestamp {
        NOON.parse().unwrap()
    }

    fn consensus(valid_until: &str) -> String {
        let end = String::from_utf8_lossy(END);
        format!("{BEGINNING}\nvote-status consensus\nvalid-until {valid_until}\nr x\n{end}")
    }

    /// An instance whose consensus was written in some hour.
    fn instance(root: &Path, name: &str, hour: u64, consensus: &str) -> PathBuf {
        let state = root.join(name);
        fs::create_dir(&state).unwrap();
        fs::write(state.join("state"), "Guard").unwrap();
        fs::write(state.join("cached-microdescs"), name).unwrap();
        let certificates = format!("{CERTIFICATE} 3\n{}", String::from_utf8_lossy(END));
        fs::write(state.join(CERTIFICATES), certificates).unwrap();
        fs::write(state.join(CONSENSUS), consensus).unwrap();
        let written = std::time::UNIX_EPOCH + Duration::from_secs(hour * 3600);
        File::options().write(true).open(state.join(CONSENSUS)).unwrap().set_modified(written).unwrap();
        state
    }

    #[test]
    fn a_new_instance_gets_the_newest_live_cache_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let live = consensus("2026-03-01 12:00:01");
        instance(root.path(), "eu-0", 1, &live);
        instance(root.path(), "eu-1", 2, &live);
        instance(root.path(), "eu-2", 3, &consensus("2026-03-01 12:00:00"));
        instance(root.path(), "eu-3", 4, live.trim_end());
        instance(root.path(), "eu-4", 5, "garbage");
        let fresh = root.path().join("us-0");
        fs::create_dir(&fresh).unwrap();
        let seeded = |up: &str| seed(root.path(), &fresh, |name| name.to_string() == up, noon()).unwrap();
        assert_eq!(seeded("nobody").unwrap().to_string(), "eu-1");
        assert_eq!(fs::read_to_string(fresh.join("cached-microdescs")).unwrap(), "eu-1");
        assert!(!fresh.join("state").exists() && is_live(&fresh, noon()));
        assert_eq!(seeded("nobody"), None, "what it has is live");

        let certificates = fs::read(fresh.join(CERTIFICATES)).unwrap();
        for spoilt in [&certificates[..certificates.len() - 1], b""] {
            fs::write(fresh.join(CERTIFICATES), spoilt).unwrap();
            assert!(seeded("nobody").is_some(), "nobody believes a consensus without certificates");
            assert_eq!(fs::read(fresh.join(CERTIFICATES)).unwrap(), certificates);
        }

        clear(&fresh).unwrap();
        assert!(!is_live(&fresh, noon()));
        assert_eq!(seeded("eu-0").unwrap().to_string(), "eu-0", "one that is up has all of it");
    }

    #[test]
    fn a_cache_that_cannot_be_used_is_replaced_and_clearing_keeps_the_guards() {
        let root = tempfile::tempdir().unwrap();
        let old = instance(root.path(), "us-0", 9, &consensus("2026-03-01 11:59:59"));
        assert_eq!(seed(root.path(), &old, |_| true, noon()).unwrap(), None, "there is no better one");
        instance(root.path(), "eu-0", 1, &consensus("2026-03-02 00:00:00"));
        assert_eq!(seed(root.path(), &old, |_| true, noon()).unwrap().unwrap().to_string(), "eu-0");
        clear(&old).unwrap();
        assert_eq!(fs::read_to_string(old.join("state")).unwrap(), "Guard");
        assert!(!old.join("cached-microdescs").exists());
    }
}
