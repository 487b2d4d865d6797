//! Who may see the page, by the addresses that connections really come from.
//!
//! A refused address must be neither loopback nor the host's own, so the test makes a network namespace with
//! addresses of its own, and runs there. Nothing outside it is touched; it ends with the process.

use std::net::SocketAddr;
use std::process::Command;

use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::skip;

use super::page::Served;
use super::page::world::World;

/// Set by the test for its second half, which runs inside the namespace.
const INSIDE: &str = "EXITPOOL_TEST_INSIDE_NAMESPACE";

#[test]
fn only_listed_addresses_see_the_page() {
    if !Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        skip("a network namespace cannot be made here (it takes root and util-linux)");
        return;
    }
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "panel::inside_a_namespace"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "only_listed_addresses_see_the_page runs it, inside a network namespace"]
async fn inside_a_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        skip("this is the inner half of only_listed_addresses_see_the_page");
        return;
    }
    ip(&["link", "set", "lo", "up"]);
    for address in ["10.77.0.1", "10.77.0.2", "10.77.0.3"] {
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
    }
    let mut world = World::healthy(3);
    world.server_addresses.clear();
    world.desired.as_mut().unwrap().access.panel = ["10.77.0.3/32".parse::<IpNet>().unwrap()].into();
    let served = Served::at("10.77.0.1:0", world.status()).await;
    for path in ["/", "/healthz", "/metrics", "/api/v1/status", "/api/v1/events"] {
        let refused = ask("10.77.0.2", served.address, path).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{path}: {refused}");
        assert!(refused.contains("10.77.0.2 may not see this: access.panel does not have it"), "{path}: {refused}");
        assert!(refused.contains("content-type: application/problem+json"), "{path}: {refused}");
    }
    let listed = ask("10.77.0.3", served.address, "/api/v1/status").await;
    assert!(listed.contains(r#""client":{"address":"10.77.0.3","whitelisted":true}"#), "{listed}");
    let own = ask("10.77.0.1", served.address, "/api/v1/status").await;
    assert!(own.contains(r#""client":{"address":"10.77.0.1","whitelisted":false}"#), "{own}");
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// Asks from an address, and returns the whole answer.
async fn ask(from: &str, to: SocketAddr, path: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
