//! The reference of the conditions and their reasons, made from the closed lists. `docs/conditions.md` is generated from here.

use super::condition::{ConditionStatus, ConditionType, Polarity};
use super::event::{KEPT, Severity};
use super::{NodeState, Reason, Warning};

use ConditionStatus::{False, True, Unknown};

/// The reasons of a revision that is refused.
const REFUSALS: &[Reason] = &[Reason::BuildFailed, Reason::VerificationError];
/// The reasons of a source that cannot be read.
const UNREADABLE: &[Reason] = &[Reason::GitOperationFailed, Reason::AuthenticationFailed, Reason::InvalidPath];
/// The reasons of what cannot be had as things stand.
const BLOCKS: &[Reason] = &[Reason::DependencyNotReady, Reason::NoExits, Reason::PortTaken];
/// The reasons of what waits for an operator's word.
const HELD: &[Reason] =
    &[Reason::ConfirmationNeeded, Reason::MaxDeleteLimitReached, Reason::LockoutRefused, Reason::RolledBack];

/// Renders the whole reference as Markdown.
pub fn reference() -> String {
    let conditions: String = ConditionType::ALL.into_iter().map(condition).collect();
    let reasons: String = Reason::ALL.iter().copied().map(reason).collect();
    format!("{HEAD}{conditions}{}\n## Reasons\n\n{REASONS}{reasons}{}", nodes(), events())
}

const HEAD: &str = "# Conditions and reasons

Generated from the code: do not edit. What `exitpool status`, the page, `/api/v1/status` and
`exitpool_condition{type,status}` say, with every word that can stand there. The shape is that of Kubernetes' conditions: a
type, a status, a reason of one word, a message for people, and the time at which the status last became another one. Read
them from the top: `Ready` says whether all is well, `Stalled` whether somebody has to do something.

## Conditions

Until the first pass after a start has ended, all but `Reconciling` are Unknown with the reason `Progressing`.

| condition | says | well when | status and reasons |
|---|---|---|---|
";

const REASONS: &str =
    "What to do is said for the case in which the condition is not as it should be. `–` means nothing.

| reason | it means | do |
|---|---|---|
";

fn condition(kind: ConditionType) -> String {
    let good = match kind.polarity() {
        Polarity::NormalTrue => True,
        Polarity::AbnormalTrue => False,
    };
    let verdicts = [True, False, Unknown].into_iter().filter_map(|status| {
        let words: Vec<&str> = reasons(kind, status).into_iter().map(Reason::as_str).collect();
        (!words.is_empty()).then(|| format!("**{}**: {}", status.as_str(), words.join(", ")))
    });
    let verdicts: Vec<String> = verdicts.collect();
    format!("| `{kind}` | {} | {} | {} |\n", meaning(kind), good.as_str(), verdicts.join("; "))
}

fn reason(reason: Reason) -> String {
    format!("| `{reason}` | {} | {} |\n", reason.meaning(), reason.advice())
}

fn nodes() -> String {
    let states: Vec<String> = NodeState::ALL.iter().map(|state| format!("`{}`", state.as_str())).collect();
    format!(
        "
Each node has a condition `Ready` of its own (`/api/v1/nodes`), with a reason of the same list, and a state: {}. The status has
warnings beside the conditions, which change none of them: {}.
",
        states.join(", "),
        Warning::REASONS.map(|reason| format!("`{reason}`")).join(", "),
    )
}

fn events() -> String {
    format!(
        "
## Events

The newest {KEPT} are kept in memory and shown by `exitpool events`, the page and `/api/v1/events`. An event has a severity
({}), one of the reasons above, and what it is about: the `host` (a condition has become another one), the `source` (a revision
is in force), the `guard` or an `instance` (a step was done, or failed), or a `node` (its state has become another one). What has
to be kept longer stands in the [audit trail](audit.md).
",
        Severity::ALL.map(|severity| format!("`{}`", severity.as_str())).join(", "),
    )
}

