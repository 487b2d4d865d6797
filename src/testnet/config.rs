//! The files that the private network is made of: torrc files, GeoIP files, the clients' defaults. Pure.
//!
//! `TestingTorNetwork 1` already sets what every private network needs, and that is not repeated here: private addresses
//! are allowed to relays, exits and clients (`ExitPolicyRejectPrivate 0`, `ClientRejectInternalAddresses 0`, …), relays
//! of one /16 may share a circuit, and first downloads are not put off.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::layout::{DIR_PORT, Layout, Member, OR_PORT, Role};

/// Seconds between two consensuses: the longest that tor allows as the *first* interval, which must divide half an hour.
const INTERVAL_SECONDS: u64 = 1800;
/// How many intervals a consensus stays valid: a day, so that a machine that slept still has a network.
const INTERVALS_VALID: u64 = 48;
/// How far away the vote is put while the relays are still coming up.
const ASLEEP_SECONDS: u64 = INTERVAL_SECONDS / 2;
/// The shortest time tor allows for the votes, and for the signatures, to be exchanged.
const SHORTEST_DELAY_SECONDS: u64 = 2;
/// The doublings of that time after which the machine is not the reason.
const MOST_DOUBLINGS: u32 = 3;

/// The file with the name servers of exits.
pub const RESOLV_CONF: &str = "resolv.conf";

/// The file with the bandwidths of relays, as if measured.
pub const BANDWIDTHS: &str = "bandwidths";
/// The bandwidth of every relay: ten times what is Fast in any case (`AuthDirFastGuarantee`).
const BANDWIDTH_KILOBYTES: u64 = 1000;

/// When the authorities vote.
///
/// tor votes at fixed times of the day, `TestingV3AuthVotingStartOffset` seconds after each full interval. Moving that
/// offset is how a vote is held exactly when every relay has been registered: one consensus, no short intervals with
/// their half-empty consensuses, and clients that have no reason to ask for another one for half an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballot {
    /// Seconds after each full interval.
    offset: u64,
    /// Seconds for the votes, and again for the signatures.
    delay: u64,
}

impl Ballot {
    /// Puts the vote off for as long as possible.
    pub fn asleep(now: u64) -> Self {
        Self { offset: (now + ASLEEP_SECONDS) % INTERVAL_SECONDS, delay: SHORTEST_DELAY_SECONDS }
    }

    /// Calls the vote for at once; each further attempt gives it twice the time, for machines that are slow or busy.
    pub fn at_once(now: u64, attempt: u32) -> Self {
        let delay = SHORTEST_DELAY_SECONDS << attempt.min(MOST_DOUBLINGS);
        Self { offset: (now + 2 * delay + 1) % INTERVAL_SECONDS, delay }
    }

    /// How many seconds after the call the consensus is there.
    pub fn seconds(self) -> u64 {
        2 * self.delay + 1
    }
}

/// An authority's line in everybody's torrc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityLine {
    /// Its name.
    pub nickname: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The identity it signs votes with.
    pub vote_identity: String,
    /// The identity of its relay.
    pub fingerprint: String,
}

/// What a relay's torrc depends on.
pub struct RelayTorrc<'a> {
    /// The relay.
    pub member: &'a Member,
    /// Everyone.
    pub layout: &'a Layout,
    /// The lines by which the network is found.
    pub authorities: &'a [AuthorityLine],
    /// The network's directory.
    pub directory: &'a Path,
    /// When the authorities vote.
    pub ballot: Ballot,
}

