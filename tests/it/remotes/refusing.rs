//! A firewall that cannot be changed any more: it is counted, and it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::host::{Host, PATIENCE, condition, document};

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_refuses_changes_is_counted() {
    const ERRORS: &str = "exitpool_firewall_apply_total{driver=\"nftables\",result=\"error\"}";
    const FAILED: &str = "exitpool_reconcile_total{result=\"error\"}";
    let Some(mut host) = Host::new() else { return };
    let programs = host.kit.at("programs");
    let broken = host.kit.at("broken");
    fs::create_dir(&programs).unwrap();
    // The real nft, until it is told to refuse whatever is written.
    let script = format!(
        "#!/bin/sh\nif [ -e {} ]; then case \" $* \" in *' -f '*) echo 'no space left' >&2; exit 1;; esac; fi\n\
         PATH=/usr/sbin:/sbin:/usr/bin:/bin exec nft \"$@\"\n",
        broken.display()
    );
    fs::write(programs.join("nft"), script).unwrap();
    fs::set_permissions(programs.join("nft"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    host.environment.push(("PATH", path));
    let guarded = |clients: &str| {
        document(1).replace("{driver: none}", "{driver: nftables}") + &format!("access: {{socks: ['{clients}']}}\n")
    };
    let first = host.kit.commit(&guarded("203.0.113.0/24"), Some("ada"));
    host.push_head();
    let served = host.kit.at("served/pool.git").display().to_string();
    host.start(&served);
    host.in_force(&first, 1).await;
    host.condition("FirewallInSync", "True", "").await;
    assert_eq!(host.metric(ERRORS), 0.0);

    fs::write(&broken, "").unwrap();
    host.kit.commit(&guarded("203.0.114.0/24"), Some("ada"));
    host.push_head();
    host.verb("reconcile", &[]);
    let report = host.condition("FirewallInSync", "False", "").await;
    let end = Instant::now() + PATIENCE;
    while host.metric(ERRORS) == 0.0 || host.metric(FAILED) == 0.0 {
        assert!(Instant::now() < end, "no failure is counted: {:?}", condition(&report, "Ready"));
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    fs::remove_file(&broken).unwrap();
    host.condition("FirewallInSync", "True", "").await;
    host.stop();
}
