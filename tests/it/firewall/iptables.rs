//! The driver for iptables, of both flavours: whatever somebody does to our chains and sets is seen, named and mended.

use exitpool::firewall::model::Guard;
use exitpool::observe::Observation;

use super::lab::{Guarded, HOST, Kind, Lab, PATIENCE, STRANGER, connects, exact, guard, is_dropped};
use super::tamper::{Networks, Tampering, named_and_mended};

const TAMPERINGS: &[Tampering] = &[
    Tampering {
        script: "ipt -D EXITPOOL 2",
        said: &[
            r#"iptables: chain EXITPOOL: rule 2 "-m conntrack --ctdir REPLY -m comment --comment exitpool:reply -j RETURN" is missing"#,
        ],
    },
    Tampering {
        script: "ip6t -D EXITPOOL 4",
        said: &[
            r#"ip6tables: chain EXITPOOL: rule 4 "-p tcp -m tcp --dport 40000:40099 -m comment --comment exitpool:control -j DROP" is missing"#,
        ],
    },
    Tampering {
        script: "ipt -I EXITPOOL -p tcp --dport 40000 -j ACCEPT",
        said: &[r#"iptables: chain EXITPOOL: rule 1 "-p tcp -m tcp --dport 40000 -j ACCEPT" is not ours"#],
    },
    Tampering {
        script: "ipt -A EXITPOOL -p tcp --dport 22 -j DROP",
        said: &[r#"iptables: chain EXITPOOL: rule 10 "-p tcp -m tcp --dport 22 -j DROP" is not ours"#],
    },
    Tampering {
        script: "ipt -R EXITPOOL 4 -p tcp --dport 40000:40099 -j ACCEPT",
        said: &[
            r#"iptables: chain EXITPOOL: rule 4 "-p tcp -m tcp --dport 40000:40099 -j ACCEPT" is not ours"#,
            r#"iptables: chain EXITPOOL: rule 4 "-p tcp -m tcp --dport 40000:40099 -m comment --comment exitpool:control -j DROP" is missing"#,
        ],
    },
    Tampering {
        script: "ipt -D EXITPOOL 1; ipt -A EXITPOOL -i lo -m comment --comment exitpool:lo -j RETURN",
        said: &["iptables: chain EXITPOOL: its rules stand in another order"],
    },
    Tampering {
        script: "ip6t -F EXITPOOL-SOCKS",
        said: &[
            r#"ip6tables: chain EXITPOOL-SOCKS: rule 1 "-m set --match-set exitpool-socks6 src -j RETURN" is missing"#,
            r#"ip6tables: chain EXITPOOL-SOCKS: rule 2 "-m comment --comment exitpool:socks-deny -j DROP" is missing"#,
        ],
    },
    Tampering {
        script: "ipt -D PREROUTING 1",
        said: &[r#"iptables: chain PREROUTING: rule "-m comment --comment exitpool:jump -j EXITPOOL" is missing"#],
    },
    Tampering {
        script: "ip6t -A PREROUTING -m comment --comment exitpool:jump -j EXITPOOL",
        said: &[
            r#"ip6tables: chain PREROUTING: rule "-m comment --comment exitpool:jump -j EXITPOOL" stands there twice"#,
        ],
    },
    Tampering {
        script: "ipt -A FORWARD -p udp -g EXITPOOL-PANEL",
        said: &[r#"iptables: chain FORWARD: rule "-p udp -g EXITPOOL-PANEL" is not ours"#],
    },
    Tampering {
        script: "ipt -N EXITPOOL-X; ipt -A EXITPOOL-X -j ACCEPT; ipt -A EXITPOOL -j EXITPOOL-X",
        said: &[
            "iptables: chain EXITPOOL-X is not ours",
            r#"iptables: chain EXITPOOL: rule 10 "-j EXITPOOL-X" is not ours"#,
        ],
    },
    Tampering {
        script: "ipt -F; ipt -X",
        said: &["iptables: chain EXITPOOL is missing", "iptables: chain EXITPOOL-SOCKS is missing"],
    },
    Tampering {
        script: "ipset add exitpool-socks4 10.200.1.12 nomatch",
        said: &["set exitpool-socks4: 10.200.1.12 nomatch should not be there"],
    },
    Tampering {
        script: "ipset create exitpool-friends hash:net; ipt -I EXITPOOL -m set --match-set exitpool-friends src -j RETURN",
        said: &[
            "set exitpool-friends is not ours",
            r#"iptables: chain EXITPOOL: rule 1 "-m set --match-set exitpool-friends src -j RETURN" is not ours"#,
        ],
    },
    Tampering {
        script: "ipt -F EXITPOOL-SOCKS; until ipset destroy exitpool-socks4 2>&-; do :; done",
        said: &["set exitpool-socks4 is missing"],
    },
    Tampering {
        script: "ipt -F EXITPOOL-SOCKS; until ipset destroy exitpool-socks4 2>&-; do :; done
                 ipset create exitpool-socks4 hash:ip timeout 100; ipset add exitpool-socks4 10.200.1.12
                 ipt -A EXITPOOL-SOCKS -m set --match-set exitpool-socks4 src -j RETURN",
        said: &[
            "set exitpool-socks4: type is hash:ip instead of hash:net",
            "set exitpool-socks4: timeout should not be there",
            "set exitpool-socks4: 10.200.1.10 is missing",
        ],
    },
];

/// The kinds that are iptables.
fn labs() -> impl Iterator<Item = Lab> {
    [Kind::IptablesNft, Kind::IptablesLegacy].into_iter().filter_map(Lab::new)
}

#[test]
fn tampering_is_named_and_mended() {
    for lab in labs() {
        named_and_mended(&lab, TAMPERINGS);
    }
}

/// A rule of others that lets packets through before ours has seen them would open everything.
#[test]
fn others_do_not_come_before_us_and_keep_their_rules() {
    for lab in labs() {
        let _listener = lab.listen(&[40_000]);
        named_and_mended(
            &lab,
            &[Tampering {
                script: "ipt -I PREROUTING -p tcp --dport 40000 -j ACCEPT",
                said: &[
                    r#"iptables: chain PREROUTING: rule "-m comment --comment exitpool:jump -j EXITPOOL" stands behind others' rules, which see packets first"#,
                ],
            }],
        );
        lab.client.block_on(async || is_dropped(STRANGER[0], HOST[0], 40_000).await);
        assert!(lab.everything().contains("-A PREROUTING -p tcp -m tcp --dport 40000 -j ACCEPT"));
        lab.remove();
        assert!(lab.everything().contains("-A PREROUTING -p tcp -m tcp --dport 40000 -j ACCEPT"));
        lab.client.block_on(async || connects(STRANGER[0], HOST[0], 40_000).await);
    }
}

#[test]
fn what_could_be_ours_is_read_as_the_guard_it_is() {
    for lab in labs() {
        let wanted = guard();
        lab.apply(&wanted);
        lab.tamper("ipset add exitpool-socks4 198.51.100.0/24");
        let opened = vec!["10.200.1.10/32", "198.51.100.0/24", "fd00:200:1::10/128"].networks();
        assert_eq!(lab.observe(&wanted), exact(&Guard { socks_allow: opened, ..guard() }));
        lab.apply(&wanted);
        lab.tamper("ipset swap exitpool-socks4 exitpool-panel4; ipset swap exitpool-socks6 exitpool-panel6");
        let swapped = Guard { socks_allow: guard().panel_allow, panel_allow: guard().socks_allow, ..guard() };
        assert_eq!(lab.observe(&wanted), exact(&swapped));
        lab.apply(&wanted);
        lab.tamper("ipt -D EXITPOOL 4; ip6t -D EXITPOOL 4");
        assert_eq!(lab.observe(&wanted), exact(&Guard { control_ports: None, ..guard() }));
        lab.apply(&wanted);
    }
}

#[test]
fn what_is_gone_is_absent_and_what_never_was_makes_no_table() {
    for lab in labs() {
        let wanted = guard();
        let before = lab.everything();
        assert_eq!(lab.observe(&wanted), Observation::Absent);
        lab.remove();
        assert_eq!(lab.everything(), before, "looking makes nothing");
        lab.apply(&wanted);
        lab.remove();
        lab.remove();
        assert_eq!(lab.observe(&wanted), Observation::Absent);
        assert!(!lab.everything().to_lowercase().contains("exitpool"), "{}", lab.everything());
    }
}

/// The kernel tells nobody of it: it is found by polling.
#[test]
fn a_change_of_a_set_is_found() {
    for lab in labs() {
        lab.apply(&guard());
        lab.host.block_on(async || {
            let driver = lab.kind.driver();
            assert_eq!(driver.observe(&guard()).await, exact(&guard()));
            let flush = tokio::process::Command::new("ipset").args(["flush", "exitpool-socks6"]).status();
            let found = tokio::time::timeout(PATIENCE, driver.changed());
            let (flushed, found) = tokio::join!(flush, found);
            assert!(flushed.unwrap().success());
            found.expect("the flush is found");
        });
    }
}

#[test]
fn without_rights_nothing_is_known() {
    for lab in labs() {
        lab.apply(&guard());
        let program = if lab.kind == Kind::IptablesNft { "nft" } else { "legacy" };
        let output = lab.host.try_sh(&format!(
            "setpriv --reuid 65534 --clear-groups --inh-caps -all --bounding-set -all iptables-{program}-save -t mangle"
        ));
        assert!(!output.status.success(), "an answer without rights would be an empty one");
        assert!(String::from_utf8_lossy(&output.stderr).contains("you must be root"));
    }
}