impl RelayTorrc<'_> {
    /// Renders the torrc.
    pub fn render(&self) -> String {
        let mut text = network(self.authorities);
        text.push_str(&self.relay());
        if self.member.role.serves_the_directory() {
            let socket = control_socket(&self.directory.join(&self.member.nickname));
            let _ = writeln!(text, "# How much it hands out is asked there; only root comes into the directory.");
            let _ = writeln!(text, "ControlSocket {}", quoted(&socket));
        }
        match self.member.role {
            Role::Authority => text.push_str(&self.authority()),
            Role::Guard => text.push_str(NO_EXIT),
            Role::Exit(_) => text.push_str(EXIT),
        }
        text
    }

    /// The options of every relay.
    fn relay(&self) -> String {
        let Member { nickname, address, .. } = self.member;
        let data = quoted(&self.directory.join(nickname));
        let resolv_conf = quoted(&self.directory.join(RESOLV_CONF));
        let owner = std::process::id();
        format!(
            "\
DataDirectory {data}
Nickname {nickname}
Address {address}
ORPort {address}:{OR_PORT}
# What this relay sends comes from its own address: the echo server tells exits apart by it.
OutboundBindAddress {address}
SocksPort 0
Log notice stdout
# Nobody outside can test whether this relay is reachable, and it must register at once.
AssumeReachable 1
# GeoIP is most of a tor's memory, and a relay has no use for it here.
GeoIPFile /dev/null
GeoIPv6File /dev/null
# One thread for the work on circuits, on a machine that has many relays.
NumCPUs 1
# The relay ends by itself when the process that started the network is gone.
__OwningControllerProcess {owner}
# No name is ever resolved outside the namespace, and failing to is no reason to stop being an exit.
ServerDNSResolvConfFile {resolv_conf}
ServerDNSDetectHijacking 0
"
        )
    }

    /// The options of an authority.
    fn authority(&self) -> String {
        let Ballot { offset, delay } = self.ballot;
        let address = self.member.address;
        let guards = self.layout.members.iter().filter(|member| member.role == Role::Guard);
        let guards: Vec<_> = guards.map(|guard| guard.address.to_string()).collect();
        let guards = guards.join(",");
        let bandwidths = quoted(&self.directory.join(BANDWIDTHS));
        let params = match self.layout.consensus_params.as_slice() {
            [] => String::new(),
            params => format!("ConsensusParams {}\n", params.join(" ")),
        };
        format!(
            "{NO_EXIT}{params}\
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
DirPort {address}:{DIR_PORT}
# Guards are made by uptime, which nobody has yet, and no exit is to be one: a pool that leaves through few exits would
# lose them as guards.
TestingDirAuthVoteGuard {guards}
TestingDirAuthVoteGuardIsStrict 1
# By default the half that has been up for longest is stable, which among relays of the same second is chance; and a client
# takes no guard that is not stable (node_is_possible_guard in tor's src/feature/client/entrynodes.c).
AuthDirVoteStableGuaranteeMinUptime 0
AuthDirVoteStableGuaranteeMTBF 0
# Measured, every relay is as good as any other. By what relays see of themselves, which is next to nothing, the slowest
# would lose the flag Fast at the second vote, and its country an exit.
V3BandwidthsFile {bandwidths}
# One vote, at a moment that is moved by a reload; before the first consensus the TestingV3AuthInitial options count.
V3AuthVotingInterval {INTERVAL_SECONDS}
V3AuthVoteDelay {delay}
V3AuthDistDelay {delay}
V3AuthNIntervalsValid {INTERVALS_VALID}
TestingV3AuthInitialVotingInterval {INTERVAL_SECONDS}
TestingV3AuthInitialVoteDelay {delay}
TestingV3AuthInitialDistDelay {delay}
TestingV3AuthVotingStartOffset {offset}
"
        )
    }
}

/// The options of a relay that is no exit.
const NO_EXIT: &str = "ExitPolicy reject *:*\n";

/// The options of an exit.
const EXIT: &str = "\
ExitRelay 1
ExitPolicy accept *:*
# Caching directories costs memory, and clients ask their guards.
DirCache 0
";

/// Renders what a client needs to be in this network and no other.
pub fn client_defaults(authorities: &[AuthorityLine]) -> String {
    format!(
        "# A private Tor network; its clients take these lines as their --defaults-torrc.\n{}",
        network(authorities)
    )
}

