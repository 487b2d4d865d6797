//! The tor driver with real tor processes. The network is switched off (`DisableNetwork 1`), so nothing leaves this host.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exitpool::desired::{ExitPolicy, Fingerprint, Instance, InstanceName, Node, NodeName};
use exitpool::error::chain;
use exitpool::observe::{Control, Observation, Process};
use exitpool::tor::driver::{TorDriver, TorSettings};
use exitpool::tor::geoip::GeoipFiles;
use exitpool::tor::layout::Layout;
use exitpool::tor::options::digest::TorrcDigest;
use exitpool::tor::options::{self, ExitChoice, ExitNodes, OptionChange};
use exitpool::tor::{Tor, TorError, torrc};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::end_tors_in;

/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pool's directories, and the drivers that keep it; whatever still runs in them ends with it.
struct World {
    dir: tempfile::TempDir,
    tor: PathBuf,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("defaults"), "DisableNetwork 1\nMaxClientCircuitsPending 500\n").unwrap();
        Self { dir, tor: "tor".into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn layout(&self) -> Layout {
        Layout {
            runtime_dir: self.path("run"),
            state_dir: self.path("lib"),
            torrc_defaults: Some(self.path("defaults")),
        }
    }

    fn driver(&self) -> TorDriver {
        TorDriver::new(TorSettings {
            tor: self.tor.clone(),
            layout: self.layout(),
            geoip: self.path("geoip"),
            geoip6: self.path("geoip6"),
        })
    }

    fn torrc(&self, instance: &Instance) -> String {
        torrc::render(instance, &self.layout())
    }

    /// Starts an instance with these extra options, and gives it with its process.
    async fn start(&self, driver: &TorDriver, index: u16, extra: &[(&str, &[&str])]) -> (Instance, Process) {
        let instance = instance(index, extra);
        driver.start(&instance.name, &self.torrc(&instance)).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let process = process(driver, &instance.name).await;
        (instance, process)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        end_tors_in(self.dir.path());
    }
}

