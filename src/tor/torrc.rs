//! The torrc of an instance: what it is told at its start. Pure.
//!
//! The template is `tor/torrc.j2`, which explains every option it writes. What can change while tor runs and depends on
//! the consensus is not there but in [`options::wanted`](super::options::wanted).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use minijinja::{AutoEscape, Environment, context};

use super::layout::Layout;
use super::options::digest::TorrcDigest;
use super::options::{RunningOptions, lasting, torrc_value};
use crate::desired::{Instance, InstanceName};

const TEMPLATE: &str = include_str!("../../tor/torrc.j2");

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // tor's own quoting is a filter of every value; HTML's has no place here.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("quote", |value: String| torrc_value(&value));
    environment.add_template("torrc", TEMPLATE).expect("the template is part of the program and its tests render it");
    environment
});

/// What an instance is told at its start, as text and as the options it then has.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    instance: Instance,
    layout: Layout,
    /// The torrc.
    pub text: String,
    /// The torrc's digest.
    pub digest: TorrcDigest,
    /// What it should have set for as long as its wish is the same; neither exits nor SOCKS ports.
    pub lasting: RunningOptions,
}

/// What was rendered last, by instance: every pass needs all of it, and nearly all of it is as in the pass before.
static RENDERED: Mutex<BTreeMap<InstanceName, Arc<Rendered>>> = Mutex::new(BTreeMap::new());

/// So many are kept at the most; a host that has had more begins anew.
const MOST_KEPT: usize = 4_096;

/// Renders an instance, or gives what was rendered of the same wish before.
pub fn rendered(instance: &Instance, layout: &Layout) -> Arc<Rendered> {
    // The map is whole between any two statements, so a panic elsewhere spoils nothing.
    let mut kept = RENDERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rendered) = kept.get(&instance.name)
        && rendered.instance == *instance
        && rendered.layout == *layout
    {
        return Arc::clone(rendered);
    }
    let text = render(instance, layout);
    let lasting = lasting(instance, &text);
    let digest = TorrcDigest::of(&text);
    let rendered = Rendered { instance: instance.clone(), layout: layout.clone(), text, digest, lasting };
    let rendered = Arc::new(rendered);
    if kept.len() >= MOST_KEPT {
        kept.clear();
    }
    kept.insert(instance.name.clone(), Arc::clone(&rendered));
    rendered
}

/// Writes the torrc of an instance.
pub fn render(instance: &Instance, layout: &Layout) -> String {
    let paths = layout.instance(&instance.name);
    let path = |path: std::path::PathBuf| path.display().to_string();
    let extra: Vec<_> = instance
        .torrc
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| context! { name, value }))
        .collect();
    let values = context! {
        name => instance.name.to_string(),
        state => path(paths.state.clone()),
        pid => path(paths.pid()),
        // The inner quotes are tor's way to write a path with spaces in a list of flags.
        control => format!("unix:{}", super::options::quote(&path(paths.control()))),
        cookie => path(paths.cookie()),
        log => format!("notice file {}", path(paths.log())),
        disk_writes_are_set => names(instance, "AvoidDiskWrites"),
        // A pluggable transport is a program for tor to start.
        may_exec => names(instance, "ClientTransportPlugin") || names(instance, "NoExec"),
        // The sandbox starts no program either.
        sandbox_is_set => names(instance, "ClientTransportPlugin") || names(instance, "Sandbox"),
        extra,
    };
    let template = ENVIRONMENT.get_template("torrc").expect("it was added above");
    let mut torrc = template.render(values).expect("every value that the template names is given above");
    // The template engine takes the last line's end away.
    torrc.push('\n');
    torrc
}

