//! Remotes that nobody wants: each ends within its deadline, in an error that says what to do, and leaves nothing.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use exitpool::error::{Classify as _, Kind, chain};
use exitpool::source::remote::FetchError;
use exitpool::source::settings::{SourceSettings, Transport};
use exitpool::source::{Source, SourceSpec};

use super::host::{Host, condition, pids, published};
use super::servers::{Manner, Server, Sshd, dripping, endless, listen, rude, senseless, silent, ssh_url};
use crate::git_kit::{Kit, accepts};

/// Far more than a fetch on this host needs.
const LONG: Duration = Duration::from_secs(60);
/// How long a fetch may take that has to be ended.
const SHORT: Duration = Duration::from_secs(2);

fn transport() -> Transport {
    Transport { timeout: LONG, ..Transport::default() }
}

/// A remote repository as a source that believes ada, from the branch's beginning on.
pub fn source(kit: &Kit, url: &str, transport: Transport) -> Source {
    let first = kit.git(&["rev-list", "--max-parents=0", "main"]);
    let spec = SourceSpec::from_options(url, "main", "pool.yaml").unwrap();
    let trust = Some(kit.trust(Some(&first)));
    Source::with(SourceSettings { spec, state_dir: kit.at("state"), transport, trust })
}

/// Fetches; it must go right.
pub async fn fetch(source: &Source) {
    source.remote().unwrap().fetch().await.unwrap_or_else(|error| panic!("{}", chain(&error)));
}

async fn fetch_error(source: &Source) -> FetchError {
    source.remote().unwrap().fetch().await.unwrap_err()
}

