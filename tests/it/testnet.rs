//! The private Tor network, for real: one bare tor client in it, and nothing left of it afterwards.

#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use exitpool::testnet::{ECHO_VERB, Error, Exit, Peer, Progress, Spec, Testnet};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");
/// Tells the test that plays the crashed run where to put its network, and its prefix.
const VICTIM: [&str; 2] = ["EXITPOOL_TEST_VICTIM_DIRECTORY", "EXITPOOL_TEST_VICTIM_PREFIX"];

/// Says why a test is skipped, where a network cannot be started.
fn cannot_run() -> bool {
    let reason = Testnet::check().err();
    if let Some(reason) = &reason {
        crate::support::skip(&reason.to_string());
    }
    reason.is_some()
}

/// A network with a single exit: quick to start.
fn small(prefix: &str, peer: Peer) -> Spec {
    Spec { exits: [("nl".parse().unwrap(), 1)].into(), ..Spec::usual(prefix, peer) }
}

#[tokio::test]
async fn a_client_leaves_from_the_country_it_wants_and_nothing_is_left_behind() {
    if cannot_run() {
        return;
    }
    let home = TempDir::new().unwrap();
    let directory = home.path().join("network");
    let told = Mutex::new(Vec::new());
    let begin = Instant::now();
    let tell = |progress| {
        println!("{:5.1} s: {progress}", begin.elapsed().as_secs_f32());
        told.lock().unwrap().push(progress);
    };
    let spec = Spec::usual("tna", Peer::Namespace { addresses: 2 });
    let network = Testnet::start(spec, &directory, Path::new(EXITPOOL), tell).await.unwrap();
    println!("its processes take {} MB", resident_kilobytes(&network).await / 1024);
    assert_eq!(told.lock().unwrap().last(), Some(&Progress::Ready));
    assert_eq!(network.exits().len(), 9);

    assert_clients_reach_the_pool(&network).await;

    let german: Vec<&Exit> = network.exits().iter().filter(|exit| exit.country.to_string() == "de").collect();
    assert_eq!(german.len(), 3);
    let mut client = start_client(&network, home.path(), &german).await;
    let seen = [seen_through_tor(&network, "a").await, seen_through_tor(&network, "b").await];
    assert!(seen.iter().all(|seen| german.iter().any(|exit| exit.address == *seen)), "{seen:?}");

    let left = Leftovers::of(&network);
    network.stop().await.unwrap();
    assert!(!client.wait().await.unwrap().success(), "the client's tor was ended too");
    left.assert_gone();
}

#[tokio::test]
async fn two_networks_stand_side_by_side_and_the_host_reaches_both() {
    if cannot_run() {
        return;
    }
    let home = TempDir::new().unwrap();
    let start = async |name| {
        let spec = small("tnb", Peer::Host { addresses: 2 });
        Testnet::start(spec, &home.path().join(name), Path::new(EXITPOOL), |_| {}).await.unwrap()
    };
    let (one, two) = tokio::join!(start("one"), start("two"));
    assert_ne!(one.server_address(), two.server_address());
    assert_eq!(one.client_netns(), None);
    for network in [one, two] {
        assert_clients_reach_the_pool(&network).await;
        let left = Leftovers::of(&network);
        network.stop().await.unwrap();
        left.assert_gone();
    }
}

#[tokio::test]
async fn a_network_that_does_not_come_up_says_why_and_leaves_nothing() {
    if cannot_run() {
        return;
    }
    let home = TempDir::new().unwrap();
    let directory = home.path().join("network");
    let hasty = Spec { deadline: Duration::ZERO, ..small("tnc", Peer::Namespace { addresses: 1 }) };
    let error = Testnet::start(hasty, &directory, Path::new(EXITPOOL), |_| {}).await.unwrap_err();
    assert!(
        error.to_string().contains("still missing 8 of 8 (authority1, authority2, authority3, guard1, "),
        "{error}"
    );
    assert!(!directory.exists());

    let spec = small("tnc", Peer::Namespace { addresses: 1 });
    let error = Testnet::start(spec, &directory, Path::new("/bin/false"), |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::Ended { name, .. } if name == "the echo server"), "{error}");
    assert!(!directory.exists());
    assert_eq!(namespaces("tnc-"), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_crashed_run_left_is_swept_and_a_living_network_is_not() {
    if cannot_run() {
        return;
    }
    let home = TempDir::new().unwrap();
    // A prefix of this run's own: another one beside it must not sweep what this one looks for.
    let prefix = format!("t{:x}", std::process::id() & 0xf_ffff);
    let spec = small(&prefix, Peer::Namespace { addresses: 1 });
    let directories = ["living", "dead"].map(|name| home.path().join(name));
    let (living, dead) = tokio::join!(
        Testnet::start(spec, &directories[0], Path::new(EXITPOOL), |_| {}),
        crash_with_a_network(&prefix, &directories[1])
    );
    let living = living.unwrap();
    assert!(dead.path.exists() && namespaces(&prefix).contains(&dead.name));

    assert_eq!(Testnet::sweep(&prefix).await.unwrap(), std::slice::from_ref(&dead.name));
    dead.assert_gone();
    assert_eq!(Testnet::sweep(&prefix).await.unwrap(), Vec::<String>::new());
    assert_clients_reach_the_pool(&living).await;
    living.stop().await.unwrap();
}

/// Not a test of its own: the run that crashes in the test above.
#[tokio::test]
#[ignore = "is started, and killed, by another test"]
async fn victim() {
    let [Ok(directory), Ok(prefix)] = VICTIM.map(std::env::var) else { return };
    let spec = small(&prefix, Peer::Namespace { addresses: 1 });
    let network = Testnet::start(spec, Path::new(&directory), Path::new(EXITPOOL), |_| {}).await.unwrap();
    println!("\nup {}", network.netns());
    std::future::pending::<()>().await;
}

/// Starts a network in a process of its own and kills that process.
async fn crash_with_a_network(prefix: &str, directory: &Path) -> Leftovers {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "testnet::victim", "--ignored", "--nocapture"]);
    command.env(VICTIM[0], directory).env(VICTIM[1], prefix);
    let mut victim = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let name = first_line_after("up ", BufReader::new(victim.stdout.take().unwrap())).await;
    victim.kill().await.unwrap();
    Leftovers { name, path: directory.to_owned() }
}

