//! Why a condition or an event is what it is: one closed list of CamelCase words.
//!
//! Flux's word is used wherever Flux has one; the others are ours and say what an operator can do about it.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition or an event is what it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim(),)+ }
            }
        }
    };
}

reasons! {
    /// The work is done, or none was needed.
    Succeeded,
    /// The work is under way.
    Progressing,
    /// The work is under way, and some of it had to be tried again.
    ProgressingWithRetry,
    /// An operator has suspended the reconciler.
    Suspended,
    /// Nobody has suspended the reconciler.
    NotSuspended,
    /// Something outside is missing: a program, an exit, a port.
    DependencyNotReady,
    /// The host matches the revision.
    ReconciliationSucceeded,
    /// A step failed.
    ReconciliationFailed,
    /// A node does not serve as it should.
    HealthCheckFailed,
    /// The content of a revision is invalid.
    BuildFailed,
    /// The source, or the file in it, is not there.
    InvalidPath,
    /// The source was read.
    GitOperationSucceeded,
    /// The source could not be read.
    GitOperationFailed,
    /// The source refused our credentials.
    AuthenticationFailed,
    /// A revision's signature or ancestry was not accepted.
    VerificationError,
    /// The newest revision of the source is the one in force.
    ArtifactUpToDate,
    /// The source has a newer revision than the one in force.
    NewRevision,
    /// The newest revision of the source was left by a rollback, or its change of the firewall was taken back.
    RolledBack,
    /// A revision came into force.
    NewArtifact,
    /// A part of the host could not be observed.
    ObservationFailed,
    /// The host is not as it was left.
    DriftDetected,
    /// The host was brought back to what it was left as.
    DriftCorrected,
    /// The host is as it was left.
    NoDriftDetected,
    /// The firewall is exactly as desired.
    InSync,
    /// The firewall is not as desired.
    OutOfSync,
    /// The firewall could not be changed.
    FirewallApplyFailed,
    /// The desired state asks for no firewall.
    FirewallDisabled,
    /// No exit of the consensus fits the wish.
    NoExits,
    /// Somebody else listens where a node should.
    PortTaken,
    /// The guard is not in place, so nothing may be opened.
    Unguarded,
    /// More nodes would be destroyed at once than reconcile.max_delete allows.
    MaxDeleteLimitReached,
    /// What is no longer desired waits for an operator to confirm its removal, or a change of the firewall to be kept.
    ConfirmationNeeded,
    /// Somebody who is inside would be locked out.
    LockoutRefused,
    /// A rolling change waits for its turn.
    MaxUnavailableLimitReached,
    /// Circuits wait for their turn at a guard relay, which would take them for too many.
    GuardRelayLimitReached,
    /// An instance ends over and over, and is not started again for now.
    HeldDown,
    /// No instance of this host can use the network.
    NetworkDown,
    /// A change of a pool has stopped, since the first nodes that it reached do not serve.
    RolloutStopped,
    /// The process of an instance is another one than before.
    Restarted,
    /// Many tors of this host enter Tor by one guard relay.
    CrowdedGuardRelay,
    /// Clients connect to addresses and not to names.
    UnsafeSocks,
    /// Records of the audit trail cannot be written.
    AuditNotWritten,
    /// The page asks for passwords, and is served in the clear to others than this host.
    PasswordsInTheClear,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
