//! The JSON documents of the verbs that read the state directory or look at the host, and their schemas.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::alert::AlertsDocument;
use crate::audit;
use crate::backup::check::Checked;
use crate::backup::manifest;
use crate::backup::members::Kind;
use crate::desired::Revision;
use crate::export::token::Claims;
use crate::reconcile::history::{Ended, Entry};
use crate::rollout::Orders;

/// `exitpool history -o json`: the revisions that were in force.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistoryDocument {
    /// The revisions, the one that was put in force last first.
    pub revisions: Vec<RevisionDocument>,
}

/// A revision that was in force.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RevisionDocument {
    /// The revision, `main@sha1:<40 hex>` or `file@sha256:<64 hex>`.
    pub revision: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// When it was last put in force, RFC 3339.
    pub taken_up: String,
    /// Who signed it; empty where nobody asked for signatures.
    pub signers: Vec<String>,
    /// `applying`, `converged` or `superseded`.
    pub result: String,
    /// How long it took until the host matched it, in milliseconds; null where it did not.
    pub after_ms: Option<u64>,
    /// The rollback that left it; null where none did.
    pub rolled_back: Option<RollbackDocument>,
}

/// A rollback that left a revision.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RollbackDocument {
    /// The user who went back.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
}

/// `exitpool trace NODE -o json`: where a node comes from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TraceDocument {
    /// The node.
    pub node: String,
    /// The revision that made it what it is.
    pub revision: String,
    /// When that revision was put in force, RFC 3339.
    pub taken_up: String,
    /// Who signed it; empty where nobody asked for signatures.
    pub signers: Vec<String>,
    /// Whether it is known that no earlier revision said the same; false where the earlier ones are not kept.
    pub exact: bool,
}

/// `exitpool doctor -o json`: what was found on this host.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorDocument {
    /// How many checks failed.
    pub failed: usize,
    /// How many warn.
    pub warnings: usize,
    /// The checks, in the order in which they were made.
    pub checks: Vec<CheckDocument>,
}

/// A check of this host.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckDocument {
    /// What was looked at.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What is so.
    pub message: String,
    /// What to do; empty where there is nothing to do.
    pub advice: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Something may go wrong.
    Warning,
    /// Something will go wrong, or does.
    Failed,
    /// It could not be looked at, or need not be.
    Skipped,
}

/// `exitpool token inspect|verify -o json`: what a token says.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenDocument {
    /// Its id, by which it is revoked.
    pub id: String,
    /// The grant that it uses.
    pub grant: String,
    /// The id of the key that it names.
    pub key: String,
    /// When it was issued, RFC 3339.
    pub issued_at: String,
    /// From when on it is valid, RFC 3339.
    pub not_before: String,
    /// From when on it is not valid any more, RFC 3339.
    pub expires_at: String,
    /// The networks from which it may be used; empty means from wherever the grant allows.
    pub bind: Vec<String>,
    /// The formats that it is for; empty means all that the grant allows.
    pub formats: Vec<String>,
    /// The pools that it is for; empty means all that the grant allows.
    pub pools: Vec<String>,
}

/// `exitpool audit -o json`: what was done on this host.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditDocument {
    /// The rows, the newest last.
    pub entries: Vec<AuditEntryDocument>,
}

/// A row of the audit trail.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditEntryDocument {
    /// Its number, counted from one.
    pub row: u64,
    /// When, RFC 3339.
    pub at: String,
    /// The revision that was in force; null where there was none.
    pub revision: Option<String>,
    /// What it was done to.
    pub object: String,
    /// What was done, in a sentence.
    pub action: String,
    /// Why.
    pub cause: String,
    /// What came of it: `done`, `refused`, or what went wrong.
    pub result: String,
    /// Who signed the revision that asked for it; empty where nobody was asked to, or the revision was no reason.
    pub signers: Vec<String>,
    /// The number of the user who gave the order; null where none did.
    pub uid: Option<u32>,
    /// The id of the token that was used; null where none was.
    pub token: Option<String>,
    /// The address, or the network that it was cut down to; null where none was written, or where it was erased.
    pub address: Option<String>,
    /// Whether an address was erased.
    pub address_erased: bool,
    /// SHA-256 over the hash of the row before and this row, 64 hexadecimal digits.
    pub hash: String,
}

/// `exitpool audit verify -o json`: a trail that is as it was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VerifiedDocument {
    /// How many rows there are.
    pub rows: u64,
    /// How many before them the retention has removed.
    pub removed: u64,
    /// How many of them are without the address that they had.
    pub erased: u64,
    /// The newest row, `ROW:HASH`: written down elsewhere, it is good for `--place` later.
    pub head: String,
    /// When that was signed, RFC 3339.
    pub signed_at: String,
    /// The public key that signed it.
    pub key: String,
    /// Whether that key was known beforehand.
    pub pinned: bool,
}

/// `exitpool backup verify -o json`: a backup that is whole.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BackupDocument {
    /// The version of its format.
    pub version: u32,
    /// The exitpool that made it.
    pub exitpool: String,
    /// The host that it was made on.
    pub host: String,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The revision that was in force; null where none was.
    pub revision: Option<String>,
    /// The newest row of its audit trail, `ROW:HASH`; null where it has none.
    pub trail: Option<String>,
    /// How many rows that trail has.
    pub trail_rows: Option<u64>,
    /// The public key that signed it.
    pub trail_key: Option<String>,
    /// What is in it. No content is shown.
    pub members: Vec<MemberDocument>,
}

