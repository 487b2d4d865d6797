//! The tor driver in a real Tor network: what an instance says once it has bootstrapped and carries a request.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use exitpool::desired::{Country, ExitPolicy, Fingerprint, Instance, InstanceName, Node, NodeName};
use exitpool::error::chain;
use exitpool::observe::{Control, Observation, Renewal, RenewalStage};
use exitpool::testnet::{Exit, Peer, Spec, Testnet};
use exitpool::tor::driver::{TorDriver, TorSettings};
use exitpool::tor::layout::Layout;
use exitpool::tor::options::{self, ExitChoice, ExitNodes, OptionChange};
use exitpool::tor::relays::Relays;
use exitpool::tor::{Tor, TorObservation, torrc};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");

/// The longest that anything of the network is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a test needs of the network in the thread that is in its namespace.
struct Place {
    layout: Layout,
    geoip: std::path::PathBuf,
    geoip6: std::path::PathBuf,
    echo: SocketAddr,
    exits: Vec<Exit>,
}

impl Place {
    fn driver(&self) -> TorDriver {
        TorDriver::new(TorSettings {
            tor: "tor".into(),
            layout: self.layout.clone(),
            geoip: self.geoip.clone(),
            geoip6: self.geoip6.clone(),
        })
    }

    fn exits_in(&self, country: &str) -> BTreeSet<Fingerprint> {
        let is_there = |exit: &&Exit| exit.country.to_string() == country;
        self.exits.iter().filter(is_there).map(|exit| exit.fingerprint).collect()
    }

    /// Asks the echo server through a SOCKS port, and gives the address that it has seen.
    async fn seen_through(&self, socks: SocketAddr) -> String {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--proxy"]).arg(format!("socks5h://{socks}"));
        let output = curl.arg(format!("http://{}/", self.echo)).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let answer: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        answer["ip"].as_str().unwrap().to_owned()
    }
}

/// Runs something in a network namespace, on a thread and a runtime of its own: what it starts is there too.
fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let link = File::open(Path::new("/run/netns").join(netns)).unwrap();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[tokio::test]
async fn an_instance_leaves_from_the_exits_that_it_is_given() {
    if let Err(reason) = Testnet::check() {
        crate::support::skip(&reason.to_string());
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let spec = Spec::usual("tnd", Peer::Namespace { addresses: 1 });
    let network = Testnet::start(spec, &home.path().join("network"), Path::new(EXITPOOL), |_| {}).await.unwrap();
    let layout = Layout {
        runtime_dir: home.path().join("run"),
        state_dir: home.path().join("lib"),
        torrc_defaults: Some(network.torrc_defaults()),
    };
    let exits = network.exits().to_vec();
    let place = Place { layout, geoip: network.geoip(), geoip6: network.geoip6(), echo: network.echo(), exits };
    let netns = network.netns();
    let scenario = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(walk(&place));
    };
    tokio::task::spawn_blocking(move || inside(&netns, scenario)).await.unwrap();
    network.stop().await.unwrap();
}

