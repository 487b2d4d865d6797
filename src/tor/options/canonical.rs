//! The one form in which values are compared: the one in which tor 0.4.9 gives them back.
//!
//! The types are those of `GETINFO config/names`; an option that is in none of the tables is text, or a number whose
//! form does not change.

use crate::desired::Fingerprint;

/// Options in bytes, written like `256 MB`.
const SIZES: &[&str] = &[
    "accountingmax",
    "bandwidthburst",
    "bandwidthrate",
    "constrainedsocksize",
    "maxadvertisedbandwidth",
    "maxhsdircachebytes",
    "maxmeminqueues",
    "maxunparseabledescsizetolog",
    "perconnbwburst",
    "perconnbwrate",
    "relaybandwidthburst",
    "relaybandwidthrate",
];

/// Options in seconds, written like `3 minutes`.
const INTERVALS: &[&str] = &[
    "circuitbuildtimeout",
    "circuitsavailabletimeout",
    "circuitstreamtimeout",
    "clientbootstrapconsensusauthoritydownloadinitialdelay",
    "clientbootstrapconsensusauthorityonlydownloadinitialdelay",
    "clientbootstrapconsensusfallbackdownloadinitialdelay",
    "dormantclienttimeout",
    "guardlifetime",
    "heartbeatperiod",
    "keepaliveperiod",
    "maxcircuitdirtiness",
    "maxconsensusagefordiffs",
    "newcircuitperiod",
    "rephisttracktime",
    "shutdownwaitlength",
    "sockstimeout",
    "testingbridgebootstrapdownloadinitialdelay",
    "testingbridgedownloadinitialdelay",
    "testingclientconsensusdownloadinitialdelay",
    "testingclientdownloadinitialdelay",
    "testingclientmaxintervalwithoutrequest",
    "testingdirconnectionmaxstall",
    "trackhostexitsexpire",
];

/// Options in milliseconds, written like `2 seconds`.
const MILLISECONDS: &[&str] =
    &["kistschedruninterval", "logtimegranularity", "maxonionqueuedelay", "tokenbucketrefillinterval"];

/// Lists between commas.
const LISTS: &[&str] = &[
    "automaphostssuffixes",
    "firewallports",
    "longlivedports",
    "rejectplaintextports",
    "schedulers",
    "trackhostexits",
    "warnplaintextports",
];

/// Sets of relays between commas.
const RELAY_SETS: &[&str] =
    &["entrynodes", "excludeexitnodes", "excludenodes", "exitnodes", "hslayer2nodes", "hslayer3nodes", "middlenodes"];

/// Fractions, which tor writes with six digits.
const FLOATS: &[&str] = &[
    "circuitpriorityhalflife",
    "dirauthorityfallbackrate",
    "kistsockbufsizefactor",
    "pathbiasextremerate",
    "pathbiasextremeuserate",
    "pathbiasnoticerate",
    "pathbiasnoticeuserate",
    "pathbiaswarnrate",
    "pathsneededtobuildcircuits",
];

/// Names that tor takes and gives back as another one.
const ALIASES: &[(&str, &str)] = &[
    ("automaphostonresolve", "AutomapHostsOnResolve"),
    ("automaphostsuffixes", "AutomapHostsSuffixes"),
    ("bandwidthburstbytes", "BandwidthBurst"),
    ("bandwidthratebytes", "BandwidthRate"),
    ("dirserver", "DirAuthority"),
    ("entrynode", "EntryNodes"),
    ("excludenode", "ExcludeNodes"),
    ("excludeexitnode", "ExcludeExitNodes"),
    ("exitnode", "ExitNodes"),
    ("firewallport", "FirewallPorts"),
    ("longlivedport", "LongLivedPorts"),
    ("maxconn", "ConnLimit"),
    ("maxmemincellqueues", "MaxMemInQueues"),
    ("numcpu", "NumCPUs"),
    ("numentrynodes", "NumEntryGuards"),
    ("numhelpernodes", "NumEntryGuards"),
    ("strictnode", "StrictNodes"),
    ("useentrynodes", "UseEntryGuards"),
    ("usehelpernodes", "UseEntryGuards"),
    ("virtualaddrnetwork", "VirtualAddrNetworkIPv4"),
];

/// What tor makes of a number that is out of bounds, where it neither refuses nor keeps it.
const CLAMPS: &[(&str, u64, u64)] = &[
    ("circuitstreamtimeout", 10, u64::MAX),
    ("heartbeatperiod", 30 * 60, u64::MAX),
    ("maxcircuitdirtiness", 10, 30 * 24 * 3600),
];