/// What a network has made on the system.
struct Leftovers {
    name: String,
    path: PathBuf,
}

impl Leftovers {
    fn of(network: &Testnet) -> Self {
        Self { name: network.netns(), path: network.directory().to_owned() }
    }

    fn assert_gone(&self) {
        assert!(!self.path.exists(), "the directory is left");
        assert_eq!(namespaces(&self.name), Vec::<String>::new());
        assert!(!Path::new("/run/exitpool-testnet").join(format!("{}.json", self.name)).exists());
        assert_eq!(processes_that_mention(&self.path), Vec::<String>::new());
    }
}

/// Starts a bare tor in the pool's namespace that leaves from these exits, and waits until it has bootstrapped.
async fn start_client(network: &Testnet, home: &Path, exits: &[&Exit]) -> Child {
    let fingerprints: Vec<_> = exits.iter().map(|exit| exit.fingerprint.to_string()).collect();
    let mut tor = network.command("tor");
    let torrc = home.join("torrc");
    fs::write(&torrc, "").unwrap();
    tor.arg("--defaults-torrc").arg(network.torrc_defaults()).arg("-f").arg(torrc);
    tor.arg("--DataDirectory").arg(home.join("client")).args([
        "--SocksPort",
        "127.0.0.1:9050",
        "--GeoIPFile",
        "/dev/null",
    ]);
    tor.args(["--GeoIPv6File", "/dev/null", "--Log", "notice stdout", "--ExitNodes", &fingerprints.join(",")]);
    let mut client = tor.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut log = BufReader::new(client.stdout.take().unwrap());
    first_line_after("Bootstrapped 100% ", &mut log).await;
    // A full pipe would stop the process.
    tokio::spawn(async move { tokio::io::copy(&mut log, &mut tokio::io::sink()).await });
    client
}

/// Asks the echo server through the client, on a circuit that is this user's.
async fn seen_through_tor(network: &Testnet, user: &str) -> IpAddr {
    let proxy = format!("socks5h://{user}:x@127.0.0.1:9050");
    ip(network.command("curl").args(["--proxy", &proxy, &format!("http://{}/", network.echo())])).await
}

/// Serves on the pool's address, and asks from each of the clients'.
async fn assert_clients_reach_the_pool(network: &Testnet) {
    let mut command = network.command(EXITPOOL);
    command.args([ECHO_VERB, "--listen", &format!("{}:0", network.server_address())]);
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let listens = first_line_after("", BufReader::new(server.stdout.take().unwrap())).await;
    for address in network.client_addresses() {
        let mut curl = network.client_command("curl");
        curl.args(["--interface", &address.to_string(), &format!("http://{listens}/")]);
        assert_eq!(ip(&mut curl).await, *address);
    }
    server.kill().await.unwrap();
}

/// Reads the address out of the answer to a request.
async fn ip(curl: &mut Command) -> IpAddr {
    let output = curl.args(["--silent", "--show-error", "--max-time", "60"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    answer["ip"].as_str().unwrap().parse().unwrap()
}

/// Waits for a line that has this text in it, and returns what comes after.
async fn first_line_after(text: &str, output: impl AsyncBufRead + Unpin) -> String {
    let mut lines = output.lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, rest)) = line.split_once(text) {
            return rest.to_owned();
        }
    }
    panic!("the output has ended, and no line had {text:?}");
}

/// Lists the namespaces whose names begin so.
fn namespaces(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| name.starts_with(prefix)).collect()
}

/// Lists the command lines that name a path.
fn processes_that_mention(path: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.contains(path.to_str().unwrap())).collect()
}

/// Adds up the resident memory of the processes in the pool's namespace.
async fn resident_kilobytes(network: &Testnet) -> u64 {
    let pids = Command::new("ip").args(["netns", "pids", &network.netns()]).output().await.unwrap();
    let pids: BTreeSet<String> = String::from_utf8(pids.stdout).unwrap().lines().map(str::to_owned).collect();
    let status = |pid: &String| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    pids.iter().map(status).map(resident).sum()
}
