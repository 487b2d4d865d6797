use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::web::MOST_BYTES;

use super::*;

/// What a site saw of a probe.
struct Seen {
    password: String,
    target: String,
    request: String,
}

/// A SOCKS port behind which a site gives one answer, and then no more; says what it saw.
async fn site(answer: String) -> (SocketAddr, tokio::task::JoinHandle<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let methods = [stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap()][1];
        stream.read_exact(&mut vec![0; methods.into()]).await.unwrap();
        stream.write_all(&[5, 2]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        let user = field(&mut stream).await;
        let password = field(&mut stream).await;
        assert_eq!(user, USER);
        stream.write_all(&[1, 0]).await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head, [5, 1, 0, 3], "Tor resolves the name");
        let host = field(&mut stream).await;
        let port = stream.read_u16().await.unwrap();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // Whoever asks may hang up before a long answer ends.
        let _ = stream.write_all(answer.as_bytes()).await;
        Seen { password, target: format!("{host}:{port}"), request: String::from_utf8(request).unwrap() }
    });
    (address, serving)
}

async fn field(stream: &mut TcpStream) -> String {
    let length = stream.read_u8().await.unwrap();
    let mut text = vec![0; length.into()];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn probe(url: &str) -> Probe {
    Probe { url: url.to_owned(), every: Duration::from_secs(60), timeout: Duration::from_secs(10), ca_file: None }
}

fn answering(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_name_goes_through_the_node_with_credentials_of_its_own() {
    let (socks, site) = site(answering("200 OK", r#"{"IsTor":true,"IP":"192.0.2.7"}"#)).await;
    let answer = ask(socks, &probe("http://check.example:8080/api/ip?x=1"), "eu-0-17").await.unwrap();
    assert_eq!(answer.address, Some("192.0.2.7".parse().unwrap()));
    assert!(answer.latency_ms > 0);
    let seen = site.await.unwrap();
    assert_eq!((seen.password.as_str(), seen.target.as_str()), ("eu-0-17", "check.example:8080"));
    assert!(seen.request.starts_with("GET /api/ip?x=1 HTTP/1.1\r\nhost: check.example:8080\r\n"), "{}", seen.request);
}

#[tokio::test]
async fn an_address_goes_along_like_a_name_since_tor_warns_of_others() {
    let (socks, site) = site(answering("200 OK", "")).await;
    ask(socks, &probe("http://192.0.2.9:8080/"), "x").await.unwrap();
    assert_eq!(site.await.unwrap().target, "192.0.2.9:8080");
}

#[tokio::test]
async fn only_an_answer_of_success_counts_and_no_redirection_is_followed() {
    let redirect = "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n".to_owned();
    for (answer, words) in [
        (redirect, "it was answered 301, and only 2xx counts"),
        (answering("503 Busy", "192.0.2.7"), "it was answered 503"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "no answer"),
        (String::new(), "no answer"),
        (answering("200 OK", &"x".repeat(MOST_BYTES + 1)), "longer than 65536 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_owned(), "the answer cannot be read"),
    ] {
        let (socks, _site) = site(answer).await;
        let failed = ask(socks, &probe("http://check.example/"), "x").await.unwrap_err();
        assert!(failed.why.contains(words), "{failed:?}");
        let suspect = if words.starts_with("it was answered") { Suspect::Site } else { Suspect::Node };
        assert_eq!(failed.suspect, suspect, "{failed:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_not_asked_without_it() {
    let (socks, _site) = site(answering("200 OK", "")).await;
    let mut impatient = probe("https://check.example/");
    impatient.timeout = Duration::from_secs(1);
    let why = ask(socks, &impatient, "x").await.unwrap_err().why;
    assert!(why.contains("no answer within 1 s") || why.contains("no TLS with check.example"), "{why}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_said() {
    let socks = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let why = ask(socks, &probe("http://check.example/"), "x").await.unwrap_err().why;
    assert!(why.contains("cannot open its SOCKS port"), "{why}");
}

#[tokio::test]
async fn a_file_of_certificates_that_cannot_be_read_is_no_fault_of_the_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let mut probe = Probe { ca_file: Some(directory.path().join("ca.pem")), ..probe("https://check.example/") };
    let (socks, _site) = site(answering("200 OK", "")).await;
    for (file, words) in [(None, "No such file"), (Some("nonsense"), "there is none in it")] {
        if let Some(text) = file {
            std::fs::write(probe.ca_file.as_ref().unwrap(), text).unwrap();
        }
        let failed = ask(socks, &probe, "x").await.unwrap_err();
        assert!(failed.why.contains("cannot read certificates from /") && failed.why.contains(words), "{failed:?}");
        assert_eq!(failed.suspect, Suspect::Host);
    }
    // Over http nobody shows a certificate, and a file that is named is one to be read all the same.
    probe.url = "http://check.example/".to_owned();
    assert_eq!(ask(socks, &probe, "x").await.unwrap_err().suspect, Suspect::Host);
}
