//! The image, built from its Dockerfile and run as `deploy/compose` runs it, by Podman.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::engine::Engine;
use super::shipped;
use crate::export::tls::until;

const IMAGE: &str = "localhost/exitpool";
/// Beside what compose says: no control groups and no timers, for there is no systemd here; limits that this user may set.
const HERE: [&str; 7] = [
    "--cgroups=disabled",
    "--health-interval=disable",
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=4096:4096",
    "--read-only-tmpfs=false",
    "--pull=never",
    "--detach",
];
/// What Docker and Kubernetes do and Podman does not: a capability is in the bounding set alone.
const BOUNDED: &str = r#"["tini","--","setpriv","--ambient-caps=-all","--inh-caps=-all","--","exitpool-with-guard"]"#;
/// Prints the tors that run as instances, and not those that are only asked for their version.
const TORS: &str = "pgrep -f '^[^ ]*tor --defaults-torrc '";
/// How many processes of the container are dead and were not taken off the process table.
const ZOMBIES: &str = "ps -eo stat= | grep -c '^Z' || :";

fn yaml(file: &str) -> Value {
    serde_yaml::from_str(&shipped(file)).unwrap()
}

/// The options of Podman that mean what compose says of the daemon's container.
fn as_compose_says(service: &Value) -> Vec<String> {
    let words = |field: &str, option: &str| -> Vec<String> {
        let values = service[field].as_array().cloned().unwrap_or_default();
        let word = |value: Value| format!("--{option}={}", value.as_str().unwrap().to_lowercase());
        values.into_iter().map(word).collect()
    };
    assert_eq!(service["read_only"], true);
    let mut options = vec!["--read-only".to_owned()];
    options.extend(words("cap_drop", "cap-drop"));
    options.extend(words("security_opt", "security-opt"));
    options.iter().map(|option| option.replace("${exitpool_no_new_privileges:-true}", "true")).collect()
}

/// Builds the image around the program under test.
fn build(engine: &Engine) -> Option<()> {
    engine.import_debian("localhost/base")?;
    let context = engine.at("context");
    let container = context.join("deploy/container");
    fs::create_dir_all(&container).unwrap();
    for file in ["Dockerfile", "exitpool-with-guard"] {
        fs::write(container.join(file), shipped(&format!("container/{file}"))).unwrap();
    }
    // Debug information would make the image ten times as large.
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(context.join("exitpool")).arg(env!("CARGO_BIN_EXE_exitpool"));
    assert!(strip.status().unwrap().success());
    let context = context.display().to_string();
    let file = format!("--file={context}/deploy/container/Dockerfile");
    let arguments = ["BASE=localhost/base", "PACKAGES=", "BINARY=exitpool"].map(|it| format!("--build-arg={it}"));
    let mut build = vec!["build", "--target=local", "--tag", IMAGE, &file];
    build.extend(["--isolation=chroot", "--format=docker", "--pull-never", "--layers=false"]);
    build.extend(arguments.iter().map(String::as_str));
    build.push(&context);
    engine.done(&build);
    Some(())
}

/// A directory with a desired state of one node, as `/etc/exitpool`.
fn configuration(engine: &Engine, name: &str, driver: &str) -> PathBuf {
    let directory = engine.at(name);
    fs::create_dir(&directory).unwrap();
    for path in [engine.place.path(), &directory] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let document = format!(
        "version: 1\nfirewall: {{driver: {driver}}}\npools:\n\
         \x20 - {{name: eu, size: 1, listen: 0.0.0.0, socks_port: 30000}}\naccess: {{socks: [10.0.0.0/8]}}\n"
    );
    fs::write(directory.join("pool.yaml"), document).unwrap();
    fs::write(directory.join("torrc"), "DisableNetwork 1\n").unwrap();
    directory
}

