//! What the drivers' own tests share: any guard, and tools that are shell scripts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::model::{Guard, Ports};
use super::tool::Tool;

fn merged_networks() -> impl Strategy<Value = Vec<IpNet>> {
    let v4 = prop::collection::vec((any::<u32>(), 0_u8..=32), 0..8);
    let v6 = prop::collection::vec((any::<u128>(), 0_u8..=128), 0..8);
    (v4, v6).prop_map(|(v4, v6)| {
        let v4 = v4.into_iter().map(|(bits, len)| IpNet::V4(Ipv4Net::new(bits.into(), len).unwrap().trunc()));
        let v6 = v6.into_iter().map(|(bits, len)| IpNet::V6(Ipv6Net::new(bits.into(), len).unwrap().trunc()));
        let mut networks = IpNet::aggregate(&v4.chain(v6).collect());
        networks.sort_unstable();
        networks
    })
}

fn merged_ports() -> impl Strategy<Value = Vec<Ports>> {
    // Disjoint and not adjacent by being every third port.
    prop::collection::vec((0_u16..21_000, any::<bool>()), 0..8).prop_map(|starts| {
        let starts: BTreeSet<(u16, bool)> = starts.into_iter().collect();
        let mut ports: Vec<Ports> =
            starts.into_iter().map(|(n, two)| Ports { first: 3 * n + 1, last: 3 * n + 1 + u16::from(two) }).collect();
        ports.dedup_by_key(|range| range.first);
        ports
    })
}

prop_compose! {
    /// Any guard of the form that desired gives.
    pub fn guards()(
        socks_ports in merged_ports(),
        socks_allow in merged_networks(),
        panel_port in any::<Option<u16>>(),
        panel_allow in merged_networks(),
        ssh_ports in merged_ports(),
        ssh_networks in merged_networks(),
        control in any::<Option<(u16, u16)>>(),
        icmp_per_second in any::<u32>(),
    ) -> Guard {
        let control_ports = control.map(|(a, b)| Ports { first: a.min(b), last: a.max(b) });
        // Whom SSH is closed to is only known where it is closed.
        let ssh_allow = if ssh_ports.is_empty() { Vec::new() } else { ssh_networks };
        Guard { socks_ports, socks_allow, panel_port, panel_allow, ssh_ports, ssh_allow, control_ports, icmp_per_second }
    }
}

/// A tool that is a shell script, and the directory it lives in.
pub fn scripted(name: &'static str, script: &str) -> (Tool, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = ready ] && exit\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // Another test that forked while the script was open for writing holds it, until its own child has begun.
    while std::process::Command::new(&path).arg("ready").status().is_err() {
        std::thread::yield_now();
    }
    let program = path.to_str().unwrap().to_owned();
    (Tool { name, program, deadline: Duration::from_secs(30) }, directory)
}
