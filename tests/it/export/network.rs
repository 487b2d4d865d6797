//! Lists fed to those who eat them: curl, proxychains and a browser, on a private Tor network behind the real guard.

use std::net::IpAddr;

use exitpool::cli::demo::stage::finished;
use serde_json::Value;

use super::consumer::Desk;
use crate::pool::stage::{Host, document, pool};
use crate::support::{is_installed, skip};

/// Runs a script where consumers are; gives its exit code and its standard output.
async fn consumer(host: &Host, script: &str) -> (i32, String) {
    let output = host.network().client_command("sh").args(["-c", script]).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The addresses of the exits that the nodes may leave from; which one a request takes is tor's to choose.
fn exits(host: &Host) -> Vec<String> {
    let fit = host.network().exits().iter().filter(|exit| exit.country.to_string() == "us");
    fit.map(|exit| exit.address.to_string()).collect()
}

/// The address that the echo server saw.
fn seen(answer: &str) -> String {
    let document: Value = serde_json::from_str(answer.trim()).unwrap_or_else(|_| panic!("no echo: {answer}"));
    document["ip"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_opens_the_door_to_lists_alone_and_clients_eat_them() {
    let pools = document(&pool("us", 2, "us", 30_000));
    let Some(mut host) = Host::start("export", &pools).await else { return };
    host.converged(2).await;
    let desk = Desk::new();
    let key = desk.keygen("key");
    let token = desk.issue("key", "crawler", &[]);
    let addresses: Vec<IpAddr> = host.network().client_addresses().to_vec();
    let (panel, other) = (host.panel(), addresses[1]);
    let ask = |path: &str| {
        format!(
            "curl --silent --max-time 5 --interface {other} --output /dev/stdout --write-out ' %{{http_code}}' 'http://{panel}{path}'"
        )
    };

    // Nobody has named the other address: the guard drops what it sends.
    assert_eq!(consumer(&host, &ask("/export/txt")).await.0, 28);
    let exports = format!(
        "exports:\n  trusted_keys: ['{key}']\n  grants: [{{name: crawler, pools: [us], allow: ['{other}']}}]\n"
    );
    host.commits(&(pools.replace("socks: ['@CLIENT@']", &format!("socks: ['@CLIENT@', '{other}']")) + &exports)).await;
    host.sees("the whitelist with the other address", |report| {
        report.status["observed_generation"] == 2 && report.converged
    })
    .await;
    let (_, page) = consumer(&host, &ask("/")).await;
    assert!(page.contains("may not see this") && page.ends_with(" 403"), "{page}");
    let (_, list) = consumer(&host, &ask(&format!("/export/txt?token={token}"))).await;
    let urls: Vec<String> = (0..2).map(|index| format!("socks5h://{}:{}\n", panel.ip(), 30_000 + index)).collect();
    assert_eq!(list, format!("{} 200", urls.concat()), "it listens everywhere: where the consumer has reached it");

    curl_eats_it(&host, other, &token).await;
    proxychains_eats_it(&host, other, &token).await;
    a_browser_eats_it(&host, &token).await;
    host.strike().await;
}

async fn curl_eats_it(host: &Host, from: IpAddr, token: &str) {
    let (panel, echo) = (host.panel(), host.network().echo());
    let script = format!(
        "set -e\n\
         list=$(mktemp)\n\
         curl --silent --fail --interface {from} --header 'Authorization: Bearer {token}' --output $list 'http://{panel}/export/curl?shuffle=true'\n\
         NO_PROXY='*' curl --silent --fail --max-time 60 --interface {from} --config $list http://{echo}/\n\
         rm $list"
    );
    let (code, answer) = consumer(host, &script).await;
    assert!(code == 0 && exits(host).contains(&seen(&answer)), "curl: {code} {answer}");
}

async fn proxychains_eats_it(host: &Host, from: IpAddr, token: &str) {
    if !is_installed("proxychains4") {
        skip("proxychains4 is not installed");
        return;
    }
    let (panel, echo) = (host.panel(), host.network().echo());
    let script = format!(
        "set -e\n\
         list=$(mktemp)\n\
         curl --silent --fail --interface {from} --output $list 'http://{panel}/export/proxychains?token={token}'\n\
         proxychains4 -q -f $list curl --silent --fail --max-time 60 http://{echo}/\n\
         rm $list"
    );
    let (code, answer) = consumer(host, &script).await;
    assert!(code == 0 && exits(host).contains(&seen(&answer)), "proxychains: {code} {answer}");
}

/// A browser takes no source address, so the file is fetched for it.
async fn a_browser_eats_it(host: &Host, token: &str) {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|it| is_installed(it))
    else {
        skip("there is no Chromium in PATH (Debian: apt install chromium)");
        return;
    };
    let profile = tempfile::tempdir().unwrap();
    let (panel, echo) = (host.panel(), host.network().echo());
    let refused = consumer(host, &format!("curl --silent 'http://{panel}/export/pac?token={token}'")).await.1;
    assert!(refused.contains("may not be used from"), "the grant has the other address alone: {refused}");
    let pac = consumer(
        host,
        &format!(
            "curl --silent --interface {} 'http://{panel}/export/pac?token={token}'",
            host.network().client_addresses()[1]
        ),
    )
    .await
    .1;
    assert!(pac.contains("FindProxyForURL"), "{pac}");
    let mut command = host.network().client_command(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--proxy-pac-url=data:application/x-ns-proxy-autoconfig;base64,{}", base64(&pac)))
        .arg(format!("http://{echo}/"))
        .kill_on_drop(true);
    let loaded = tokio::time::timeout(std::time::Duration::from_secs(120), finished(&mut command, browser));
    let page = loaded.await.expect("the browser ends").unwrap();
    let exits = exits(host);
    assert!(exits.iter().any(|exit| page.contains(exit.as_str())), "{exits:?}: {page}");
}

fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}
