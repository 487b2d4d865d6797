//! Probes over TLS, to real servers behind the exits of a private Tor network.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use exitpool::cli::demo::stage::finished;
use exitpool::daemon::socket::Report;
use tokio::process::{Child, Command};

use super::health::{readiness, restarts};
use super::stage::{Host, condition, document, nodes, pool};
use crate::support::inside;

/// Where the servers are: beside the echo server, one port each.
const ADDRESS: &str = "10.3.0.1";

/// Makes certificates: an authority, `good` and `other` and `old` by it, and `stranger` by nobody.
///
/// `good` is for the servers' address, `other` for another name, and `old` was good until 2020.
const CERTIFICATES: &str = r#"
new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $1.key -out $1.crt "${@:2}"; }
by_ca() { new $1 -subj /CN=$1 -CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:false -addext subjectAltName=$2 "${@:3}"; }
new ca -days 30 -subj /CN=ca
by_ca good IP:10.3.0.1 -days 30
by_ca other DNS:elsewhere.example -days 30
# Times of the past are set by `openssl ca` alone.
printf '%s\n' '[ca]' default_ca=it '[it]' database=index new_certs_dir=. serial=serial default_md=sha256 policy=any '[any]' commonName=supplied > ca.cnf
printf 'subjectAltName=IP:10.3.0.1\n' > old.ext
touch index
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout old.key -out old.csr -subj /CN=old
openssl ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -create_serial -in old.csr -out old.crt -extfile old.ext \
  -startdate 20190101000000Z -enddate 20200101000000Z
new stranger -days 30 -subj /CN=stranger -addext basicConstraints=critical,CA:false -addext subjectAltName=IP:10.3.0.1
"#;

async fn make_certificates(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    let script = ["-euc", CERTIFICATES];
    finished(Command::new("bash").args(script).current_dir(directory), "openssl").await.unwrap();
}

/// Starts a server that answers every request, with one of the certificates.
fn serve(host: &Host, directory: &Path, certificate: &str, port: u16) -> Child {
    let mut openssl = host.network().command("openssl");
    openssl.current_dir(directory).args(["s_server", "-quiet", "-www", "-accept", &format!("{ADDRESS}:{port}")]);
    openssl.args(["-cert", &format!("{certificate}.crt"), "-key", &format!("{certificate}.key")]);
    openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// Two nodes that are probed at a port; `ca_file` is the rest of the probe's line.
fn probed(port: u16, ca_file: &str) -> String {
    let probe = format!("url: 'https://{ADDRESS}:{port}/', every: 3s, timeout: 3s{ca_file}");
    document(&pool("us", 2, "us", 30_000)) + &format!("health: {{restart_after: 1, probe: {{{probe}}}}}\n")
}

/// Waits until the probe fails through both nodes, for a reason.
async fn fails(host: &mut Host, because: &str) -> Report {
    let for_this = |report: &Report| {
        condition(report, "Healthy").1 == "NetworkDown"
            && ["us-0", "us-1"].iter().all(|node| readiness(report, node).2.contains(because))
    };
    host.sees(&format!("probes that fail: {because}"), for_this).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_over_tls_believes_the_authority_that_it_is_told_and_says_what_is_wrong() {
    let Some(mut host) = Host::start("ptls", &document(&pool("us", 2, "us", 30_000))).await else { return };
    let directory = host.network().directory().join("tls");
    make_certificates(&directory).await;
    let certificates = ["good", "other", "old", "stranger"];
    let servers: Vec<Child> = certificates
        .iter()
        .zip(8_001..)
        .map(|(certificate, port)| serve(&host, &directory, certificate, port))
        .collect();
    // Takes connections and says nothing, ever.
    let silent: SocketAddr = format!("{ADDRESS}:8005").parse().unwrap();
    let silent = inside(&host.network().netns(), move || std::net::TcpListener::bind(silent).unwrap());
    host.converged(2).await;

    let own = format!(", ca_file: '{}'", directory.join("ca.crt").display());
    host.commits(&probed(8_001, &own)).await;
    let passed = |report: &Report| {
        nodes(report)
            .values()
            .all(|node| node["probe"]["passed"] == true && node["probe"]["latency_ms"].as_u64() > Some(0))
    };
    let report = host.sees("two probes that pass", |report| report.converged && passed(report)).await;
    let running = super::stage::pids(&report);

    let mut latest = report;
    for (port, ca_file, because) in [
        (8_002, own.as_str(), "certificate not valid for name"),
        (8_003, &own, "certificate expired"),
        (8_004, &own, "UnknownIssuer"),
        (8_001, "", "its authority is your own, name that with health.probe.ca_file"),
        (8_001, ", ca_file: /nowhere/ca.pem", "cannot read certificates from /nowhere/ca.pem"),
        (8_005, &own, "no answer within 3 s (health.probe.timeout)"),
    ] {
        host.commits(&probed(port, ca_file)).await;
        latest = fails(&mut host, because).await;
    }
    assert_eq!((super::stage::pids(&latest), restarts(&latest)), (running, 0), "nobody was restarted for it");

    host.commits(&probed(8_001, &own)).await;
    host.sees("two probes that pass again", |report| report.converged && passed(report)).await;
    drop((servers, silent));
    host.strike().await;
}