/// Finds the name under which tor gives an option back.
pub fn name(written: &str) -> &str {
    let lower = written.to_ascii_lowercase();
    ALIASES.iter().find(|(alias, _)| *alias == lower).map_or(written, |(_, real)| real)
}

/// Writes the values of an option in canonical form; an option that is set to nothing has none.
pub fn values<'a>(name: &str, written: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    written.into_iter().map(|value| value_of(&lower, value.trim())).filter(|value| !value.is_empty()).collect()
}

/// Writes one value in canonical form; what cannot be read stays as it is, for tor itself to judge.
fn value_of(lower: &str, value: &str) -> String {
    let is_in = |table: &[&str]| table.contains(&lower);
    let number = if is_in(SIZES) {
        amount(value, byte_unit)
    } else if is_in(INTERVALS) {
        amount(value, second_unit).map(|seconds| clamp(lower, seconds))
    } else if is_in(MILLISECONDS) {
        amount(value, millisecond_unit)
    } else {
        value.parse().ok().filter(|_| !is_in(LISTS) && !is_in(FLOATS))
    };
    match number {
        Some(number) => number.to_string(),
        None if is_in(LISTS) => items(value).collect::<Vec<_>>().join(","),
        None if is_in(RELAY_SETS) => relay_set(value),
        None if is_in(FLOATS) => value.parse().map_or_else(|_| value.to_owned(), |number: f64| format!("{number:.6}")),
        None => value.to_owned(),
    }
}

/// Keeps a number in tor's bounds; 0 means that tor decides, and is left alone where that is so.
fn clamp(lower: &str, number: u64) -> u64 {
    let keeps_zero = number == 0 && lower != "maxcircuitdirtiness";
    match CLAMPS.iter().find(|(name, ..)| *name == lower) {
        Some((_, least, most)) if !keeps_zero => number.clamp(*least, *most),
        _ => number,
    }
}

/// Splits a list between commas.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Writes a set of relays: fingerprints as `$` and upper case, and everything in order.
///
/// `{??}` is left out: tor adds it by itself beside a country (`GeoIPExcludeUnknown auto`).
fn relay_set(value: &str) -> String {
    if is_relay_set(value) {
        return value.to_owned();
    }
    let one = |item: &str| match item.parse::<Fingerprint>() {
        Ok(fingerprint) => format!("${fingerprint}"),
        Err(_) => item.to_owned(),
    };
    let mut set: Vec<String> = items(value).filter(|item| *item != "{??}").map(one).collect();
    set.sort_unstable();
    set.dedup();
    set.join(",")
}

/// Whether fingerprints are written just so, as by us and by tor: there are thousands in one value, for every instance.
fn is_relay_set(value: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let is_written_so = |item: &str| item.len() == 41 && item.starts_with('$') && item.bytes().skip(1).all(is_digit);
    value.split(',').all(is_written_so) && value.split(',').is_sorted_by(|one, next| one < next)
}

/// Reads a number with a unit.
fn amount(value: &str, unit: fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = value.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, rest) = value.split_at(digits);
    let factor = unit(&rest.trim().to_ascii_lowercase())?;
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        // As tor does it: a fraction is multiplied as a floating-point number and cut.
        Err(_) => number.parse::<f64>().ok().map(|fraction| (fraction * factor as f64) as u64),
    }
}

/// Reads a unit of size, in bytes.
fn byte_unit(unit: &str) -> Option<u64> {
    let (scale, rest) = match unit.strip_suffix('s').unwrap_or(unit) {
        "" => return Some(1),
        "k" | "m" | "g" | "t" => (&unit[..1], "byte"),
        stem => {
            let prefix = ["kilo", "mega", "giga", "tera", "k", "m", "g", "t"];
            let found = prefix.iter().find(|prefix| stem.starts_with(**prefix)).copied().unwrap_or_default();
            (&stem[..found.len().min(1)], &stem[found.len()..])
        }
    };
    let shift = match scale {
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => 0,
    };
    match rest {
        "b" | "byte" => Some(1 << shift),
        "bit" if shift > 0 => Some(1 << (shift - 3)),
        _ => None,
    }
}

/// Reads a unit of time, in seconds.
fn second_unit(unit: &str) -> Option<u64> {
    Some(match unit.strip_suffix('s').unwrap_or(unit) {
        "" | "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 24 * 3600,
        "week" => 7 * 24 * 3600,
        // tor's month: an average one.
        "month" => 2_629_728,
        _ => return None,
    })
}

/// Reads a unit of time, in milliseconds.
fn millisecond_unit(unit: &str) -> Option<u64> {
    match unit.strip_suffix('s').unwrap_or(unit) {
        "" | "msec" | "millisecond" => Some(1),
        other => second_unit(other).map(|seconds| seconds * 1000),
    }
}