/// A member of a backup.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MemberDocument {
    /// Its path in the state directory.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of its content, 64 hexadecimal digits; null for a secret key.
    pub sha256: Option<String>,
}

impl BackupDocument {
    /// Tells what was found in a backup.
    pub fn of(Checked { manifest, is_encrypted, rows }: &Checked) -> Self {
        let member = |it: &manifest::Entry| MemberDocument {
            name: it.name.clone(),
            kind: it.kind,
            size: it.size,
            sha256: (it.kind != Kind::Key).then(|| it.sha256.clone()),
        };
        Self {
            version: manifest.version,
            exitpool: manifest.exitpool.clone(),
            host: manifest.host.clone(),
            made_at: format!("{:.0}", manifest.made_at),
            encrypted: *is_encrypted,
            revision: manifest.revision.clone(),
            trail: manifest.trail.clone(),
            trail_rows: *rows,
            trail_key: manifest.trail_key.clone(),
            members: manifest.members.iter().map(member).collect(),
        }
    }
}

impl AuditEntryDocument {
    /// Tells a row.
    pub fn of(entry: &audit::Entry) -> Self {
        let audit::Record { at, revision, object, action, cause, result } = entry.record.clone();
        let revision = revision.map(|revision| revision.to_string());
        let audit::Entry { row, record: _, signers, uid, token, address, address_erased, hash } = entry.clone();
        let at = at.to_string();
        Self { row, at, revision, object, action, cause, result, signers, uid, token, address, address_erased, hash }
    }
}

impl TokenDocument {
    /// Tells what a token says, and which key it names.
    pub fn of(claims: &Claims, key: &str) -> Self {
        Self {
            id: claims.jti.clone(),
            grant: claims.grant.clone(),
            key: key.to_owned(),
            issued_at: claims.iat.to_string(),
            not_before: claims.nbf.to_string(),
            expires_at: claims.exp.to_string(),
            bind: claims.bind.iter().map(ToString::to_string).collect(),
            formats: claims.formats.iter().map(|format| format.word().to_owned()).collect(),
            pools: claims.pools.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Verdict {
    /// Its word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl DoctorDocument {
    /// Counts the checks.
    pub fn of(checks: Vec<CheckDocument>) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        Self { failed: count(Verdict::Failed), warnings: count(Verdict::Warning), checks }
    }
}

impl CheckDocument {
    /// A check that found nothing wrong.
    pub fn ok(name: &'static str, message: &str) -> Self {
        Self::with(Verdict::Ok, name, message, "")
    }

    /// A check that was not made; `why` says why.
    pub fn skipped(name: &'static str, why: &str) -> Self {
        Self::with(Verdict::Skipped, name, why, "")
    }

    /// A check that found what may go wrong.
    pub fn warning(name: &'static str, message: &str, advice: &str) -> Self {
        Self::with(Verdict::Warning, name, message, advice)
    }

    /// A check that found what goes wrong.
    pub fn failed(name: &'static str, message: &str, advice: &str) -> Self {
        Self::with(Verdict::Failed, name, message, advice)
    }

    fn with(verdict: Verdict, name: &'static str, message: &str, advice: &str) -> Self {
        // One line each, whatever another program has said.
        let message = message.replace(char::is_control, " ");
        Self { name, verdict, message, advice: advice.to_owned() }
    }
}

impl RevisionDocument {
    /// Tells an entry of the history.
    pub fn of(entry: &Entry, in_force: Option<&Revision>, orders: &Orders) -> Self {
        let (result, after_ms) = match entry.result {
            Ended::Applying => ("applying", None),
            Ended::Converged { after_ms } => ("converged", Some(after_ms)),
            Ended::Superseded => ("superseded", None),
        };
        let mark = orders.bad.iter().find(|mark| mark.revision == entry.revision);
        Self {
            revision: entry.revision.to_string(),
            in_force: in_force == Some(&entry.revision),
            taken_up: format!("{:.0}", entry.taken_up),
            signers: entry.signers.clone(),
            result: result.to_owned(),
            after_ms,
            rolled_back: mark.map(|mark| RollbackDocument { by: mark.by.clone(), at: format!("{:.0}", mark.at) }),
        }
    }
}

/// The schemas of the documents, by the names of their committed files.
pub fn schemas() -> [(&'static str, Schema); 8] {
    fn of<T: JsonSchema>() -> Schema {
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
    }
    [
        ("alerts.v1.schema.json", of::<AlertsDocument>()),
        ("audit.v1.schema.json", of::<AuditDocument>()),
        ("audit-verified.v1.schema.json", of::<VerifiedDocument>()),
        ("backup.v1.schema.json", of::<BackupDocument>()),
        ("doctor.v1.schema.json", of::<DoctorDocument>()),
        ("history.v1.schema.json", of::<HistoryDocument>()),
        ("token.v1.schema.json", of::<TokenDocument>()),
        ("trace.v1.schema.json", of::<TraceDocument>()),
    ]
}
