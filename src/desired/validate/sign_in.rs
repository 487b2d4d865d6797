//! The rules of signing in.

use super::{not_empty, unique};
use crate::desired::document::SignIn;
use crate::desired::findings::Findings;

/// More users than these do not sign in at a page of one host.
const MOST_USERS: usize = 100;

pub fn check(findings: &mut Findings<'_>, sign_in: &SignIn) {
    not_empty(findings, "access.sign_in.users");
    let names: Vec<_> = sign_in.users.iter().map(|user| user.name.0.clone()).collect();
    unique(findings, "access.sign_in.users", "name", &names);
    if sign_in.users.len() > MOST_USERS {
        let node = findings.find("access.sign_in.users");
        findings.error(node, format!("there are more than {MOST_USERS} users"), "remove those who need not sign in");
    }
}
