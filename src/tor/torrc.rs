//! The torrc of an instance: what it is told at its start. Pure.
//!
//! The template is `tor/torrc.j2`, which explains every option it writes. What can change while tor runs and depends on
//! the consensus is not there but in [`options::wanted`](super::options::wanted).

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, context};

use super::layout::Layout;
use super::options::torrc_value;
use crate::desired::Instance;

const TEMPLATE: &str = include_str!("../../tor/torrc.j2");

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // tor's own quoting is a filter of every value; HTML's has no place here.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("quote", |value: String| torrc_value(&value));
    environment.add_template("torrc", TEMPLATE).expect("the template is part of the program and its tests render it");
    environment
});

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
        may_exec => starts_programs(instance),
        extra,
    };
    let template = ENVIRONMENT.get_template("torrc").expect("it was added above");
    let mut torrc = template.render(values).expect("every value that the template names is given above");
    // The template engine takes the last line's end away.
    torrc.push('\n');
    torrc
}

/// Whether the pool's own options name a program for tor to start.
fn starts_programs(instance: &Instance) -> bool {
    instance.torrc.keys().any(|name| name.eq_ignore_ascii_case("ClientTransportPlugin"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::desired::{ExitPolicy, InstanceName, Node, NodeName};
    use crate::tor::options::RunningOptions;

    fn instance(extra: &[(&str, &[&str])]) -> Instance {
        let node: NodeName = "eu-0".parse().unwrap();
        Instance {
            name: InstanceName::from_first_node(&node),
            pool: node.pool().clone(),
            nodes: vec![Node { name: node, socks: "127.0.0.1:30000".parse().unwrap() }],
            countries: [].into(),
            exits: ExitPolicy::default(),
            torrc: extra
                .iter()
                .map(|(name, values)| (name.to_string(), values.iter().map(ToString::to_string).collect()))
                .collect::<BTreeMap<_, _>>(),
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
        let odd = ["a # b", "a\nSocksPort 9050", "\"quoted\"", "back\\", "é"];
        let text = render(&instance(&[("ContactInfo", &odd)]), &layout("/run/with space"));
        let read = RunningOptions::parse(&text);
        assert_eq!(read.values("ContactInfo"), odd);
        assert_eq!(read.values("SocksPort"), ["0"]);
        assert_eq!(read.values("CookieAuthFile"), ["/run/with space/instances/eu-0/cookie"]);
    }

    #[test]
    fn a_pluggable_transport_may_be_started_and_nothing_else() {
        let plugin: &[(&str, &[&str])] = &[("ClientTransportPlugin", &["obfs4 exec /usr/bin/obfs4proxy"])];
        assert!(!render(&instance(plugin), &layout("/run/x")).contains("NoExec"));
        assert!(render(&instance(&[]), &layout("/run/x")).contains("NoExec 1"));
    }
}
