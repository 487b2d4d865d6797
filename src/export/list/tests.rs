//! Which nodes are chosen, in which order, and what each format looks like.

use super::*;
use crate::export::query::Query;

fn entry(name: &str, country: Option<&str>, state: &'static str) -> Entry {
    let node: NodeName = name.parse().unwrap();
    Entry {
        pool: node.pool().clone(),
        port: 30_000 + node.index(),
        node,
        host: Host::Address("198.51.100.1".parse().unwrap()),
        countries: Default::default(),
        country: country.map(|code| code.parse().unwrap()),
        exit: country.map(|_| "203.0.113.7".parse().unwrap()),
        latency_ms: country.map(|_| 187),
        state,
        is_ready: state == "ready",
    }
}

fn entries() -> Vec<Entry> {
    vec![
        entry("us-0", Some("us"), "ready"),
        entry("eu-10", Some("nl"), "ready"),
        entry("eu-2", Some("de"), "ready"),
        entry("eu-1", None, "failed"),
        entry("eu-0", Some("de"), "ready"),
        entry("own-0", Some("de"), "ready"),
    ]
}

fn permit() -> Permit {
    Permit { pools: ["eu", "us"].map(|name| name.parse().unwrap()).into(), limit: None, quota: None }
}

fn chosen(query: &str, permit: &Permit) -> Vec<String> {
    let query = Query::parse(query).unwrap();
    let (entries, _) = select(entries(), permit, &query, || "random".to_owned());
    entries.iter().map(|entry| entry.node.to_string()).collect()
}

#[test]
fn what_is_granted_and_asked_for_is_chosen() {
    assert_eq!(chosen("", &permit()), ["eu-0", "eu-2", "eu-10", "us-0"]);
    assert_eq!(chosen("state=any", &permit()), ["eu-0", "eu-1", "eu-2", "eu-10", "us-0"]);
    assert_eq!(chosen("country=de", &permit()), ["eu-0", "eu-2"]);
    assert_eq!(chosen("country=de,us&limit=2", &permit()), ["eu-0", "eu-2"]);
    assert_eq!(chosen("country=fr", &permit()), [""; 0]);
    let less = Permit { limit: Some(3), ..permit() };
    assert_eq!(chosen("", &less).len(), 3);
    assert_eq!(chosen("limit=2", &less).len(), 2);
    assert_eq!(chosen("limit=9", &less).len(), 3);
    let eu = Permit { pools: ["eu".parse().unwrap()].into(), ..permit() };
    assert_eq!(chosen("", &eu), ["eu-0", "eu-2", "eu-10"]);
}

#[test]
fn a_node_whose_exit_is_not_known_leaves_from_the_only_country_that_it_may() {
    let mut one = entry("eu-0", None, "ready");
    assert_eq!(one.leaves_from(), None);
    one.countries = Arc::new(["de".parse().unwrap()].into());
    assert_eq!(one.leaves_from().unwrap().to_string(), "de");
    Arc::make_mut(&mut one.countries).insert("nl".parse().unwrap());
    assert_eq!(one.leaves_from(), None);
}

#[test]
fn a_seed_gives_one_order_and_a_node_that_goes_moves_no_other() {
    let many: Vec<Entry> = (0..30).map(|index| entry(&format!("eu-{index}"), None, "ready")).collect();
    let order = |seed: &str, entries: Vec<Entry>| -> Vec<String> {
        let query = Query::parse(&format!("shuffle={seed}")).unwrap();
        let (entries, told) = select(entries, &permit(), &query, || "drawn".to_owned());
        assert_eq!(told.as_deref(), Some(if seed == "true" { "drawn" } else { seed }));
        entries.iter().map(|entry| entry.node.to_string()).collect()
    };
    let first = order("monday", many.clone());
    assert_eq!(order("monday", many.iter().rev().cloned().collect()), first);
    assert_ne!(order("tuesday", many.clone()), first);
    assert_eq!(order("true", many.clone()), order("drawn", many.clone()), "what is told gives it again");
    let gone = first[7].clone();
    let rest: Vec<Entry> = many.into_iter().filter(|entry| entry.node.to_string() != gone).collect();
    let expected: Vec<String> = first.into_iter().filter(|name| *name != gone).collect();
    assert_eq!(order("monday", rest), expected);
    // Fixed for good: scripts rely on it.
    assert_eq!(chosen("shuffle=monday", &permit()), chosen("shuffle=monday&limit=9", &permit()));
}