/// The life of one instance, from its start to its rotation to another country.
async fn walk(place: &Place) {
    let driver = place.driver();
    let instance = instance(0);
    let torrc = torrc::render(&instance, &place.layout);
    driver.start(&instance.name, &torrc).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let socks = instance.nodes[0].socks;

    let seen = until(&driver, |seen| seen.relays.present().is_some()).await;
    let relays = seen.relays.present().unwrap().clone();
    assert_relays(place, &relays);
    let up = control_of(&seen, &instance.name);
    assert_eq!((up.bootstrap.progress, up.bootstrap.summary.as_str()), (100, "Done"));
    assert!(up.socks_listeners.is_empty(), "no port opens before the exits are set");

    let german: Country = "de".parse().unwrap();
    let chosen = relays.choose(&[german].into(), &ExitPolicy::default());
    assert_eq!(chosen, place.exits_in("de"));
    for exits in [chosen, place.exits_in("nl")] {
        give(&driver, &instance, &torrc, exits.clone()).await;
        let address = place.seen_through(socks).await;
        let here = place.exits.iter().find(|exit| exit.address.to_string() == address).unwrap();
        assert!(exits.contains(&here.fingerprint), "{address}");
        let seen = until(&driver, |seen| exit_of(seen, &instance.name).is_some_and(|exit| exits.contains(&exit))).await;
        let control = control_of(&seen, &instance.name);
        assert_eq!(control.socks_listeners, BTreeSet::from([socks]));
        assert!(control.circuit_established && control.latency_ms.is_some(), "{control:?}");
        assert_eq!(control.network_live, Some(true));
    }

    use_new_circuits(place, &driver, &instance).await;
    lose_all_exits(&driver, &instance, &torrc, place.exits_in("de")).await;

    // Another daemon sees the same.
    assert_eq!(place.driver().observe().await.relays, Observation::Present(relays));
    grow(place, &driver, &instance.name).await;
    driver.destroy(&instance.name).await.unwrap();
    assert!(driver.observe().await.instances.is_empty());
}

/// New connections use new circuits, from another exit where the old one is avoided; the circuit of a download goes on.
async fn use_new_circuits(place: &Place, driver: &TorDriver, instance: &Instance) {
    let (name, socks) = (&instance.name, instance.nodes[0].socks);
    const BYTES: u64 = 500_000;
    let mut curl = tokio::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{size_download}"]);
    let url = format!("http://{}/slow?bytes={BYTES}&seconds=20", place.echo);
    let download = curl.args(["--socks5-hostname", &socks.to_string(), &url]).output();
    let renewing = async {
        let carries = |seen: &TorObservation| control_of(seen, name).exit.is_some_and(|exit| exit.confirmed);
        let old = control_of(&until(driver, carries).await, name).exit.unwrap().fingerprint;
        let avoid = OptionChange { name: "ExcludeExitNodes".to_owned(), from: vec![], to: vec![format!("${old}")] };
        driver.set_options(name, &[avoid]).await.unwrap();
        driver.new_circuits(name).await.unwrap();
        let renewed = |seen: &TorObservation| control_of(seen, name).exit.is_some();
        let control = control_of(&until(driver, renewed).await, name);
        assert_eq!(control.renewal, Renewal { done: 1, stage: RenewalStage::Idle });
        let exit = control.exit.unwrap();
        assert!(exit.fingerprint != old && !exit.confirmed, "{exit:?}");
        let seen = place.seen_through(socks).await;
        let here = place.exits.iter().find(|known| known.address.to_string() == seen).unwrap();
        assert_ne!(here.fingerprint, old);

        // tor does it at most every ten seconds; that is not waited for, and is heard of when it is done.
        driver.new_circuits(name).await.unwrap();
        let put_off = control_of(&driver.observe().await, name).renewal;
        assert_eq!(put_off, Renewal { done: 1, stage: RenewalStage::Asked });
        until(driver, |seen| control_of(seen, name).renewal.stage == RenewalStage::Said).await;
        driver.new_circuits(name).await.unwrap();
        assert_eq!(control_of(&driver.observe().await, name).renewal, Renewal { done: 2, stage: RenewalStage::Idle });
        let open = OptionChange { name: "ExcludeExitNodes".to_owned(), from: vec![format!("${old}")], to: vec![] };
        driver.set_options(name, &[open]).await.unwrap();
    };
    let (downloaded, ()) = tokio::join!(download, renewing);
    assert_eq!(String::from_utf8(downloaded.unwrap().stdout).unwrap(), BYTES.to_string());
}