/// Says when its peer has gone.
struct Gone(Sender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Serves in a bad manner, and hears when the peer has gone.
fn serve_badly(listener: TcpListener, misbehave: fn(TcpStream)) -> (Server, std::sync::mpsc::Receiver<()>) {
    let (sender, gone) = channel();
    let server = Server::new(listener, move |stream| {
        let _gone = Gone(sender.clone());
        misbehave(stream);
    });
    (server, gone)
}

#[tokio::test]
async fn f2_a_server_that_is_silent_or_slow_or_endless_meets_the_deadline_and_git_is_gone() {
    for (name, misbehave) in [("silent", silent as fn(TcpStream)), ("dripping", dripping), ("endless", endless)] {
        let kit = published();
        let (server, gone) = serve_badly(listen(), misbehave);
        let source = source(&kit, &server.git_url(), Transport { timeout: SHORT, ..transport() });
        let begun = Instant::now();
        let error = fetch_error(&source).await;
        assert!(begun.elapsed() < LONG, "{name}");
        assert!(matches!(error, FetchError::Deadline { .. }), "{name}: {}", chain(&error));
        assert_eq!(error.kind(), Kind::Timeout);
        gone.recv_timeout(LONG).unwrap_or_else(|_| panic!("{name}: git is still connected"));
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_git_is_an_error_at_once() {
    for misbehave in [senseless as fn(TcpStream), rude] {
        let kit = published();
        let (server, _) = serve_badly(listen(), misbehave);
        let error = fetch_error(&source(&kit, &server.git_url(), transport())).await;
        assert!(matches!(error, FetchError::Git { .. }), "{}", chain(&error));
    }
}

#[tokio::test]
async fn f1_a_server_that_is_down_and_a_name_that_nobody_knows_are_errors_that_name_the_place() {
    let Some(netns) = crate::netns::Netns::new() else { return };
    let kit = published();
    let port = netns.run(listen).local_addr().unwrap().port();
    for (url, words) in [
        (format!("git://127.0.0.1:{port}/pool.git"), "Connection refused"),
        // No name server can be reached from the namespace.
        ("git://nobody-has-this-name.invalid/pool.git".to_owned(), "nobody-has-this-name.invalid"),
        ("https://nobody-has-this-name.invalid/pool.git".to_owned(), "Could not resolve host"),
        ("ssh://nobody-has-this-name.invalid/pool.git".to_owned(), "Could not resolve hostname"),
    ] {
        let source = source(&kit, &url, transport());
        let told = chain(&netns.block_on(async || fetch_error(&source).await));
        assert!(told.starts_with(&format!("cannot fetch `{url}`: ")) && told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn f4_an_empty_repository_and_another_branch_are_missing_branches() {
    let kit = published();
    let served = kit.at("served/pool.git").display().to_string();
    let server = Server::git(listen(), &kit.at("served"));
    let remote = source(&kit, &server.git_url(), transport());
    kit.git(&["push", "--quiet", &served, "main:other"]);
    crate::git_kit::run(crate::git_kit::git().args(["-C", &served, "update-ref", "-d", "refs/heads/main"]), b"");
    let told = chain(&fetch_error(&remote).await);
    assert!(told.contains("has no branch `main`; push it, or check `--branch`"), "{told}");
    kit.git(&["push", "--quiet", &served, "main"]);
    fetch(&remote).await;
    accepts(&remote);
}

#[tokio::test]
async fn a_repository_beyond_the_limit_is_thrown_away_and_one_within_it_taken() {
    let kit = published();
    let first = kit.head();
    let server = Server::git(listen(), &kit.at("served"));
    let small = source(&kit, &server.git_url(), Transport { max_bytes: 1 << 20, ..transport() });
    fetch(&small).await;
    accepts(&small);
    let ratchet = fs::read(kit.at("state/ratchet.json")).unwrap();

    // Noise, which nothing makes smaller.
    let noise: Vec<u8> = (0..3_u64 << 17).flat_map(sha2_of).take(3 << 20).collect();
    fs::write(kit.at("repo/noise"), noise).unwrap();
    let large = kit.commit("large", Some("ada"));
    push(&kit);
    let error = fetch_error(&small).await;
    assert!(matches!(error, FetchError::TooLarge { limit: 1_048_576, .. }), "{}", chain(&error));
    assert!(size(&kit.at("state")) < 1 << 20, "what was fetched is kept");
    assert_eq!(fs::read(kit.at("state/ratchet.json")).unwrap(), ratchet);

    kit.git(&["reset", "--quiet", "--hard", &first]);
    push(&kit);
    fetch(&small).await;
    accepts(&small);
    kit.git(&["reset", "--quiet", "--hard", &large]);
    push(&kit);
    let enough = source(&kit, &server.git_url(), transport());
    fetch(&enough).await;
    assert_eq!(accepts(&enough), "large");
}

fn push(kit: &Kit) {
    kit.git(&["push", "--quiet", "--force", &kit.at("served/pool.git").display().to_string(), "main"]);
}

fn sha2_of(number: u64) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(number.to_be_bytes()).to_vec()
}

fn size(directory: &std::path::Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }).sum()
}

#[tokio::test]
async fn another_host_key_is_refused_with_the_offered_and_the_expected_ones() {
    let kit = published();
    let Some(sshd) = Sshd::new(&kit) else { return };
    let server = sshd.serve(listen());
    let (url, identity) = (ssh_url(&kit, server.port()), Some(kit.at("deploy")));
    kit.make_key("third-host", "ecdsa");
    let pinned = |keys: &[&str]| {
        let known_hosts: Option<PathBuf> = Some(sshd.pin(server.port(), keys));
        source(&kit, &url, Transport { identity: identity.clone(), known_hosts, ..transport() })
    };

    let error = fetch_error(&pinned(&["other-host", "third-host"])).await;
    let FetchError::HostKey { offered, expected, .. } = &error else { panic!("{}", chain(&error)) };
    assert!(offered.ends_with(&kit.fingerprint("host")), "{offered}");
    assert_eq!(expected, &[kit.fingerprint("other-host"), kit.fingerprint("third-host")]);
    let told = error.to_string();
    assert!(told.contains(&kit.fingerprint("host")) && told.contains(&kit.fingerprint("other-host")), "{told}");

    let told = chain(&fetch_error(&pinned(&[])).await);
    assert!(told.contains("no key of that host is pinned"), "{told}");

    let good = pinned(&["other-host", "third-host", "host"]);
    fetch(&good).await;
    accepts(&good);
}

#[tokio::test]
async fn f1_a_key_that_the_server_does_not_know_is_a_matter_of_credentials() {
    let kit = published();
    let Some(sshd) = Sshd::new(&kit) else { return };
    let server = sshd.serve(listen());
    let known_hosts = Some(sshd.pin(server.port(), &["host"]));
    let with = |key: &str| {
        let transport = Transport { identity: Some(kit.at(key)), known_hosts: known_hosts.clone(), ..transport() };
        source(&kit, &ssh_url(&kit, server.port()), transport)
    };
    let error = fetch_error(&with("eve")).await;
    assert!(matches!(error, FetchError::Credentials { .. }), "{}", chain(&error));
    assert!(error.to_string().contains("check the deploy key (`--identity`)"), "{error}");
    fetch(&with("deploy")).await;
}

/// All of them one after the other before one daemon: it says so, keeps its pool, and goes on when they are over.
#[tokio::test(flavor = "multi_thread")]
async fn f1_f2_bad_servers_leave_the_pool_and_the_loop_alone() {
    let Some(mut host) = Host::new() else { return };
    let (server, manner) = Server::fickle(host.listen(), &host.kit.at("served"));
    host.arguments = ["--poll-every", "1s", "--fetch-timeout", "2s"].map(str::to_owned).to_vec();
    host.start(&server.git_url());
    let first = host.kit.head();
    let before = pids(&host.in_force(&first, 1).await);
    let mut nodes = 1;
    for (misbehave, words) in [
        (silent as fn(TcpStream), "took longer than 2 s"),
        (dripping, "took longer than 2 s"),
        (endless, "took longer than 2 s"),
        (senseless, "cannot fetch"),
        (rude, "cannot fetch"),
    ] {
        *manner.lock().unwrap() = Manner::Bad(misbehave);
        let report = host.condition("FetchFailed", "True", words).await;
        assert_eq!(condition(&report, "ArtifactOutdated").0, "Unknown");
        assert!(pids(&report).starts_with(&before) && pids(&report).len() == nodes, "the pool is not as it was");
        nodes += 1;
        let next = host.push(nodes.try_into().unwrap(), Some("ada"));
        *manner.lock().unwrap() = Manner::Good;
        host.verb("reconcile", &[]);
        let report = host.in_force(&next, nodes).await;
        assert!(pids(&report).starts_with(&before));
        host.condition("FetchFailed", "False", "").await;
    }
}

/// A mirror that stands still is told by two times: when it was last reached, and when it last had anything new.
#[tokio::test(flavor = "multi_thread")]
async fn f25_a_frozen_mirror_shows_in_the_metrics() {
    const CONTACT: &str = "exitpool_source_last_success_timestamp_seconds";
    const NEWS: &str = "exitpool_config_last_reload_success_timestamp_seconds";
    let Some(mut host) = Host::new() else { return };
    let (server, manner) = Server::fickle(host.listen(), &host.kit.at("served"));
    host.arguments = ["--poll-every", "1s"].map(str::to_owned).to_vec();
    host.start(&server.git_url());
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    let (contact, news) = (host.metric(CONTACT), host.metric(NEWS));
    assert!(contact > 0.0 && news > 0.0);

    // It answers, and has nothing new: the contact is fresh, the news grow old.
    let end = Instant::now() + super::host::PATIENCE;
    while host.metric(CONTACT) <= contact {
        assert!(Instant::now() < end, "no contact is noted");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(host.metric(NEWS), news);

    // It does not answer: neither moves.
    *manner.lock().unwrap() = Manner::Bad(rude);
    host.condition("FetchFailed", "True", "").await;
    let contact = host.metric(CONTACT);
    for _ in 0..2 {
        host.verb("reconcile", &[]);
        assert_eq!((host.metric(CONTACT), host.metric(NEWS)), (contact, news));
    }
}