fn instance(index: u16, extra: &[(&str, &[&str])]) -> Instance {
    let node = NodeName::of(&"eu".parse().unwrap(), index);
    let values = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    Instance {
        name: InstanceName::from_first_node(&node),
        pool: node.pool().clone(),
        // With the network off tor opens no listener, so no port of this host is taken.
        nodes: vec![Node { name: node, socks: SocketAddr::from(([127, 0, 0, 1], 30_000 + index)) }],
        countries: [].into(),
        exits: ExitPolicy::default(),
        torrc: extra.iter().map(|(name, given)| ((*name).to_owned(), values(given))).collect(),
        socks_allow: Some(["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into()),
    }
}

async fn process(driver: &TorDriver, name: &InstanceName) -> Process {
    let seen = driver.observe().await;
    seen.instances[name].process.present().cloned().unwrap_or_else(|| panic!("{:?}", seen.instances[name]))
}

async fn control(driver: &TorDriver, name: &InstanceName) -> Control {
    let seen = driver.observe().await;
    seen.instances[name].control.present().cloned().unwrap_or_else(|| panic!("{:?}", seen.instances[name].control))
}

fn signal(process: &Process, signal: Signal) {
    kill_process(Pid::from_raw(process.pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn is_alive(process: &Process) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits for a wake-up of the driver.
async fn woken(driver: &TorDriver) {
    tokio::time::timeout(PATIENCE, driver.changed()).await.unwrap();
}

fn change(name: &str, to: &[&str]) -> OptionChange {
    OptionChange { name: name.to_owned(), from: vec![], to: to.iter().map(ToString::to_string).collect() }
}

#[tokio::test]
async fn a_started_tor_is_adopted_by_the_next_daemon() {
    let world = World::new();
    let first = world.driver();
    let (instance, process) = world.start(&first, 0, &[]).await;
    drop(first);

    let second = world.driver();
    let seen = second.observe().await;
    let found = &seen.instances[&instance.name];
    assert_eq!(found.process, Observation::Present(process.clone()));
    assert_eq!(found.torrc, Observation::Present(TorrcDigest::of(&world.torrc(&instance))));
    let control = found.control.present().unwrap();
    assert_eq!(seen.program.present().unwrap().version, control.version);
    assert_eq!((control.bootstrap.progress, control.circuit_established, &control.exit), (0, false, &None));
    assert!(seen.relays.is_absent());

    second.start(&instance.name, &world.torrc(&instance)).await.unwrap();
    assert_eq!(self::process(&second, &instance.name).await, process);
}

#[tokio::test]
async fn a_tor_lives_in_its_own_session_without_capabilities() {
    let world = World::new();
    let driver = world.driver();
    let (_, process) = world.start(&driver, 0, &[]).await;
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    assert_eq!(session, process.pid.to_string());
}

#[tokio::test]
async fn every_option_reads_back_as_it_was_set() {
    let extras: &[(&str, &[&str])] = &[
        ("MaxMemInQueues", &["256 MB"]),
        ("KeepalivePeriod", &["3 minutes"]),
        ("maxcircuitdirtiness", &["2 days"]),
        ("NewCircuitPeriod", &["30 seconds"]),
        ("CircuitStreamTimeout", &["1"]),
        ("HeartbeatPeriod", &["1 minute"]),
        ("BandwidthRate", &["1.5 MB"]),
        ("BandwidthBurst", &["12 mbits"]),
        ("CircuitPriorityHalflife", &["0.5"]),
        ("LogTimeGranularity", &["2 seconds"]),
        ("LongLivedPorts", &["21, 22"]),
        ("TrackHostExits", &["a.example , b.example"]),
        ("EntryNodes", &["$000102030405060708090a0b0c0d0e0f10111213, good"]),
        ("NumEntryGuards", &["02"]),
        ("ContactInfo", &["é \"quoted\" \\ # and more"]),
        ("Nickname", &["\"bob\""]),
        ("numprimaryg", &["4"]),
        ("ExcludeNode", &["worse"]),
        ("MapAddress", &["a.example b.example", "c.example d.example"]),
        ("ConnectionPadding", &["auto"]),
        ("UseEntryGuards", &["1"]),
        ("StrictNodes", &["0"]),
    ];
    let world = World::new();
    let driver = world.driver();
    let (instance, _) = world.start(&driver, 0, extras).await;
    let torrc = world.torrc(&instance);

    let unresolved = options::wanted(&instance, &ExitChoice::Unresolved, &torrc);
    let fresh = control(&driver, &instance.name).await;
    let changes = options::difference(&unresolved, &fresh.options);
    assert_eq!(changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["SocksPolicy"]);

    let exits: BTreeSet<Fingerprint> = (0..500_u16).map(|index| format!("{index:040x}").parse().unwrap()).collect();
    for choice in [ExitChoice::Only(ExitNodes::of(exits.clone()).unwrap()), ExitChoice::Any] {
        let wanted = options::wanted(&instance, &choice, &torrc);
        let changes = options::difference(&wanted, &control(&driver, &instance.name).await.options);
        assert!(!changes.is_empty());
        driver.set_options(&instance.name, &changes).await.unwrap();
        let running = control(&driver, &instance.name).await.options;
        assert_eq!(options::difference(&wanted, &running), [], "{running:?}");
        assert_eq!(running.values("SocksPort"), ["127.0.0.1:30000"]);
        assert_eq!(running.values("__ReloadTorrcOnSIGHUP"), ["0"]);
    }
}

#[tokio::test]
async fn what_somebody_sets_behind_our_back_wakes_and_is_undone() {
    let world = World::new();
    let (driver, other) = (world.driver(), world.driver());
    let (instance, _) = world.start(&driver, 0, &[]).await;
    let wanted = options::wanted(&instance, &ExitChoice::Unresolved, &world.torrc(&instance));
    let start = options::difference(&wanted, &control(&driver, &instance.name).await.options);
    driver.set_options(&instance.name, &start).await.unwrap();

    woken(&driver).await;
    let foreign =
        [change("StrictNodes", &["1"]), change("MaxClientCircuitsPending", &["700"]), change("ConfluxEnabled", &["1"])];
    other.set_options(&instance.name, &foreign).await.unwrap();
    woken(&driver).await;

    let changes = options::difference(&wanted, &control(&driver, &instance.name).await.options);
    let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["ConfluxEnabled: 1 → 0", "MaxClientCircuitsPending: 700 → default", "StrictNodes: 1 → default"]);
    driver.set_options(&instance.name, &changes).await.unwrap();
    let running = control(&driver, &instance.name).await.options;
    assert_eq!(options::difference(&wanted, &running), []);
}

#[tokio::test]
async fn without_defaults_of_our_own_those_of_the_distribution_are_not_read() {
    let world = World::new();
    let layout = Layout { torrc_defaults: None, ..world.layout() };
    let (geoip, geoip6) = (world.path("geoip"), world.path("geoip6"));
    let driver = TorDriver::new(TorSettings { tor: "tor".into(), layout: layout.clone(), geoip, geoip6 });
    let instance = instance(0, &[("DisableNetwork", &["1"])]);
    let torrc = torrc::render(&instance, &layout);
    driver.start(&instance.name, &torrc).await.unwrap();
    let wanted = options::wanted(&instance, &ExitChoice::Any, &torrc);
    let changes = options::difference(&wanted, &control(&driver, &instance.name).await.options);
    assert_eq!(changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["SocksPolicy", "SocksPort"]);
}

#[test]
fn the_geoip_files_of_the_distribution_are_read() {
    let files = GeoipFiles { ipv4: "/usr/share/tor/geoip".into(), ipv6: "/usr/share/tor/geoip6".into() };
    if !files.ipv4.exists() || !files.ipv6.exists() {
        crate::support::skip("tor-geoipdb is not installed");
        return;
    }
    // Google's resolver and the University of Dortmund have had these addresses for decades.
    let addresses = ["8.8.8.8", "2001:4860:4860::8888", "129.217.1.1", "127.0.0.1"].map(|text| text.parse().unwrap());
    let found = files.countries(&addresses.into()).unwrap();
    let texts: Vec<String> = found.iter().map(|(address, country)| format!("{address} {country}")).collect();
    assert_eq!(texts, ["8.8.8.8 us", "129.217.1.1 de", "2001:4860:4860::8888 us"]);
}

#[tokio::test]
async fn changes_are_made_all_or_none_and_a_refusal_has_tors_words() {
    let world = World::new();
    let driver = world.driver();
    let (instance, _) = world.start(&driver, 0, &[]).await;
    let before = control(&driver, &instance.name).await.options;
    let changes = [change("StrictNodes", &["1"]), change("KeepalivePeriod", &["1 fortnight"])];
    let error = driver.set_options(&instance.name, &changes).await.unwrap_err();
    assert!(error.to_string().contains("refused RESETCONF: 513 Unacceptable option value"), "{error}");
    assert_eq!(control(&driver, &instance.name).await.options, before);
    for (name, value) in [("Sandbox", "0"), ("NoExec", "0"), ("DisableAllSwap", "1"), ("ConnLimit", "700")] {
        assert_eq!(options::settable(name), options::Settable::AtStart);
        let error = driver.set_options(&instance.name, &[change(name, &[value])]).await.unwrap_err();
        assert!(error.to_string().contains("553 Transition not allowed"), "{error}");
    }
}

#[tokio::test]
async fn a_bad_torrc_is_refused_in_tors_words_and_changes_nothing() {
    let world = World::new();
    let driver = world.driver();
    let bad = instance(0, &[("KeepalivePeriod", &["1 fortnight"])]);
    let error = driver.start(&bad.name, &world.torrc(&bad)).await.unwrap_err();
    assert!(matches!(&error, TorError::Torrc { .. }), "{error}");
    assert!(error.to_string().contains("Unknown unit in 1 fortnight"), "{error}");
    let seen = driver.observe().await;
    assert!(seen.instances[&bad.name].torrc.is_absent() && seen.instances[&bad.name].process.is_absent());

    let (good, process) = world.start(&driver, 1, &[]).await;
    let before = world.torrc(&good);
    driver.write_torrc(&good.name, "NoSuchOption 1\n").await.unwrap_err();
    assert_eq!(driver.observe().await.instances[&good.name].torrc, Observation::Present(TorrcDigest::of(&before)));
    let after = format!("{before}MaxMemInQueues 300 MB\n");
    driver.write_torrc(&good.name, &after).await.unwrap();
    let seen = driver.observe().await;
    assert_eq!(seen.instances[&good.name].torrc, Observation::Present(TorrcDigest::of(&after)));
    assert_eq!(seen.instances[&good.name].process, Observation::Present(process));
}

#[tokio::test]
async fn a_tor_that_hangs_is_unknown_and_the_others_answer() {
    let world = World::new();
    let driver = world.driver();
    let (hung, process) = world.start(&driver, 0, &[]).await;
    let (well, _) = world.start(&driver, 1, &[]).await;
    signal(&process, Signal::STOP);
    // A tor that hangs says nothing: it is the resync that finds it.
    driver.forget();
    let seen = driver.observe().await;
    assert!(seen.instances[&hung.name].process.present().is_some());
    let why = seen.instances[&hung.name].control.unknown().unwrap();
    assert!(why.contains("did not answer within"), "{why}");
    assert!(seen.instances[&well.name].control.present().is_some());

    signal(&process, Signal::CONT);
    driver.forget();
    control(&driver, &hung.name).await;
    signal(&process, Signal::STOP);
    driver.stop(&hung.name).await.unwrap();
    assert!(!is_alive(&process));
}

#[tokio::test]
async fn a_tor_whose_control_socket_is_gone_hangs_and_can_be_ended() {
    let world = World::new();
    let driver = world.driver();
    let (lost, process) = world.start(&driver, 0, &[]).await;
    let (well, _) = world.start(&driver, 1, &[]).await;
    fs::remove_file(world.layout().instance(&lost.name).control()).unwrap();
    drop(driver);

    // The daemon before has its connections still, and notices nothing.
    let driver = world.driver();
    let seen = driver.observe().await;
    assert!(seen.instances[&lost.name].hangs, "{:?}", seen.instances[&lost.name].control);
    let why = seen.instances[&lost.name].control.unknown().unwrap();
    assert!(why.contains("No such file"), "{why}");
    assert!(!seen.instances[&well.name].hangs);
    driver.stop(&lost.name).await.unwrap();
    assert!(!is_alive(&process));
}

#[tokio::test]
async fn a_death_wakes_and_the_next_start_comes_up() {
    let world = World::new();
    let driver = world.driver();
    let (instance, process) = world.start(&driver, 0, &[]).await;
    signal(&process, Signal::KILL);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !driver.observe().await.instances[&instance.name].process.is_absent() {
        tokio::time::timeout_at(deadline, driver.changed()).await.unwrap();
    }
    assert!(driver.observe().await.instances[&instance.name].control.is_absent());
    let (_, next) = world.start(&driver, 0, &[]).await;
    assert_ne!(next, process);
}

#[tokio::test]
async fn two_starts_at_once_are_one() {
    let world = World::new();
    let (first, second) = (world.driver(), world.driver());
    let instance = instance(0, &[]);
    let torrc = world.torrc(&instance);
    let (one, other) = tokio::join!(first.start(&instance.name, &torrc), second.start(&instance.name, &torrc));
    one.unwrap();
    other.unwrap();
    let tors = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*world.path("run/instances/eu-0/torrc").to_string_lossy())
    });
    assert_eq!(tors.count(), 1);
}

#[tokio::test]
async fn a_start_with_another_torrc_leaves_no_tor_beside_it() {
    let world = World::new();
    let driver = world.driver();
    let (_, before) = world.start(&driver, 0, &[]).await;
    let (_, after) = world.start(&driver, 0, &[("MaxMemInQueues", &["300 MB"])]).await;
    assert_ne!(before, after);
    assert!(!is_alive(&before) && is_alive(&after));

    // One that tor refuses takes nothing away.
    let bad = instance(0, &[("KeepalivePeriod", &["1 fortnight"])]);
    driver.start(&bad.name, &world.torrc(&bad)).await.unwrap_err();
    assert!(is_alive(&after));
}

#[tokio::test]
async fn destroying_leaves_nothing_behind() {
    let world = World::new();
    let driver = world.driver();
    let (instance, process) = world.start(&driver, 0, &[("Sandbox", &["1"])]).await;
    driver.destroy(&instance.name).await.unwrap();
    assert!(!is_alive(&process));
    for root in ["run/instances", "run/locks", "lib/instances"] {
        assert_eq!(fs::read_dir(world.path(root)).unwrap().count(), 0, "{root}");
    }
    assert!(driver.observe().await.instances.is_empty());
    driver.destroy(&instance.name).await.unwrap();
}

#[tokio::test]
async fn a_stopped_instance_keeps_its_directories() {
    let world = World::new();
    let driver = world.driver();
    let (instance, process) = world.start(&driver, 0, &[]).await;
    driver.stop(&instance.name).await.unwrap();
    assert!(!is_alive(&process));
    assert!(world.path("lib/instances/eu-0").is_dir());
    let seen = driver.observe().await;
    assert!(seen.instances[&instance.name].process.is_absent() && seen.instances[&instance.name].control.is_absent());
    driver.stop(&instance.name).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_others_may_enter_is_refused() {
    let world = World::new();
    let driver = world.driver();
    let open = world.path("run/instances/eu-0");
    let (instance, _) = world.start(&driver, 0, &[]).await;
    driver.stop(&instance.name).await.unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let error = driver.start(&instance.name, &world.torrc(&instance)).await.unwrap_err();
    assert!(chain(&error).contains("chmod it to 700"), "{}", chain(&error));
}

#[tokio::test]
async fn a_missing_tor_and_an_old_one_say_what_to_do() {
    let mut world = World::new();
    world.tor = world.path("no-such-tor");
    let driver = world.driver();
    let error = driver.start(&instance(0, &[]).name, "").await.unwrap_err();
    assert!(error.to_string().contains("install tor 0.4.8 or newer"), "{error}");
    assert!(driver.observe().await.program.unknown().is_some());

    script(&world.path("no-such-tor"), "echo 'Tor version 0.4.5.16.'");
    let error = driver.start(&instance(0, &[]).name, "").await.unwrap_err();
    assert!(matches!(&error, TorError::TooOld { version, .. } if version == "0.4.5.16"), "{error}");

    script(&world.path("no-such-tor"), "echo 'Tor version 0.4.9.11 (git-x).'; sleep 0");
    assert_eq!(driver.observe().await.program.present().unwrap().version, "0.4.9.11");
}

#[tokio::test]
async fn a_tor_that_ends_at_its_start_says_why() {
    let mut world = World::new();
    world.tor = world.path("tor");
    script(
        &world.tor,
        "case $1 in --version) echo 'Tor version 0.4.9.11.';; --verify-config) ;; \
         *) echo 'Jan 01 00:00:00.000 [err] The disk is on fire'; exit 1;; esac",
    );
    let error = world.driver().start(&instance(0, &[]).name, "").await.unwrap_err();
    assert_eq!(error.to_string(), "tor of eu-0 ended at its start: The disk is on fire");
}

/// Writes a program; it replaces the file, since a program that runs cannot be written to.
fn script(path: &Path, body: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, path).unwrap();
}
