//! What the page says of which world, and that everybody can read it.

use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::desired::{Pool, SelfHeal};
use crate::error::Kind;
use crate::observe::{Door, GuardRelay, Observation, Visitor};
use crate::plan::lockout::Closing;
use crate::plan::step::{Action, Cause, Object, Step};
use crate::plan::{Block, BlockReason, Held, HoldReason};
use crate::rollout::Why;
use crate::status::tests::world::{World, noon, revision};
use crate::status::{Coming, Failure, Fault, Signatures, SourceError, Suspension};

fn page_of(status: &Status) -> String {
    let now = noon() + SignedDuration::from_secs(300);
    render(status, &Visit { client: "203.0.113.9".parse().unwrap(), now, asked: Asked::default() }).unwrap()
}

fn page(bend: impl FnOnce(&mut World)) -> String {
    let mut world = World::healthy(9);
    bend(&mut world);
    page_of(&world.status())
}

/// The page's one big sentence.
fn sentence(page: &str) -> &str {
    let (_, rest) = page.split_once("<h1>").unwrap();
    rest.split_once("</h1>").unwrap().0
}

fn object(name: &str) -> Object {
    Object::Instance(name.parse().unwrap())
}

fn drift(name: &str) -> Step {
    let action = Action::StartInstance { torrc: String::new(), fresh: false };
    Step { object: object(name), cause: Cause::Drift, action }
}

fn failure() -> Failure {
    let message = "tor refuses the torrc of eu-1: <b>Unknown option</b>".to_owned();
    Failure { message, kind: Kind::Desired, attempts: 1, retry_at: None }
}

fn source_error(fault: Fault) -> SourceError {
    SourceError { fault, message: "pool.yaml:7:5: pools[0].size: 0 is below 1".to_owned() }
}

#[test]
fn one_sentence_says_whether_the_host_matches_the_file() {
    let suspension = || Some(Suspension { reason: "moving racks".to_owned(), until: None, by: "ada".to_owned() });
    let no_exits = || Block { object: object("eu-1"), reason: BlockReason::NoExits { countries: Vec::new() } };
    let table: [(&str, String); 12] = [
        ("The host matches main@sha1:aaaaaaaaaaaa.", page(|_| {})),
        ("No revision is in force yet.", page(|world| *world = World::without_revision())),
        (
            "1 difference is being removed, but for what is suspended.",
            page(|world| {
                world.suspended_pools.extend(suspension().map(|order| ("eu".parse().unwrap(), order)));
                world.plan.held.push(Held { step: drift("eu-1"), reason: HoldReason::Suspended });
            }),
        ),
        ("1 difference is being removed.", page(|world| world.plan.steps.push(drift("eu-1")))),
        (
            "2 differences are reported and left alone.",
            page(|world| {
                world.desired.as_mut().unwrap().reconcile.self_heal = SelfHeal::Report;
                world.plan.steps.extend([drift("eu-1"), drift("eu-2")]);
            }),
        ),
        (
            "Refused: pool.yaml:7:5: pools[0].size: 0 is below 1",
            page(|world| world.source.error = Some(source_error(Fault::Malformed))),
        ),
        (
            "No revision is in force: pool.yaml:7:5: pools[0].size: 0 is below 1",
            page(|world| {
                *world = World::without_revision();
                world.source.error = Some(source_error(Fault::Unreachable));
            }),
        ),
        (
            "Nothing is changed: suspended by ada until it is resumed: moving racks.",
            page(|world| world.suspended = suspension()),
        ),
        (
            "Node eu-1 failed: tor refuses the torrc of eu-1: &lt;b&gt;Unknown option&lt;&#x2f;b&gt;.",
            page(|world| drop(world.failures.insert(object("eu-1"), failure()))),
        ),
        ("Node eu-1: no exit of the Tor network fits `exits`.", page(|world| world.plan.blocked.push(no_exits()))),
        (
            "Nobody can tell whether the host matches: firewall guard: nft crashed.",
            page(|world| world.observed.guard = Observation::Unknown("nft crashed".to_owned())),
        ),
        (
            "The host is on its way to main@sha1:aaaaaaaaaaaa: 1 node not ready yet.",
            page(|world| world.control("us-0").circuit_established = false),
        ),
    ];
    for (expected, page) in table {
        assert_eq!(sentence(&page), expected);
    }
}

