//! Alerts that leave through the pool itself: a webhook and a mail server see an exit, and never this host.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Stdio;

use exitpool::daemon::socket::Report;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::stage::{Host, document, pool, ready};
use crate::alerts::endpoint::Endpoint;
use crate::alerts::mail::{PYTHON, SERVER, has_aiosmtpd};
use crate::support::{eventually, inside};

/// Where the servers are: beside the echo server, which only exits connect to.
const ADDRESS: &str = "10.3.0.1";

/// Starts a mail server without TLS; gives its port, and the file in which it keeps what it is sent.
async fn mail_server(host: &Host) -> (Child, u16, std::path::PathBuf) {
    let at = |name: &str| host.network().directory().join(name);
    let (script, out) = (at("smtpd.py"), at("mails"));
    std::fs::write(&script, SERVER).unwrap();
    let mut python = host.network().command(PYTHON);
    python.arg(script).arg(&out).args(["clear", "", "", "", "", "0"]).env("LISTEN", ADDRESS);
    let mut child = python.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    (child, line.trim().parse().unwrap(), out)
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_leave_through_the_pool_and_show_an_exit() {
    if !has_aiosmtpd() {
        return;
    }
    let Some(mut host) = Host::start("via", &document(&pool("us", 2, "us", 30_000))).await else { return };
    host.converged(2).await;
    let place: SocketAddr = format!("{ADDRESS}:8010").parse().unwrap();
    let hook = Endpoint::at(inside(&host.network().netns(), move || TcpListener::bind(place).unwrap()));
    let (_server, port, out) = mail_server(&host).await;
    let channels = [
        format!("{{name: hook, via: us, webhook: {{url: 'http://{place}/in'}}}}"),
        format!(
            "{{name: post, via: us, email: {{server: 'smtp://{ADDRESS}:{port}', tls: off, from: pool@example.net, to: [ops@example.org]}}}}"
        ),
    ];
    let alerts =
        format!("alerts:\n  channels: [{}]\n  rules: {{state_directory_full: {{above: 0%}}}}\n", channels.join(", "));
    host.commits(&(document(&pool("us", 2, "us", 30_000)) + &alerts)).await;

    let american: Vec<IpAddr> = host
        .network()
        .exits()
        .iter()
        .filter(|exit| exit.country.to_string() == "us")
        .map(|exit| exit.address)
        .collect();
    let request = tokio::task::block_in_place(|| hook.wait(1)).remove(0);
    assert_eq!(request.line, "POST /in HTTP/1.1");
    assert!(american.contains(&request.from), "{} is no American exit", request.from);
    let mail = || std::fs::read_to_string(&out).ok().filter(|mails| mails.ends_with('\n'));
    let mail: Value =
        serde_json::from_str(tokio::task::block_in_place(|| eventually(mail)).unwrap().lines().next().unwrap())
            .unwrap();
    let from: IpAddr = mail["peer"].as_str().unwrap().parse().unwrap();
    assert!(american.contains(&from), "{from} is no American exit");
    assert!(mail["content"].as_str().unwrap().contains("state_directory_full"), "{mail}");

    // Nobody serves: it waits, and goes no other way.
    host.commits(&(document(&pool("us", 2, "fr", 30_000)) + &alerts.replace("above: 0%", "above: 100%"))).await;
    host.sees("a pool that is closed", |report: &Report| ready(report) == 0).await;
    let (_, _, told) = host.verb("alert", &["test", "hook"]).await;
    assert!(told.contains("no node of pool us serves"), "{told}");
    let came = hook.kept().len();
    host.commits(&(document(&pool("us", 2, "us", 30_000)) + &alerts)).await;
    host.converged(2).await;
    let (code, told, complained) = host.verb("alert", &["test", "hook"]).await;
    assert_eq!(code, 0, "{told}{complained}");
    assert!(hook.kept().len() > came);
    assert!(hook.kept().iter().all(|request| american.contains(&request.from)), "{:?}", hook.kept());
    host.strike().await;
}
