//! Which driver is chosen on which host, and what becomes of the guard of another one.

use std::sync::Arc;

use exitpool::desired::DriverChoice;
use exitpool::firewall::{Firewall, select};
use exitpool::observe::{Observation, ObservedGuard};

use super::lab::{Guarded, Kind, Lab, exact, guard};
use crate::netns::Netns;
use crate::support::place_program;

async fn chosen(choice: DriverChoice) -> Arc<dyn Firewall> {
    select(choice).await.unwrap()
}

#[test]
fn auto_is_nftables_where_it_works() {
    let Some(netns) = Netns::new() else { return };
    for choice in [DriverChoice::Auto, DriverChoice::Nftables] {
        let name = netns.block_on(async || chosen(choice).await.name());
        assert_eq!(name, "nftables");
    }
}

#[test]
fn iptables_is_chosen_by_name_and_works() {
    for kind in [Kind::IptablesNft, Kind::IptablesLegacy] {
        let Some(lab) = Lab::new(kind) else { return };
        lab.host.block_on(async || {
            let driver = chosen(DriverChoice::Iptables).await;
            assert_eq!(driver.name(), "iptables");
            driver.apply(&guard()).await.unwrap();
            assert_eq!(driver.observe(&guard()).await, exact(&guard()));
        });
        // Which flavour that is, the host says.
        let version = lab.host.sh("iptables --version");
        let is_this_one = version.contains("nf_tables") == (kind == Kind::IptablesNft);
        assert!(lab.host.sh("iptables-save -t mangle").contains(":EXITPOOL "));
        assert_eq!(lab.observe(&guard()) == exact(&guard()), is_this_one);
    }
}

/// Without any tool there is nothing to fall back to: it says what to install.
#[test]
fn a_host_without_tools_is_told_what_to_install() {
    let Some(netns) = Netns::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("pool.yaml");
    std::fs::write(&source, "version: 1\npools: [{name: eu, size: 1, socks_port: 30000}]\n").unwrap();
    let output = netns.try_sh(&format!(
        "unshare --mount --propagation private sh -ec 'mount -t tmpfs tmpfs /usr/sbin
         exec {0} plan --source {1} --state-dir {2} --runtime-dir {2}'",
        env!("CARGO_BIN_EXE_exitpool"),
        source.display(),
        directory.path().display()
    ));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("install nftables, or iptables and ipset"), "{said}");
}

/// The new guard stands before the old one goes, and nothing of the old one is left.
#[test]
fn a_guard_of_another_driver_goes_when_the_chosen_one_stands() {
    let kinds = [Kind::Nftables, Kind::IptablesNft, Kind::IptablesLegacy];
    let choices = [DriverChoice::Nftables, DriverChoice::Iptables, DriverChoice::None];
    for (kind, choice) in kinds.iter().flat_map(|kind| choices.map(|choice| (*kind, choice))) {
        let Some(lab) = Lab::new(kind) else { return };
        lab.apply(&guard());
        lab.host.block_on(async || {
            let driver = chosen(choice).await;
            let seen = driver.observe(&guard()).await;
            if seen == exact(&guard()) {
                // It is this driver's own.
                return driver.remove().await.unwrap();
            }
            let Observation::Present(ObservedGuard::Altered(differences)) = &seen else { panic!("{kind:?}: {seen:?}") };
            assert!(
                differences.iter().any(|it| it.contains("still stands, from an earlier choice")),
                "{differences:?}"
            );
            if choice == DriverChoice::None {
                driver.remove().await.unwrap();
                assert_eq!(driver.observe(&guard()).await, Observation::Absent);
            } else {
                driver.apply(&guard()).await.unwrap();
                assert_eq!(driver.observe(&guard()).await, exact(&guard()));
                driver.remove().await.unwrap();
            }
        });
        for other in kinds {
            let seen = lab.host.block_on(async || other.driver().observe(&guard()).await);
            assert_eq!(seen, Observation::Absent, "{other:?} after {kind:?} and {choice:?}");
        }
    }
}

/// Nobody can look at a guard and remove it, with the rights that docs/firewall.md names and no others.
#[test]
fn few_capabilities_are_enough() {
    for (kind, rights) in [(Kind::Nftables, "+net_admin"), (Kind::IptablesNft, "+net_admin,+net_raw")] {
        let Some(lab) = Lab::new(kind) else { return };
        lab.apply(&guard());
        let directory = tempfile::tempdir().unwrap();
        // The test's own directory may be closed to others.
        place_program(&directory.path().join("exitpool"));
        lab.host.sh(&format!(
            "cd {}; chown -R 65534:65534 .
             exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all,{rights} \
                 --inh-caps {rights} --ambient-caps {rights} \
                 ./exitpool down --state-dir $PWD/state --runtime-dir $PWD/runtime",
            directory.path().display()
        ));
        assert_eq!(lab.observe(&guard()), Observation::Absent, "{kind:?}");
    }
}

/// What docs/firewall.md tells an operator to type, in the order in which it stands there.
#[test]
fn what_the_manual_says_takes_everything_out_by_hand() {
    let manual = include_str!("../../../docs/firewall.md");
    let scripts: Vec<&str> = manual.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let kinds = [Kind::Nftables, Kind::IptablesNft];
    assert_eq!(scripts.len(), kinds.len());
    for (kind, script) in kinds.into_iter().zip(scripts) {
        let Some(lab) = Lab::new(kind) else { return };
        if kind == Kind::IptablesNft && !lab.host.sh("iptables --version").contains("nf_tables") {
            return;
        }
        lab.apply(&guard());
        lab.host.sh(script);
        assert_eq!(lab.observe(&guard()), Observation::Absent, "{script}");
    }
}
