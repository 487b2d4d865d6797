//! Whether a branch may be believed: every commit since the accepted one is signed by a key that is trusted now, and
//! the branch has only grown.
//!
//! Nothing here reaches a remote, and nothing is written: where the accepted commit is kept is the ratchet's business.
//! Order comes from ancestry alone; the dates that commits give themselves mean nothing.

mod object;
mod signature;
mod signers;

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Sort};

use super::ratchet::Digest;
pub use object::{Malformed, Signed};
pub use signature::{Fault, Keys, Signer};
pub use signers::{Distrust, Signers, SignersError};

/// The most commits that are checked at once.
const MOST_COMMITS: usize = 10_000;
/// The largest commit or tag that is looked at.
const MAX_OBJECT_BYTES: usize = 1 << 20;

/// Why a revision is refused: which commit, which rule, which key. A closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A commit has no signature.
    #[error("commit {commit} is not signed; sign it with a trusted key, and every commit after it again{note}")]
    Unsigned {
        /// The commit.
        commit: Oid,
        /// What else there is to say.
        note: &'static str,
    },
    /// A commit cannot be split into what is signed and its signature.
    #[error("commit {commit} is refused: {why}")]
    Malformed {
        /// The commit.
        commit: Oid,
        /// Why.
        why: Malformed,
    },
    /// A commit's signature does not count.
    #[error("commit {commit} is refused: {why}")]
    Signature {
        /// The commit.
        commit: Oid,
        /// Which rule, and which key.
        why: Fault,
    },
    /// Too few people have signed the newest commit.
    #[error(
        "commit {commit} is signed by {have}, and {need} have to sign it (`--min-signers`); \
         let somebody else tag it with `git tag -s`, or merge it unchanged with `git merge --no-ff -S`"
    )]
    TooFewSigners {
        /// The commit.
        commit: Oid,
        /// Who has.
        have: String,
        /// How many have to.
        need: usize,
    },
    /// The branch does not contain the accepted commit.
    #[error(
        "commit {offered} does not descend from {accepted}, which was accepted last: the branch was rewritten; \
         push a commit on top of the accepted one, or take the new history with `exitpool accept-rewrite {offered}`"
    )]
    Rewritten {
        /// The accepted commit.
        accepted: Oid,
        /// The branch's newest commit.
        offered: Oid,
    },
    /// The branch has gone back.
    #[error(
        "commit {offered} is older than {accepted}, which was accepted last; \
         to go back, push a `git revert` on top, or take it with `exitpool accept-rewrite {offered}`"
    )]
    Stale {
        /// The accepted commit.
        accepted: Oid,
        /// The branch's newest commit.
        offered: Oid,
    },
    /// Nothing was ever accepted, and nothing says where to begin.
    #[error(
        "no commit has been accepted on this host yet; compare {offered} with what you pushed, and name it by \
         `--first-commit {offered}`, or take it with `exitpool accept-rewrite {offered}`"
    )]
    Unpinned {
        /// The branch's newest commit.
        offered: Oid,
    },
    /// The branch does not contain the commit that it has to begin with.
    #[error("commit {offered} does not descend from {first}, with which the branch begins (`--first-commit`)")]
    OtherBeginning {
        /// The pinned commit.
        first: Oid,
        /// The branch's newest commit.
        offered: Oid,
    },
    /// There are too many commits at once.
    #[error(
        "commit {offered} is more than {MOST_COMMITS} commits ahead of the accepted one; \
         take it with `exitpool accept-rewrite {offered}`"
    )]
    TooMany {
        /// The branch's newest commit.
        offered: Oid,
    },
}

/// Why nothing can be said, or why a revision is refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The revision is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The repository could not be read.
    #[error("the repository cannot be read")]
    Repository(#[from] git2::Error),
}

/// Where verification begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The commit that was accepted last, with the digest of what is signed in it.
    Accepted {
        /// The commit.
        commit: Oid,
        /// The digest.
        payload: Digest,
    },
    /// The commit that an operator named as the first.
    First(Oid),
    /// Nothing is known.
    None,
}

