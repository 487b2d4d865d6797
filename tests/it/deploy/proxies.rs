//! nginx and Caddy as `deploy/` sets them up, before the real daemon: TLS, streams, addresses, limits, refusals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::shipped;
use crate::export::consumer::{Answer, curl};
use crate::export::daemon::{Exporting, refused};
use crate::export::tls::{make_certificate, until};
use crate::netns::Netns;
use crate::remotes::host::PATIENCE;
use crate::support::{is_installed, skip};

const NAME: &str = "pool.example.org";
/// Where the examples have the daemon listen.
const SOCKET: &str = "/run/exitpool-page.sock";
/// The user that proxies run as here.
const PROXY_USER: &str = "www-data";
/// Clients: one that may see the page and have lists, one that may have lists alone, and one that floods.
const ADA: &str = "10.77.0.2";
const BOB: &str = "10.77.0.3";
const EVE: &str = "10.77.0.4";

/// Something of a text becomes something else; it has to be there.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not there any more");
    text.replace(from, to)
}

/// A place where both proxies find what they need: a certificate, and the daemon's socket.
struct Place {
    directory: TempDir,
    certificate: String,
    key: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (certificate, key) = make_certificate(directory.path(), "page");
        Self { directory, certificate, key }
    }

    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A configuration that we ship, with this place's paths.
    fn configured(&self, file: &str) -> String {
        let paths = [
            (SOCKET, self.at("page.sock")),
            ("/etc/exitpool/page.crt", self.certificate.clone()),
            ("/etc/exitpool/page.key", self.key.clone()),
        ];
        paths.into_iter().fold(shipped(file), |text, (from, to)| replace(&text, from, &to))
    }

    /// What a proxy has written down about its work.
    fn logs(&self) -> String {
        let entries = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = entries.filter(|path| path.extension().is_some_and(|it| it == "log"));
        logs.map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}

/// A proxy that runs until this is dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not SIGKILL: nginx's workers would stay.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program in the namespace, with its output in a log.
fn start(netns: &Netns, place: &Place, name: &str, command: &[&str]) -> Proxy {
    let log = fs::File::create(place.at(&format!("{name}.output.log"))).unwrap();
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--net=/proc/{}/ns/net", netns.pid())).args(command);
    nsenter.env("HOME", place.at("home")).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Proxy(nsenter.spawn().unwrap())
}

fn nginx(netns: &Netns, place: &Place) -> Proxy {
    let site = replace(&place.configured("nginx/exitpool.conf"), "/var/log/nginx", &place.at(""));
    fs::write(place.at("exitpool.conf"), site).unwrap();
    let main = format!(
        "user {PROXY_USER};\ndaemon off;\nworker_processes 1;\npid {0}/nginx.pid;\nerror_log {0}/main.log;\nevents {{}}\n\
         http {{\n  client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n  fastcgi_temp_path {0}/fastcgi;\n\
         \x20 uwsgi_temp_path {0}/uwsgi;\n  scgi_temp_path {0}/scgi;\n  include {0}/exitpool.conf;\n}}\n",
        place.at("")
    );
    let file = place.at("nginx.conf");
    fs::write(&file, main).unwrap();
    let checked = netns.try_sh(&format!("/usr/sbin/nginx -t -c {file}"));
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && !said.contains("[warn]"), "{said}");
    start(netns, place, "nginx", &["/usr/sbin/nginx", "-c", &file])
}

fn caddy(netns: &Netns, place: &Place) -> Proxy {
    let site = replace(&place.configured("caddy/Caddyfile"), "# tls ", "tls ");
    let (file, home) = (place.at("Caddyfile"), place.at("home"));
    fs::write(&file, site).unwrap();
    fs::create_dir(&home).unwrap();
    let script = format!("chown {PROXY_USER}:{PROXY_USER} {home} {}; caddy validate --config {file} 2>&1", place.key);
    assert!(netns.sh(&script).contains("Valid configuration"));
    // As its unit has it: a user of its own that may have port 443.
    let user = format!("--reuid={PROXY_USER}");
    let group = format!("--regid={PROXY_USER}");
    let caps = ["--clear-groups", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"];
    let command = [&["setpriv", &user, &group][..], &caps, &["caddy", "run", "--config", &file]].concat();
    start(netns, place, "caddy", &command)
}

/// A proxy's visitors.
struct Visit<'a> {
    exporting: &'a Exporting,
    place: &'a Place,
}

