//! The rules of extra torrc options: whose they are, and that they stay on their line.

use std::collections::BTreeMap;

use crate::desired::document::TorrcValue;
use crate::desired::findings::Findings;
use crate::desired::tree::NodeId;

/// Options that exitpool sets itself, or whose effect it has to know: where tor keeps its files, who may speak to it,
/// on which ports it listens, where traffic leaves, and what is logged.
pub const OWNED: [&str; 53] = [
    "CacheDirectory",
    "CacheDirectoryGroupReadable",
    "ClientOnly",
    "ConfluxEnabled",
    "ControlPort",
    "ControlPortFileGroupReadable",
    "ControlPortWriteToFile",
    "ControlSocket",
    "ControlSocketsGroupWritable",
    "CookieAuthFile",
    "CookieAuthFileGroupReadable",
    "CookieAuthentication",
    "DataDirectory",
    "DataDirectoryGroupReadable",
    "DirPort",
    "DisableNetwork",
    "DNSPort",
    "DormantCanceledByStartup",
    "DormantClientTimeout",
    "DormantOnFirstStartup",
    "DormantTimeoutDisabledByIdleStreams",
    "DormantTimeoutEnabled",
    "ExcludeExitNodes",
    "ExitNodes",
    "ExtORPort",
    "ExtORPortCookieAuthFile",
    "ExtORPortCookieAuthFileGroupReadable",
    "GeoIPFile",
    "GeoIPv6File",
    "HashedControlPassword",
    "HiddenServiceDir",
    "HiddenServicePort",
    "HTTPTunnelPort",
    "KeyDirectory",
    "KeyDirectoryGroupReadable",
    "Log",
    "LogMessageDomains",
    "MetricsPort",
    "MetricsPortPolicy",
    "NATDPort",
    "ORPort",
    "PidFile",
    "RunAsDaemon",
    "SafeLogging",
    "SocksPolicy",
    "SocksPort",
    "StrictNodes",
    "SyslogIdentityTag",
    "TransPort",
    "TransProxyType",
    "TruncateLogFile",
    "UnixSocksGroupWritable",
    "User",
];

pub fn check(findings: &mut Findings<'_>, path: &str, options: &BTreeMap<String, TorrcValue>) {
    let mut spellings: BTreeMap<String, &str> = BTreeMap::new();
    let nodes = findings.members(path);
    for (name, value) in options {
        let Some(&node) = nodes.get(name.as_str()) else { continue };
        if let Some(other) = spellings.insert(name.to_ascii_lowercase(), name) {
            let message = format!("`{name}` and `{other}` are one option: tor does not mind the case");
            findings.error_at_key(node, message, "keep one, with a list of values if there are several");
        }
        check_name(findings, node, name);
        check_values(findings, node, value);
    }
}

fn check_name(findings: &mut Findings<'_>, node: NodeId, name: &str) {
    let well_formed = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if name.starts_with("__") {
        let message = format!("`{name}` belongs to exitpool: tor's internal options are not for a file");
        findings.error_at_key(node, message, "remove it");
    } else if !well_formed(name) {
        let message = format!("`{}` is not the name of a torrc option", name.escape_debug());
        findings.error_at_key(
            node,
            message,
            "write it as in `MaxMemInQueues`: letters, digits and `_`, starting with a letter",
        );
    } else if let Some(owned) = owner(name) {
        findings.error_at_key(node, format!("`{owned}` belongs to exitpool"), instead(owned));
    }
}

/// The owned option that tor would take a name for: it minds no case, and completes what is cut short.
fn owner(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let exact = OWNED.iter().find(|owned| owned.eq_ignore_ascii_case(&name));
    let completed = || OWNED.iter().find(|owned| owned.to_ascii_lowercase().starts_with(&name));
    exact.or_else(completed).copied()
}

/// What to write in place of an owned option.
fn instead(owned: &str) -> &'static str {
    match owned {
        "ExitNodes" | "StrictNodes" => "use `countries`, or `exits.pin`",
        "ExcludeExitNodes" => "use `exits.exclude`",
        "SocksPort" => "use `listen` and `socks_port`",
        "SocksPolicy" => "use `access.socks`",
        _ => "remove it",
    }
}

fn check_values(findings: &mut Findings<'_>, node: NodeId, value: &TorrcValue) {
    if value.0.is_empty() {
        findings.error(node, "there is no value here", "add one, or remove the line");
    }
    if let Some((message, help)) = value.0.iter().find_map(|value| problem(value)) {
        findings.error(node, message, help);
    }
}

/// Why a value would not reach tor as it stands here.
fn problem(value: &str) -> Option<(&'static str, &'static str)> {
    let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    if value.is_empty() {
        return Some(("there is no value here", "add one, or remove the line"));
    }
    if value.contains(char::is_control) {
        return Some((
            "a value of torrc has one line, without control characters",
            "give an option with several values a list",
        ));
    }
    if value.ends_with('\\') {
        return Some(("a `\\` at the end would swallow tor's next line", "remove it"));
    }
    (value.contains('#') && !quoted)
        .then_some(("tor takes what follows `#` for a comment", "put the value in double quotes of its own"))
}
