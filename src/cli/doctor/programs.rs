//! The programs and files of others that the daemon lives by: tor, its GeoIP files, git and ssh.

use std::time::Duration;

use super::super::documents::CheckDocument;
use super::Facts;
use crate::error::chain;
use crate::source::Scheme;
use crate::sys::command::{self, Output};
use crate::tor::geoip::GeoipFiles;
use crate::tor::program::{MINIMUM, Program, numbers};

/// What prints a version ends at once.
const DEADLINE: Duration = Duration::from_secs(10);
/// The oldest git that leaves the reference of a fetch alone when it is told to (`--refmap=` and `--no-write-fetch-head`).
const OLDEST_GIT: [u32; 2] = [2, 29];

pub async fn checks(facts: &Facts<'_>) -> Vec<CheckDocument> {
    vec![tor(facts).await, geoip(facts), git(facts).await, ssh(facts).await]
}

async fn tor(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "tor";
    match Program::new(facts.host.tor.clone()).find().await {
        Ok(tor) => CheckDocument::ok(NAME, &format!("{} is tor {}", tor.path, tor.version)),
        Err(error) => {
            let advice = format!("install tor {MINIMUM} or newer, or name it with --tor");
            CheckDocument::failed(NAME, &chain(&error), &advice)
        }
    }
}

fn geoip(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "geoip";
    let files = GeoipFiles { ipv4: facts.host.geoip.clone(), ipv6: facts.host.geoip6.clone() };
    // Any address of each family makes it read the whole of its file.
    match files.countries(&[[192, 0, 2, 1].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()].into()) {
        Ok(_) => CheckDocument::ok(NAME, &format!("{} and {} can be read", files.ipv4.display(), files.ipv6.display())),
        Err(error) => CheckDocument::failed(NAME, &chain(&error), "without it no node knows its exits"),
    }
}

async fn git(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "git";
    if facts.remote.is_none() {
        return CheckDocument::skipped(NAME, "the source is not remote, so no git program is needed");
    }
    let advice = "install git 2.29 or newer";
    match said("git", &["--version"]).await {
        Ok(text) if first_version(&text) >= OLDEST_GIT.to_vec() => CheckDocument::ok(NAME, &text),
        Ok(text) => CheckDocument::failed(NAME, &format!("{text} is too old"), advice),
        Err(why) => CheckDocument::failed(NAME, &why, advice),
    }
}

async fn ssh(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "ssh";
    if facts.remote.is_none_or(|location| location.scheme() != Scheme::Ssh) {
        return CheckDocument::skipped(NAME, "the source is not reached by SSH");
    }
    match said("ssh", &["-V"]).await {
        Ok(text) => CheckDocument::ok(NAME, &text),
        Err(why) => CheckDocument::failed(NAME, &why, "install openssh-client"),
    }
}

/// The first line of what a program says of itself, on either stream.
async fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let Output { status, stdout, stderr, .. } =
        command::run(program, arguments, b"", DEADLINE).await.map_err(|error| chain(&error))?;
    let text = String::from_utf8_lossy(&stdout).into_owned() + &stderr;
    let first = text.lines().next().unwrap_or_default().to_owned();
    if status.success() { Ok(first) } else { Err(format!("{program} failed: {first}")) }
}

/// The numbers of the first version in a text, `git version 2.39.5` or with more behind.
fn first_version(text: &str) -> Vec<u32> {
    let version = text.split(' ').find(|word| word.starts_with(|it: char| it.is_ascii_digit())).unwrap_or_default();
    numbers(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(first_version("git version 2.47.3"), [2, 47, 3]);
        assert_eq!(first_version("git version 2.39.5 (Apple Git-154)"), [2, 39, 5]);
        assert!(first_version("git version 2.9.1") < OLDEST_GIT.to_vec());
        assert!(first_version("git version 2.29.0") >= OLDEST_GIT.to_vec());
        assert!(first_version("no version") < OLDEST_GIT.to_vec());
    }
}
