//! What an operator does about each reason: one sentence each, the same that `docs/conditions.md` has.

use super::Reason;

impl Reason {
    /// What an operator does where this reason makes a condition one that is not well; `–` where that is nothing.
    #[rustfmt::skip]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Succeeded | Self::NotSuspended | Self::ReconciliationSucceeded | Self::GitOperationSucceeded
            | Self::ArtifactUpToDate | Self::NewArtifact | Self::NoDriftDetected | Self::InSync => "–",
            Self::Progressing => "wait; if it stays, look at the message: [bootstrap](runbook.md#tor-does-not-bootstrap)",
            Self::ProgressingWithRetry => "read what failed in `Ready`; it is tried again by itself, after 5 min at the latest",
            Self::Suspended => "`exitpool resume` when you are done; it also ends by itself",
            Self::DependencyNotReady => "install what the message names: [tor](runbook.md#tor-is-missing-or-too-old)",
            Self::ReconciliationFailed => "do what the message says; where it says that it is not tried again, it is after something has changed",
            Self::HealthCheckFailed => "mostly nothing: [nodes are repaired](health.md#what-is-done); `exitpool nodes` shows which",
            Self::BuildFailed => "mend the file, or revert: [a commit was refused](runbook.md#a-commit-was-refused)",
            Self::InvalidPath => "push the branch or the file, or set `--branch` and `--path`",
            Self::GitOperationFailed => "nothing is lost meanwhile: [when the repository cannot be reached](git.md#when-the-repository-cannot-be-reached)",
            Self::AuthenticationFailed => "the deploy key, the token in the URL, or the host key: [git.md](git.md#when-the-repository-cannot-be-reached)",
            Self::VerificationError => "find out who pushed: [when a commit is refused](git.md#when-a-commit-is-refused)",
            Self::NewRevision => "wait for the pass; with `new_commits: manual`, `exitpool apply --revision REVISION`; where it stays, `Stalled` says why",
            Self::RolledBack => "commit something newer: [taken back](runbook.md#a-change-of-the-firewall-was-taken-back)",
            Self::ObservationFailed => "read what could not be read; nothing is destroyed meanwhile. `exitpool doctor` looks further",
            Self::DriftDetected => "mostly nothing, it is repaired; if it comes again and again, [somebody fights](runbook.md#drift-that-comes-back-again-and-again)",
            Self::DriftCorrected => "nothing; `exitpool audit` says what it was",
            Self::OutOfSync => "wait for the pass; if it stays, `exitpool diff`",
            Self::FirewallApplyFailed => "[the guard cannot be put in place](runbook.md#the-firewall-guard-cannot-be-put-in-place)",
            Self::FirewallDisabled => "guard the ports yourself, or commit another `firewall.driver`",
            Self::NoExits => "[all exits of a country are gone](runbook.md#no-exit-in-its-country)",
            Self::PortTaken => "stop the other program, or move `socks_port`: [port](runbook.md#somebody-else-has-its-port)",
            Self::Unguarded => "the guard first: [it cannot be put in place](runbook.md#the-firewall-guard-cannot-be-put-in-place)",
            Self::MaxDeleteLimitReached => "look at `exitpool plan`; `exitpool apply --allow-delete` if it is meant, else revert",
            Self::ConfirmationNeeded => "look at `exitpool plan`; `exitpool confirm` if it is meant, else revert",
            Self::LockoutRefused => "add the address that the message names to the list, or say `access.allow_lockout: true`",
            Self::MaxUnavailableLimitReached => "wait: the node serves as before until it is its turn",
            Self::GuardRelayLimitReached => "wait: it goes on by itself, half a minute or so for those that are before it: [guard relays](health.md#guard-relays)",
            Self::HeldDown => "read the tor's own log; it is started again by itself within the hour, with the next change of its wish, or at once with `exitpool reconcile --reset`",
            Self::NetworkDown => "this host's way out, or its bridges: [bootstrap](runbook.md#tor-does-not-bootstrap)",
            Self::RolloutStopped => "see why the first nodes do not serve; another commit or `exitpool rollback` goes on",
            Self::Restarted => "nothing; many of them are an incident: `tor_restarts_total`",
            Self::CrowdedGuardRelay => "several bridges, `nodes_per_instance`, or fewer nodes: [guard relays](health.md#guard-relays)",
            Self::UnsafeSocks => "have consumers hand over names (`socks5h`): [names and addresses](health.md#names-and-addresses)",
            Self::PasswordsInTheClear => "serve the page by TLS, here or in a proxy: [TLS](access.md#tls)",
            Self::AuditNotWritten => "mend what `exitpool status` names, mostly a full disk: [what the trail proves](audit.md#what-it-proves)",
        }
    }
}