impl Visit<'_> {
    fn arguments(&self, from: &str) -> String {
        let resolve = format!("--resolve {NAME}:443:10.77.0.1 --resolve {NAME}:80:10.77.0.1");
        format!("--interface {from} {resolve} --cacert {}", self.place.certificate)
    }

    /// Asks by TLS, from an address, with more arguments of curl.
    fn ask(&self, from: &str, more: &str, path: &str) -> Answer {
        let more = format!("{} {more}", self.arguments(from));
        curl(&self.exporting.host.netns, &more, &format!("https://{NAME}{path}"))
    }

    /// Pages, refusals and addresses are the daemon's own, with TLS around them.
    fn sees_the_page(&self) {
        let page = self.ask(ADA, "", "/");
        assert_eq!((page.status, page.headers["strict-transport-security"].as_str()), (200, "max-age=31536000"));
        assert!(page.headers.contains_key("content-security-policy"), "{:?}", page.headers);
        let status: Value = serde_json::from_str(&self.ask(ADA, "", "/api/v1/status").body).unwrap();
        assert_eq!(status["client"]["address"], ADA);
        let missing = self.ask(ADA, "", "/nothing");
        assert_eq!(missing.brief().0, 404);
        assert_eq!(missing.headers["strict-transport-security"], "max-age=31536000");
        let posted = self.ask(ADA, "--request POST", "/export/txt");
        assert_eq!((posted.status, posted.headers["allow"].as_str()), (405, "GET, HEAD"));
        let plain = curl(&self.exporting.host.netns, &self.arguments(ADA), &format!("http://{NAME}/?pool=us"));
        assert_eq!((plain.status, plain.headers["location"].as_str()), (308, "https://pool.example.org/?pool=us"));
        let version = format!("curl --silent {} -o /dev/null -w '%{{http_version}}'", self.arguments(ADA));
        assert_eq!(self.exporting.host.netns.sh(&format!("{version} https://{NAME}/")), "2");
    }

    /// What a client writes about itself counts for nothing.
    fn believes_nobody(&self) {
        for more in ["", "--header 'X-Forwarded-For: 10.77.0.2'", "--header 'Forwarded: for=10.77.0.2'"] {
            let answer = self.ask(BOB, more, "/");
            let said = answer.problem();
            assert!(answer.status == 403 && said.1.contains("10.77.0.3 may not see this"), "{more}: {said:?}");
        }
        let bound = self.exporting.desk.issue("key", "crawler", &["--bind", ADA]);
        let list = |from: &str, more: &str| {
            self.ask(from, &format!("{more} --header 'Authorization: Bearer {bound}'"), "/export/txt?state=any")
        };
        assert_eq!(list(ADA, "").body.lines().count(), 2);
        for more in ["", "--header 'X-Forwarded-For: 10.77.0.2'"] {
            assert_eq!(list(BOB, more).status, 403, "it is bound to the client and not to the proxy");
        }
        assert_eq!(self.ask(BOB, "", "/export/txt").brief(), refused(401, "missing"));
    }

    /// Many requests at once: what was said to those that were refused.
    fn flood(&self, from: &str) -> String {
        let curl = "curl --silent --parallel --parallel-max 30 --max-time 60";
        let script =
            format!("{curl} {} --write-out '%{{http_code}}\\n' 'https://{NAME}/?[1-300]'", self.arguments(from));
        self.exporting.host.netns.sh(&script)
    }

    /// A proxy that has just been started, and cannot reach the daemon, says so; no log has the token in the query.
    fn waits_for_the_daemon(&self, start: impl FnOnce() -> Proxy) -> Proxy {
        let token = self.exporting.desk.issue("key", "crawler", &[]);
        let path = format!("/export/txt?state=any&token={token}");
        let (socket, away) = (self.place.at("page.sock"), self.place.at("away.sock"));
        fs::rename(&socket, &away).unwrap();
        let proxy = start();
        let knock = format!("curl --silent {} -o /dev/null https://{NAME}/healthz", self.arguments(ADA));
        until("the proxy listens", || self.exporting.host.netns.try_sh(&knock).status.success());
        let answer = self.ask(ADA, "", &path);
        assert_eq!((answer.status, answer.headers["strict-transport-security"].as_str()), (502, "max-age=31536000"));
        fs::rename(&away, &socket).unwrap();
        assert_eq!(self.ask(ADA, "", &path).status, 200);
        let logs = self.place.logs();
        assert!(!logs.contains(&token[..40]) && logs.contains("/export/txt"), "{logs}");
        proxy
    }
}