/// The lines that everybody shares.
fn network(authorities: &[AuthorityLine]) -> String {
    let mut text = String::from("TestingTorNetwork 1\n");
    for AuthorityLine { nickname, address, vote_identity, fingerprint } in authorities {
        let _ = writeln!(
            text,
            "DirAuthority {nickname} orport={OR_PORT} no-v2 v3ident={vote_identity} {address}:{DIR_PORT} {fingerprint}"
        );
    }
    text
}

/// Renders the GeoIP file of the network, in tor's format: `<first>,<last>,<COUNTRY>`, addresses as numbers.
pub fn geoip(layout: &Layout) -> String {
    let line = |range: &super::layout::Range| {
        let (first, last) = (u32::from(range.first), u32::from(range.last));
        format!("{first},{last},{}\n", range.country.to_uppercase())
    };
    layout.ranges.iter().map(line).collect()
}

/// Renders the GeoIP file for IPv6: one range, of addresses kept for documentation, because the network has none.
pub fn geoip6() -> String {
    "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,SE\n".to_owned()
}

/// Renders the bandwidth file that the authorities vote by; they believe it for three days.
pub fn bandwidths(now: u64, fingerprints: &[String]) -> String {
    let line = |fingerprint: &String| format!("node_id=${fingerprint} bw={BANDWIDTH_KILOBYTES}\n");
    format!("{now}\n{}", fingerprints.iter().map(line).collect::<String>())
}

/// The control socket of a relay, by its data directory.
pub fn control_socket(data: &Path) -> PathBuf {
    data.join("control")
}

/// Quotes a path for a torrc.
fn quoted(path: &Path) -> String {
    let escaped = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_that_was_called_comes_after_its_delays_and_one_that_sleeps_is_far_away() {
        for now in [0, 1_799, 1_800, 1_764_000_000, 1_764_001_799] {
            let until = |ballot: Ballot| (INTERVAL_SECONDS + ballot.offset - now % INTERVAL_SECONDS) % INTERVAL_SECONDS;
            assert_eq!(until(Ballot::asleep(now)), ASLEEP_SECONDS);
            for attempt in 0..10 {
                let ballot = Ballot::at_once(now, attempt);
                assert_eq!(until(ballot), ballot.seconds());
                assert!(ballot.seconds() > 2 * ballot.delay && ballot.delay <= 16);
            }
        }
    }

    #[test]
    fn the_geoip_file_is_in_tors_format() {
        let layout = Layout::new(&[("de".parse().unwrap(), 1)].into()).unwrap();
        assert!(geoip(&layout).ends_with("168820736,168886271,DE\n"), "{}", geoip(&layout));
    }

    #[test]
    fn every_relay_is_measured_alike() {
        let identities = ["AB".repeat(20), "CD".repeat(20)];
        let file = bandwidths(1_764_000_000, &identities);
        assert_eq!(file.lines().next(), Some("1764000000"), "tor wants the time alone in the first line");
        for (line, identity) in file.lines().skip(1).zip(&identities) {
            assert_eq!(line, format!("node_id=${identity} bw=1000"));
        }
    }

    #[test]
    fn only_guards_are_voted_to_be_guards_and_only_authorities_vote() {
        let layout = Layout::new(&[("de".parse().unwrap(), 1)].into()).unwrap();
        let (directory, ballot) = (Path::new("/network"), Ballot::asleep(0));
        for member in &layout.members {
            let torrc = RelayTorrc { member, layout: &layout, authorities: &[], directory, ballot }.render();
            let votes = torrc.lines().find_map(|line| line.strip_prefix("TestingDirAuthVoteGuard "));
            let wanted = (member.role == Role::Authority).then_some("10.2.1.1,10.2.2.1,10.2.3.1,10.2.4.1");
            assert_eq!(votes, wanted, "{member:?}");
            assert!(torrc.contains(&format!("OutboundBindAddress {}\n", member.address)));
        }
    }

    #[test]
    fn a_path_is_quoted_as_tor_reads_it() {
        assert_eq!(quoted(Path::new(r#"/a #b/"c"\d"#)), r#""/a #b/\"c\"\\d""#);
    }
}