/// Who has to have signed.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Who may sign.
    pub signers: &'a Signers,
    /// Which of their keys count.
    pub keys: Keys,
    /// How many different people have to have signed what is applied.
    pub min_signers: usize,
}

/// A commit that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The commit.
    pub commit: Oid,
    /// The digest of what is signed in it.
    pub payload: Digest,
    /// Who signed it.
    pub signer: Signer,
}

/// What was found out about a branch's newest commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The commit.
    pub commit: Oid,
    /// The digest of what is signed in it.
    pub payload: Digest,
    /// Who signed it; empty where it was believed without, as accepted before or pinned.
    pub signers: Vec<Signer>,
}

/// Verifies every commit that `to` has and `from` has not, oldest first, by any trusted key.
pub fn range(repository: &Repository, from: Oid, to: Oid, signers: &Signers) -> Result<Vec<Verified>, VerifyError> {
    Verifier { repository, policy: Policy { signers, keys: Keys::Any, min_signers: 1 } }.range(from, to)
}

/// Decides whether a branch's newest commit may follow the accepted one.
pub fn judge(repository: &Repository, offered: Oid, base: Base, policy: Policy<'_>) -> Result<Verdict, VerifyError> {
    Verifier { repository, policy }.judge(offered, base)
}

/// The digest of what is signed in a commit.
pub fn payload(repository: &Repository, commit: Oid) -> Result<Digest, VerifyError> {
    Ok(Digest(read(repository, commit, ObjectType::Commit)?.digest()))
}

/// Who signed a commit; for people, who want to know before they accept it by hand.
pub fn signer(repository: &Repository, commit: Oid, policy: Policy<'_>) -> Result<Signer, VerifyError> {
    Ok(Verifier { repository, policy }.commit(commit)?.signer)
}

struct Verifier<'a> {
    repository: &'a Repository,
    policy: Policy<'a>,
}

