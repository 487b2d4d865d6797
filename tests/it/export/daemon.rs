//! The real daemon, following real commits: what becomes of a token that was good.

use std::fs;
use std::path::Path;

use exitpool::audit;
use serde_json::Value;

use super::consumer::{Answer, Desk, ask, ask_from, changed, curl, id};
use crate::remotes::host::Host;

const FORMATS: [&str; 6] = ["txt", "csv", "json", "proxychains", "pac", "curl"];

/// A host without a Tor network: its nodes are there and not ready.
pub struct Exporting {
    pub host: Host,
    pub desk: Desk,
    key: String,
}

impl Exporting {
    /// Starts a daemon on all addresses, with a grant `crawler`; `None` where that cannot be.
    pub async fn start() -> Option<Self> {
        Self::start_at(&["--listen", "[::]:8080"]).await
    }

    /// The same, listening as these arguments say.
    pub async fn start_at(listen: &[&str]) -> Option<Self> {
        let mut host = Host::new()?;
        let desk = Desk::new();
        let key = desk.keygen("key");
        for address in ["10.77.0.1/32", "10.77.0.2/32", "2001:db8:77::1/128", "2001:db8:77::2/128"] {
            host.netns.sh(&format!("ip address add {address} dev lo nodad"));
        }
        host.arguments = listen.iter().map(|it| (*it).to_owned()).collect();
        let served = host.kit.at("served/pool.git").display().to_string();
        host.start_believing(&served, &["--poll-every", "1s"]);
        let mut exporting = Self { host, desk, key };
        exporting.commit("", &crawler("")).await;
        Some(exporting)
    }

    /// Stops the daemon and starts it again.
    pub fn restart(&mut self) {
        self.host.stop();
        let served = self.host.kit.at("served/pool.git").display().to_string();
        self.host.start_believing(&served, &["--poll-every", "1s"]);
    }

    /// Commits what `access` and `exports` say, and waits until it is in force.
    pub async fn commit(&mut self, access: &str, exports: &str) {
        let document = format!(
            "version: 1\nfirewall: {{driver: none}}\npools:\n\
             \x20 - {{name: us, size: 2, countries: [us], socks_port: 30000}}\n\
             \x20 - {{name: eu, size: 1, socks_port: 31000}}\n\
             access: {{{access}}}\n\
             exports:\n  trusted_keys: ['{}']\n{exports}\n",
            self.key
        );
        let commit = self.host.kit.commit(&document, None);
        self.host.push_head();
        self.host.in_force(&commit, 3).await;
    }

    fn ask(&self, token: &str, path: &str) -> Answer {
        ask(&self.host.netns, token, path)
    }

    fn metric(&self, series: &str) -> f64 {
        self.host.metric(series)
    }
}

/// A grant for the pool `us`, with more fields.
pub fn crawler(more: &str) -> String {
    format!("  grants: [{{name: crawler, pools: [us], max_ttl: 2h{more}}}]")
}

