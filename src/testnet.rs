//! A real private Tor network in a network namespace, behind `exitpool demo` and the tests.
//!
//! Authorities vote, guards take clients in, exits leave from addresses in several 'countries', and an echo server tells
//! which exit a request came from. No packet leaves the machine. It is up in about ten seconds on two cores, and a relay
//! takes about 14 MB, so the usual sixteen take a quarter of a gigabyte.
//!
//! ```text
//!  clients' side                      the pool's namespace
//!  (the host, or a namespace)         ┌─────────────────────────────────────────────────────────┐
//!  198.18.n.2, .3, …  ── veth ── 198.18.n.1   the daemon and its tors, started by `command`     │
//!                                     │  lo: 10.1.x.1 authorities · 10.2.x.1 guards             │
//!                                     │      10.16.x.1 … exits, a /16 for each country          │
//!                                     │      10.3.0.1:80 the echo server                        │
//!                                     └─────────────────────────────────────────────────────────┘
//! ```
//!
//! How it comes up, and why so fast: the authorities' vote is put off until every relay has registered, and is then moved
//! to 'in five seconds' by a reload. The first consensus is complete, and the next one is half an hour away, so that
//! clients have nothing to download meanwhile. `config` says why each option of the relays stands there.
//!
//! Whatever belongs to a network is removed by [`Testnet::stop`], on drop, and by [`Testnet::sweep`] after a crash.
//!
//! What does not belong here: anything about pools. The daemon under test or on show sees this network as it would see
//! the real one, by [`Testnet::torrc_defaults`] and [`Testnet::geoip`] alone.

mod config;
mod consensus;
pub mod echo;
mod error;
mod estate;
mod layout;
mod programs;
mod relays;
mod served;
mod spec;
mod wire;

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::desired::{Country, Fingerprint};
use config::{AuthorityLine, Ballot, RelayTorrc};
use consensus::Running;
pub use error::Error;
use estate::{Estate, Record};
use layout::{Layout, Member, Role};
use programs::{Programs, aside};
use relays::Relay;
pub use served::Served;
pub use spec::{Peer, Progress, Spec};
use wire::Link;

/// The hidden verb of the program that runs [`echo::serve`].
pub const ECHO_VERB: &str = "testnet-echo";
/// An exit of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its name in the consensus.
    pub nickname: String,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// The address that sites see.
    pub address: IpAddr,
    /// The country of that address in the network's GeoIP file.
    pub country: Country,
}

/// A running private network.
#[derive(Debug)]
pub struct Testnet {
    // Dropped first: it ends every process, those of the fields below too.
    estate: Estate,
    relays: Vec<Relay>,
    layout: Layout,
    authorities: Vec<AuthorityLine>,
    patience: Duration,
    echo: Child,
    record: Record,
    programs: Programs,
    link: Link,
    exits: Vec<Exit>,
    clients_have_namespace: bool,
}