#[test]
fn what_waits_for_an_operator_is_listed() {
    let page = page(|world| {
        let reason = "moving racks".to_owned();
        world.suspended_pools.insert("eu".parse().unwrap(), Suspension { reason, until: None, by: "ada".to_owned() });
        let step = Step { object: object("us-9"), cause: Cause::Change, action: Action::DestroyInstance };
        world.plan.held.push(Held { step, reason: HoldReason::Unconfirmed });
    });
    assert!(page.contains("Pool eu is left alone: suspended by ada until it is resumed: moving racks."));
    assert!(page.contains("will be destroyed when that is confirmed (reconcile.prune)"));
    assert_eq!(sentence(&page), "1 node waits to be destroyed: `exitpool confirm` does it (reconcile.prune).");
}

#[test]
fn a_refused_revision_says_what_stays_in_force() {
    let page = page(|world| {
        world.source.offered = Some(revision('b'));
        world.source.error = Some(source_error(Fault::Malformed));
    });
    assert!(page.contains("main@sha1:aaaaaaaaaaaa stays in force."));
    assert!(page.contains(&revision('b').to_string()), "the revision that was offered is named");
}

#[test]
fn what_nobody_knows_is_not_shown_as_fine() {
    let none = "None: nothing is left to do";
    assert!(page(|_| {}).contains(none));
    let blind = page(|world| world.observed.guard = Observation::Unknown("nft crashed".to_owned()));
    assert!(!blind.contains(none) && blind.contains("Unknown: firewall guard: nft crashed."));
    let young = page(|world| *world = World::without_revision());
    assert!(!young.contains(none) && young.contains("Unknown: no revision is in force."));
    let refused = page(|world| world.source.error = Some(source_error(Fault::Malformed)));
    let tile = "<i class=\"bad\" aria-hidden=\"true\"></i>refused";
    assert!(refused.contains(tile));
}

#[test]
fn differences_are_listed_with_their_age() {
    let page = page(|world| world.plan.steps.push(drift("eu-1")));
    assert!(page.contains(&drift("eu-1").to_string()));
    assert!(page.contains("<time datetime=\"2026-03-01T12:00:00.000Z\">5 min ago</time>"));
}

#[test]
fn every_node_is_shown_with_its_state_in_words() {
    let page = page(|world| world.control("us-0").bootstrap.progress = 40);
    for index in 0..6 {
        assert!(page.contains(&format!("<th scope=row>eu-{index}<td class=st><i class=r></i>ready")), "eu-{index}");
    }
    assert!(page.contains("<th scope=row>us-0<td class=st><i class=b></i>bootstrapping"));
    assert!(page.contains("bootstrapping, 40 %: Done"));
    assert!(page.find("<th scope=row>us-0").unwrap() < page.find("<th scope=row>eu-0").unwrap(), "trouble comes first");
    assert!(page.contains("aria-label=\"2 ready, 1 bootstrapping\""), "a grid says in words what it shows");
}

#[test]
fn whoever_looks_is_told_what_is_known_of_their_address() {
    let page = page(|_| {});
    assert!(page.contains("<code>203.0.113.9</code>: on the panel list <b>no</b>, on the SOCKS list <b>yes</b>"));
}

#[test]
fn words_of_others_are_escaped() {
    let page = page(|world| {
        world.failures.insert(object("eu-1"), failure());
        world.source.error =
            Some(SourceError { fault: Fault::Missing, message: "<script>alert(1)</script>".to_owned() });
    });
    assert!(!page.contains("<script>alert") && !page.contains("<b>Unknown option"));
}

#[test]
fn the_page_loads_nothing_and_runs_one_script() {
    let page = page(|_| {});
    assert_eq!(page.matches("<script").count(), 1);
    for forbidden in ["http://", "https://", " style=", "@import", "url(", "<form", "<iframe", "onload="] {
        let icon = "xmlns='http://www.w3.org/2000/svg'";
        assert!(!page.replace(icon, "").contains(forbidden), "{forbidden}");
    }
}

#[test]
fn the_policy_names_the_style_and_the_script_that_the_page_has() {
    let page = page(|_| {});
    for tag in ["style", "script"] {
        let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
        assert!(content_security_policy().to_str().unwrap().contains(&format!("{tag}-src 'sha256-{hash}'")));
    }
}

#[test]
fn a_page_that_is_paused_does_nothing_by_itself() {
    let alive = ["http-equiv=\"refresh\"", "<script>", ">pause</a>"];
    assert!(alive.iter().all(|it| page(|_| {}).contains(it)));
    let asked = Asked::of("refresh=off");
    let visit = Visit { client: "127.0.0.1".parse().unwrap(), now: noon(), asked };
    let paused = render(&World::healthy(3).status(), &visit).unwrap();
    assert!(alive.iter().all(|it| !paused.contains(it)) && paused.contains("<a href=\".&#x2f;\">go on</a>"));
}