pub fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_downloads_until_a_commit_takes_it_away() {
    let Some(mut exporting) = Exporting::start().await else { return };
    let token = exporting.desk.issue("key", "crawler", &[]);

    for format in FORMATS {
        let answer = exporting.ask(&token, &format!("/export/{format}?state=any&shuffle=monday"));
        assert_eq!(answer.status, 200, "{format}: {}", answer.body);
        assert!(answer.body.contains("127.0.0.1") && answer.body.contains("3000"), "{format}: {}", answer.body);
        assert!(!answer.body.contains("31000"), "{format} has a pool that the grant has not: {}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["exitpool-seed"], "monday");
        assert_eq!(exporting.metric(&format!("export_downloads_total{{format=\"{format}\"}}")), 1.0);
    }
    let head = curl(
        &exporting.host.netns,
        &format!("--head --header 'Authorization: Bearer {token}'"),
        "/export/txt?state=any",
    );
    assert_eq!((head.status, head.body.as_str(), head.headers["content-length"].as_str()), (200, "", "52"));
    assert_eq!(exporting.metric("export_downloads_total{format=\"txt\"}"), 1.0, "HEAD downloads nothing");
    let document: Value = serde_json::from_str(&exporting.ask(&token, "/export/json?state=any").body).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../../schema/export.v1.schema.json")).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&document), "{document}");
    let names: Vec<&Value> = document["nodes"].as_array().unwrap().iter().map(|node| &node["node"]).collect();
    assert_eq!(names, ["us-0", "us-1"]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = curl(&exporting.host.netns, &format!("--request {method}"), "/export/txt");
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET, HEAD"), "{method}");
    }
    let unknown = curl(&exporting.host.netns, "", "/export/xml");
    assert_eq!(unknown.brief(), refused(404, "no_such_format"));

    // No node is ready: data is empty, and what a client would take for leave to go without is refused.
    assert_eq!(exporting.ask(&token, "/export/txt").body, "");
    for format in ["proxychains", "pac", "curl"] {
        let answer = exporting.ask(&token, &format!("/export/{format}"));
        assert_eq!(answer.brief(), refused(503, "unanswered"), "{format}");
        assert!(answer.headers.contains_key("retry-after"));
    }

    // Revocation is a commit; another token of the same grant goes on.
    let second = exporting.desk.issue("key", "crawler", &[]);
    assert_eq!(exporting.ask(&second, "/export/txt").status, 200);
    assert_eq!(exporting.metric("export_tokens_active"), 2.0);
    exporting.commit("", &format!("{}\n  revoked: ['{}']", crawler(""), id(&token))).await;
    let answer = exporting.ask(&token, "/export/txt");
    assert_eq!(answer.brief(), refused(401, "revoked"));
    assert!(answer.headers["www-authenticate"].starts_with("Bearer realm=\"exitpool\", error=\"invalid_token\""));
    assert_eq!(exporting.ask(&second, "/export/txt").status, 200);
    assert_eq!(exporting.metric("export_tokens_active"), 1.0);
    // And so is the end of a grant.
    exporting.commit("", "  grants: []").await;
    assert_eq!(exporting.ask(&second, "/export/txt").brief(), refused(401, "no_grant"));
    assert_eq!(exporting.metric("auth_attempts_total{result=\"no_grant\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refused_for_what_it_says_and_told_why_only_if_it_is_signed() {
    let Some(mut exporting) = Exporting::start().await else { return };
    exporting.commit("", &crawler(", formats: [txt, csv]")).await;
    let issue = |more: &[&str]| exporting.desk.issue("key", "crawler", more);
    exporting.desk.keygen("stranger");

    let nothing = curl(&exporting.host.netns, "", "/export/txt");
    assert_eq!(nothing.brief(), refused(401, "missing"));
    assert_eq!(nothing.headers["www-authenticate"], "Bearer realm=\"exitpool\"");

    // Whatever is not signed by a trusted key gets one and the same answer.
    let good = issue(&[]);
    let stranger = exporting.desk.issue("stranger", "crawler", &[]);
    let expired_stranger = exporting.desk.issue("stranger", "nothing", &["--not-before", "5h"]);
    let flipped = changed(&good, 60);
    let mut answers: Vec<String> =
        ["nonsense", "v4.public.AAAA", &stranger, &expired_stranger, &flipped, &good[..good.len() - 9]]
            .iter()
            .map(|token| {
                let answer = exporting.ask(token, "/export/txt");
                assert_eq!(answer.brief(), refused(401, "invalid"));
                format!("{} {}", answer.headers["www-authenticate"], answer.body)
            })
            .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");

    let table: [(&[&str], &str, u16, &str); 8] = [
        (&["--ttl", "121m"], "/export/txt", 401, "too_long"),
        (&["--not-before", "3m"], "/export/txt", 401, "not_yet_valid"),
        (&["--bind", "203.0.113.0/24"], "/export/txt", 403, "wrong_address"),
        (&["--format", "txt"], "/export/csv", 403, "not_granted"),
        (&[], "/export/json", 403, "not_granted"),
        (&[], "/export/txt?pool=eu", 403, "not_granted"),
        (&["--pool", "eu"], "/export/txt", 403, "not_granted"),
        (&[], "/export/txt?limit=no", 400, "unanswered"),
    ];
    for (more, path, status, reason) in table {
        assert_eq!(exporting.ask(&issue(more), path).brief(), refused(status, reason), "{more:?} {path}");
    }
    // A clock that is ahead by less than a minute is no reason to refuse.
    assert_eq!(exporting.ask(&issue(&["--not-before", "30s"]), "/export/txt").status, 200);
    let short = issue(&["--ttl", "1s"]);
    let end = std::time::Instant::now() + crate::remotes::host::PATIENCE;
    while exporting.ask(&short, "/export/txt").brief() != refused(401, "expired") {
        assert!(std::time::Instant::now() < end, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    // Bound to an address, to a network, v4 and v6; the server listens on one socket for both.
    for (bind, from, status) in [
        ("10.77.0.2", "10.77.0.2", 200),
        ("10.77.0.3", "10.77.0.2", 403),
        ("10.77.0.0/30", "10.77.0.2", 200),
        ("::ffff:10.77.0.0/126", "10.77.0.2", 200),
        ("2001:db8:77::2", "2001:db8:77::2", 200),
        ("2001:db8:77::3", "2001:db8:77::2", 403),
        ("2001:db8:77::/64", "2001:db8:77::2", 200),
        ("0.0.0.0/0", "2001:db8:77::2", 403),
    ] {
        let answer = ask_from(&exporting.host.netns, from, &issue(&["--bind", bind]), "/export/txt");
        assert_eq!(answer.status, status, "bound to {bind}, from {from}: {}", answer.body);
    }
    // So is the grant.
    exporting.commit("", &crawler(", allow: [10.77.0.2, '2001:db8:77::2']")).await;
    let token = exporting.desk.issue("key", "crawler", &[]);
    for (from, status) in [("10.77.0.2", 200), ("10.77.0.1", 403), ("2001:db8:77::2", 200), ("2001:db8:77::1", 403)] {
        assert_eq!(ask_from(&exporting.host.netns, from, &token, "/export/txt").status, status, "{from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_overlap_while_one_replaces_another() {
    let Some(mut exporting) = Exporting::start().await else { return };
    let (old, new) = (exporting.key.clone(), exporting.desk.keygen("next"));
    let by_old = exporting.desk.issue("key", "crawler", &[]);
    let by_new = exporting.desk.issue("next", "crawler", &[]);
    let statuses = |exporting: &Exporting| [&by_old, &by_new].map(|token| exporting.ask(token, "/export/txt").status);
    assert_eq!(statuses(&exporting), [200, 401]);
    exporting.key = format!("{old}', '{new}");
    exporting.commit("", &crawler("")).await;
    assert_eq!(statuses(&exporting), [200, 200]);
    exporting.key = new;
    exporting.commit("", &crawler("")).await;
    assert_eq!(statuses(&exporting), [401, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_limits_and_lockouts_are_kept() {
    let Some(mut exporting) = Exporting::start().await else { return };
    exporting.commit("", &crawler(", limit: 1, quota: {downloads: 2, per: 1h}")).await;
    let (one, two) = (exporting.desk.issue("key", "crawler", &[]), exporting.desk.issue("key", "crawler", &[]));
    let list = exporting.ask(&one, "/export/txt?state=any&limit=9");
    assert!(list.body.ends_with(":30000\n"), "{}", list.body);
    assert_eq!(list.body.lines().count(), 1, "the grant's limit");
    assert_eq!(exporting.ask(&two, "/export/csv").status, 200);
    for token in [&one, &two] {
        let answer = exporting.ask(token, "/export/txt");
        assert_eq!(answer.brief(), refused(429, "quota_used"));
        let wait: u64 = answer.headers["retry-after"].parse().unwrap();
        assert!((3_000..=3_600).contains(&wait), "{wait}");
    }
    exporting.restart();
    exporting.host.sees("a desired state in force", |report| !report.status["revision"].is_null()).await;
    assert_eq!(exporting.ask(&one, "/export/txt").brief(), refused(429, "quota_used"), "a restart brings no new one");

    // From here on as the limits say; a caller is an address.
    let limit = "rate_limit: {per_minute: 30, failed_per_minute: 20, lockout_after: 4, lockout_for: 1h}";
    exporting.commit(limit, &crawler("")).await;
    let bad = |from: &str| ask_from(&exporting.host.netns, from, "nonsense", "/export/txt").brief();
    for _ in 0..3 {
        assert_eq!(bad("10.77.0.2"), refused(401, "invalid"));
    }
    let good = |from: &str| ask_from(&exporting.host.netns, from, &one, "/export/txt");
    assert_eq!(good("10.77.0.2").status, 200, "a good one ends the row");
    for _ in 0..4 {
        assert_eq!(bad("10.77.0.2"), refused(401, "invalid"));
    }
    let locked = good("10.77.0.2");
    assert_eq!(locked.brief(), refused(429, "limited"), "a good one does not help now");
    let wait: u64 = locked.headers["retry-after"].parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(good("10.77.0.1").status, 200, "another address");
    assert_eq!(exporting.host.log().matches("locked out for").count(), 1, "{}", exporting.host.log());
    // A network of 64 bits is one caller.
    for _ in 0..4 {
        assert_eq!(bad("2001:db8:77::2"), refused(401, "invalid"));
    }
    assert_eq!(good("2001:db8:77::1").brief(), refused(429, "limited"));

    let limited = (0..40).map(|_| good("10.77.0.1")).find(|answer| answer.status == 429).expect("30 a minute");
    assert_eq!(limited.problem().0, "limited");
    let wait: u64 = limited.headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(exporting.metric("auth_attempts_total{result=\"limited\"}") >= 2.0);
    for _ in 0..40 {
        assert_eq!(curl(&exporting.host.netns, "", "/healthz").status, 200, "this host asks as often as it likes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_believed_where_it_is_declared() {
    let Some(mut exporting) = Exporting::start().await else { return };
    let token = exporting.desk.issue("key", "crawler", &["--bind", "203.0.113.9"]);
    let via = |header: &str, path: &str| {
        let more = format!("--header 'Authorization: Bearer {token}' --header '{header}'");
        curl(&exporting.host.netns, &more, path)
    };
    let spoofed = via("X-Forwarded-For: 203.0.113.9", "/export/txt");
    assert_eq!(spoofed.brief(), refused(403, "wrong_address"), "nobody is believed unasked");
    exporting.commit("trusted_proxies: [127.0.0.1], panel: [203.0.113.0/24]", &crawler("")).await;
    let via = |header: &str, path: &str| {
        let more = format!("--header 'Authorization: Bearer {token}' --header '{header}'");
        curl(&exporting.host.netns, &more, path)
    };
    assert_eq!(via("X-Forwarded-For: 203.0.113.9", "/export/txt").status, 200);
    assert_eq!(via("Forwarded: for=203.0.113.9;proto=https", "/export/txt").status, 200);
    // The last hop counts, whatever the client has put before it.
    assert_eq!(via("X-Forwarded-For: 203.0.113.9, 203.0.113.10", "/export/txt").brief(), refused(403, "wrong_address"));
    assert_eq!(via("X-Forwarded-For: 127.0.0.1, 203.0.113.9", "/export/txt").status, 200);
    assert_eq!(via("X-Forwarded-For: unknown", "/export/txt").brief(), refused(400, "forwarding"));
    // Who is behind the proxy is not this host: the page, too, asks who it is.
    assert_eq!(via("X-Forwarded-For: 203.0.113.9", "/metrics").status, 200);
    assert_eq!(via("X-Forwarded-For: 198.51.100.7", "/metrics").status, 403);
    assert_eq!(via("X-Forwarded-For: 198.51.100.7", "/export/txt").brief(), refused(403, "wrong_address"));
}

/// Everything below a directory, as bytes.
fn contents(directory: &Path, found: &mut Vec<u8>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            contents(&entry, found);
        } else if entry.is_file() {
            found.extend(fs::read(&entry).unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_written_down_nowhere_and_its_use_is() {
    let Some(mut exporting) = Exporting::start().await else { return };
    exporting.host.stop();
    // All that there is, but what the watcher of files says of the log itself.
    exporting.host.environment.push(("EXITPOOL_LOG", "trace,notify=off,mio=off".to_owned()));
    let served = exporting.host.kit.at("served/pool.git").display().to_string();
    exporting.host.start_believing(&served, &["--poll-every", "1s"]);
    exporting.commit("", &crawler("")).await;
    let netns = &exporting.host.netns;
    let token = exporting.desk.issue("key", "crawler", &[]);
    let wrong = changed(&token, 60);

    let mut said = String::new();
    for path in [
        format!("/export/txt?state=any&token={token}"),
        format!("/export/json?token={token}&state=any"),
        format!("/export/csv?token={wrong}"),
        format!("/export/csv?token={token}&token={token}"),
        format!("/export/csv?pool={token}"),
        format!("/export/csv?token={token}&shuffle={token}"),
        format!("/export/csv?token={token}&{token}=1"),
        format!("/export/{token}"),
        format!("/?token={token}"),
        format!("/{token}"),
    ] {
        let answer = curl(netns, "", &path);
        said += &format!("{:?}\n{}\n", answer.headers, answer.body);
    }
    said += &ask(netns, &token, "/export/pac?state=any").body;
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/nodes", "/api/v1/events", "/api/v1/drift"] {
        said += &curl(netns, "", path).body;
    }
    assert_eq!(exporting.metric("export_downloads_total{format=\"txt\"}"), 1.0, "the token was good");
    exporting.host.stop();

    let mut written = Vec::new();
    contents(&exporting.host.state_dir(), &mut written);
    contents(&exporting.host.runtime_dir(), &mut written);
    written.extend(exporting.host.log().into_bytes());
    written.extend(said.into_bytes());
    let has = |needle: &str| written.windows(needle.len()).any(|window| window == needle.as_bytes());
    // Any part of a token would do: this is one of the signature, in neither of the two the end.
    let canary = &token[token.len() - 140..token.len() - 100];
    assert!(!has(canary) && !has(&token[10..50]), "a token was written down");
    let number = id(&token);
    assert!(has(&number), "the id of the token is in the audit trail");

    let entries = audit::list(&exporting.host.state_dir().join("audit.sqlite"), 50).unwrap();
    let downloads: Vec<_> = entries.iter().filter(|entry| entry.record.object == "grant crawler").collect();
    let formats: Vec<&str> =
        downloads.iter().rev().filter_map(|entry| entry.record.action.rsplit(' ').next()).collect();
    assert_eq!(formats, ["txt", "json", "pac"]);
    let used = (downloads[0].token.as_deref(), downloads[0].address.as_deref());
    assert_eq!(used, (Some(number.as_str()), Some("127.0.0.1")));
    assert_eq!(downloads[0].record.action, "a list of 2 nodes of us was downloaded as pac");
    assert!(downloads[0].record.revision.is_some());
}