impl Testnet {
    /// Says what keeps a network from being started here, before anything is made.
    pub fn check() -> Result<(), Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        Programs::find().map(drop)
    }

    /// Starts a network and waits until clients can use it; when that fails, nothing is left behind.
    ///
    /// - `directory` is empty or not there yet; the network removes it in the end.
    /// - `exitpool` is the program whose [`ECHO_VERB`] runs the echo server.
    pub async fn start(
        spec: Spec,
        directory: &Path,
        exitpool: &Path,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Self, Error> {
        Self::check()?;
        let patience = spec.deadline;
        let deadline = Instant::now() + patience;
        let layout = Layout { consensus_params: spec.consensus_params, ..Layout::new(&spec.exits)? };
        let programs = Programs::find()?;
        let (estate, record) = Estate::claim(&spec.prefix, directory)?;
        let directory = &record.directory;
        let link = wire::build(&programs, &record, &layout, spec.peer).await?;
        let echo = start_echo(&programs, &record, exitpool).await?;
        let authorities = forge_all(&programs, directory, &layout, &progress).await?;
        write_files(directory, &layout, &authorities)?;
        let mut relays = start_all(&programs, &record, &layout, &progress)?;
        let mut running = Running {
            layout: &layout,
            authorities: &authorities,
            directory,
            relays: &mut relays,
            deadline,
            patience,
            progress: &progress,
        };
        running.agree().await?;
        let exits = relays.iter().filter_map(|relay| exit(relay).transpose()).collect::<Result<_, _>>()?;
        progress(Progress::Ready);
        let clients_have_namespace = matches!(spec.peer, Peer::Namespace { .. });
        Ok(Self {
            estate,
            relays,
            layout,
            authorities,
            patience,
            echo,
            record,
            programs,
            link,
            exits,
            clients_have_namespace,
        })
    }

    /// Ends the relay of an exit, as a loss of power does; the consensus lists it on.
    pub async fn fails(&mut self, exit: &Exit) {
        if let Some(index) = self.relays.iter().position(|relay| relay.member.nickname == exit.nickname) {
            self.relays.remove(index).kill().await;
        }
    }

    /// Has an exit leave the network: its relay ends, and the authorities agree at once on a consensus without it.
    ///
    /// A client that has a consensus already goes on with it, until it is half an hour old.
    pub async fn leaves(&mut self, exit: &Exit) -> Result<(), Error> {
        self.fails(exit).await;
        self.layout.members.retain(|member| member.nickname != exit.nickname);
        self.exits.retain(|other| other != exit);
        self.running().leave_out(&exit.nickname, &exit.fingerprint.to_string(), None).await?;
        self.spread().await
    }

    /// Sets an exit up anew: its relay ends, one with another name and identity comes up at its address, and the
    /// authorities agree at once on a consensus with that one. It is given.
    ///
    /// A client that has a consensus already knows the old one alone, until its consensus is half an hour old.
    pub async fn replaces(&mut self, old: &Exit) -> Result<Exit, Error> {
        self.fails(old).await;
        let gone = |member: &&mut Member| member.nickname == old.nickname;
        let Some(member) = self.layout.members.iter_mut().find(gone) else { return Ok(old.clone()) };
        member.nickname.push_str("anew");
        let (member, directory) = (member.clone(), &self.record.directory);
        let (layout, authorities, ballot) =
            (&self.layout, self.authorities.as_slice(), Ballot::asleep(consensus::now()));
        relays::write_torrc(&RelayTorrc { member: &member, layout, authorities, directory, ballot })?;
        self.relays.push(Relay::start(&self.programs, &self.record.pool_namespace(), directory, &member)?);
        self.running().leave_out(&old.nickname, &old.fingerprint.to_string(), Some(&member.nickname)).await?;
        self.spread().await?;
        let Some(new) = self.relays.last().map(exit).transpose()?.flatten() else { return Ok(old.clone()) };
        self.exits.retain(|other| other != old);
        self.exits.push(new.clone());
        Ok(new)
    }

    /// Has the guards hand out what was voted last.
    async fn spread(&mut self) -> Result<(), Error> {
        for guard in self.relays.iter_mut().filter(|relay| relay.member.role == Role::Guard) {
            guard.kill().await;
            guard.forget_directory()?;
            let (namespace, directory) = (self.record.pool_namespace(), &self.record.directory);
            *guard = Relay::start(&self.programs, &namespace, directory, &guard.member)?;
        }
        self.running().served().await
    }

    fn running(&mut self) -> Running<'_, impl Fn(Progress) + use<>> {
        Running {
            layout: &self.layout,
            authorities: &self.authorities,
            directory: &self.record.directory,
            relays: &mut self.relays,
            deadline: Instant::now() + self.patience,
            patience: self.patience,
            progress: &|_| {},
        }
    }

    /// Ends every process in the network's namespaces, the pool's included, and removes all that was made.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { estate, mut relays, mut echo, .. } = self;
        let dismantled = aside(|| estate.dismantle()).await;
        for relay in &mut relays {
            relay.ended().await;
        }
        // The only error is that somebody else has waited for it already.
        let _ = echo.wait().await;
        dismantled
    }

    /// Removes what networks of this prefix have left whose process is gone, and returns their names.
    pub async fn sweep(prefix: &str) -> Result<Vec<String>, Error> {
        let prefix = prefix.to_owned();
        aside(move || estate::sweep(&prefix)).await
    }

    /// Makes a command that runs in the pool's namespace: the daemon and all that it starts.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.programs.inside(&self.netns(), program)
    }

    /// Makes a command that runs where clients are.
    pub fn client_command(&self, program: impl AsRef<OsStr>) -> Command {
        match self.client_netns() {
            Some(namespace) => self.programs.inside(&namespace, program),
            None => Command::new(program),
        }
    }

    /// The pool's namespace, as `ip netns` names it.
    pub fn netns(&self) -> String {
        self.record.pool_namespace()
    }

    /// The clients' namespace; `None` where they are on the host.
    pub fn client_netns(&self) -> Option<String> {
        self.clients_have_namespace.then(|| self.record.client_namespace())
    }

    /// The address at which clients reach the pool.
    pub fn server_address(&self) -> IpAddr {
        self.link.server
    }

    /// The addresses that clients can come from; the first is the one they come from by themselves.
    pub fn client_addresses(&self) -> &[IpAddr] {
        &self.link.clients
    }

    /// The `--torrc-defaults` of a tor that shall be in this network.
    pub fn torrc_defaults(&self) -> PathBuf {
        self.record.directory.join(TORRC_DEFAULTS)
    }

    /// The GeoIP file, in tor's format.
    pub fn geoip(&self) -> PathBuf {
        self.record.directory.join(GEOIP)
    }

    /// The GeoIP file for IPv6, in tor's format.
    pub fn geoip6(&self) -> PathBuf {
        self.record.directory.join(GEOIP6)
    }

    /// Where the echo server is, for requests that leave an exit; see [`echo`].
    pub fn echo(&self) -> SocketAddr {
        Layout::echo()
    }

    /// The exits.
    pub fn exits(&self) -> &[Exit] {
        &self.exits
    }

    /// Begins to count what the network's authorities and guards hand out of the directory.
    pub async fn served(&self) -> Result<Served, Error> {
        let servers = self.relays.iter().filter(|relay| relay.member.role.serves_the_directory());
        Served::at(servers.map(|server| config::control_socket(&server.data)).collect()).await
    }

    /// The network's directory: `<nickname>.log` and `<nickname>.torrc` of each relay, and its data.
    pub fn directory(&self) -> &Path {
        &self.record.directory
    }
}