/// The relative luminance of `#rgb` or `#rrggbb`, as WCAG 2 defines it.
fn luminance(colour: &str) -> f64 {
    let digits = colour.trim_start_matches('#');
    let doubled: String =
        if digits.len() == 3 { digits.chars().flat_map(|digit| [digit; 2]).collect() } else { digits.into() };
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&doubled[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

#[test]
fn every_colour_of_text_stands_out_in_light_and_dark() {
    const LEAST_CONTRAST: f64 = 4.5;
    let schemes: Vec<&str> = STYLE.split(":root{").skip(1).map(|rest| rest.split_once('}').unwrap().0).collect();
    assert_eq!(schemes.len(), 2, "light and dark");
    for scheme in schemes {
        let colour = |name: &str| {
            let (_, rest) = scheme.split_once(&format!("--{name}:")).unwrap();
            luminance(rest.split(';').next().unwrap())
        };
        for text in ["text", "soft", "good", "work", "warn", "bad", "unknown"] {
            for ground in ["bg", "card", "tint"] {
                let (lighter, darker) = (colour(text).max(colour(ground)), colour(text).min(colour(ground)));
                let contrast = (lighter + 0.05) / (darker + 0.05);
                assert!(contrast >= LEAST_CONTRAST, "{text} on {ground} has {contrast:.2} in {scheme}");
            }
        }
    }
}

/// A page as somebody from outside sees it who is on the list of the revision in force.
fn page_for(client: &str, bend: impl FnOnce(&mut World)) -> String {
    let mut world = World::healthy(9);
    world.desired.as_mut().unwrap().access.panel.insert("198.51.100.0/24".parse().unwrap());
    bend(&mut world);
    let visit = Visit { client: client.parse().unwrap(), now: noon(), asked: Asked::default() };
    render(&world.status(), &visit).unwrap()
}

#[test]
fn whom_a_coming_commit_would_lock_out_is_warned() {
    const WARNING: &str = "A coming commit would lock you out.";
    let offer = |panel: &'static str, why| {
        move |world: &mut World| {
            world.source.offered = Some(revision('b'));
            world.source.withheld = Some(why);
            world.source.coming = Some(Coming { panel: [panel.parse().unwrap()].into() });
        }
    };
    for why in [Why::Manual, Why::Suspended, Why::RolledBack] {
        let page = page_for("198.51.100.7", offer("203.0.113.0/24", why));
        assert!(page.contains(WARNING) && page.contains("access.panel of main@sha1:bbbbbbbbbbbb does not have"));
        assert!(page.contains("does not have your address, 198.51.100.7: once that commit is in force"));
    }
    let manual = || offer("203.0.113.0/24", Why::Manual);
    assert!(page_for("::ffff:198.51.100.7", manual()).contains(WARNING), "an address in its other form is the same");
    // This host is never locked out, and who is not on the list now cannot become it.
    for other in ["127.0.0.1", "::1", "192.0.2.10", "203.0.113.9", "192.0.2.99"] {
        assert!(!page_for(other, manual()).contains(WARNING), "{other}");
    }
    assert!(
        !page_for("198.51.100.7", offer("198.51.100.7/32", Why::Manual)).contains(WARNING),
        "it is on the new list"
    );
    assert!(!page_for("198.51.100.7", |_| {}).contains(WARNING), "nothing is coming");
}

#[test]
fn whom_the_guard_spares_is_told_that_the_list_does_not_have_them() {
    let spare = |address: &str, door| Visitor { address: address.parse().unwrap(), door };
    let held = |world: &mut World| {
        let visitors = [spare("192.0.2.77", Door::Panel), spare("192.0.2.78", Door::Ssh(22))].into();
        let reason = HoldReason::Lockout { visitors, by: Closing::Panel, line: None };
        let action = Action::UpdateGuard { guard: Default::default(), differences: Vec::new() };
        world.plan.held.push(Held { step: Step { object: Object::Guard, cause: Cause::Change, action }, reason });
    };
    let warned = |client| page_for(client, held).contains("You are about to be locked out.");
    assert_eq!(["192.0.2.77", "192.0.2.78", "198.51.100.7"].map(warned), [true, false, false]);
}

#[test]
fn the_revision_is_shown_with_who_signed_it() {
    let signers = |signatures, signers: &[&str]| {
        page(|world| {
            world.source.signatures = signatures;
            world.source.signers = signers.iter().map(ToString::to_string).collect();
        })
    };
    let ada = ["ada@example.org (SHA256:abc)"];
    assert!(signers(Signatures::Required, &ada).contains("Signed by</dt><dd>ada@example.org (SHA256:abc)"));
    assert!(signers(Signatures::Required, &[]).contains("Signed by</dt><dd>taken by hand, or pinned"));
    assert!(signers(Signatures::NotRequired, &[]).contains("Signed by</dt><dd>not checked (no --allowed-signers)"));
}

#[test]
fn exits_are_counted_by_country() {
    let page = page(|world| world.control("us-0").exit = None);
    assert!(page.contains("8 nodes leave by 8 exits in 2 countries. Of 1 node nobody knows its exit now."));
    let bar = "<li><span>US</span><svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
               <rect width=\"33\" height=\"8\"/></svg><b>2</b></li>";
    assert!(page.contains(bar));
}

#[test]
fn a_pool_alone_has_its_nodes_alone() {
    let status = World::healthy(9).status();
    let asked = |query: &str| Asked::of(query);
    assert!(has(&status, &asked("pool=us")) && !has(&status, &asked("pool=u")) && has(&status, &asked("")));
    let visit = Visit { client: "127.0.0.1".parse().unwrap(), now: noon(), asked: asked("pool=us&from=7") };
    let page = render(&status, &visit).unwrap();
    assert_eq!(
        (page.matches("<th scope=row>us-").count(), page.matches("eu-").count()),
        (3, 0),
        "from beyond the end is 0"
    );
    assert!(page.contains("3 nodes leave by 3 exits in 1 country."));
}

/// The worst of what could make it long: everything fails, with much to say, in one pool or in very many.
#[test]
fn the_page_is_small_whatever_happens() {
    const LARGEST_BYTES: usize = 150_000;
    let mut failing = World::healthy(1_000);
    let names: Vec<_> = failing.observed.instances.keys().cloned().collect();
    for name in &names {
        let message = format!("tor refuses the torrc of {name}: {}", "Unknown option. ".repeat(10));
        failing.failures.insert(Object::Instance(name.clone()), Failure { message, ..failure() });
        failing.plan.steps.push(drift(&name.to_string()));
    }
    let mut scattered = World::healthy(1_000);
    let desired = scattered.desired.as_mut().unwrap();
    let pool = desired.pools[0].clone();
    let many = (0..1_000).map(|at| Pool {
        name: format!("pool-{at}").parse().unwrap(),
        size: 1,
        socks_port: 30_000 + at,
        ..pool.clone()
    });
    desired.pools = many.collect();
    for (name, world) in [("healthy", World::healthy(1_000)), ("failing", failing), ("scattered", scattered)] {
        let mut status = world.status();
        for step in 1..48_u32 {
            let mut later = world.later(i64::from(step) * 300);
            for (number, name) in (0..).zip(&names) {
                if let Observation::Present(control) = &mut later.instance(&name.to_string()).control {
                    Arc::make_mut(control).latency_ms = Some(100 + (number * 31 + step * step * 7) % 400);
                }
            }
            status = later.status_after(&status);
        }
        let visit = Visit { client: "127.0.0.1".parse().unwrap(), now: status.made, asked: Asked::default() };
        let page = render(&status, &visit).unwrap();
        assert!(page.len() < LARGEST_BYTES, "{name}: {}", page.len());
    }
}

#[test]
fn alerts_that_fire_are_told_and_cut_where_there_are_many() {
    use crate::desired::alerts::RuleName;
    use crate::status::Alert;
    let mut status = World::healthy(9).status();
    assert!(!page_of(&status).contains("id=\"alerts\""), "nothing fires");
    let alert = |number: usize| Alert {
        rule: RuleName::NodeFailureRate,
        about: String::new(),
        summary: format!("{number} of 9 nodes do not serve <now>"),
        since: noon(),
    };
    status.alerts = (0..25).map(alert).collect();
    let page = page_of(&status);
    assert!(page.contains("0 of 9 nodes do not serve &lt;now&gt;"), "{page}");
    assert!(page.contains("node_failure_rate") && page.contains("<em>critical</em>"));
    assert!(page.contains("And 5 more: <code>exitpool alerts</code>"));
}

#[test]
fn each_node_has_its_guard_relays() {
    let fingerprint = "AB".repeat(20);
    let relay =
        |nickname: &str| GuardRelay { fingerprint: fingerprint.parse().unwrap(), nickname: nickname.to_owned() };
    for (nickname, shown) in [("<i>", "&lt;i&gt;"), ("", "ABABABAB…")] {
        let page = page(|world| world.control("eu-1").guard_relays = [relay(nickname)].into());
        assert!(page.contains(&format!("<span title=\"{fingerprint}\">{shown}</span>")), "{page}");
    }
}