/// A tor that was left without a known exit builds circuits again as soon as it is given one.
async fn lose_all_exits(driver: &TorDriver, instance: &Instance, torrc: &str, exits: BTreeSet<Fingerprint>) {
    let set =
        |name: &str, value: &str| OptionChange { name: name.to_owned(), from: vec![], to: vec![value.to_owned()] };
    let nobody = format!("${}", "0".repeat(40));
    driver.set_options(&instance.name, &[set("FetchDirInfoEarly", "1")]).await.unwrap();
    // The change back makes tor judge its directory while no exit is known, as a new consensus would.
    let changes = [set("ExitNodes", &nobody), set("FetchDirInfoEarly", "0")];
    driver.set_options(&instance.name, &changes).await.unwrap();
    let is_up = |seen: &TorObservation| control_of(seen, &instance.name).circuit_established;
    until(driver, |seen| !is_up(seen)).await;
    give(driver, instance, torrc, exits).await;
    // Left alone, it would look again only after a minute here, and with the next consensus elsewhere.
    let soon = Duration::from_secs(30);
    tokio::time::timeout(soon, until(driver, is_up)).await.expect("tor was made to look again");
}

/// A second instance bootstraps from the first one's directory cache.
async fn grow(place: &Place, driver: &TorDriver, first: &InstanceName) {
    let second = instance(1);
    driver.start(&second.name, &torrc::render(&second, &place.layout)).await.unwrap();
    let is_up = |seen: &TorObservation| control_of(seen, &second.name).bootstrap.progress == 100;
    until(driver, is_up).await;
    let asks_for_consensus = |name: &InstanceName| {
        let log = std::fs::read_to_string(place.layout.instance(name).log()).unwrap();
        log.contains("(requesting_status)")
    };
    assert!(asks_for_consensus(first) && !asks_for_consensus(&second.name));
    driver.destroy(&second.name).await.unwrap();
}

fn instance(index: u16) -> Instance {
    let node = NodeName::of(&"eu".parse().unwrap(), index);
    Instance {
        name: InstanceName::from_first_node(&node),
        pool: node.pool().clone(),
        nodes: vec![Node { name: node, socks: SocketAddr::from(([127, 0, 0, 1], 30_000 + index)) }],
        countries: Arc::new(["de".parse().unwrap()].into()),
        exits: <_>::default(),
        torrc: <_>::default(),
        socks_allow: Some(<_>::default()),
    }
}

/// Every exit of the network is known by its identity, its address and its country, and nothing else is an exit.
fn assert_relays(place: &Place, relays: &Relays) {
    let known: BTreeSet<_> = relays.exits().iter().map(|(id, exit)| (*id, exit.country)).collect();
    let real: BTreeSet<_> = place.exits.iter().map(|exit| (exit.fingerprint, Some(exit.country))).collect();
    assert_eq!(known, real);
    assert!(!relays.valid_after.is_empty());
}

/// Opens the instance's port with these exits, and checks that tor runs as it was told.
async fn give(driver: &TorDriver, instance: &Instance, torrc: &str, exits: BTreeSet<Fingerprint>) {
    let wanted = options::wanted(instance, &ExitChoice::Only(ExitNodes::of(exits.clone()).unwrap()), torrc);
    let running = control_of(&driver.observe().await, &instance.name).options;
    let changes = options::difference(&wanted, &running);
    driver.set_options(&instance.name, &changes).await.unwrap();
    let running = control_of(&driver.observe().await, &instance.name).options;
    assert_eq!(options::difference(&wanted, &running), []);
}

fn control_of(seen: &TorObservation, name: &InstanceName) -> Control {
    seen.instances[name]
        .control
        .present()
        .map(|it| Control::clone(it))
        .unwrap_or_else(|| panic!("{:?}", seen.instances[name].control))
}

fn exit_of(seen: &TorObservation, name: &InstanceName) -> Option<Fingerprint> {
    Some(seen.instances.get(name)?.control.present()?.exit.as_ref()?.fingerprint)
}

/// Looks whenever the driver wakes, until it sees what is waited for.
async fn until(driver: &TorDriver, found: impl Fn(&TorObservation) -> bool) -> TorObservation {
    let looking = async {
        loop {
            let seen = driver.observe().await;
            if found(&seen) {
                return seen;
            }
            driver.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the network is up, so this comes")
}