/// How long the echo server may take until it listens.
const ECHO_DEADLINE: Duration = Duration::from_secs(30);
/// The file with the defaults of clients.
const TORRC_DEFAULTS: &str = "torrc-defaults";
/// The file that tells countries by IPv4 addresses.
const GEOIP: &str = "geoip";
/// The file that tells countries by IPv6 addresses.
const GEOIP6: &str = "geoip6";

/// Makes the keys of all authorities, side by side.
async fn forge_all(
    programs: &Programs,
    directory: &Path,
    layout: &Layout,
    progress: &(impl Fn(Progress) + Sync),
) -> Result<Vec<AuthorityLine>, Error> {
    let authorities: Vec<_> = layout.members.iter().filter(|member| member.role == Role::Authority).collect();
    let of = authorities.len();
    let made = AtomicUsize::new(0);
    progress(Progress::Keys { made: 0, of });
    let forge = async |member: &Member| {
        let line = relays::forge(programs, directory, member).await?;
        progress(Progress::Keys { made: made.fetch_add(1, Ordering::Relaxed) + 1, of });
        Ok(line)
    };
    try_join_all(authorities.into_iter().map(forge)).await
}

/// Writes the files of everybody: torrc files, with the vote put off, GeoIP files, defaults.
fn write_files(directory: &Path, layout: &Layout, authorities: &[AuthorityLine]) -> Result<(), Error> {
    let ballot = Ballot::asleep(consensus::now());
    for member in &layout.members {
        relays::write_torrc(&RelayTorrc { member, layout, authorities, directory, ballot })?;
    }
    let files = [
        (TORRC_DEFAULTS, config::client_defaults(authorities)),
        (GEOIP, config::geoip(layout)),
        (GEOIP6, config::geoip6()),
        (config::RESOLV_CONF, format!("nameserver {}\n", Layout::echo().ip())),
    ];
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(Error::file("write", path))?;
    }
    Ok(())
}

/// Starts all relays.
fn start_all(
    programs: &Programs,
    record: &Record,
    layout: &Layout,
    progress: &impl Fn(Progress),
) -> Result<Vec<Relay>, Error> {
    let of = layout.members.len();
    let start = |(index, member)| {
        let relay = Relay::start(programs, &record.pool_namespace(), &record.directory, member)?;
        progress(Progress::Started { started: index + 1, of });
        Ok(relay)
    };
    layout.members.iter().enumerate().map(start).collect()
}

/// Starts the echo server and waits until it listens; it ends by itself when its stdin is closed.
async fn start_echo(programs: &Programs, record: &Record, exitpool: &Path) -> Result<Child, Error> {
    let mut command = programs.inside(&record.pool_namespace(), exitpool);
    command.args([ECHO_VERB, "--listen", &Layout::echo().to_string()]);
    let path = record.directory.join("echo.log");
    let log = std::fs::File::create(&path).map_err(Error::file("write", path))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).process_group(0);
    let run = |source| Error::Run { command: format!("{} {ECHO_VERB}", exitpool.display()), source };
    let mut child = command.spawn().map_err(run)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        // Without a line in time, the line is empty.
        let _ = timeout(ECHO_DEADLINE, stdout.read_line(&mut line)).await;
    }
    if line.trim() == Layout::echo().to_string() {
        return Ok(child);
    }
    Err(Error::Ended { name: "the echo server".to_owned(), log: relays::log_tail(&record.directory, "echo") })
}

/// Describes a relay that is an exit.
fn exit(relay: &Relay) -> Result<Option<Exit>, Error> {
    let Member { nickname, role: Role::Exit(country), address } = &relay.member else { return Ok(None) };
    let text = relays::fingerprint(&relay.data, nickname)?;
    let Ok(fingerprint) = text.parse() else {
        return Err(Error::Unreadable { what: format!("the fingerprint of {nickname}"), text });
    };
    Ok(Some(Exit { nickname: nickname.clone(), fingerprint, address: (*address).into(), country: *country }))
}
