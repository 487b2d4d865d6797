//! Whatever a request says, it gets one of the documented answers, and no failure that is wrong with it is ours.

use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::status::metrics::{Endpoint, Method};

/// The headers that something here reads.
const READ: [&str; 9] = [
    "authorization",
    "x-forwarded-for",
    "forwarded",
    "accept",
    "if-none-match",
    "last-event-id",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
];

/// What the first words of a header's value may be, for the rest to be looked at.
const BEGINNINGS: [&str; 10] =
    ["", "Bearer ", "Basic ", "Bearer v4.public.", "for=", "\"", "W/\"", "*, ", "text/event-stream;", "1, 2001:db8::"];

fn header() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let value = (proptest::sample::select(BEGINNINGS.to_vec()), proptest::collection::vec(any::<u8>(), 0..120));
    let value = value.prop_map(|(begin, rest)| [begin.as_bytes(), &rest].concat());
    (proptest::sample::select(READ.to_vec()), value)
}

fn target() -> impl Strategy<Value = (Endpoint, String)> {
    let parameter = prop_oneof![
        "[a-z_]{0,8}=[ -~]{0,40}",
        "(token|pool|country|limit|shuffle|state|refresh)=[A-Za-z0-9.%,_-]{0,60}",
        "[%&=+;]{0,12}",
    ];
    let query = proptest::collection::vec(parameter, 0..5).prop_map(|parts| parts.join("&"));
    (proptest::sample::select(Endpoint::ALL.to_vec()), query)
}

fn service() -> impl Fn(hyper::Request<String>) -> (u16, String) {
    let mut world = World::healthy(3);
    let access = &mut world.desired.as_mut().unwrap().access;
    access.trusted_proxies = ["127.0.0.1/32".parse().unwrap()].into();
    let (sender, status) = watch::channel(Arc::new(world.status()));
    let service = TowerToHyperService::new(warp::service(routes::routes(context(status, 64))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    move |request| {
        let _published = &sender;
        let response = runtime.block_on(service.call(request)).unwrap();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (response.status().as_u16(), kind.unwrap_or_default())
    }
}

#[test]
fn whatever_a_request_says_it_gets_a_documented_answer() {
    let ask = service();
    let address = "127.0.0.1".parse().unwrap();
    let peer = Peer { address, connected: address, reached: address };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(768));
    let methods = proptest::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "BREW"]);
    let cases = (methods, target(), proptest::collection::vec(header(), 0..6));
    let ran = runner.run(&cases, |(method, (endpoint, query), headers)| {
        let path = if endpoint == Endpoint::Other { "/nothing" } else { endpoint.label() };
        let Ok(uri) = format!("{path}?{query}").parse::<hyper::Uri>() else { return Ok(()) };
        let mut request =
            hyper::Request::builder().method(method).uri(uri).extension(peer).body(String::new()).unwrap();
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        let (status, kind) = ask(request);
        let asked = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        };
        let documented = endpoint.statuses(asked);
        prop_assert!(documented.contains(&status.to_string().as_str()), "{method} {path}: {status}");
        prop_assert!(status < 400 || kind == "application/problem+json", "{method} {path}: {status} {kind}");
        Ok(())
    });
    ran.unwrap();
}
