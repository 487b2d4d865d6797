//! Mail, by real servers of every kind, and by some that misbehave. What is told is a certificate that runs out.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::desk::{Desk, FIRES, RESTS};
use crate::remotes::servers::{Server, certify};
use crate::support::{eventually, skip};

pub const SERVER: &str = include_str!("smtpd.py");
/// Debian's, for which python3-aiosmtpd is installed.
pub const PYTHON: &str = "/usr/bin/python3";

/// Whether a real mail server can be had here; says so where it cannot.
pub fn has_aiosmtpd() -> bool {
    let has = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    let has = has.is_ok_and(|status| status.success());
    if !has {
        skip("there is no aiosmtpd (Debian: apt install python3-aiosmtpd)");
    }
    has
}

/// A mail server.
struct Mailer {
    child: Child,
    port: u16,
    out: std::path::PathBuf,
}

impl Mailer {
    /// Starts one that speaks TLS so, and refuses so many messages for now; with a password, where it is encrypted.
    fn start(desk: &Desk, tls: &str, refusals: u32) -> Option<Self> {
        if !has_aiosmtpd() {
            return None;
        }
        let out = desk.at(&format!("mails-{tls}-{refusals}"));
        let script = desk.file("smtpd.py", SERVER);
        let user = if tls == "clear" { "" } else { "pool" };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", desk.host.netns.pid())).args([PYTHON, &script]).arg(&out);
        command.arg(tls).args([desk.at("server.crt"), desk.at("server.key")]).args([user, "correct-horse"]);
        let log = fs::File::create(desk.at(&format!("smtpd-{tls}.log"))).unwrap();
        let mut child = command.arg(refusals.to_string()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, port: line.trim().parse().unwrap(), out })
    }

    fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn wait(&self, number: usize) -> Vec<Value> {
        let came = eventually(|| Some(self.mails()).filter(|mails| mails.len() >= number));
        came.unwrap_or_else(|| panic!("{number} mails did not come: {:?}", self.mails()))
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A channel by mail; `more` is what it has beside the server.
fn channel(desk: &Desk, name: &str, server: &str, more: &str) -> String {
    let ca = desk.at("believed.pem").display().to_string();
    let to = "[ops@example.org, night@example.org]";
    format!("{{name: {name}, ca_file: {ca}, email: {{server: '{server}', from: pool@example.net, to: {to}{more}}}}}")
}

/// A mail's text, with its lines as they were before they were folded for the way.
fn content(mail: &Value) -> String {
    mail["content"].as_str().unwrap().replace("=\r\n", "").replace("\r\n ", " ").replace("\r\n", "\n")
}

#[test]
fn a_certificate_that_runs_out_is_told_by_mail_whatever_tls_the_server_speaks() {
    let Some(mut desk) = Desk::new() else { return };
    certify(&desk.host.kit, 20);
    // The servers keep this certificate, whatever stands in its file later.
    fs::copy(desk.at("ca.pem"), desk.at("believed.pem")).unwrap();
    let password = desk.file("smtp.password", "correct-horse\n");
    let login = format!(", username: pool, password: {{file: {password}}}");
    let Some(clear) = Mailer::start(&desk, "clear", 0) else { return };
    let Some(later) = Mailer::start(&desk, "clear", 1) else { return };
    let (Some(starttls), Some(tls)) = (Mailer::start(&desk, "starttls", 0), Mailer::start(&desk, "tls", 0)) else {
        return;
    };
    let channels = [
        channel(&desk, "clear", &format!("smtp://127.0.0.1:{}", clear.port), ", tls: off"),
        channel(&desk, "later", &format!("smtp://127.0.0.1:{}", later.port), ", tls: off"),
        channel(&desk, "starttls", &format!("smtp://127.0.0.1:{}", starttls.port), &login),
        channel(&desk, "tls", &format!("smtps://127.0.0.1:{}", tls.port), &login),
        // It asks for TLS, and the server has none: nothing is sent.
        channel(&desk, "strict", &format!("smtp://127.0.0.1:{}", clear.port), ""),
    ]
    .join(", ");
    let rule = format!("certificate_expiry: {{within: 30d, files: [{}]}}", desk.at("server.crt").display());
    desk.desire(&channels, &rule);
    desk.start();

    let firsts = [&clear, &later, &starttls, &tls].map(|server| server.wait(1).remove(0));
    for (first, (tls, user)) in
        firsts.iter().zip([(false, None), (false, None), (true, Some("pool")), (true, Some("pool"))])
    {
        assert_eq!(first["to"], serde_json::json!(["ops@example.org", "night@example.org"]));
        assert_eq!((first["tls"].as_bool(), first["user"].as_str()), (Some(tls), user), "{first}");
        let text = content(first);
        assert!(text.contains("Subject: [exitpool] WARNING: the certificate "), "{text}");
        assert!(text.contains("Content-Type: text/plain") && text.contains("Content-Type: text/html"), "{text}");
        assert!(text.contains("runs out in 19 days") || text.contains("runs out in 20 days"), "{text}");
    }
    let strict = desk.says("no STARTTLS", |alerts| alerts["channels"][4]["failing"].is_string());
    assert!(strict["channels"][4]["failing"].as_str().unwrap().contains("has no STARTTLS"), "{strict}");

    // It is renewed; the file is read again with the next revision, or within a minute.
    certify(&desk.host.kit, 400);
    for (server, first) in [&clear, &later, &starttls, &tls].into_iter().zip(&firsts) {
        let over = server.wait(2).remove(1);
        let id =
            |mail: &Value| content(mail).lines().find_map(|line| Some(line.strip_prefix("Message-ID: ")?.to_owned()));
        let refers = format!("References: {}", id(first).unwrap());
        assert!(content(&over).contains("Subject: [exitpool] RESOLVED: "), "{over}");
        assert!(content(&over).contains(&refers), "{over}\n{refers}");
    }
    assert!(!desk.host.log().contains("correct-horse"));
}

/// Takes mail, after a greeting of its own.
fn greeting(
    greeting: &'static str,
    kept: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
) -> impl Fn(TcpStream) + Send + Sync {
    move |stream: TcpStream| {
        let mut reader = BufReader::new(&stream);
        let say = |text: &str| write!(&stream, "{text}\r\n").unwrap_or_default();
        say(greeting);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
            match line.get(..4).unwrap_or_default() {
                "DATA" => {
                    say("354 go on");
                    let mut text = String::new();
                    while !text.ends_with("\r\n.\r\n") && reader.read_line(&mut text).is_ok_and(|length| length > 0) {}
                    kept.lock().unwrap().push(text);
                    say("250 kept");
                }
                "QUIT" => return say("221 bye"),
                _ => say("250 good"),
            }
            line.clear();
        }
    }
}

