//! What `access.sign_in` means: who reads the page with a password.

use std::collections::BTreeMap;

use super::document;
use super::secret::Secret;
use super::values::PasswordHash;

/// Who reads the page with a password, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignIn(pub BTreeMap<String, User>);

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The hash of the password.
    pub password: PasswordHash,
    /// Where the secret of the second factor is read from; `None` means that a password is enough.
    pub totp: Option<Secret>,
}

/// Says what the document means.
pub(super) fn of(document: &document::SignIn) -> SignIn {
    let user = |user: &document::User| {
        let meant = User { password: user.password.clone(), totp: user.totp.clone() };
        (user.name.0.clone(), meant)
    };
    SignIn(document.users.iter().map(user).collect())
}
