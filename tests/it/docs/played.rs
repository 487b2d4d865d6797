//! The tutorial, the how-tos and the runbook, played: on a Debian that its own systemd has booted, in the network namespace
//! of a private Tor network. What stands in their blocks is typed there, block by block, as a reader would.
//!
//! Comments say what a reader does not see:
//!
//! - `<!-- test: … -->` is typed as well: what brings a case about, or looks at what came of it;
//! - `<!-- ends with 78 -->` before a block: that is how it ends, and as it should;
//! - `<!-- on the colleague's machine -->` before a block: it is typed in the namespace of the clients;
//! - `<!-- carry: FILE -->`: the file is brought from the host to the colleague;
//! - `<!-- not run: why -->` before a block: it cannot be run here.
//!
//! A block of YAML that begins with `# pool.yaml` is saved by that name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use exitpool::cli::demo::stage::{finished, unique_directory};
use exitpool::testnet::{Peer, Spec, Testnet};

use super::fences::{Fence, Part, parts};
use super::session::Session;
use super::{collect, root};
use crate::pool::stage::EXITPOOL;
use crate::roots::{Machine, Root};
use crate::support::skip;

/// So many blocks may say that they cannot be run. It goes down, and not up.
const NOT_RUN: usize = 10;
/// An address of a consumer in the documents: the first client has it here.
const COLLEAGUE: &str = "198.51.100.7";
/// Where the private network's files lie on the host.
const PRIVATE: &str = "/etc/exitpool-private";

/// The pool that the how-tos and the runbook are read beside.
const POOL: &str = "version: 1
pools:
  - {name: eu, size: 3, countries: [de, us], listen: 0.0.0.0, socks_port: 30000}
access:
  socks: [198.51.100.0/24]
  panel: [198.51.100.7]
";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pages_say_is_what_happens() {
    let Some(debian) = Debian::new().await else { return };
    let Some(machine) = debian.root.boot() else { return };
    let world = World { debian: &debian, machine };
    let mut skipped = Vec::new();
    // Whoever writes a page plays it alone: EXITPOOL_PAGE=runbook.
    let only = std::env::var("EXITPOOL_PAGE").unwrap_or_default();
    let mut play = |pages: &[PathBuf], has_a_pool: bool| {
        let names = pages.iter().map(|page| page.strip_prefix(root()).unwrap().to_str().unwrap());
        let names: Vec<&str> = names.filter(|name| name.contains(&only)).collect();
        (has_a_pool && !names.is_empty()).then(|| world.a_pool_is_there());
        names.into_iter().for_each(|name| world.play(name, &mut skipped));
    };
    let mut howtos = Vec::new();
    collect(&root().join("docs/howto"), &mut howtos);
    howtos.sort();
    play(&[root().join("docs/tutorial.md")], false);
    play(&howtos, true);
    play(&[root().join("docs/runbook.md")], true);
    drop(world);
    debian.network.stop().await.unwrap();
    assert!(skipped.len() <= NOT_RUN, "{} blocks are not run:\n  {}", skipped.len(), skipped.join("\n  "));
}

/// A fresh Debian beside a private Tor network.
struct Debian {
    network: Testnet,
    root: Root,
}

impl Debian {
    async fn new() -> Option<Self> {
        if let Err(reason) = Testnet::check() {
            skip(&reason.to_string());
            return None;
        }
        let exits = [("us", 2), ("de", 2), ("nl", 1)].map(|(code, count)| (code.parse().unwrap(), count));
        let spec = Spec { exits: exits.into(), ..Spec::usual("wdocs", Peer::Namespace { addresses: 1 }) };
        let directory = unique_directory("exitpool-wdocs");
        let network = Testnet::start(spec, &directory, &PathBuf::from(EXITPOOL), |_| {}).await.unwrap();
        let root = Root::overlay_in("docs", &network.netns())?;
        let debian = Self { network, root };
        debian.introduce_the_colleague().await;
        debian.furnish();
        Some(debian)
    }

