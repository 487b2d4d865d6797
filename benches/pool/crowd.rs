//! A directory of the real network's size: thousands of relays that carry nothing, beside those that run.
//!
//! The network's authorities are ours, so their keys sign a consensus with as many relays more as wished, each with its
//! microdescriptor. None of them has any weight, so nobody ever takes one; a client has them in its memory all the same.
//! A tor is given it as its cache, as a node is by its sibling.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

const CONSENSUS: &str = "cached-microdesc-consensus";
const MICRODESCS: &str = "cached-microdescs";
const CERTIFICATES: &str = "cached-certs";
/// Where the signatures of a consensus begin; this much of it is signed.
const SIGNATURE: &str = "directory-signature ";
/// How many characters of Base64 stand in a line.
const LINE: usize = 64;
/// How many of ten relays have told their families, and how many relays are in one: so that a microdescriptor is as long
/// as those of the real network are on average.
const WITH_A_FAMILY: usize = 4;
const FAMILY: usize = 12;

/// The files of a directory cache.
pub struct Crowd {
    files: [(&'static str, String); 3],
}

impl Crowd {
    /// Adds so many relays to the directory that a tor has in its DataDirectory, with the keys of the authorities in the
    /// network's directory.
    pub fn of(count: usize, data: &Path, network: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(data.join(name)).unwrap_or_default();
        let own = read(MICRODESCS) + &read(&format!("{MICRODESCS}.new"));
        let relays: Vec<Relay> = (0..count).map(|number| Relay::new(number, onion_key(&own))).collect();
        let listed = Timestamp::now().strftime("@last-listed %Y-%m-%d %H:%M:%S\n").to_string();
        let described: String = relays.iter().map(|relay| format!("{listed}{}", relay.microdesc)).collect();
        let microdescs = own + &described;
        let consensus = consensus(&read(CONSENSUS), &relays, network);
        Self { files: [(CERTIFICATES, read(CERTIFICATES)), (MICRODESCS, microdescs), (CONSENSUS, consensus)] }
    }

    /// Puts it into a DataDirectory.
    pub fn settle(&self, data: &Path) {
        fs::create_dir_all(data).unwrap();
        let _ = fs::remove_file(data.join(format!("{MICRODESCS}.new")));
        for (name, text) in &self.files {
            fs::write(data.join(name), text).unwrap();
        }
    }

    /// How large it is, in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|(_, text)| text.len() as u64).sum()
    }
}

/// The lines of an onion key of the old kind, which nobody uses, and each relay has.
fn onion_key(microdescs: &str) -> &str {
    let start = microdescs.find("onion-key\n").unwrap();
    &microdescs[start..start + microdescs[start..].find("ntor-onion-key ").unwrap()]
}

/// A relay that is listed and not there.
struct Relay {
    number: usize,
    identity: [u8; 20],
    microdesc: String,
}

impl Relay {
    fn new(number: usize, onion_key: &str) -> Self {
        let key = |what: &str| Sha256::digest(format!("{what} of {number}"));
        let identity = key("identity")[..20].try_into().unwrap();
        let text = |what| STANDARD_NO_PAD.encode(key(what));
        let member = |other: usize| format!(" ${}", hex(&Sha256::digest(format!("member {other} of {number}"))[..20]));
        let family = match number % 10 < WITH_A_FAMILY {
            true => format!("family{}\n", (0..FAMILY).map(member).collect::<String>()),
            false => String::new(),
        };
        let microdesc = format!("{onion_key}ntor-onion-key {}\n{family}id ed25519 {}\n", text("ntor"), text("ed25519"));
        Self { number, identity, microdesc }
    }

    /// Its entry in the consensus; `since` is a date and a time.
    fn entry(&self, since: &str) -> String {
        let [high, low] = u16::try_from(self.number).unwrap().to_be_bytes();
        format!(
            "r crowd{} {} {since} 10.{}.{}.{low} 9001 0\nm {}\ns Fast Running Stable V2Dir Valid\nv Tor 0.4.8.16\n\
             pr Conflux=1 Cons=1-2 Desc=1-2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=1-5 LinkAuth=1,3 \
             Microdesc=1-2 Padding=2 Relay=1-4\nw Bandwidth=0\n",
            self.number,
            STANDARD_NO_PAD.encode(self.identity),
            200 + high / 128,
            high % 128,
            STANDARD_NO_PAD.encode(Sha256::digest(&self.microdesc)),
        )
    }
}

/// A consensus with these relays more, signed anew.
fn consensus(template: &str, relays: &[Relay], network: &Path) -> String {
    let (signed, signatures) = template.split_at(template.find(SIGNATURE).unwrap());
    let footer = signed.find("directory-footer\n").unwrap();
    let first = signed.find("\nr ").unwrap() + 1;
    let since = signed[first..].split(' ').skip(3).take(2).collect::<Vec<_>>().join(" ");
    // tor wants them in the order of their identities.
    let mut entries: BTreeMap<[u8; 20], String> = BTreeMap::new();
    for entry in signed[first..footer].split("\nr ") {
        let entry = entry.trim_start_matches("r ").trim_end();
        let identity = entry.split(' ').nth(1).unwrap();
        entries.insert(STANDARD_NO_PAD.decode(identity).unwrap().try_into().unwrap(), format!("r {entry}\n"));
    }
    entries.extend(relays.iter().map(|relay| (relay.identity, relay.entry(&since))));
    let entries: String = entries.into_values().collect();
    let text = format!("{}{entries}{}{SIGNATURE}", fresh_for_long(&signed[..first]), &signed[footer..]);
    let headers = signatures.lines().filter_map(|line| line.strip_prefix(SIGNATURE));
    let digest = Sha256::digest(&text);
    let signatures: Vec<String> = headers.map(|header| sign(header, &digest, network)).collect();
    text + &signatures.join(SIGNATURE)
}

/// Lets no client look for another consensus while it is measured: it is fresh for half of the day for which it is valid.
fn fresh_for_long(head: &str) -> String {
    let value = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
    let (fresh, valid) = (value("fresh-until "), value("valid-until "));
    let until = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", &valid).unwrap();
    let until = until.checked_sub(jiff::SignedDuration::from_hours(12)).unwrap().strftime("%Y-%m-%d %H:%M:%S");
    head.replace(&format!("fresh-until {fresh}"), &format!("fresh-until {until}"))
}

/// The rest of a signature's header, and what the authority that it names makes of a digest: RSA with the padding of
/// PKCS #1, and without a word on which digest it is.
fn sign(header: &str, digest: &[u8], network: &Path) -> String {
    let identity = header.split(' ').nth(1).unwrap();
    let keys = (1..).map(|number| network.join(format!("authority{number}")).join("keys"));
    let is_its = |keys: &std::path::PathBuf| {
        fs::read_to_string(keys.join("authority_certificate")).unwrap().contains(&format!("fingerprint {identity}\n"))
    };
    let key = keys.take_while(|keys| keys.exists()).find(is_its).unwrap().join("authority_signing_key");
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-sign", "-pkeyopt", "rsa_padding_mode:pkcs1", "-inkey"]).arg(key);
    let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    openssl.stdin.take().unwrap().write_all(digest).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl pkeyutl failed");
    let lines: Vec<String> = STANDARD.encode(output.stdout).as_bytes().chunks(LINE).map(text).collect();
    format!("{header}\n-----BEGIN SIGNATURE-----\n{}\n-----END SIGNATURE-----\n", lines.join("\n"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
