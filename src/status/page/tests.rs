//! x
use super::*;
use crate::error::Kind;
use crate::observe::Observation;
use crate::plan::step::*;
use crate::plan::*;
use crate::status::tests::world::*;
use crate::status::*;

fn out(name: &str, status: &Status) {
    let visit = Visit {
        client: "127.0.0.1".parse().unwrap(),
        now: noon() + jiff::SignedDuration::from_secs(400),
        refresh: Refresh::Off,
    };
    let html = render(status, &visit).unwrap();
    println!("{name} {}", html.len());
    std::fs::write(format!("/tmp/pages/{name}.html"), html).unwrap();
}
pub fn broken(n: u16) -> World {
    let mut w = World::healthy(n);
    let obj = |n: &str| Object::Instance(n.parse().unwrap());
    w.plan.steps.push(Step {
        object: Object::Guard,
        cause: Cause::Drift,
        action: Action::UpdateGuard {
            guard: Default::default(),
            differences: vec!["port 30004 is open to 0.0.0.0/0 and should not be".into()],
        },
    });
    w.plan.steps.push(Step {
        object: obj("eu-3"),
        cause: Cause::Drift,
        action: Action::StartInstance { torrc: String::new(), fresh: false },
    });
    *w.instance("eu-3") = Default::default();
    w.failures.insert(
        obj("eu-1"),
        Failure {
            message: "tor of eu-1 ended at its start: Could not bind to 0.0.0.0:30001: Address already in use".into(),
            kind: Kind::Tor,
            attempts: 3,
            retry_at: Some(noon() + jiff::SignedDuration::from_secs(460)),
        },
    );
    w.plan
        .blocked
        .push(Block { object: obj("us-0"), reason: BlockReason::NoExits { countries: vec!["us".parse().unwrap()] } });
    w.plan.waiting.push(Wait {
        object: obj("eu-2"),
        reason: WaitReason::Bootstrapping { progress: 45, summary: "Loading relay descriptors".into() },
    });
    w.control("eu-2").bootstrap.progress = 45;
    w.control("eu-2").circuit_established = false;
    w.control("eu-2").exit = None;
    w.control("eu-2").latency_ms = None;
    w.instance("us-1").control = Observation::Unknown("no answer within 5 s".into());
    w.plan.steps.push(Step {
        object: obj("eu-4"),
        cause: Cause::Drift,
        action: Action::SetOptions { changes: vec![] },
    });
    w
}
#[test]
fn pages() {
    std::fs::create_dir_all("/tmp/pages").unwrap();
    out("none", &World::without_revision().status());
    out("zero", &World::healthy(0).status());
    out("nine", &World::healthy(9).status());
    out("300", &World::healthy(300).status());
    let first = World::healthy(9).status();
    let mut b = broken(9).later(200);
    out("nine-broken", &b.status_after(&first));
    b.source.error = Some(SourceError {
        fault: Fault::Malformed,
        message: "pool.yaml:7:5: pools[0].countries[1]: `uk` is not a country of ISO 3166-1; did you mean `gb`?".into(),
    });
    b.source.offered = Some(revision('b'));
    out("nine-refused", &b.status_after(&first));
    let first = World::healthy(300).status();
    out("300-broken", &broken(300).later(200).status_after(&first));
    let mut d = World::healthy(9).later(300);
    d.plan.steps = broken(9).plan.steps;
    out("drift", &d.status_after(&World::healthy(9).status()));
}
