//! The repairs that the health of an instance asks for.

use super::{Action, Cause, Deciding, Object};
use crate::desired;
use crate::plan::{Repair, Rung};
use crate::tor::torrc;

impl Deciding<'_> {
    /// Takes the repair of an instance into the plan; says whether there is one.
    pub(super) fn repair(&mut self, wanted: &desired::Instance) -> bool {
        let Some(Repair { rung, why }) = self.wish.mandate.care.repairs.get(&wanted.name) else { return false };
        let why = why.clone();
        let torrc = || torrc::rendered(wanted, self.wish.layout).text.clone();
        let action = match rung {
            // These two are in the mandate of what is to be avoided and renewed.
            Rung::NewCircuits | Rung::AvoidExit => return false,
            Rung::Reconnect => Action::ReconnectInstance { why },
            Rung::Restart => Action::RestartInstance { torrc: torrc(), afresh: false, why },
            Rung::RestartAfresh => Action::RestartInstance { torrc: torrc(), afresh: true, why },
        };
        self.step(Object::Instance(wanted.name.clone()), Cause::Health, action);
        true
    }
}
