//! Every kind of remote, by its real server and real pushes: what is pushed is in force on the host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::host::Host;
use super::servers::{HTTPS_NAME, Https, Server, Socks, Sshd, ssh_url};
use crate::git_kit::{git, run};
use crate::support::inside_of;

/// A poll that no test waits for: what comes, comes because somebody asked.
const SELDOM: [&str; 2] = ["--poll-every", "1h"];
/// The shortest poll.
const OFTEN: [&str; 2] = ["--poll-every", "1s"];

/// Runs git in the operator's clone and in the host's network; it must succeed.
fn operator(host: &Host, environment: &[(&str, &str)], arguments: &[&str]) {
    let mut command = git();
    let git = command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
    command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", host.netns.pid())).arg("git").args(git).args(arguments);
    command.current_dir(host.kit.at("repo")).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    run(command.envs(environment.iter().copied()), b"");
}

/// `exitpool reconcile` on a host; it must not fail.
fn reconcile(host: &Host) {
    let output = host.verb("reconcile", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 1), "{}: {said}", output.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_ssh_is_followed_with_a_deploy_key_and_pinned_host_keys() {
    let Some(mut host) = Host::new() else { return };
    let Some(sshd) = Sshd::new(&host.kit) else { return };
    let server = sshd.serve(host.listen());
    let url = ssh_url(&host.kit, server.port());
    // Several keys may be pinned, as while a host changes its own.
    let pinned = sshd.pin(server.port(), &["other-host", "host"]).display().to_string();
    let identity = host.kit.at("deploy").display().to_string();
    let ssh = ["--identity", &identity, "--known-hosts", &pinned].map(str::to_owned);
    host.arguments = ssh.into_iter().chain(SELDOM.map(str::to_owned)).collect();
    host.start(&url);
    let first = host.kit.head();
    host.in_force(&first, 1).await;

    let second = host.kit.commit(&super::host::document(2), Some("ada"));
    let pusher = host.kit.at("pusher").display().to_string();
    let command = format!("ssh -o UserKnownHostsFile={pinned} -o IdentitiesOnly=yes -o BatchMode=yes -i {pusher}");
    operator(&host, &[("GIT_SSH_COMMAND", &command)], &["push", "--quiet", &url, "main"]);
    reconcile(&host);
    host.in_force(&second, 2).await;

    // The deploy key itself only fetches.
    let deploy = command.replace(&pusher, &identity);
    let third = host.kit.commit(&super::host::document(3), Some("ada"));
    let mut push = Command::new("nsenter");
    push.arg(format!("--net=/proc/{}/ns/net", host.netns.pid())).args(["git", "push", "--quiet", &url, "main"]);
    let pushed = push.current_dir(host.kit.at("repo")).env("GIT_SSH_COMMAND", &deploy).output().unwrap();
    assert!(!pushed.status.success());

    // `systemctl reload` asks by a signal.
    operator(&host, &[("GIT_SSH_COMMAND", &command)], &["push", "--quiet", &url, "main"]);
    run(Command::new("kill").args(["-HUP", &host.pid().to_string()]), b"");
    host.in_force(&third, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_https_is_followed_with_an_authority_of_ones_own() {
    let Some(mut host) = Host::new() else { return };
    let Some(server) = Https::start(&host.kit, host.listen()) else { return };
    let authority = host.kit.at("ca.pem").display().to_string();
    host.environment = vec![("GIT_SSL_CAINFO", authority.clone())];
    host.arguments = OFTEN.map(str::to_owned).to_vec();
    let url = server.url("127.0.0.1");
    host.start(&url);
    let first = host.kit.head();
    host.in_force(&first, 1).await;

    // Nobody asks for it: the poll brings it.
    let second = host.kit.commit(&super::host::document(2), Some("ada"));
    operator(&host, &[("GIT_SSL_CAINFO", &authority)], &["push", "--quiet", &url, "main"]);
    let report = host.in_force(&second, 2).await;
    assert!(!report.status.to_string().contains("correct-horse"), "the password is shown");
    assert!(!host.log().contains("correct-horse"), "the password is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_we_know_a_wrong_password_and_a_redirect_are_refused() {
    let Some(mut host) = Host::new() else { return };
    let Some(server) = Https::start(&host.kit, host.listen()) else { return };
    host.arguments = SELDOM.map(str::to_owned).to_vec();
    let good = server.url("127.0.0.1");
    host.start(&good);
    let report = host.condition("FetchFailed", "True", "certificate of").await;
    assert!(super::host::condition(&report, "FetchFailed").1.contains("GIT_SSL_CAINFO"));
    host.stop();

    host.environment = vec![("GIT_SSL_CAINFO", host.kit.at("ca.pem").display().to_string())];
    for (url, words) in [
        (good.replace("correct-horse", "wrong-horse"), "does not let us in"),
        (good.replace("deploy:correct-horse@", ""), "does not let us in"),
        (good.replace("/git/", "/moved/"), "redirects elsewhere, which is not followed"),
        (good.replace("pool.git", "other.git"), "not found"),
    ] {
        host.start(&url);
        let report = host.condition("FetchFailed", "True", words).await;
        assert!(!report.status.to_string().contains("-horse"), "{words}: the password is shown");
        assert!(!host.log().contains("-horse"), "{words}: the password is in the log");
        host.stop();
    }
    host.start(&good);
    let first = host.kit.head();
    host.in_force(&first, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_can_be_reached_through_a_socks_proxy_that_resolves_its_name() {
    let Some(mut host) = Host::new() else { return };
    let Some(server) = Https::start(&host.kit, host.listen()) else { return };
    let connect = inside_of(host.netns.pid(), |port| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let proxy = Socks::start(host.listen(), connect);
    host.environment = vec![
        ("GIT_SSL_CAINFO", host.kit.at("ca.pem").display().to_string()),
        ("ALL_PROXY", format!("socks5h://127.0.0.1:{}", proxy.server.port())),
    ];
    host.start(&server.url(HTTPS_NAME));
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    assert_eq!(proxy.asked().first().map(String::as_str), Some(HTTPS_NAME));
    host.stop();

    // Where the proxy would not be used, nothing is fetched around it.
    let git = Server::git(host.listen(), &host.kit.at("served"));
    host.start(&git.git_url());
    host.condition("FetchFailed", "True", "git:// has no proxy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_goes_through_a_socks_proxy_that_resolves_its_name() {
    const NAME: &str = "git.invalid";
    let Some(mut host) = Host::new() else { return };
    let Some(sshd) = Sshd::new(&host.kit) else { return };
    let server = sshd.serve(host.listen());
    let connect = inside_of(host.netns.pid(), |port| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let proxy = Socks::start(host.listen(), connect);
    let pinned = sshd.pin(server.port(), &["host"]);
    // What ssh compares is the name that it was told, though nobody here resolves it.
    let keys = fs::read_to_string(&pinned).unwrap().replace("127.0.0.1", NAME);
    fs::write(&pinned, keys).unwrap();
    let identity = host.kit.at("deploy").display().to_string();
    let ssh = ["--identity", &identity, "--known-hosts", &pinned.display().to_string()].map(str::to_owned);
    host.arguments = ssh.into_iter().chain(SELDOM.map(str::to_owned)).collect();
    let url = ssh_url(&host.kit, server.port()).replace("127.0.0.1", NAME);

    let through = |proxy: String| vec![("ALL_PROXY", proxy)];
    for (wrong, words) in [
        ("http://127.0.0.1:3128".to_owned(), "ALL_PROXY is no `socks5h://[user:password@]host:port`"),
        (format!("socks5://127.0.0.1:{}", proxy.server.port()), "cannot resolve git.invalid here"),
        (format!("socks5h://127.0.0.1:{}", host.listen().local_addr().unwrap().port()), "does not lead to git.invalid"),
    ] {
        host.environment = through(wrong);
        host.start(&url);
        host.condition("FetchFailed", "True", words).await;
        host.stop();
    }
    assert!(proxy.asked().is_empty());

    host.environment = through(format!("socks5h://127.0.0.1:{}", proxy.server.port()));
    host.start(&url);
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    assert_eq!(proxy.asked().first().map(String::as_str), Some(NAME));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_git_protocol_is_followed_by_polling() {
    let Some(mut host) = Host::new() else { return };
    let server = Server::git(host.listen(), &host.kit.at("served"));
    host.arguments = OFTEN.map(str::to_owned).to_vec();
    host.start(&server.git_url());
    let first = host.kit.head();
    host.in_force(&first, 1).await;
    let second = host.push(2, Some("ada"));
    host.in_force(&second, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_on_this_host_is_watched_as_a_path_and_as_a_url() {
    for scheme in ["", "file://"] {
        let Some(mut host) = Host::new() else { return };
        let served = host.kit.at("served/pool.git").display().to_string();
        host.arguments = SELDOM.map(str::to_owned).to_vec();
        host.start(&format!("{scheme}{served}"));
        let first = host.kit.head();
        host.in_force(&first, 1).await;
        let second = host.push(2, Some("ada"));
        host.in_force(&second, 2).await;
    }
}

/// The daemon may change the firewall; what speaks with the remote may not, and keeps to nobody's configuration.
#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_with_the_remote_has_no_rights_of_the_daemon() {
    let Some(mut host) = Host::new() else { return };
    let (ssh, said) = (host.kit.at("ssh"), host.kit.at("said"));
    let script = format!("#!/bin/sh\n{{ cat /proc/self/status; env; }} >{}\nexit 1\n", said.display());
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    host.mounts = Some("exec setpriv --inh-caps=+net_admin --ambient-caps=+net_admin -- \"$@\"".to_owned());
    host.environment = vec![("GIT_SSH_COMMAND", ssh.display().to_string()), ("SECRET", "hunter2".to_owned())];
    host.start("ssh://git@127.0.0.1/pool.git");
    host.condition("FetchFailed", "True", "").await;
    let said = fs::read_to_string(said).unwrap();
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(value(set), "0".repeat(16), "{set}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!((value("GIT_CONFIG_GLOBAL="), value("GIT_TERMINAL_PROMPT=")), ("/dev/null".into(), "0".into()));
    assert!(!said.contains("hunter2"), "{said}");
}
