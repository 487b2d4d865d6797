//! The guard while the host is booted: what stood last, or else what can do no harm.

use std::sync::Arc;

use crate::desired::{Desired, DriverChoice};

use super::model::Guard;
use super::select::guard_alone;
use super::{Firewall, FirewallError};

/// What is put in place, and by which driver.
#[derive(Debug, PartialEq)]
pub struct Early {
    guard: Guard,
    driver: DriverChoice,
}

impl Early {
    /// From what was left in place last, and the desired state in force; `None` where no guard is wished, or known.
    pub fn of(left: Option<&Guard>, desired: Option<&Desired>) -> Option<Self> {
        let driver = desired.map_or(DriverChoice::Auto, |desired| desired.firewall.driver);
        let guard = match (left, desired) {
            _ if driver == DriverChoice::None => return None,
            (left, Some(desired)) => Guard::to_fall_back_on(left, &Guard::of(desired, None)),
            (Some(left), None) => left.clone(),
            (None, None) => return None,
        };
        Some(Self { guard, driver })
    }

    /// Puts it in place; says by which driver.
    pub async fn put_in_place(&self) -> Result<&'static str, FirewallError> {
        let firewall: Arc<dyn Firewall> = guard_alone(self.driver).await?;
        firewall.apply(&self.guard).await?;
        Ok(firewall.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::load;

    fn desired(text: &str) -> Desired {
        let text = format!("version: 1\n{text}");
        load("pool.yaml", text.as_bytes()).unwrap().desired
    }

    const POOL: &str = "pools: [{name: eu, size: 2, listen: 0.0.0.0, socks_port: 30000}]\naccess: {socks: [192.0.2.0/24], ssh: {allow: [192.0.2.1]}}\n";

    #[test]
    fn what_was_left_stands_again_with_the_ports_of_all_nodes() {
        let desired = desired(POOL);
        let left = Guard { socks_ports: Vec::new(), ssh_ports: Vec::new(), ..Guard::of(&desired, Some(8080)) };
        let Early { guard, driver } = Early::of(Some(&left), Some(&desired)).unwrap();
        assert_eq!(driver, DriverChoice::Auto);
        let ports = Guard::of(&desired, None).socks_ports;
        assert_eq!(guard, Guard { socks_ports: ports, ..left.clone() });
        assert_eq!(Early::of(Some(&left), None), Some(Early { guard: left, driver: DriverChoice::Auto }));
    }

    #[test]
    fn what_was_never_proved_closes_the_nodes_alone() {
        let desired = desired(POOL);
        let Early { guard, .. } = Early::of(None, Some(&desired)).unwrap();
        assert_eq!(guard.socks_ports, Guard::of(&desired, None).socks_ports);
        assert!(guard.ssh_ports.is_empty() && guard.panel_port.is_none() && guard.control_ports.is_none());
    }

    #[test]
    fn nothing_is_closed_where_no_guard_is_wished_or_known() {
        let none = desired(&format!("{POOL}firewall: {{driver: none}}\n"));
        assert_eq!(Early::of(Some(&Guard::default()), Some(&none)), None);
        assert_eq!(Early::of(None, None), None);
    }
}