fn list(entries: Vec<Entry>) -> List {
    List { at: "2026-03-01T12:00:00Z".parse().unwrap(), revision: None, seed: None, entries }
}

fn written(format: ExportFormat) -> String {
    let mut six = entry("eu-1", None, "ready");
    six.host = Host::Address("2001:db8::1".parse().unwrap());
    list(vec![entry("eu-0", Some("de"), "ready"), six]).write(format).unwrap()
}

#[test]
fn each_format_is_written_as_its_client_reads_it() {
    let urls = "socks5h://198.51.100.1:30000\nsocks5h://[2001:db8::1]:30001\n";
    assert_eq!(written(ExportFormat::Txt), urls);
    let rows = "pool,node,url,host,port,country,exit,latency_ms,state\n\
        eu,eu-0,socks5h://198.51.100.1:30000,198.51.100.1,30000,de,203.0.113.7,187,ready\n\
        eu,eu-1,socks5h://[2001:db8::1]:30001,2001:db8::1,30001,,,,ready\n";
    assert_eq!(written(ExportFormat::Csv), rows);
    let proxies = "\n[ProxyList]\nsocks5 198.51.100.1 30000\nsocks5 2001:db8::1 30001\n";
    assert!(written(ExportFormat::Proxychains).ends_with(proxies));
    let curl = "# eu-0\nproxy = \"socks5h://198.51.100.1:30000\"\nnoproxy = \"\"\n";
    assert_eq!(written(ExportFormat::Curl), curl);
    let pac = written(ExportFormat::Pac);
    assert!(pac.contains("\"SOCKS5 198.51.100.1:30000\",\n  \"SOCKS5 [2001:db8::1]:30001\"\n]"), "{pac}");
    assert!(!pac.contains("DIRECT"));
    let json: serde_json::Value = serde_json::from_str(&written(ExportFormat::Json)).unwrap();
    let first = serde_json::json!({
        "pool": "eu", "node": "eu-0", "url": "socks5h://198.51.100.1:30000", "host": "198.51.100.1", "port": 30000,
        "countries": [], "country": "de", "exit": "203.0.113.7", "latency_ms": 187, "state": "ready",
    });
    assert_eq!(json["nodes"][0], first);
    assert_eq!((&json["generated_at"], &json["seed"]), (&"2026-03-01T12:00:00.000Z".into(), &serde_json::Value::Null));
}

#[test]
fn no_client_is_given_a_list_that_it_would_take_for_leave_to_go_without() {
    let empty = list(Vec::new());
    for format in [ExportFormat::Txt, ExportFormat::Csv, ExportFormat::Json] {
        assert!(empty.write(format).is_ok(), "{format:?}");
    }
    for format in [ExportFormat::Proxychains, ExportFormat::Pac, ExportFormat::Curl] {
        assert!(matches!(empty.write(format), Err(Unwritable::Empty(_))), "{format:?}");
    }
}

#[test]
fn proxychains_is_given_addresses_alone() {
    let mut named = entry("eu-0", None, "ready");
    named.host = Host::Name("proxy.example.org".to_owned());
    let list = list(vec![named]);
    assert_eq!(list.write(ExportFormat::Proxychains), Err(Unwritable::Name("proxy.example.org".to_owned())));
    assert_eq!(list.write(ExportFormat::Txt).unwrap(), "socks5h://proxy.example.org:30000\n");
}