impl Verifier<'_> {
    fn judge(&self, offered: Oid, base: Base) -> Result<Verdict, VerifyError> {
        let from = match base {
            Base::Accepted { commit, payload } => self.accepted(offered, commit, payload)?,
            Base::First(first) if self.contains(offered, first) => first,
            Base::First(first) => return Err(Refusal::OtherBeginning { first, offered }.into()),
            Base::None => return Err(Refusal::Unpinned { offered }.into()),
        };
        let payload = payload(self.repository, offered)?;
        if from == offered {
            return Ok(Verdict { commit: offered, payload, signers: Vec::new() });
        }
        let verified = self.range(from, offered)?;
        let signers = self.enough_signers(offered, &verified)?;
        Ok(Verdict { commit: offered, payload, signers })
    }

    /// Finds the accepted commit in the branch: itself, or one in which the same is signed.
    ///
    /// A signature's armour can be wrapped anew by anybody, which makes another commit with the same signed content.
    fn accepted(&self, offered: Oid, accepted: Oid, digest: Digest) -> Result<Oid, VerifyError> {
        if self.contains(offered, accepted) && payload(self.repository, accepted)? == digest {
            return Ok(accepted);
        }
        let mut walk = self.repository.revwalk()?;
        walk.push(offered)?;
        if self.repository.find_commit(accepted).is_ok() {
            walk.hide(accepted)?;
        }
        for commit in walk.take(MOST_COMMITS) {
            let commit = commit?;
            if payload(self.repository, commit)? == digest {
                return Ok(commit);
            }
        }
        Err(if self.contains(accepted, offered) {
            Refusal::Stale { accepted, offered }
        } else {
            Refusal::Rewritten { accepted, offered }
        }
        .into())
    }

    /// Whether a commit is another one or descends from it; one that is not there contains nothing.
    fn contains(&self, commit: Oid, other: Oid) -> bool {
        commit == other || self.repository.graph_descendant_of(commit, other).unwrap_or(false)
    }

    fn range(&self, from: Oid, to: Oid) -> Result<Vec<Verified>, VerifyError> {
        let mut walk = self.repository.revwalk()?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
        walk.push(to)?;
        walk.hide(from)?;
        let commits: Vec<Oid> = walk.take(MOST_COMMITS + 1).collect::<Result<_, _>>()?;
        if commits.len() > MOST_COMMITS {
            return Err(Refusal::TooMany { offered: to }.into());
        }
        commits.into_iter().map(|commit| self.commit(commit)).collect()
    }

    fn commit(&self, commit: Oid) -> Result<Verified, VerifyError> {
        let signed = read(self.repository, commit, ObjectType::Commit)?;
        let Some(armour) = &signed.signature else {
            let elsewhere = signed.payload.windows(ARMOUR.len()).any(|window| window == ARMOUR);
            let note =
                if elsewhere { " (there is a signature in its message, where it counts for nothing)" } else { "" };
            return Err(Refusal::Unsigned { commit, note }.into());
        };
        let signer = signature::check(armour, &signed.payload, self.policy.signers, self.policy.keys)
            .map_err(|why| Refusal::Signature { commit, why })?;
        Ok(Verified { commit, payload: Digest(signed.digest()), signer })
    }

    /// Counts who vouches for exactly the content that would be applied: the newest commit's signer, those who tagged
    /// it, and, where it merges a verified commit unchanged, that one's signer and those who tagged that one.
    fn enough_signers(&self, offered: Oid, verified: &[Verified]) -> Result<Vec<Signer>, VerifyError> {
        let commit = self.repository.find_commit(offered)?;
        let merged = commit.parents().skip(1).filter(|parent| parent.tree_id() == commit.tree_id());
        let same: Vec<Oid> = merged.map(|parent| parent.id()).chain([offered]).collect();
        let own = verified.iter().filter(|verified| same.contains(&verified.commit));
        let mut people: BTreeMap<String, Signer> = BTreeMap::new();
        for signer in own.map(|verified| verified.signer.clone()).rev() {
            people.entry(signer.principals.clone()).or_insert(signer);
        }
        if self.policy.min_signers > 1 {
            for signer in self.tags(&same)? {
                people.entry(signer.principals.clone()).or_insert(signer);
            }
        }
        if people.len() < self.policy.min_signers {
            let have = people.into_keys().collect::<Vec<_>>().join(" and ");
            return Err(Refusal::TooFewSigners { commit: offered, have, need: self.policy.min_signers }.into());
        }
        Ok(people.into_values().collect())
    }

    /// The signers of annotated tags on one of these commits. A tag that is no good is none.
    fn tags(&self, commits: &[Oid]) -> Result<Vec<Signer>, VerifyError> {
        let mut signers = Vec::new();
        for reference in self.repository.references_glob("refs/tags/*")? {
            let Some(tag) = reference?.target().and_then(|id| self.repository.find_tag(id).ok()) else { continue };
            if tag.target_type() == Some(ObjectType::Commit) && commits.contains(&tag.target_id()) {
                signers.extend(self.tag(tag.id()));
            }
        }
        Ok(signers)
    }

    fn tag(&self, tag: Oid) -> Option<Signer> {
        let signed = read(self.repository, tag, ObjectType::Tag).ok()?;
        signature::check(&signed.signature?, &signed.payload, self.policy.signers, self.policy.keys).ok()
    }
}

const ARMOUR: &[u8] = object::ARMOUR_BEGIN.as_bytes();

/// Reads an object's bytes, and splits them.
fn read(repository: &Repository, id: Oid, kind: ObjectType) -> Result<Signed, VerifyError> {
    let objects = repository.odb()?;
    let malformed = |why| VerifyError::Refused(Refusal::Malformed { commit: id, why });
    let (size, found) = objects.read_header(id)?;
    if size > MAX_OBJECT_BYTES || found != kind {
        return Err(malformed(Malformed::Header));
    }
    let object = objects.read(id)?;
    let signed = if kind == ObjectType::Tag { Signed::of_tag(object.data()) } else { Signed::of_commit(object.data()) };
    signed.map_err(malformed)
}