/// Starts a container, and waits until its first pass is done.
#[track_caller]
fn start(engine: &Engine, name: &str, configuration: &Path, options: &[&str]) {
    let mount = format!("--volume={}:/etc/exitpool:ro", configuration.display());
    let mut run = vec!["run", "--name", name, &mount, "--env=EXITPOOL_TORRC_DEFAULTS=/etc/exitpool/torrc"];
    run.extend(HERE);
    let compose = as_compose_says(&yaml("compose/compose.yaml")["services"]["exitpool"]);
    run.extend(compose.iter().map(String::as_str));
    run.extend(options);
    run.extend([IMAGE, "run"]);
    engine.done(&run);
    until(&format!("{name} is ready"), || is_ready(engine, name));
}

fn is_ready(engine: &Engine, name: &str) -> bool {
    engine.podman(&["exec", name, "exitpool", "healthcheck", "--ready"]).status.success()
}

/// What the daemon of a container says of a condition.
fn condition(engine: &Engine, name: &str, kind: &str) -> String {
    let status: Value = serde_json::from_str(&engine.sh(name, "exitpool status -o json")).unwrap();
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

/// Nobody is root, no right is left, nothing but the volumes can be written, and no compiler is there.
fn has_no_rights(engine: &Engine) {
    let image: Value = serde_json::from_str(&engine.done(&["image", "inspect", IMAGE])).unwrap();
    let config = &image[0]["Config"];
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(image[0]["Healthcheck"]["Test"], serde_json::json!(["CMD", "exitpool", "healthcheck"]), "{image}");
    assert_eq!(engine.sh("plain", "ps -eo uid= | sort -u | tr -d ' '"), "10001");
    let status = engine.sh("plain", "cat /proc/$(pgrep -x exitpool)/status");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    let tries =
        "for place in / /etc /etc/exitpool /usr/bin /tmp /home; do ! touch $place/new 2>/dev/null || echo $place; done";
    assert_eq!(engine.sh("plain", tries), "", "only the volumes can be written");
    let looks = "for tool in cc gcc c++ ld rustc cargo make; do ! command -v $tool || :; done";
    assert_eq!(engine.sh("plain", looks), "", "nothing to build with");
    assert_eq!(
        engine.sh("plain", "find / -xdev -perm /6000 -type f 2>/dev/null || :"),
        "",
        "nothing to become root by"
    );
    assert_eq!(condition(engine, "plain", "FirewallInSync"), "True FirewallDisabled");
    assert_eq!(engine.sh("plain", &format!("{TORS} | wc -l")), "1");
}

/// Whose parent has died is taken off the process table, and so is a tor that was killed.
fn leaves_no_zombies(engine: &Engine) {
    engine.done(&[
        "run",
        "--detach",
        "--name=control",
        HERE[0],
        HERE[2],
        HERE[3],
        "--network=none",
        "--entrypoint=sleep",
        IMAGE,
        "1000",
    ]);
    let orphan = "sh -c 'sleep 0.1 & true'; sleep 0.5";
    engine.sh("control", orphan);
    assert_eq!(engine.sh("control", ZOMBIES), "1", "a first process that is no init leaves them");
    engine.done(&["rm", "--force", "--time=0", "control"]);
    engine.sh("plain", orphan);
    let tor = engine.sh("plain", TORS);
    engine.sh("plain", &format!("kill -KILL {tor}"));
    until("tor is started again", || {
        let found = engine.podman(&["exec", "plain", "sh", "-c", TORS]);
        found.status.success() && String::from_utf8_lossy(&found.stdout).trim() != tor
    });
    assert_eq!(engine.sh("plain", ZOMBIES), "0");
}

/// The health check tells a daemon that answers from one that does not; a stop is clean, and a start goes on.
fn lives_and_ends(engine: &Engine) {
    let health = || engine.podman(&["healthcheck", "run", "plain"]).status.code();
    assert_eq!(health(), Some(0));
    engine.sh("plain", "kill -STOP $(pgrep -x exitpool)");
    assert_eq!(health(), Some(1), "it hangs");
    engine.sh("plain", "kill -CONT $(pgrep -x exitpool)");
    assert_eq!(health(), Some(0));
    let revision = engine.sh("plain", "exitpool history | tail -n 1");
    engine.done(&["stop", "--time=50", "plain"]);
    let state: Value = serde_json::from_str(&engine.done(&["inspect", "plain"])).unwrap();
    assert_eq!((&state[0]["State"]["ExitCode"], &state[0]["State"]["Status"]), (&0.into(), &"exited".into()));
    let log = engine.podman(&["logs", "plain"]);
    assert!(String::from_utf8_lossy(&log.stderr).contains("\"message\":\"stopped; "), "{log:?}");
    engine.done(&["start", "plain"]);
    until("it is ready again", || is_ready(engine, "plain"));
    assert_eq!(engine.sh("plain", "exitpool history | tail -n 1"), revision, "the volume has what it knew");
}

/// The guard stands where the container may have one, and comes back when it is flushed.
fn guards(engine: &Engine) {
    let wish = configuration(engine, "guarded", "nftables");
    let add = "--cap-add=net_admin";
    // Podman hands it on to the container's user; Docker and Kubernetes do not, so that the image helps.
    start(engine, "podman", &wish, &["--network=none", add]);
    let bounded = format!("--entrypoint={BOUNDED}");
    start(engine, "docker", &wish, &["--network=none", add, "--security-opt=no-new-privileges:false", &bounded]);
    start(engine, "host", &wish, &["--network=host", add, "--env=EXITPOOL_LISTEN=127.0.0.1:9099"]);
    start(engine, "none", &wish, &["--network=none"]);
    // As without root: rights over the container's own network, and none over the host's.
    let mapped = ["--uidmap=0:200000:65536", "--gidmap=0:200000:65536", add];
    start(engine, "rootless", &wish, &[&mapped[..], &["--network=none"]].concat());
    start(
        engine,
        "unheard",
        &wish,
        &[&mapped[..], &["--network=host", "--env=EXITPOOL_LISTEN=127.0.0.1:9098"]].concat(),
    );
    for name in ["podman", "docker", "host", "rootless"] {
        until(&format!("the guard of {name} stands"), || condition(engine, name, "FirewallInSync") == "True InSync");
        let rights =
            engine.sh(name, &format!("grep -h CapEff /proc/$(pgrep -x exitpool)/status /proc/$({TORS})/status"));
        assert_eq!(rights, "CapEff:\t0000000000001000\nCapEff:\t0000000000000000", "{name}: the daemon alone has it");
    }
    let on_the_host = || engine.command("nft").args(["list", "table", "inet", "exitpool"]).output().unwrap();
    assert!(String::from_utf8_lossy(&on_the_host().stdout).contains("10.0.0.0/8"));
    assert!(engine.command("nft").args(["flush", "ruleset"]).status().unwrap().success());
    until("the guard of the host's network is back", || on_the_host().status.success());
    // Without the right there is no guard, and so no node listens beyond loopback.
    for name in ["none", "unheard"] {
        assert_eq!(condition(engine, name, "FirewallInSync"), "Unknown ObservationFailed", "{name}");
    }
    assert_eq!(engine.sh("none", "grep -c '0100007F:7530 ' /proc/net/tcp || :"), "0");
    assert_eq!(engine.sh("none", "grep -c '00000000:7530 ' /proc/net/tcp || :"), "0");
}

#[test]
fn the_image_runs_without_rights_and_guards_where_it_may() {
    let Some(engine) = Engine::new() else { return };
    if build(&engine).is_none() {
        return;
    }
    let wish = configuration(&engine, "plain", "none");
    start(&engine, "plain", &wish, &["--network=none"]);
    has_no_rights(&engine);
    leaves_no_zombies(&engine);
    lives_and_ends(&engine);
    guards(&engine);
    engine.done(&["rm", "--all", "--force", "--time=0"]);
}

#[test]
fn the_image_is_built_from_the_tree_and_has_no_tools_to_build_with() {
    let text = shipped("container/Dockerfile");
    let stages: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(stages, ["${BASE} AS base", "base AS local", "${RUST} AS build", "base AS runtime"]);
    let needed = ["tor", "tor-geoipdb", "nftables", "iptables", "git", "openssh-client", "tini", "libcap2-bin"];
    let packages = text.lines().find_map(|line| line.strip_prefix("ARG PACKAGES=")).unwrap();
    let packages: Vec<&str> = packages.trim_matches('"').split(' ').collect();
    assert!(needed.iter().all(|package| packages.contains(package)), "{packages:?}");
    assert_eq!(packages.len(), needed.len() + 1, "and ca-certificates");
}

#[test]
fn compose_is_valid_and_gives_no_more_rights_than_are_needed() {
    for file in ["compose/compose.yaml", "compose/compose.guard.yaml"] {
        let compose: compose_spec::Compose = compose_spec::Compose::options().from_yaml_str(&shipped(file)).unwrap();
        if file == "compose/compose.yaml" {
            compose.validate_all().unwrap();
        }
    }
    let compose = yaml("compose/compose.yaml");
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert!(service["security_opt"][0].as_str().unwrap().starts_with("no-new-privileges:"), "{name}");
        assert!(service["cap_add"].is_null() && service["privileged"].is_null(), "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port} is for everybody");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            let there =
                compose["volumes"].get(from).is_some() || Path::new(&super::root("compose").join(from)).exists();
            assert!(there, "{name}: {from} is neither a volume nor a file");
        }
    }
    let guarded = &yaml("compose/compose.guard.yaml")["services"]["exitpool"];
    assert_eq!(guarded["cap_add"], serde_json::json!(["NET_ADMIN"]));
    assert!(BOUNDED.ends_with(&guarded["entrypoint"].to_string()["[\"tini\",\"--\",".len()..]), "the test runs that");
    let build = &compose["services"]["exitpool"]["build"];
    let context = super::root("compose").join(build["context"].as_str().unwrap());
    assert!(context.join("Cargo.toml").exists() && context.join(build["dockerfile"].as_str().unwrap()).exists());
    // What is published is what the pools listen on, and the subnet is the one that may see the page.
    let file = shipped("compose/config/pool.yaml");
    let desired = exitpool::desired::load("pool.yaml", file.as_bytes()).unwrap().desired;
    let pool = &desired.pools[0];
    let ports = format!("127.0.0.1:{0}-{1}:{0}-{1}", pool.socks_port, pool.socks_port + pool.size - 1);
    let exitpool = &compose["services"]["exitpool"];
    assert!(exitpool["ports"].as_array().unwrap().contains(&ports.into()), "{}", exitpool["ports"]);
    let subnet = compose["networks"]["default"]["ipam"]["config"][0]["subnet"].as_str().unwrap().parse().unwrap();
    assert!(desired.access.panel.contains(&subnet) && desired.access.socks.contains(&subnet));
}

#[test]
fn the_prometheus_of_compose_scrapes_the_daemon_of_compose() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("prometheus.yml"), shipped("compose/prometheus.yml")).unwrap();
    fs::write(place.path().join("exitpool.rules.yml"), shipped("prometheus/exitpool.rules.yml")).unwrap();
    let file = place.path().join("prometheus.yml").display().to_string();
    let Some(output) = crate::monitoring::promtool(&["check", "config", &file], "") else { return };
    assert!(output.status.success(), "{}", crate::monitoring::said(&output));
    let config = yaml("compose/prometheus.yml");
    let target = config["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str().unwrap();
    let listen = yaml("compose/compose.yaml")["services"]["exitpool"]["environment"]["EXITPOOL_LISTEN"].clone();
    assert_eq!(target.replace("exitpool:", "0.0.0.0:"), listen.as_str().unwrap());
}