    /// Gives the clients the address that the documents name, and the host the way to it.
    async fn introduce_the_colleague(&self) {
        let (server, client) = (self.network.server_address(), self.network.client_addresses()[0]);
        let there = format!(
            "ip address add {COLLEAGUE}/32 dev lo
            ip route add {server}/32 dev \"$(ip -o route get {server} | sed 's/.* dev \\([^ ]*\\).*/\\1/')\" src {COLLEAGUE}"
        );
        let here = format!("ip route add {COLLEAGUE}/32 via {client}");
        for (mut sh, script) in [(self.network.client_command("sh"), there), (self.network.command("sh"), here)] {
            finished(sh.args(["-euc", &script]), "sh").await.unwrap();
        }
    }

    /// What a reader has before the first line: the program as it was built, and, here, the private network's files.
    fn furnish(&self) {
        let here = root();
        self.root.copy_in(Path::new(EXITPOOL), "/opt/exitpool/target/release/exitpool");
        self.root.copy_in(&here.join("systemd"), "/opt/exitpool/systemd");
        for (from, name) in [
            (self.network.torrc_defaults(), "torrc-defaults"),
            (self.network.geoip(), "geoip"),
            (self.network.geoip6(), "geoip6"),
        ] {
            self.root.copy_in(&from, &format!("{PRIVATE}/{name}"));
        }
        self.root.sh(&format!("chmod -R a+rX {PRIVATE}; {}", joined())).ok();
    }
}

/// What makes tors and verbs use the private network.
fn environment() -> impl Iterator<Item = String> {
    let pairs = [("TORRC_DEFAULTS", "torrc-defaults"), ("GEOIP", "geoip"), ("GEOIP6", "geoip6")];
    pairs.into_iter().map(|(name, file)| format!("EXITPOOL_{name}={PRIVATE}/{file}"))
}

/// Has the unit use the private network.
fn joined() -> String {
    let lines: String = environment().map(|line| format!("Environment={line}\\n")).collect();
    let dropins = "/etc/systemd/system/exitpool.service.d";
    format!("mkdir -p {dropins}; printf '[Service]\\n{lines}' > {dropins}/private-network.conf")
}

struct World<'a> {
    debian: &'a Debian,
    machine: Machine<'a>,
}

