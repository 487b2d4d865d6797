//! Lists of a healthy host, over real sockets.

use super::*;

/// A healthy host with a grant for its pool `eu`.
fn world() -> World {
    World::exporting(9, &["eu"]).0
}

fn token() -> String {
    World::exporting(9, &["eu"]).1
}

async fn list(server: &Server, path: &str) -> Answer {
    let separator = if path.contains('?') { '&' } else { '?' };
    server.ask("GET", &format!("/export/{path}{separator}token={}", token())).await
}

#[tokio::test]
async fn only_what_is_ready_is_listed_unless_all_is_asked_for() {
    let mut world = world();
    world.control("eu-1").circuit_established = false;
    let server = Server::start(world.status(), TEST_LIMITS).await;
    // Its pools listen on all addresses: where the client has come in is where it reaches the nodes.
    let urls = |indices: &[u16]| -> String {
        indices.iter().map(|index| format!("socks5h://127.0.0.1:{}\n", 30_000 + index)).collect()
    };
    assert_eq!(list(&server, "txt").await.body, urls(&[0, 2, 3, 4, 5]));
    assert_eq!(list(&server, "txt?state=any").await.body, urls(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(list(&server, "txt?limit=2").await.body, urls(&[0, 2]));
    let csv = list(&server, "csv?state=any").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let row = csv.body.lines().nth(2).unwrap();
    assert!(row.starts_with("eu,eu-1,socks5h://127.0.0.1:30001,127.0.0.1,30001,"), "{row}");
    assert!(row.ends_with(",bootstrapping"), "{row}");
}

#[tokio::test]
async fn an_advertised_host_is_written_everywhere_it_can_be() {
    let mut world = world();
    world.desired.as_mut().unwrap().exports.advertise = Some("proxy.example.org".to_owned());
    let server = Server::start(world.status(), TEST_LIMITS).await;
    assert!(list(&server, "txt").await.body.starts_with("socks5h://proxy.example.org:30000\n"));
    let refused = list(&server, "proxychains").await;
    assert!(refused.status == 409 && refused.body.contains("takes no name"), "{refused:?}");
    world.desired.as_mut().unwrap().exports.advertise = Some("2001:db8::7".to_owned());
    server.status.send(Arc::new(world.status())).unwrap();
    assert!(list(&server, "proxychains").await.body.contains("\nsocks5 2001:db8::7 30000\n"));
    assert!(list(&server, "pac").await.body.contains("\"SOCKS5 [2001:db8::7]:30000\""));
}

#[tokio::test]
async fn a_daemon_that_has_just_started_says_so_instead_of_refusing() {
    let server = Server::start(World::without_revision().status(), TEST_LIMITS).await;
    let answer = list(&server, "txt").await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "5"));
    server.status.send(Arc::new(world().status())).unwrap();
    assert_eq!(list(&server, "txt").await.status, 200);
}

#[tokio::test]
async fn every_answer_is_a_documented_one() {
    let server = Server::start(world().status(), TEST_LIMITS).await;
    let schemas = crate::status::wire::schemas();
    let schema = |name: &str| schemas.iter().find(|(other, _)| *other == name).unwrap().1.as_value().clone();
    let fits = |name: &str, body: &str| {
        let document = serde_json::from_str(body).unwrap();
        jsonschema::validator_for(&schema(name)).unwrap().is_valid(&document)
    };
    assert!(fits("export.v1.schema.json", &list(&server, "json").await.body));
    for path in ["/export/xml", "/export/json", "/export/json?token=x", "/export/json?token=x&token=y"] {
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        assert!(fits("problem.v1.schema.json", &answer.body), "{}", answer.body);
    }
    let text = server.metrics.text(Activity::Idle, noon());
    for (result, count) in [("accepted", 1), ("missing", 1), ("invalid", 1), ("unanswered", 1), ("expired", 0)] {
        let series = format!("auth_attempts_total{{result=\"{result}\"}} {count}\n");
        assert!(text.contains(&series), "{series}{text}");
    }
}

/// The firewall says it first; this is the second layer.
#[tokio::test]
async fn whom_nobody_has_named_gets_no_list_and_a_token_does_not_help() {
    let (_sender, status) = watch::channel(Arc::new(world().status()));
    let service = TowerToHyperService::new(warp::service(routes::routes(context(status, 1))));
    let address = "203.0.113.9".parse().unwrap();
    let peer = Peer { address, connected: address, reached: "192.0.2.10".parse().unwrap() };
    let request = hyper::Request::builder().uri(format!("/export/txt?token={}", token())).extension(peer);
    let response = service.call(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_list_that_was_made_before_is_judged_and_counted_each_time_all_the_same() {
    let mut world = world();
    let server = Server::start(world.status(), TEST_LIMITS).await;
    let (first, second) = (list(&server, "json").await, list(&server, "json").await);
    assert_eq!((first.status, &first.body), (second.status, &second.body));
    let downloads = |count: u32| {
        let text = server.metrics.text(Activity::Idle, noon());
        assert!(text.contains(&format!("export_downloads_total{{format=\"json\"}} {count}\n")), "{text}");
    };
    downloads(2);
    // Each wish has a list of its own.
    for path in ["json?limit=1", "json?shuffle=a", "json?state=any&country=us", "csv"] {
        assert_ne!(list(&server, path).await.body, first.body, "{path}");
    }
    let orders = (list(&server, "json?shuffle=true").await, list(&server, "json?shuffle=true").await);
    assert_ne!(orders.0.headers["exitpool-seed"], orders.1.headers["exitpool-seed"]);
    // A commit that takes the grant, the token or the key back counts at once.
    let change = |world: &mut World, change: &dyn Fn(&mut crate::desired::Exports)| {
        change(&mut world.desired.as_mut().unwrap().exports);
        server.status.send(Arc::new(world.status())).unwrap();
    };
    change(&mut world, &|exports| exports.revoked = ["one".to_owned()].into());
    assert_eq!(list(&server, "json").await.status, 401);
    change(&mut world, &|exports| exports.revoked.clear());
    assert_eq!(list(&server, "json").await.status, 200);
    change(&mut world, &|exports| exports.trusted_keys.clear());
    assert_eq!(list(&server, "json").await.status, 401);
}