#[test]
fn a_server_that_greets_and_falls_silent_holds_nobody_up_and_odd_greetings_are_understood() {
    let Some(mut desk) = Desk::new() else { return };
    let kept = || std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let listener = || desk.host.listen();
    let silent = Server::new(listener(), |mut stream| {
        let _ = write!(stream, "220 mail.test\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (many, blank) = (kept(), kept());
    let many_lines =
        Server::new(listener(), greeting("220-mail.test\r\n220-no spam\r\n220 ready", std::sync::Arc::clone(&many)));
    let blank_one = Server::new(listener(), greeting("220 ", std::sync::Arc::clone(&blank)));
    certify(&desk.host.kit, 2);
    fs::copy(desk.at("ca.pem"), desk.at("believed.pem")).unwrap();
    let channel = |name: &str, server: &Server| {
        channel(&desk, name, &format!("smtp://127.0.0.1:{}", server.port()), ", tls: off")
    };
    let channels = [channel("silent", &silent), channel("many", &many_lines), channel("blank", &blank_one)].join(", ");
    desk.desire(&channels, FIRES);
    desk.start();

    let came = |kept: &std::sync::Mutex<Vec<String>>, number| {
        eventually(|| Some(kept.lock().unwrap().clone()).filter(|kept| kept.len() >= number)).is_some()
    };
    assert!(came(&many, 1) && came(&blank, 1), "{}", desk.alerts());
    let said = desk.says("it is too late", |alerts| alerts["channels"][0]["failing"].is_string());
    assert_eq!(said["channels"][0]["failing"], "no answer within 30 s");
    assert_eq!(said["channels"][0]["waiting"], 1, "it is kept");
    desk.desire(&channels, RESTS);
    assert!(came(&many, 2) && came(&blank, 2), "and the others hear that it is over: {}", desk.alerts());
}
