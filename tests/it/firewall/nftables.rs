//! The driver for nftables: whatever somebody does to our table is seen, named and mended.

use std::time::Duration;

use exitpool::firewall::Firewall;
use exitpool::firewall::model::Guard;
use exitpool::firewall::nftables::Nftables;
use exitpool::observe::Observation;

use super::lab::{Guarded, Kind, Lab, PATIENCE, exact, guard};
use super::tamper::{Networks, Tampering, named_and_mended};

/// Makes `$1` the handle of the rule whose comment is named.
macro_rules! with_handle {
    ($comment:literal, $command:literal) => {
        concat!("set -- $(nft -a list chain inet exitpool guard | sed -n 's/.*", $comment, ".*handle //p'); ", $command)
    };
}

pub const TAMPERINGS: &[Tampering] = &[
    Tampering {
        script: with_handle!("exitpool:reply", "nft delete rule inet exitpool guard handle $1"),
        said: &[r#"chain guard: rule 2 "ct direction reply accept comment exitpool:reply" is missing"#],
    },
    Tampering {
        script: "nft insert rule inet exitpool guard tcp dport 40000 accept",
        said: &[r#"chain guard: rule 1 "tcp dport 40000 accept" is not ours"#],
    },
    Tampering {
        script: "nft add rule inet exitpool guard tcp dport 22 drop",
        said: &[r#"chain guard: rule 10 "tcp dport 22 drop" is not ours"#],
    },
    Tampering {
        script: with_handle!(
            "exitpool:control",
            "nft replace rule inet exitpool guard handle $1 tcp dport 40000-40099 accept"
        ),
        said: &[
            r#"chain guard: rule 4 "tcp dport 40000-40099 accept" is not ours"#,
            r#"chain guard: rule 4 "tcp dport 40000-40099 counter drop comment exitpool:control" is missing"#,
        ],
    },
    Tampering {
        script: with_handle!(
            "exitpool:lo",
            "nft delete rule inet exitpool guard handle $1; nft add rule inet exitpool guard iif lo accept comment '\"exitpool:lo\"'"
        ),
        said: &["chain guard: its rules stand in another order"],
    },
    Tampering {
        script: "nft flush chain inet exitpool socks",
        said: &[
            r#"chain socks: rule 1 "ip saddr @socks4 return" is missing"#,
            r#"chain socks: rule 2 "ip6 saddr @socks6 return" is missing"#,
            r#"chain socks: rule 3 "counter drop comment exitpool:socks-deny" is missing"#,
        ],
    },
    Tampering {
        script: "nft add chain inet exitpool guard '{ policy drop; }'",
        said: &["chain guard: policy is drop instead of accept"],
    },
    Tampering {
        script: "nft add chain inet exitpool extra; nft add rule inet exitpool extra accept; nft add rule inet exitpool guard jump extra",
        said: &["chain extra is not ours", r#"chain guard: rule 10 "jump extra" is not ours"#],
    },
    Tampering {
        script: "nft add chain inet exitpool early '{ type filter hook prerouting priority -300; policy accept; }'",
        said: &["chain early is not ours"],
    },
    Tampering {
        script: "nft add set inet exitpool friends '{ type ipv4_addr; }'; nft add rule inet exitpool guard ip saddr @friends accept",
        said: &["set friends is not ours", r#"chain guard: rule 10 "ip saddr @friends accept" is not ours"#],
    },
    Tampering {
        script: "nft add counter inet exitpool seen; nft add rule inet exitpool guard counter name seen",
        said: &[r#"chain guard: rule 10 "{"counter":"seen"}" is not ours"#, "counter seen is not ours"],
    },
    Tampering {
        script: "nft add map inet exitpool ways '{ type inet_service : verdict; }'; nft add element inet exitpool ways '{ 30000 : jump panel }'",
        said: &["map ways is not ours"],
    },
    Tampering {
        script: "nft add chain inet exitpool extra; nft add map inet exitpool ways '{ type inet_service : verdict; }'; nft add element inet exitpool ways '{ 1 : jump extra }'; nft add rule inet exitpool guard tcp dport vmap @ways",
        said: &[
            "chain extra is not ours",
            r#"chain guard: rule 10 "{"vmap":{"data":"@ways","key":{"payload":{"field":"dport","protocol":"tcp"}}}}" is not ours"#,
            "map ways is not ours",
        ],
    },
    Tampering {
        script: "nft add quota inet exitpool enough over 1 mbytes; nft add limit inet exitpool slow rate 1/second",
        said: &["limit slow is not ours", "quota enough is not ours"],
    },
    Tampering {
        script: "nft add table inet exitpool '{ flags dormant; }'",
        said: &["table is dormant: none of its rules is in force"],
    },
    Tampering {
        script: "nft flush table inet exitpool; nft delete set inet exitpool socks4",
        said: &["set socks4 is missing"],
    },
    Tampering {
        script: "nft flush table inet exitpool; nft delete set inet exitpool socks6; nft add set inet exitpool socks6 '{ type ipv6_addr; flags interval, timeout; }'",
        said: &[
            r#"set socks6: flags are ["interval","timeout"] instead of ["interval"]"#,
            "set socks6: fd00:200:1::10 is missing",
        ],
    },
    Tampering {
        script: "nft flush table inet exitpool; nft delete chain inet exitpool guard; nft add chain inet exitpool guard '{ type filter hook input priority 0; policy accept; }'",
        said: &["chain guard: hook is input instead of prerouting", "chain guard: prio is 0 instead of -145"],
    },
];

#[test]
fn tampering_is_named_and_mended() {
    Lab::new(Kind::Nftables).iter().for_each(|lab| named_and_mended(lab, TAMPERINGS));
}

#[test]
fn what_could_be_ours_is_read_as_the_guard_it_is() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let wanted = guard();
    lab.apply(&wanted);

    lab.host.sh("nft add element inet exitpool socks4 '{ 198.51.100.0/24 }'");
    let opened =
        Guard { socks_allow: vec!["10.200.1.10/32", "198.51.100.0/24", "fd00:200:1::10/128"].networks(), ..guard() };
    assert_eq!(lab.observe(&wanted), exact(&opened));
    lab.apply(&wanted);

    lab.host.sh("nft flush set inet exitpool panel4");
    let closed = Guard { panel_allow: vec!["fd00:200:1::12/128"].networks(), ..guard() };
    assert_eq!(lab.observe(&wanted), exact(&closed));
    lab.apply(&wanted);

    lab.host.sh(with_handle!("exitpool:control", "nft delete rule inet exitpool guard handle $1"));
    assert_eq!(lab.observe(&wanted), exact(&Guard { control_ports: None, ..guard() }));
    lab.apply(&wanted);
}

#[test]
fn a_table_that_is_gone_is_absent() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let wanted = guard();
    assert_eq!(lab.observe(&wanted), Observation::Absent);
    for script in ["nft delete table inet exitpool", "nft flush ruleset"] {
        lab.apply(&wanted);
        lab.host.sh(script);
        assert_eq!(lab.observe(&wanted), Observation::Absent, "{script}");
    }
    lab.apply(&wanted);
    lab.remove();
    lab.remove();
    assert_eq!(lab.host.sh("nft list ruleset"), "");
}

#[test]
fn a_burst_of_news_is_one_wake_up() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    lab.host.block_on(async || {
        let driver = Nftables::new();
        for _ in 0..5 {
            driver.apply(&guard()).await.unwrap();
        }
        tokio::time::timeout(PATIENCE, driver.changed()).await.expect("our own changes are heard");
        assert!(tokio::time::timeout(Duration::ZERO, driver.changed()).await.is_err(), "all the news was taken");
    });
}

/// What a look has read serves the change behind it, unless somebody was faster.
#[test]
fn what_others_do_between_a_look_and_a_change_is_not_lost() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let scripts = [
        "nft insert rule inet exitpool guard tcp dport 30000 accept",
        "nft delete table inet exitpool",
        "nft add element inet exitpool socks4 { 10.9.9.9 }",
        "nft add table inet exitpool; nft add chain inet exitpool extra",
    ];
    lab.host.block_on(async || {
        let driver = Nftables::new();
        // It knows that there is none, and then there is one.
        assert_eq!(driver.observe(&guard()).await, Observation::Absent);
        Nftables::new().apply(&guard()).await.unwrap();
        driver.apply(&guard()).await.unwrap();
        for script in scripts {
            assert_eq!(driver.observe(&guard()).await, exact(&guard()));
            lab.tamper(script);
            driver.apply(&guard()).await.unwrap();
        }
        assert_eq!(driver.observe(&guard()).await, exact(&guard()));
        // The same table is judged anew for another wish.
        let wider = Guard { icmp_per_second: 20, ..guard() };
        assert_eq!(driver.observe(&wider).await, exact(&guard()));
        driver.apply(&wider).await.unwrap();
        assert_eq!(driver.observe(&wider).await, exact(&wider));
    });
    assert_eq!(lab.host.sh("nft list table inet exitpool").matches("exitpool:control").count(), 1);
}
