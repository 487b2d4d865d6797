//! What requests ask for, and what is said of those that nobody understands.

use super::*;
use crate::status::tests::world::World;
use crate::status::wire::{EventsDocument, NodesDocument};

/// The names of the nodes that a query gives, and where the rest is.
fn nodes(query: &str) -> (Vec<String>, Option<String>) {
    let mut world = World::healthy(12);
    world.control("eu-3").circuit_established = false;
    let document = NodesDocument::of(&world.status(), &NodesQuery::parse(query).unwrap());
    (document.nodes.into_iter().map(|node| node.name).collect(), document.next)
}

fn misuses<T: std::fmt::Debug>(parsed: Result<T, Vec<Misuse>>) -> Vec<String> {
    parsed.unwrap_err().into_iter().map(|misuse| format!("{}: {}", misuse.parameter, misuse.detail)).collect()
}

#[test]
fn nodes_are_chosen_by_pool_state_and_country() {
    assert_eq!(nodes("").0.len(), 12);
    assert_eq!(nodes("pool=us").0, ["us-0", "us-1", "us-2", "us-3"]);
    assert_eq!(nodes("pool=us,eu").0.len(), 12);
    assert_eq!(nodes("pool=us&pool=eu").0.len(), 12);
    assert_eq!(nodes("pool=elsewhere").0, Vec::<String>::new());
    assert_eq!(nodes("state=bootstrapping").0, ["eu-3"]);
    assert_eq!(nodes("state=ready,bootstrapping&pool=eu").0.len(), 8);
    assert_eq!(nodes("country=us").0, ["us-0", "us-1", "us-2", "us-3"]);
    let (german, all) = (nodes("country=de").0, nodes("country=de,fr,nl,us").0);
    assert!(!german.is_empty() && german.iter().all(|name| name.starts_with("eu-")), "{german:?}");
    assert_eq!(all.len(), 12, "every node leaves from somewhere");
}

#[test]
fn pages_have_every_node_once_and_say_where_the_next_one_is() {
    let (mut query, mut seen) = ("limit=5&state=ready".to_owned(), Vec::new());
    let mut pages = 0;
    loop {
        let (names, next) = nodes(&query);
        seen.extend(names);
        pages += 1;
        let Some(next) = next else { break };
        query = next.strip_prefix("/api/v1/nodes?").unwrap().to_owned();
        assert!(query.starts_with("limit=5&state=ready&after="), "{query}");
    }
    assert_eq!((pages, seen.len()), (3, 11));
    let names: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(names.len(), 11);
    assert_eq!(nodes("limit=12").1, None, "there is nothing behind the last one");
    assert_eq!(nodes("limit=11").1.as_deref(), Some("/api/v1/nodes?limit=11&after=us-2"));
}

#[test]
fn a_place_among_the_nodes_outlives_the_node_and_its_pool() {
    assert_eq!(nodes("after=eu-6").0, ["eu-7", "us-0", "us-1", "us-2", "us-3"]);
    assert_eq!(nodes("after=eu-999&limit=1").0, ["us-0"]);
    assert_eq!(nodes("after=gone-3&limit=1").0, ["us-0"], "gone is between eu and us");
    assert_eq!(nodes("after=us-3"), (Vec::new(), None));
}

#[test]
fn events_are_chosen_and_a_place_among_them_is_an_id() {
    let status = World::healthy(3).status();
    let events = |query: &str| EventsDocument::of(&status, &EventsQuery::parse(query).unwrap());
    let all = events("");
    assert!(all.events.len() > 2 && all.next.is_none());
    let first = events("limit=1");
    assert_eq!(first.events[..], all.events[..1]);
    let rest = first.next.unwrap();
    let rest = events(rest.strip_prefix("/api/v1/events?").unwrap().trim_start_matches("limit=1&"));
    assert_eq!(rest.events[..], all.events[1..]);
    assert_eq!(events("reason=NewArtifact").events.len(), 1);
    assert_eq!(events("kind=source&severity=info").events.len(), 1);
    assert_eq!(events("severity=error").events, []);
    assert_eq!(events(&format!("after={}", all.events.last().unwrap().id)).events, []);
}

#[test]
fn drift_is_chosen_by_the_sort_of_object() {
    let query = DriftQuery::parse("kind=guard").unwrap();
    assert!(query.wants(ObjectKind::Guard) && !query.wants(ObjectKind::Instance));
    assert!(DriftQuery::parse("").unwrap().wants(ObjectKind::Instance));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_what_is_allowed() {
    let expected = [
        "pol: there is no parameter `pol`: use `pool`, `state`, `country`, `limit`, `after`",
        "pool: `pool` is not understood: it takes the name of a pool, as in `eu`",
        "country: `country` is not understood: it takes a country of ISO 3166-1 alpha-2, as in `de` or `de,nl`",
        "state: `state` is not understood: it takes one or more of ready, bootstrapping, pending, degraded, failed, \
         suspended, with commas between them",
        "after: `after` is not understood: it takes the name of a node, as in `eu-0`",
        "limit: `limit` is not understood: it takes a number from 1 to 100000",
    ];
    let query = "pol=eu&pool=EU&country=uk&state=up&after=eu-00&limit=0";
    assert_eq!(misuses(NodesQuery::parse(query)), expected);
    assert_eq!(misuses(NodesQuery::parse("limit=1&limit=2")), ["limit: `limit` may stand there once"]);
    for query in ["pool=", "pool=eu,", "state=ready,,", "limit=-1", "limit=1e3", "limit=18446744073709551616", "after="]
    {
        assert_eq!(misuses(NodesQuery::parse(query)).len(), 1, "{query}");
    }
    assert_eq!(misuses(nothing("x=1", Endpoint::Status)), ["x: there is no parameter `x`: this takes none"]);
    let long = format!("{}=1", "ä".repeat(500));
    assert_eq!(NodesQuery::parse(&long).unwrap_err()[0].parameter.chars().count(), MAX_REPEATED);
    assert_eq!(misuses(EventsQuery::parse_for_a_stream("limit=3")).len(), 1);
    assert_eq!(misuses(DriftQuery::parse("kind=node&limit=3")).len(), 2);
}

/// Whatever a program makes from the description is understood, as far as its words go.
#[test]
fn what_is_described_is_what_is_understood() {
    for endpoint in [Endpoint::Nodes, Endpoint::Drift, Endpoint::Events] {
        for parameter in Parameter::of(endpoint) {
            let described = parameter.described();
            let schema = described["schema"].get("items").unwrap_or(&described["schema"]);
            let words = schema["enum"].as_array().cloned().unwrap_or_default();
            let numbers = ["minimum", "maximum"].into_iter().filter_map(|key| schema.get(key).cloned());
            for value in words.into_iter().chain(numbers) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let query = format!("{}={value}", parameter.key());
                let misuses = match endpoint {
                    Endpoint::Nodes => NodesQuery::parse(&query).err(),
                    Endpoint::Drift => DriftQuery::parse(&query).err(),
                    _ => EventsQuery::parse(&query).err(),
                };
                assert_eq!(misuses, None, "{query}");
            }
        }
    }
}