/// Streams events to a file, from one who may see them.
fn stream(visit: &Visit<'_>, file: &Path) -> Proxy {
    let script = format!(
        "exec curl --silent --no-buffer --max-time 300 --header 'Accept: text/event-stream' {} -o {}",
        visit.arguments(ADA),
        file.display()
    );
    let script = format!("{script} https://{NAME}/api/v1/events");
    let netns = format!("--net=/proc/{}/ns/net", visit.exporting.host.netns.pid());
    Proxy(Command::new("nsenter").args([&netns, "sh", "-c", &script]).spawn().unwrap())
}

/// A desired state that lets each client ask so often.
async fn commit(exporting: &mut Exporting, per_minute: u32) {
    let access = format!("panel: [{ADA}], rate_limit: {{per_minute: {per_minute}}}");
    let grants = format!("  grants: [{{name: crawler, pools: [us], max_ttl: 2h, allow: ['{ADA}', '{BOB}']}}]");
    exporting.commit(&access, &grants).await;
}

/// An event that comes while the stream is open is there while it is open.
async fn events_arrive(exporting: &mut Exporting, place: &Place, per_minute: u32) {
    let file = PathBuf::from(place.at("stream"));
    let running = stream(&Visit { exporting, place }, &file);
    let streamed = || fs::read_to_string(&file).unwrap_or_default();
    until("the stream begins", || streamed().contains("is in force"));
    let before = streamed().len();
    commit(exporting, per_minute).await;
    until("the event of a commit arrives", || streamed()[before..].contains("is in force"));
    drop(running);
    fs::remove_file(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_and_caddy_stand_before_the_page_as_their_examples_say() {
    if let Some(missing) = ["nginx", "caddy"].into_iter().find(|it| !is_installed(it)) {
        return skip(&format!("{missing} is not installed"));
    }
    let place = Place::new();
    let listen = format!("unix:{}", place.at("page.sock"));
    let Some(mut exporting) = Exporting::start_at(&["--listen", &listen, "--listen-mode", "660"]).await else { return };
    for address in [BOB, EVE] {
        exporting.host.netns.sh(&format!("ip address add {address}/32 dev lo"));
    }
    exporting.host.netns.sh(&format!("chgrp {PROXY_USER} {}", place.at("page.sock")));
    commit(&mut exporting, 90).await;
    for (name, begin, per_minute) in [("nginx", nginx as fn(&Netns, &Place) -> Proxy, 91), ("caddy", caddy, 92)] {
        let visit = Visit { exporting: &exporting, place: &place };
        let proxy = visit.waits_for_the_daemon(|| begin(&exporting.host.netns, &place));
        visit.sees_the_page();
        visit.believes_nobody();
        events_arrive(&mut exporting, &place, per_minute).await;
        let said = Visit { exporting: &exporting, place: &place }.flood(EVE);
        assert!(said.contains("429"), "{name}: {said}");
        assert_eq!(said.contains("wait a second"), name == "nginx", "Caddy leaves it to the daemon: {said}");
        drop(proxy);
    }
}
