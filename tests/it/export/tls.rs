//! TLS, a socket in the file system, and sockets of the service manager, with the real daemon, curl and openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::consumer::{Answer, curl};
use crate::remotes::host::{Host, PATIENCE};

/// Makes a certificate for 127.0.0.1 and pool.example.org that says who it is, and its key.
pub fn make_certificate(directory: &Path, name: &str) -> (String, String) {
    let at = |ending: &str| directory.join(format!("{name}.{ending}")).display().to_string();
    let (certificate, key) = (at("crt"), at("key"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1,DNS:pool.example.org"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (certificate, key)
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn start(host: &mut Host, arguments: &[&str]) {
    host.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
    let served = host.kit.at("served/pool.git").display().to_string();
    host.start_believing(&served, &["--poll-every", "1s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_swapped_under_a_running_stream_and_bad_files_keep_the_old_one() {
    let Some(mut host) = Host::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (first, first_key) = make_certificate(directory.path(), "first");
    let (second, second_key) = make_certificate(directory.path(), "second");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (served, served_key) = (at("page.crt"), at("page.key"));
    fs::copy(&first, &served).unwrap();
    fs::copy(&first_key, &served_key).unwrap();
    start(&mut host, &["--tls-cert", &served, "--tls-key", &served_key]);
    host.sees("a desired state in force", |report| !report.status["revision"].is_null()).await;
    let ask = |certificate: &str, path: &str| -> Answer {
        curl(&host.netns, &format!("--cacert {certificate}"), &format!("https://127.0.0.1:8080{path}"))
    };
    let page = ask(&first, "/");
    assert_eq!((page.status, page.headers["strict-transport-security"].as_str()), (200, "max-age=31536000"));
    // Who speaks in the clear is not answered, and old protocols are not spoken.
    let plain = host.netns.try_sh("curl --silent --max-time 10 --noproxy '*' http://127.0.0.1:8080/");
    assert!(!plain.status.success());
    let s_client = |more: &str| {
        let script = format!("echo | openssl s_client -connect 127.0.0.1:8080 {more} 2>&1 || true");
        host.netns.sh(&script)
    };
    let greeted = s_client(&format!("-CAfile {first} -verify_return_error"));
    assert!(greeted.contains("Verify return code: 0 (ok)") && greeted.contains("TLSv1.3"), "{greeted}");
    assert!(s_client("-tls1_2").contains("TLSv1.2"));
    assert!(!s_client("-tls1_1").contains("CN = first") && !s_client("-tls1_1").contains("CN=first"));
    let serves = |name: &str| {
        let greeted = s_client("");
        greeted.contains(&format!("CN = {name}")) || greeted.contains(&format!("CN={name}"))
    };
    assert!(serves("first"));
    let metric = |certificate: &str, series: &str| -> f64 {
        let text = ask(certificate, "/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    };
    let expiry = metric(&first, "exitpool_tls_certificate_expiry_timestamp_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((29.0..31.0).contains(&((expiry - now) / 86_400.0)), "{expiry}");

    // A stream that runs: it gets the event of a commit that comes after the swap.
    let stream = directory.path().join("stream");
    let mut running = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", host.netns.pid()))
        .args(["curl", "--silent", "--no-buffer", "--noproxy", "*", "--max-time", "300", "--cacert", &first])
        .args(["--header", "Accept: text/event-stream", "--output"])
        .arg(&stream)
        .arg("https://127.0.0.1:8080/api/v1/events")
        .spawn()
        .unwrap();
    let streamed = || fs::read_to_string(&stream).unwrap_or_default();
    until("the stream begins", || streamed().contains("is in force"));

    // A key that does not fit: the old certificate is served on, and that is told.
    fs::copy(&second, &served).unwrap();
    until("the bad pair is told", || metric(&first, "exitpool_tls_certificate_stale") == 1.0);
    assert!(serves("first"));
    assert!(host.log().contains("does not fit the certificate"), "{}", host.log());
    fs::copy(&second_key, &served_key).unwrap();
    until("the second certificate is served", || serves("second"));
    assert_eq!(metric(&second, "exitpool_tls_certificate_stale"), 0.0);
    fs::write(&served, "nonsense").unwrap();
    until("nonsense is told", || metric(&second, "exitpool_tls_certificate_stale") == 1.0);
    assert!(serves("second"));

    let before = streamed().len();
    let commit = host.push(2, None);
    host.in_force(&commit, 2).await;
    until("the stream goes on", || streamed()[before..].contains("is in force"));
    assert!(running.try_wait().unwrap().is_none(), "the stream was cut off");
    running.kill().unwrap();
    running.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_connects_by_a_socket_in_the_file_system_and_says_for_whom() {
    let Some(mut host) = Host::new() else { return };
    // Others reach a file below here, as a proxy of another user does.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = directory.path().join("page.sock");
    let listen = format!("unix:{}", socket.display());
    start(&mut host, &["--listen", &listen, "--listen-mode", "666"]);
    host.sees("a desired state in force", |report| !report.status["revision"].is_null()).await;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    let ask =
        |more: &str| curl(&host.netns, &format!("--unix-socket {} {more}", socket.display()), "http://x/api/v1/status");
    assert_eq!(ask("").status, 200, "root is this host");
    assert_eq!(ask("--header 'X-Forwarded-For: 203.0.113.9'").status, 403);
    assert_eq!(ask("--header 'X-Forwarded-For: unknown'").brief(), (400, "forwarding".to_owned()));
    assert!(as_nobody(&host, &socket, "").starts_with("HTTP/1.1 400 "), "another user is not this host");
    assert!(as_nobody(&host, &socket, "--header 'X-Forwarded-For: 203.0.113.9'").starts_with("HTTP/1.1 403 "));
    let entry = "panel: [203.0.113.9]";
    let document = format!("{}access: {{{entry}}}\n", crate::remotes::host::document(1));
    let commit = host.kit.commit(&document, None);
    host.push_head();
    host.in_force(&commit, 1).await;
    let listed = as_nobody(&host, &socket, "--header 'X-Forwarded-For: 203.0.113.9'");
    assert!(listed.starts_with("HTTP/1.1 200 ") && listed.contains("\"address\":\"203.0.113.9\""), "{listed}");
    host.stop();
    assert!(!socket.exists(), "it goes with the daemon");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_managers_socket_is_taken_and_one_that_is_elsewhere_is_refused() {
    let Some(host) = Host::new() else { return };
    if !crate::support::is_installed("systemd-socket-activate") {
        crate::support::skip("there is no systemd-socket-activate in PATH (Debian: apt install systemd)");
        return;
    }
    let served = host.kit.at("served/pool.git").display().to_string();
    let activated = |address: &str| {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", host.netns.pid()))
            .args(["systemd-socket-activate", "--listen", address, "--fdname=page"])
            .args([env!("CARGO_BIN_EXE_exitpool"), "run", "--source", &served, "--listen", "127.0.0.1:8099"])
            .args(["--log-format", "text", "--torrc-defaults"])
            .arg(host.kit.at("torrc"))
            .arg("--state-dir")
            .arg(host.state_dir())
            .arg("--runtime-dir")
            .arg(host.runtime_dir())
            .stderr(fs::File::create(host.kit.at("log")).unwrap())
            .spawn()
            .unwrap()
    };
    let ask =
        "curl --silent --max-time 5 --retry 30 --retry-connrefused --retry-delay 1 --noproxy '*' http://127.0.0.1:";
    let mut daemon = activated("127.0.0.1:8099");
    let answer = host.netns.sh(&format!("{ask}8099/healthz"));
    assert_eq!(answer, "ok\n", "{}", host.log());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut daemon = activated("127.0.0.1:8100");
    let _ = host
        .netns
        .try_sh("curl --silent --max-time 5 --retry 10 --retry-connrefused --noproxy '*' http://127.0.0.1:8100/");
    until("it says where", || {
        host.log().contains("hands over 127.0.0.1:8100 (`page`), and --listen is 127.0.0.1:8099")
    });
    let _ = daemon.kill();
    daemon.wait().unwrap();
}

/// Asks by the socket as another user.
fn as_nobody(host: &Host, socket: &Path, more: &str) -> String {
    let script = format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups curl --silent --include --max-time 20 --unix-socket {} {more} http://x/api/v1/status",
        socket.display()
    );
    host.netns.sh(&script)
}