/// Whether the pool's own options have one of this name: tor takes two for a mistake.
fn names(instance: &Instance, option: &str) -> bool {
    instance.torrc.keys().any(|name| name.eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Node, NodeName};

    fn instance(extra: &[(&str, &[&str])]) -> Instance {
        let node: NodeName = "eu-0".parse().unwrap();
        Instance {
            name: InstanceName::from_first_node(&node),
            pool: node.pool().clone(),
            nodes: vec![Node { name: node, socks: "127.0.0.1:30000".parse().unwrap() }],
            countries: <_>::default(),
            exits: <_>::default(),
            torrc: extra
                .iter()
                .map(|(name, values)| (name.to_string(), values.iter().map(ToString::to_string).collect()))
                .collect::<BTreeMap<_, _>>()
                .into(),
            socks_allow: None,
        }
    }

    fn layout(runtime: &str) -> Layout {
        Layout { runtime_dir: runtime.into(), state_dir: "/var/lib/exitpool".into(), torrc_defaults: None }
    }

    #[test]
    fn the_whole_file_is_this() {
        let text = render(&instance(&[("MaxMemInQueues", &["256 MB"])]), &layout("/run/exitpool"));
        let expected = "\
# Written by exitpool for eu-0. Edits are undone.
DataDirectory /var/lib/exitpool/instances/eu-0
PidFile /run/exitpool/instances/eu-0/pid
ControlSocket unix:\"/run/exitpool/instances/eu-0/control\"
CookieAuthentication 1
CookieAuthFile /run/exitpool/instances/eu-0/cookie
SocksPort 0
ClientOnly 1
ConfluxEnabled 0
GeoIPFile /dev/null
GeoIPv6File /dev/null
DormantCanceledByStartup 1
DormantTimeoutEnabled 0
Log notice file /run/exitpool/instances/eu-0/log
TruncateLogFile 1
SafeLogging 1
AvoidDiskWrites 1
NoExec 1
Sandbox 1
__ReloadTorrcOnSIGHUP 0
# From the pool's `torrc`.
MaxMemInQueues 256 MB
";
        let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&text), lines(expected));
        assert!(text.ends_with("MB\n"), "{text:?}");
    }

    #[test]
    fn what_a_value_says_is_never_a_second_line_or_a_comment() {
        let odd = ["a # b", "a\nSocksPort 9050", "\"quoted # it\"", "back\\", "é", "\"a\"\nSocksPort 1\""];
        let text = render(&instance(&[("ContactInfo", &odd)]), &layout("/run/with space"));
        let read = RunningOptions::parse(&text);
        // Quotes around the whole are tor's own way to write a value; everything else is the value.
        let mut expected = odd;
        expected[2] = "quoted # it";
        assert_eq!(read.values("ContactInfo"), expected);
        assert_eq!(read.values("SocksPort"), ["0"]);
        assert_eq!(read.values("CookieAuthFile"), ["/run/with space/instances/eu-0/cookie"]);
    }

    #[test]
    fn another_wish_is_rendered_anew() {
        let (plain, other) = (instance(&[]), instance(&[("NumCPUs", &["1"])]));
        let first = rendered(&plain, &layout("/run/a"));
        assert!(Arc::ptr_eq(&first, &rendered(&plain, &layout("/run/a"))));
        assert_eq!(rendered(&other, &layout("/run/a")).text, render(&other, &layout("/run/a")));
        assert_eq!(rendered(&other, &layout("/run/b")).text, render(&other, &layout("/run/b")));
        assert_eq!(*rendered(&plain, &layout("/run/a")), *first);
    }

    #[test]
    fn a_pluggable_transport_may_be_started_and_nothing_else() {
        let plugin: &[(&str, &[&str])] = &[("ClientTransportPlugin", &["obfs4 exec /usr/bin/obfs4proxy"])];
        let (open, shut) = (render(&instance(plugin), &layout("/run/x")), render(&instance(&[]), &layout("/run/x")));
        assert!(!open.contains("NoExec") && !open.contains("Sandbox"));
        assert!(shut.contains("NoExec 1") && shut.contains("Sandbox 1"));
        let own = render(&instance(&[("avoiddiskwrites", &["0"]), ("NoExec", &["0"])]), &layout("/run/x"));
        let read = RunningOptions::parse(&own);
        assert_eq!(
            (read.values("NoExec"), read.values("AvoidDiskWrites")),
            (&["0".to_owned()][..], &["0".to_owned()][..])
        );
    }
}
