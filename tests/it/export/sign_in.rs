//! Signing in at the page of the real daemon: a password, a second factor, and those who guess.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::consumer::{Answer, Ran, curl};
use super::daemon::{Exporting, crawler, refused};

const PASSWORD: &str = "correct horse battery";
const EXITPOOL: &str = env!("CARGO_BIN_EXE_exitpool");

/// Runs `exitpool passwd` with a password on its standard input.
pub fn passwd(password: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(EXITPOOL);
    let command = command.arg("passwd").args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

/// Asks by way of the proxy, as a client of it, with a name and a password.
fn ask(exporting: &Exporting, from: &str, user: &str, path: &str) -> Answer {
    let more = format!("--header 'X-Forwarded-For: {from}' --user '{user}'");
    curl(&exporting.host.netns, &more, path)
}

fn access(users: &str) -> String {
    format!("trusted_proxies: [127.0.0.1], panel: [203.0.113.0/24], sign_in: {{users: [{users}]}}")
}

/// The code of a second factor now, or some steps away, computed by another implementation.
fn code(secret_file: &str, steps: i64) -> String {
    let script = "import base64,hmac,hashlib,struct,sys\n\
        key=base64.b32decode(open(sys.argv[1]).read().strip())\n\
        digest=hmac.new(key,struct.pack('>Q',int(sys.argv[2])),hashlib.sha1).digest()\n\
        at=digest[19]&15\n\
        print('%06d'%((struct.unpack('>I',digest[at:at+4])[0]&0x7fffffff)%1000000))";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
    let step = i64::try_from(now).unwrap() + steps;
    let output = Command::new("python3").args(["-c", script, secret_file, &step.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_weak_password_is_not_hashed_and_a_good_one_is_a_valid_line_of_the_file() {
    for weak in ["", "hunter2", "password1234", "ada-likes-tulips", "123456789012"] {
        let ran = passwd(weak, &["--user", "ada"]);
        assert!(ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains("too weak"), "{weak}: {ran:?}");
        assert!(weak.is_empty() || !ran.stderr.contains(weak), "it is not repeated: {}", ran.stderr);
    }
    let (one, two) = (passwd(PASSWORD, &[]).done(), passwd(PASSWORD, &[]).done());
    assert_ne!(one, two, "each has a salt of its own");
    let document = |password: &str| {
        format!(
            "version: 1\nallow_empty: true\naccess: {{sign_in: {{users: [{{name: ada, password: '{password}'}}]}}}}\n"
        )
    };
    assert!(exitpool::desired::load("pool.yaml", document(&one).as_bytes()).is_ok());
    let refused = exitpool::desired::load("pool.yaml", document(PASSWORD).as_bytes()).unwrap_err();
    let said = format!("{refused:?}");
    assert!(said.contains("exitpool passwd") && !said.contains(PASSWORD), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_a_password_and_lists_and_health_do_not() {
    let Some(mut exporting) = Exporting::start().await else { return };
    let hash = passwd(PASSWORD, &["--user", "ada"]).done();
    exporting.commit(&access(&format!("{{name: ada, password: '{hash}'}}")), &crawler("")).await;
    let good = format!("ada:{PASSWORD}");
    for path in ["/", "/api/v1/status", "/api/v1/events", "/metrics", "/openapi.json", "/nothing"] {
        let nobody = curl(&exporting.host.netns, "", path);
        assert_eq!(nobody.brief(), refused(401, "missing"), "{path}: this host is asked as well");
        assert_eq!(nobody.headers["www-authenticate"], "Basic realm=\"exitpool\", charset=\"UTF-8\"");
        let status = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(ask(&exporting, "203.0.113.7", &good, path).status, status, "{path}");
        assert_eq!(ask(&exporting, "198.51.100.7", &good, path).status, 403, "{path}: not from there");
    }
    for path in ["/healthz", "/readyz"] {
        assert_ne!(curl(&exporting.host.netns, "", path).status, 401, "{path}");
    }
    let token = exporting.desk.issue("key", "crawler", &[]);
    assert_eq!(super::consumer::ask(&exporting.host.netns, &token, "/export/txt").status, 200);

    // Brute force, without a limit in the file: the sixth try is locked out, and a bystander is not.
    for number in 1..=5 {
        let answer = ask(&exporting, "203.0.113.66", &format!("ada:guess-{number}"), "/");
        assert_eq!(answer.brief(), refused(401, "invalid"), "{number}");
    }
    assert_eq!(ask(&exporting, "203.0.113.66", &good, "/").brief(), refused(429, "limited"));
    assert_eq!(ask(&exporting, "203.0.113.7", &good, "/").status, 200);
    let nobody = ask(&exporting, "203.0.113.8", &format!("eve:{PASSWORD}"), "/").body;
    let wrong = ask(&exporting, "203.0.113.8", "ada:wrong", "/").body;
    assert_eq!(nobody, wrong, "who exists is not told");

    // Another hash in the file ends what was remembered of the one before.
    let hash = passwd("tulips-7-under-snow", &[]).done();
    exporting.commit(&access(&format!("{{name: ada, password: '{hash}'}}")), &crawler("")).await;
    assert_eq!(ask(&exporting, "203.0.113.7", &good, "/").brief(), refused(401, "invalid"));
    let metrics = ask(&exporting, "203.0.113.7", "ada:tulips-7-under-snow", "/metrics").body;
    assert!(metrics.contains("auth_attempts_total{result=\"invalid\"} 8\n"), "{metrics}");

    exporting.host.stop();
    let log = exporting.host.log();
    for secret in [PASSWORD, "guess-", "tulips-7", &hash, "eve"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(log.contains("too many sign-ins were refused"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_behind_the_password_and_counts_once() {
    let Some(mut exporting) = Exporting::start().await else { return };
    let file = exporting.desk.at("totp");
    let made = passwd(PASSWORD, &["--user", "ada", "--totp", &file]);
    let (hash, secret) = (made.stdout.trim().to_owned(), fs::read_to_string(&file).unwrap());
    assert!(made.stderr.contains(&format!("otpauth://totp/exitpool:ada?secret={}", secret.trim())), "{}", made.stderr);
    assert_eq!(passwd(PASSWORD, &["--totp", &file]).code, 1, "a secret that is there is kept");
    let users = format!("{{name: ada, password: '{hash}', totp: {{file: '{file}'}}}}");
    exporting.commit(&access(&users), &crawler("")).await;
    assert_eq!(page(&exporting, "203.0.113.7", PASSWORD), 401, "without a code");
    // The test may stand at the end of a step: the one before and the one behind count as well.
    let (now, far) = (code(&file, 0), code(&file, 5));
    assert_eq!(page(&exporting, "203.0.113.7", &format!("{PASSWORD}{far}")), 401, "of another time");
    assert_eq!(page(&exporting, "203.0.113.7", &format!("{PASSWORD}{now}")), 200);
    assert_eq!(page(&exporting, "203.0.113.7", &format!("{PASSWORD}{now}")), 200, "a browser sends it again");
    exporting.restart();
    exporting.host.sees("a desired state in force", |report| !report.status["revision"].is_null()).await;
    assert_eq!(
        page(&exporting, "203.0.113.9", &format!("{PASSWORD}{now}")),
        401,
        "it counts once, for the next daemon as well"
    );
    // Somebody who has overheard the code alone, in front of another password of the same user, has nothing.
    assert_eq!(page(&exporting, "203.0.113.9", &format!("wrong-{now}")), 401);
    fs::write(&file, "short\n").unwrap();
    let next = code_of_text(&secret, 1);
    assert_eq!(
        page(&exporting, "203.0.113.9", &format!("{PASSWORD}{next}")),
        503,
        "it cannot be checked, so nobody is let in"
    );
    assert!(exporting.host.log().contains("second factor cannot be used"));
    assert!(!exporting.host.log().contains(secret.trim()));
}

/// Asks for the page as ada, and gives the status.
fn page(exporting: &Exporting, from: &str, shown: &str) -> u16 {
    ask(exporting, from, &format!("ada:{shown}"), "/").status
}

/// The code of a secret that stands in no file any more.
fn code_of_text(secret: &str, steps: i64) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), secret).unwrap();
    code(&file.path().display().to_string(), steps)
}
