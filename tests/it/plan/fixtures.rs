//! Decisions on written-down worlds: a folder has `desired.yaml`, `observed.yaml` and the `plan.yaml` that must follow.
//!
//! In `observed.yaml`, `<as rendered>` stands for the torrc that the instance should have: as the text of its torrc,
//! and as the name of an option for all options that it says. Any other text of a torrc stands for itself. `applied: true` in `plan.yaml` says that everything was
//! as desired before, so that differences are drift.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use exitpool::desired::{self, load::load};
use exitpool::observe::{Observation, Observed};
use exitpool::plan::hold::BY_FILE_ALONE;
use exitpool::plan::{Applied, Plan, Wish, plan};
use exitpool::tor::options::RunningOptions;
use exitpool::tor::options::digest::TorrcDigest;
use exitpool::tor::torrc;
use serde::Deserialize;

use super::world::layout;

const AS_RENDERED: &str = "<as rendered>";

#[derive(Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expected {
    applied: bool,
    steps: Vec<String>,
    waiting: Vec<String>,
    blocked: Vec<String>,
}

fn check(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plan").join(folder);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let desired = load("desired.yaml", read("desired.yaml").as_bytes()).unwrap().desired;
    let mut observed: Observed = serde_saphyr::from_str(&read("observed.yaml")).unwrap();
    let expected: Expected = serde_yaml::from_str(&read("plan.yaml")).unwrap();
    expand(&mut observed, &desired.instances());

    let layout = layout();
    let mut applied = Applied::default();
    let nothing = Applied::default();
    if expected.applied {
        let wish = Wish {
            desired: &desired,
            applied: &nothing,
            layout: &layout,
            panel_port: Some(8080),
            mandate: &BY_FILE_ALONE,
        };
        applied.settle(&wish, &Plan::default());
    }
    let wish =
        Wish { desired: &desired, applied: &applied, layout: &layout, panel_port: Some(8080), mandate: &BY_FILE_ALONE };
    let made = plan(&wish, &observed);
    let made = Expected {
        applied: expected.applied,
        steps: made.steps.iter().map(|step| format!("{step} ({})", step.cause)).collect(),
        waiting: made.waiting.iter().map(|wait| format!("{}: {}", wait.object, wait.reason)).collect(),
        blocked: made.blocked.iter().map(|block| format!("{}: {}", block.object, block.reason)).collect(),
    };
    assert_eq!(made, expected);
}

/// Puts the rendered torrc where it is meant.
fn expand(observed: &mut Observed, wanted: &[desired::Instance]) {
    for (name, instance) in &mut observed.instances {
        let Some(wanted) = wanted.iter().find(|wanted| &wanted.name == name) else {
            continue;
        };
        let rendered = torrc::render(wanted, &layout());
        if let Observation::Present(written) = &instance.torrc {
            let text = if written.to_string() == AS_RENDERED { rendered.clone() } else { written.to_string() };
            instance.torrc = Observation::Present(TorrcDigest::of(&text));
        }
        if let Observation::Present(control) = &mut instance.control
            && Arc::make_mut(control).options.0.remove(AS_RENDERED).is_some()
        {
            let said: BTreeMap<_, _> = RunningOptions::parse(&rendered).0;
            for (option, values) in said {
                Arc::make_mut(control).options.0.entry(option).or_insert(values);
            }
        }
    }
}

macro_rules! fixtures {
    ($($name:ident),+ $(,)?) => {
        $(#[test] fn $name() { check(stringify!($name)); })+

        #[test]
        fn every_folder_is_a_test() {
            let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plan");
            let mut found: Vec<String> = fs::read_dir(folders).unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            found.sort_unstable();
            assert_eq!(found, [$(stringify!($name)),+]);
        }
    };
}

fixtures! {
    a_country_without_exits_blocks_its_node_alone,
    a_dead_tor_is_started_again,
    a_flushed_guard_is_installed_again,
    a_missing_tor_starts_nothing,
    a_started_node_is_given_its_exits_and_opened,
    a_stranger_on_a_port_is_not_fought,
    an_edited_torrc_is_written_again,
    an_empty_host_gets_a_guard_before_its_nodes,
    an_unreadable_firewall_opens_nothing_to_others,
    an_unwanted_node_goes_before_its_port_is_given_up,
    options_set_behind_our_back_are_taken_back,
}