impl World<'_> {
    /// Types everything that a page says; collects what cannot be run.
    fn play(&self, page: &str, skipped: &mut Vec<String>) {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let mut host = self.host();
        let mut colleague = self.colleague();
        for part in parts(page, &text) {
            match part {
                Part::Prose(line, text) => direct(&format!("{page}:{line}"), &text, &mut host, &mut colleague),
                Part::Fence(fence) if fence.script().is_some() => run(&fence, &mut host, &mut colleague, skipped),
                Part::Fence(fence) => save(&fence, &mut host),
                Part::Heading(..) => {}
            }
        }
    }

    /// A shell of root's on the host.
    fn host(&self) -> Session {
        let exports: String = environment().map(|line| format!("export {line}\n")).collect();
        let echo = self.debian.network.echo();
        let first = format!("{exports}export ECHO=http://{echo}/\ncd ~\ngit config --global user.name ada\n");
        let first = first + "git config --global user.email ada@example.org\n";
        Session::open(self.machine.command(["bash"]), &first)
    }

    /// A shell where the clients are, to whom the host is proxy.example.org.
    fn colleague(&self) -> Session {
        let network = &self.debian.network;
        let (clients, server) = (network.client_netns().unwrap(), network.server_address());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &clients, "unshare", "--mount", "bash"]);
        let first = format!(
            "cd \"$(mktemp -d)\"; trap 'rm -rf \"$PWD\"' EXIT
            echo '{server} proxy.example.org' > hosts; mount --bind hosts /etc/hosts"
        );
        Session::open(command, &first)
    }

    /// Removes what an earlier page has left, and starts a pool of three nodes that follows a repository.
    fn a_pool_is_there(&self) {
        let mut host = self.host();
        let installed =
            "systemctl disable --now tor; cd /opt/exitpool && install -m 755 target/release/exitpool /usr/bin/exitpool
            install -m 644 systemd/exitpool.sysusers /usr/lib/sysusers.d/exitpool.conf
            install -m 644 systemd/exitpool.tmpfiles /usr/lib/tmpfiles.d/exitpool.conf
            install -m 644 systemd/exitpool.service /usr/lib/systemd/system/exitpool.service
            systemd-sysusers exitpool.conf && systemd-tmpfiles --create exitpool.conf";
        host.run("the installation", installed);
        let repository = format!(
            "systemctl stop exitpool || true; rm -rf /srv/pool.git /srv/clone /var/lib/exitpool/ratchet.json /etc/exitpool
            mkdir -p /etc/exitpool /etc/systemd/system/exitpool.service.d
            git init -q --bare -b main /srv/pool.git && git clone -q /srv/pool.git /srv/clone 2>/dev/null
            printf %s '{POOL}' > /srv/clone/pool.yaml
            cd /srv/clone && git checkout -q -B main && git add pool.yaml && git commit -qm 'The pool' && git push -q -u origin main
            git config --system --replace-all safe.directory '*'
            printf '[Service]\\nEnvironment=EXITPOOL_SOURCE=/srv/pool.git\\n' \
                > /etc/systemd/system/exitpool.service.d/source.conf
            {}
            systemctl daemon-reload; systemctl reset-failed exitpool || true; systemctl start exitpool
            git -C /srv/clone rev-parse HEAD
            until exitpool status | grep -Eq '^Ready +True.* 3 nodes ready'; do sleep 0.2; done",
            joined()
        );
        host.run("a pool of three nodes", &repository);
    }
}

/// Where a page did not go on, what the host has to say of it.
impl Drop for World<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let look =
                "exitpool status; journalctl -u exitpool -n 40 --no-pager; tail -n 5 /run/exitpool/instances/*/log";
            let told = self.machine.sh(look);
            eprintln!("{}{}", told.stdout, told.stderr);
        }
    }
}

/// Follows a comment that speaks to the test alone.
fn direct(place: &str, line: &str, host: &mut Session, colleague: &mut Session) {
    let Some(comment) = line.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else { return };
    if let Some(script) = comment.trim().strip_prefix("test: ") {
        host.run(place, script);
    } else if let Some(file) = comment.trim().strip_prefix("carry: ") {
        let packed = host.run(place, &format!("base64 -w0 {file}; echo"));
        colleague.run(place, &format!("base64 -d <<< {} > {file}", packed.trim()));
    }
}

/// A file whose name stands in its first line is saved by that name.
fn save(fence: &Fence, host: &mut Session) {
    if fence.text.starts_with("# pool.yaml\n") {
        host.run(&fence.page, &format!("printf %s '{}' > pool.yaml", fence.text));
    }
}

fn run(fence: &Fence, host: &mut Session, colleague: &mut Session, skipped: &mut Vec<String>) {
    let place = format!("{}:{}", fence.page, fence.line);
    let script = fence.script().unwrap_or_default();
    let note = fence.note.as_deref().unwrap_or_default();
    if let Some(why) = note.strip_prefix("not run") {
        let why = why.strip_prefix(": ").filter(|why| why.len() > 5);
        skipped.push(format!("{place}: {}", why.unwrap_or_else(|| panic!("{place}: say why it is not run"))));
    } else if let Some(code) = note.strip_prefix("ends with ") {
        host.run_to(&place, &script, code.parse().unwrap());
    } else if note == "on the colleague's machine" {
        colleague.run(&place, &script);
    } else {
        host.run(&place, &script);
    }
}
