//! Orders that are done at once, beside the passes: they change nothing of the pool.

use std::sync::Arc;

use jiff::Timestamp;

use super::socket::Verb;
use crate::audit::{self, Audit, Record, Who};
use crate::error::chain;
use crate::log;

/// What such orders are done with.
#[derive(Debug, Clone)]
pub struct AtOnce {
    /// The audit trail; `None` where there is none.
    pub trail: Option<Arc<Audit>>,
}

/// Who gives an order.
#[derive(Debug)]
pub struct Operator<'a> {
    /// The user's name.
    pub by: &'a str,
    /// The same, for the audit trail.
    pub who: &'a Who,
}

impl AtOnce {
    /// Does what is asked, and says what became of it; `None` where that is the business of a pass.
    pub async fn answer(&self, verb: &Verb, operator: &Operator<'_>) -> Option<Result<Vec<String>, String>> {
        match verb {
            Verb::EraseAddress { address } => Some(self.erase(address, operator).await),
            Verb::LogLevel { levels: None } => Some(log::levels().map(|levels| vec![levels])),
            Verb::LogLevel { levels: Some(levels) } => Some(self.set_levels(levels, operator)),
            _ => None,
        }
    }

    async fn erase(&self, address: &str, Operator { by, who }: &Operator<'_>) -> Result<Vec<String>, String> {
        let trail = self.trail.as_ref().ok_or("no audit trail is kept: the daemon's log says why")?;
        let network = audit::address(address)
            .ok_or_else(|| format!("`{address}` is no address; write it as in `203.0.113.9` or `2001:db8::/48`"))?;
        let erased = trail.erase(network, Who::clone(who), format!("order of {by}")).await;
        let rows = erased.map_err(|error| chain(&error))?;
        Ok(vec![match rows {
            0 => "the audit trail has no such address".to_owned(),
            1 => "the address of 1 row is erased".to_owned(),
            rows => format!("the addresses of {rows} rows are erased"),
        }])
    }

    fn set_levels(&self, levels: &str, Operator { by, who }: &Operator<'_>) -> Result<Vec<String>, String> {
        let set = log::set_levels(levels).map(|()| format!("the log has the levels `{levels}` until the daemon ends"));
        if let Some(trail) = &self.trail {
            let (action, result) = match &set {
                Ok(said) => (said.clone(), "done"),
                Err(refused) => (refused.clone(), "refused"),
            };
            let record = Record {
                at: Timestamp::now(),
                revision: None,
                object: "host".to_owned(),
                action,
                cause: format!("order of {by}"),
                result: result.to_owned(),
            };
            trail.append_of(record, Who::clone(who));
        }
        set.map(|said| vec![said])
    }
}
