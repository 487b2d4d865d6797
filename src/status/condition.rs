//! A condition: a typed fact on the status, in the shape that Kubernetes gave it.

use std::fmt;

use jiff::Timestamp;

use super::Reason;

/// A typed fact on the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which fact.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// What and where, for people.
    pub message: String,
    /// When `status` last became another one; a new reason or message does not move it.
    pub last_transition_time: Timestamp,
}

/// The conditions that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The whole host matches the revision in force, and every node serves.
    Ready,
    /// Work is under way.
    Reconciling,
    /// Somebody has to do something: trying again cannot help.
    Stalled,
    /// The signatures and the ancestry of the revision in force were checked; absent where nobody asked for it.
    SourceVerified,
    /// The source could not be read the last time.
    FetchFailed,
    /// The source has a newer revision than the one in force.
    ArtifactOutdated,
    /// Every node serves as it should.
    Healthy,
    /// The host is not as it was left.
    Drifted,
    /// An operator has suspended the reconciler.
    Suspended,
    /// The firewall is exactly as desired.
    FirewallInSync,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

/// Which status of a condition is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// `True` is good.
    NormalTrue,
    /// `False` is good.
    AbnormalTrue,
}

impl ConditionType {
    /// All conditions, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::SourceVerified,
        Self::FetchFailed,
        Self::ArtifactOutdated,
        Self::Healthy,
        Self::Drifted,
        Self::Suspended,
        Self::FirewallInSync,
    ];

    /// The condition's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::SourceVerified => "SourceVerified",
            Self::FetchFailed => "FetchFailed",
            Self::ArtifactOutdated => "ArtifactOutdated",
            Self::Healthy => "Healthy",
            Self::Drifted => "Drifted",
            Self::Suspended => "Suspended",
            Self::FirewallInSync => "FirewallInSync",
        }
    }

    /// Which status is the good one.
    pub fn polarity(self) -> Polarity {
        match self {
            Self::Ready | Self::SourceVerified | Self::Healthy | Self::FirewallInSync => Polarity::NormalTrue,
            _ => Polarity::AbnormalTrue,
        }
    }
}

impl ConditionStatus {
    /// All statuses.
    pub const ALL: [Self; 3] = [Self::True, Self::False, Self::Unknown];

    /// The status's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Condition {
    /// Whether it is as an operator wants it; unknown is not.
    pub fn is_good(&self) -> bool {
        match self.kind.polarity() {
            Polarity::NormalTrue => self.status == ConditionStatus::True,
            Polarity::AbnormalTrue => self.status == ConditionStatus::False,
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