/// What a condition says.
fn meaning(kind: ConditionType) -> &'static str {
    match kind {
        ConditionType::Ready => "the whole host is what the revision in force says, and every node serves",
        ConditionType::Reconciling => "work is under way",
        ConditionType::Stalled => "somebody has to do something: trying again cannot help",
        ConditionType::SourceVerified => {
            "the signatures and the ancestry of the revision in force were checked; not there without `--allowed-signers`"
        }
        ConditionType::FetchFailed => "the source could not be read the last time",
        ConditionType::ArtifactOutdated => "the source has a newer revision than the one in force",
        ConditionType::Healthy => "every node serves as it should",
        ConditionType::Drifted => "the host is not as it was left",
        ConditionType::Suspended => "an operator has suspended the reconciler, or a pool",
        ConditionType::FirewallInSync => "the firewall guard is exactly as desired, as read back",
    }
}

/// The reasons with which a condition can have a status, but for a daemon that has just started.
pub(super) fn reasons(kind: ConditionType, status: ConditionStatus) -> Vec<Reason> {
    let lists: &[&[Reason]] = match (kind, status) {
        (ConditionType::Ready, True) => &[&[Reason::ReconciliationSucceeded]],
        (ConditionType::Ready, False) => &[
            &[Reason::ReconciliationFailed],
            BLOCKS,
            &[Reason::Unguarded],
            HELD,
            &[Reason::DriftDetected, Reason::Progressing, Reason::Suspended, Reason::HealthCheckFailed],
            UNREADABLE,
            REFUSALS,
        ],
        (ConditionType::Reconciling, True) => &[&[Reason::Progressing, Reason::ProgressingWithRetry]],
        (ConditionType::Reconciling, False) => {
            &[&[Reason::Succeeded, Reason::Suspended, Reason::NewRevision], REFUSALS]
        }
        (ConditionType::Stalled, True) => {
            &[REFUSALS, &[Reason::ReconciliationFailed], BLOCKS, &[Reason::RolloutStopped], HELD]
        }
        (ConditionType::SourceVerified, False) => &[&[Reason::VerificationError]],
        (ConditionType::FetchFailed, True) => &[UNREADABLE],
        (ConditionType::FetchFailed, False) => &[&[Reason::GitOperationSucceeded]],
        (ConditionType::ArtifactOutdated, True) => &[&[Reason::NewRevision, Reason::RolledBack, Reason::Suspended]],
        (ConditionType::ArtifactOutdated, False) => &[&[Reason::ArtifactUpToDate]],
        (ConditionType::ArtifactOutdated, Unknown) => &[UNREADABLE, &[Reason::Progressing]],
        (ConditionType::Healthy, False) => &[&[Reason::HealthCheckFailed, Reason::NetworkDown]],
        (ConditionType::Drifted, True) => &[&[Reason::DriftDetected]],
        (ConditionType::Drifted, False) => &[&[Reason::NoDriftDetected, Reason::DriftCorrected]],
        (ConditionType::Suspended, True) => &[&[Reason::Suspended]],
        (ConditionType::Suspended, False) => &[&[Reason::NotSuspended]],
        (ConditionType::FirewallInSync, True) => &[&[Reason::InSync, Reason::FirewallDisabled]],
        (ConditionType::FirewallInSync, False) => &[
            &[Reason::OutOfSync, Reason::DriftDetected, Reason::FirewallApplyFailed, Reason::Suspended],
            &[Reason::DependencyNotReady],
            HELD,
        ],
        (ConditionType::SourceVerified | ConditionType::Healthy | ConditionType::Stalled, True | False) => {
            &[&[Reason::Succeeded]]
        }
        (ConditionType::SourceVerified, Unknown) => &[&[Reason::Progressing]],
        (
            ConditionType::Ready | ConditionType::Healthy | ConditionType::Drifted | ConditionType::FirewallInSync,
            Unknown,
        ) => &[&[Reason::ObservationFailed, Reason::Progressing]],
        (ConditionType::FetchFailed, Unknown) => &[&[Reason::Progressing]],
        (ConditionType::Reconciling | ConditionType::Stalled | ConditionType::Suspended, Unknown) => &[],
    };
    lists.concat()
}
