//! Which commits are believed: real git, real ssh-keygen, and objects that neither would make.

use std::fs;

use base64::Engine as _;
use ed25519_dalek::Signer as _;
use exitpool::source::SourceError;
use exitpool::source::settings::Trust;
use exitpool::source::verify::{self, Keys, Refusal, Signers};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use ssh_key::public::{Ed25519PublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature, SshSig};

use crate::git_kit::{Kit, accepts, refusal, with_header};

/// A kit with one accepted commit, `one`, signed by ada.
fn accepted() -> (Kit, String) {
    let kit = Kit::new();
    let first = kit.commit("one", Some("ada"));
    assert_eq!(accepts(&kit.source(kit.trust(Some(&first)))), "one");
    (kit, first)
}

/// The source of a kit that has accepted something.
fn source(kit: &Kit) -> exitpool::source::Source {
    kit.source(kit.trust(None))
}

/// The bytes of an unsigned commit on top of the branch.
fn unsigned(kit: &Kit) -> Vec<u8> {
    let head = kit.head();
    let raw = kit.raw(&kit.commit("two", None));
    kit.point(&head);
    raw
}

#[test]
fn commits_of_trusted_keys_are_believed_as_git_believes_them() {
    let (kit, _) = accepted();
    kit.make_key("ecdsa", "ecdsa");
    kit.allow(&[kit.line("ada", ""), kit.line("ecdsa", "namespaces=\"git\",valid-after=\"20200101\"")]);
    for (content, signer) in [("two", "ada"), ("three", "ecdsa"), ("four", "ada")] {
        let commit = kit.commit(content, Some(signer));
        assert!(kit.git_believes(&commit));
        let candidate = source(&kit).candidate().unwrap();
        let signers = candidate.verdict.unwrap().signers;
        assert_eq!(signers[0].principals, format!("{signer}@example.org"));
        assert_eq!(signers[0].key, kit.fingerprint(signer));
    }
    assert_eq!(accepts(&source(&kit)), "four");
}

#[test]
fn a_range_is_verified_commit_by_commit() {
    let (kit, first) = accepted();
    let commits: Vec<String> = (0..5).map(|index| kit.commit(&index.to_string(), Some("ada"))).collect();
    let repository = git2::Repository::open(kit.at("repo")).unwrap();
    let signers = Signers::read(&kit.at("allowed_signers"), Timestamp::now()).unwrap();
    let oid = |id: &str| git2::Oid::from_str(id).unwrap();
    let verified = verify::range(&repository, oid(&first), oid(&commits[4]), &signers).unwrap();
    assert_eq!(verified.iter().map(|commit| commit.commit.to_string()).collect::<Vec<_>>(), commits);
}

#[test]
fn f8_an_unsigned_commit_in_the_middle_refuses_everything_behind_it() {
    let (kit, _) = accepted();
    let bad = kit.commit("two", None);
    kit.commit("three", Some("ada"));
    assert!(refusal(&source(&kit)).starts_with(&format!("commit {bad} is not signed")));
}

#[test]
fn f8_an_unsigned_commit_that_is_merged_refuses_the_merge() {
    let (kit, first) = accepted();
    kit.git(&["checkout", "--quiet", "-b", "side", &first]);
    let bad = {
        fs::write(kit.at("repo/other"), "x").unwrap();
        kit.git(&["add", "--all"]);
        kit.git(&["commit", "--quiet", "-m", "side"]);
        kit.git(&["rev-parse", "HEAD"])
    };
    kit.git(&["checkout", "--quiet", "main"]);
    kit.commit("two", Some("ada"));
    kit.git_signing(Some("ada"), &["merge", "--quiet", "--no-ff", "-S", "-m", "merge", "side"]);
    assert!(refusal(&source(&kit)).starts_with(&format!("commit {bad} is not signed")));
}

#[test]
fn f9_a_key_that_nobody_trusts_is_named() {
    let (kit, _) = accepted();
    let bad = kit.commit("two", Some("eve"));
    let told = refusal(&source(&kit));
    assert!(
        told.starts_with(&format!("commit {bad} is refused: it is signed by {}", kit.fingerprint("eve"))),
        "{told}"
    );
}

#[test]
fn f9_a_signature_in_the_message_is_none() {
    let (kit, _) = accepted();
    let plain = unsigned(&kit);
    let armour = kit.sign(&plain, "ada", "git");
    let folded = armour.replace('\n', "\n ");
    let bad = kit.store(&[&plain[..], format!("\ngpgsig {folded}\n").as_bytes()].concat());
    assert!(!kit.git_believes(&bad));
    let told = refusal(&source(&kit));
    assert!(told.starts_with(&format!("commit {bad} is not signed")) && told.contains("in its message"), "{told}");
}

#[test]
fn f9_headers_that_could_be_read_in_two_ways_are_refused() {
    let (kit, first) = accepted();
    let plain = unsigned(&kit);
    let (good, evil) = (kit.sign(&plain, "ada", "git"), kit.sign(&plain, "eve", "git"));
    let twice = with_header(&with_header(&plain, "gpgsig", &good), "gpgsig", &evil);
    let other = with_header(&with_header(&plain, "gpgsig", &good), "gpgsig-sha256", &good);
    let late_tree = [&b"gpgsig x\n"[..], &plain].concat();
    for (bytes, words) in [
        (twice, "it has several `gpgsig` headers"),
        (other, "it has a `gpgsig-sha256` header"),
        (late_tree, "its header is not what git writes"),
    ] {
        let bad = kit.store(&bytes);
        // libgit2 itself does not read the last one.
        match source(&kit).candidate().unwrap_err() {
            SourceError::Refused(refused) => {
                assert!(refused.to_string().starts_with(&format!("commit {bad} is refused: {words}")), "{refused}");
            }
            error => {
                assert!(matches!(error, SourceError::Repository { .. }) && words.starts_with("its header"), "{error}")
            }
        }
        kit.point(&first);
    }
}

#[test]
fn f9_damaged_signatures_are_refused() {
    let (kit, first) = accepted();
    let plain = unsigned(&kit);
    let good = kit.sign(&plain, "ada", "git");
    let lines: Vec<&str> = good.lines().collect();
    let end = lines.len() - 1;
    let without = |gone: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != gone);
        kept.map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
    };
    for damaged in [
        String::new(),
        without(0),
        without(1),
        without(end),
        good.replace('A', "!"),
        format!("{good}\nmore"),
        format!("{good}\n{good}"),
        good.replace("SSH SIGNATURE", "SSH"),
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----".to_owned(),
    ] {
        let bad = kit.store(&with_header(&plain, "gpgsig", &damaged));
        let told = refusal(&source(&kit));
        assert!(told.starts_with(&format!("commit {bad} is refused: its signature")), "{told}\n{damaged}");
        kit.point(&first);
    }
    let bad =
        kit.store(&with_header(&plain, "gpgsig", "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----"));
    assert!(refusal(&source(&kit)).starts_with(&format!("commit {bad} is refused: its signature is not one of SSH")));
}

#[test]
fn f9_what_was_changed_after_it_was_signed_is_refused() {
    let (kit, _) = accepted();
    let plain = unsigned(&kit);
    let armour = kit.sign(&plain, "ada", "git");
    let tampered = [&plain[..], b"and more\n"].concat();
    let bad = kit.store(&with_header(&tampered, "gpgsig", &armour));
    let told = refusal(&source(&kit));
    assert!(
        told.contains(&bad) && told.contains("over something else") && told.contains(&kit.fingerprint("ada")),
        "{told}"
    );
}

#[test]
fn f9_a_signature_for_something_else_is_refused() {
    let (kit, _) = accepted();
    let plain = unsigned(&kit);
    let bad = kit.store(&with_header(&plain, "gpgsig", &kit.sign(&plain, "ada", "file")));
    assert!(!kit.git_believes(&bad));
    let told = refusal(&source(&kit));
    assert!(told.contains("was made for `file`, not for `git`"), "{told}");
}

#[test]
fn f9_an_expired_key_that_dates_its_commit_back_is_refused_where_git_believes_it() {
    let (kit, _) = accepted();
    kit.allow(&[kit.line("ada", "valid-before=\"20240101Z\"")]);
    let plain = String::from_utf8(unsigned(&kit)).unwrap();
    let date = |line: &str| match line.split_once("> ") {
        Some((who, _)) if line.starts_with("author ") || line.starts_with("committer ") => {
            format!("{who}> 1680000000 +0000")
        }
        _ => line.to_owned(),
    };
    let back_dated = plain.lines().map(date).collect::<Vec<_>>().join("\n") + "\n";
    let armour = kit.sign(back_dated.as_bytes(), "ada", "git");
    let bad = kit.store(&with_header(back_dated.as_bytes(), "gpgsig", &armour));
    assert!(kit.git_believes(&bad), "git goes by the commit's own date");
    let told = refusal(&source(&kit));
    assert!(told.contains("line 1 of the allowed signers trusts it no longer"), "{told}");
}

#[test]
fn f9_a_key_whose_time_has_not_come_is_refused() {
    let (kit, _) = accepted();
    kit.allow(&[kit.line("ada", "valid-after=29990101Z")]);
    kit.commit("two", Some("ada"));
    assert!(refusal(&source(&kit)).contains("line 1 of the allowed signers trusts it only later"));
}

#[test]
fn f9_a_key_that_was_removed_signs_nothing_new_and_keeps_what_was_accepted() {
    let (kit, _) = accepted();
    kit.commit("two", Some("ada"));
    accepts(&source(&kit));
    kit.allow(&[kit.line("bob", "")]);
    assert_eq!(accepts(&source(&kit)), "two");
    kit.commit("three", Some("bob"));
    assert_eq!(accepts(&source(&kit)), "three");
    let bad = kit.commit("four", Some("ada"));
    let told = refusal(&source(&kit));
    assert!(told.contains(&bad) && told.contains("no line of the allowed signers has it"), "{told}");
}

#[test]
fn an_option_that_is_not_implemented_trusts_nobody() {
    let (kit, _) = accepted();
    kit.commit("two", Some("ada"));
    kit.allow(&[kit.line("ada", ""), kit.line("bob", "cert-authority")]);
    let told = refusal(&source(&kit));
    assert!(told.starts_with("line 2 of the allowed signers") && told.contains("certificates"), "{told}");
    fs::remove_file(kit.at("allowed_signers")).unwrap();
    assert!(refusal(&source(&kit)).contains("cannot be read, so nobody is trusted"));
}

#[test]
fn f7_a_rewritten_branch_is_refused_and_the_old_one_still_believed() {
    let (kit, first) = accepted();
    kit.commit("two", Some("ada"));
    accepts(&source(&kit));
    let good = kit.head();
    kit.point(&first);
    kit.git(&["reset", "--quiet", "--hard", "main"]);
    let other = kit.commit("another two", Some("ada"));
    let told = refusal(&source(&kit));
    assert!(told.starts_with(&format!("commit {other} does not descend from {good}")), "{told}");
    kit.point(&good);
    assert_eq!(accepts(&source(&kit)), "two");
}

#[test]
fn f7_an_older_signed_commit_is_refused() {
    let (kit, first) = accepted();
    let second = kit.commit("two", Some("ada"));
    accepts(&source(&kit));
    kit.point(&first);
    let told = refusal(&source(&kit));
    assert!(told.starts_with(&format!("commit {first} is older than {second}")), "{told}");
}

#[test]
fn f10_with_the_state_lost_no_history_is_believed_by_itself() {
    let (kit, first) = accepted();
    let second = kit.commit("two", Some("ada"));
    accepts(&source(&kit));
    fs::remove_dir_all(kit.at("state")).unwrap();
    let told = refusal(&source(&kit));
    assert!(
        told.starts_with("no commit has been accepted") && told.contains(&format!("--first-commit {second}")),
        "{told}"
    );
    assert_eq!(accepts(&kit.source(kit.trust(Some(&first)))), "two");
}

#[test]
fn f10_a_branch_that_begins_elsewhere_is_refused() {
    let (kit, first) = accepted();
    fs::remove_dir_all(kit.at("state")).unwrap();
    kit.git(&["checkout", "--quiet", "--orphan", "other"]);
    kit.git_signing(Some("ada"), &["commit", "--quiet", "-m", "other"]);
    kit.git(&["branch", "--quiet", "--force", "main", "other"]);
    let told = refusal(&kit.source(kit.trust(Some(&first))));
    assert!(told.contains(&format!("does not descend from {first}, with which the branch begins")), "{told}");
}

#[test]
fn f11_an_unsigned_push_that_its_owner_takes_back_jams_nothing() {
    let (kit, first) = accepted();
    kit.commit("two", None);
    assert!(refusal(&source(&kit)).contains("is not signed"));
    kit.git(&["reset", "--quiet", "--hard", &first]);
    assert_eq!(accepts(&source(&kit)), "one");
    kit.commit("three", Some("ada"));
    assert_eq!(accepts(&source(&kit)), "three");
}

#[test]
fn f12_a_signature_that_was_wrapped_anew_is_the_same_commit() {
    let (kit, _) = accepted();
    let plain = unsigned(&kit);
    let armour = kit.sign(&plain, "ada", "git");
    let original = kit.store(&with_header(&plain, "gpgsig", &armour));
    assert_eq!(accepts(&source(&kit)), "two");

    let body: String = armour.lines().filter(|line| !line.starts_with('-')).collect();
    let lines = body.as_bytes().chunks(40).map(|line| String::from_utf8(line.to_vec()).unwrap());
    let body = lines.collect::<Vec<_>>().join("\n");
    let wrapped = format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----");
    let sibling = kit.store(&with_header(&plain, "gpgsig", &wrapped));
    assert!(sibling != original && kit.git_believes(&sibling));
    assert_eq!(accepts(&source(&kit)), "two");

    // The branch goes on from either of them.
    kit.git(&["reset", "--quiet", "--hard", &original]);
    kit.commit("three", Some("ada"));
    assert_eq!(accepts(&source(&kit)), "three");
    // Had nobody accepted the original, its sibling would be believed as well.
    fs::remove_dir_all(kit.at("state")).unwrap();
    kit.point(&sibling);
    let parent = kit.git(&["rev-parse", "main~1"]);
    assert_eq!(accepts(&kit.source(kit.trust(Some(&parent)))), "two");
}

#[test]
fn f13_a_revision_that_was_remembered_and_not_applied_is_offered_again() {
    let (kit, _) = accepted();
    let second = kit.commit("two", Some("ada"));
    accepts(&source(&kit));
    let after_a_crash = source(&kit).candidate().unwrap();
    assert_eq!(after_a_crash.revision.to_string(), format!("main@sha1:{second}"));
}

#[test]
fn f24_order_comes_from_ancestry_whatever_the_dates_say() {
    let (kit, _) = accepted();
    for (content, date) in
        [("two", "2099-01-01T00:00:00Z"), ("three", "1999-01-01T00:00:00Z"), ("four", "1970-01-02T00:00:00Z")]
    {
        let commit = kit.commit(content, None);
        let plain = String::from_utf8(kit.raw(&commit)).unwrap();
        let seconds = date.parse::<Timestamp>().unwrap().as_second();
        let dated = plain.lines().map(|line| match line.split_once("> ") {
            Some((who, _)) => format!("{who}> {seconds} +0000"),
            None => line.to_owned(),
        });
        let dated = dated.collect::<Vec<_>>().join("\n") + "\n";
        kit.store(&with_header(dated.as_bytes(), "gpgsig", &kit.sign(dated.as_bytes(), "ada", "git")));
        assert_eq!(accepts(&source(&kit)), content);
    }
}

#[test]
fn two_people_can_be_required() {
    let (kit, first) = accepted();
    kit.allow(&[kit.line("ada", ""), kit.line("bob", "")]);
    let two = || kit.source(Trust { min_signers: 2, ..kit.trust(None) });

    let second = kit.commit("two", Some("ada"));
    let told = refusal(&two());
    assert!(
        told.starts_with(&format!("commit {second} is signed by ada@example.org, and 2 have to sign it")),
        "{told}"
    );
    kit.git_signing(Some("eve"), &["tag", "-s", "-m", "ok", "eve"]);
    kit.git_signing(Some("ada"), &["tag", "-s", "-m", "ok", "ada"]);
    kit.git(&["tag", "-m", "ok", "unsigned"]);
    kit.git_signing(Some("bob"), &["tag", "-s", "-m", "ok", "elsewhere", &first]);
    assert!(refusal(&two()).contains("is signed by ada@example.org, and 2"));
    kit.git_signing(Some("bob"), &["tag", "-s", "-m", "ok", "bob"]);
    assert_eq!(accepts(&two()), "two");

    // A merge that changes nothing is a second signature as well; one that changes something is not.
    kit.git(&["checkout", "--quiet", "-b", "side"]);
    fs::write(kit.at("repo/pool.yaml"), "three").unwrap();
    kit.git_signing(Some("ada"), &["commit", "--quiet", "-a", "-m", "side"]);
    kit.git(&["checkout", "--quiet", "main"]);
    kit.git_signing(Some("bob"), &["merge", "--quiet", "--no-ff", "-S", "-m", "merge", "side"]);
    let merged = kit.head();
    fs::write(kit.at("repo/pool.yaml"), "evil").unwrap();
    kit.git_signing(Some("bob"), &["commit", "--quiet", "-a", "--amend", "-S", "-m", "merge"]);
    assert!(refusal(&two()).contains("is signed by bob@example.org, and 2"));
    kit.git(&["reset", "--quiet", "--hard", &merged]);
    assert_eq!(accepts(&two()), "three");
}

/// A hardware key in software: it can also sign without having been touched.
enum Token {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

const APPLICATION: &str = "ssh:";

impl Token {
    fn all() -> [Self; 2] {
        [
            Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
            Self::P256(p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()),
        ]
    }

    fn public(&self) -> KeyData {
        match self {
            Self::Ed25519(key) => {
                KeyData::SkEd25519(SkEd25519::new(Ed25519PublicKey(key.verifying_key().to_bytes()), APPLICATION))
            }
            Self::P256(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(
                    point.as_bytes().try_into().unwrap(),
                    APPLICATION,
                ))
            }
        }
    }

    /// As in OpenSSH's PROTOCOL.u2f: over the application's digest, flags, counter and the message's digest.
    fn sign(&self, message: &[u8], flags: u8) -> String {
        let data = SshSig::signed_data("git", HashAlg::Sha512, message).unwrap();
        let trailer = [&[flags][..], &9_u32.to_be_bytes()].concat();
        let signed = [&Sha256::digest(APPLICATION)[..], &trailer, &Sha256::digest(&data)].concat();
        let (algorithm, bytes) = match self {
            Self::Ed25519(key) => (Algorithm::SkEd25519, key.sign(&signed).to_bytes().to_vec()),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(&signed);
                let plain = Signature::try_from(signature).unwrap();
                (Algorithm::SkEcdsaSha2NistP256, plain.as_bytes().to_vec())
            }
        };
        let signature = [string(algorithm.as_str().as_bytes()), string(&bytes), trailer].concat();
        let public = PublicKey::from(self.public()).to_bytes().unwrap();
        let parts = [&public, &b"git"[..], b"", b"sha512", &signature].map(string).concat();
        let blob = [&b"SSHSIG"[..], &1_u32.to_be_bytes(), &parts].concat();
        let digits = base64::engine::general_purpose::STANDARD.encode(blob);
        let lines: Vec<&str> = digits.as_bytes().chunks(70).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
    }
}

/// A string as SSH writes it: its length, then its bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[test]
fn hardware_keys_count_when_they_were_touched_and_can_be_required() {
    const TOUCHED: u8 = 1;
    for token in Token::all() {
        let (kit, first) = accepted();
        let line = format!("token {}", PublicKey::from(token.public()).to_openssh().unwrap());
        kit.allow(&[kit.line("ada", ""), line]);
        let hardware = || kit.source(Trust { keys: Keys::Hardware, ..kit.trust(None) });
        let plain = unsigned(&kit);

        let touched = kit.store(&with_header(&plain, "gpgsig", &token.sign(&plain, TOUCHED)));
        assert!(kit.git_believes(&touched), "OpenSSH agrees with the signature");
        hardware().candidate().unwrap();
        source(&kit).candidate().unwrap();

        let untouched = kit.store(&with_header(&plain, "gpgsig", &token.sign(&plain, 0)));
        for source in [hardware(), source(&kit)] {
            let told = refusal(&source);
            assert!(told.contains(&untouched) && told.contains("was not touched"), "{told}");
        }

        kit.git(&["reset", "--quiet", "--hard", &first]);
        let software = kit.commit("two", Some("ada"));
        let told = refusal(&hardware());
        assert!(told.contains(&software) && told.contains("only hardware keys count"), "{told}");
        source(&kit).candidate().unwrap();
    }
}

#[test]
fn a_plain_signature_is_none_of_a_hardware_key() {
    let (kit, _) = accepted();
    let [Token::Ed25519(key), _] = Token::all() else { panic!("the order is known") };
    let token = Token::Ed25519(key.clone());
    kit.allow(&[format!("token {}", PublicKey::from(token.public()).to_openssh().unwrap())]);
    let plain = unsigned(&kit);
    let data = SshSig::signed_data("git", HashAlg::Sha512, &plain).unwrap();
    let signature = Signature::new(Algorithm::Ed25519, key.sign(&data).to_bytes().to_vec()).unwrap();
    let armour =
        SshSig::new(token.public(), "git", HashAlg::Sha512, signature).unwrap().to_pem(LineEnding::LF).unwrap();
    kit.store(&with_header(&plain, "gpgsig", &armour));
    assert!(refusal(&source(&kit)).contains("over something else"));
}

#[test]
fn what_is_too_large_to_be_a_commit_is_refused() {
    let (kit, _) = accepted();
    let plain = unsigned(&kit);
    let large = [&plain[..], &vec![b'x'; 2 << 20]].concat();
    let bad = kit.store(&with_header(&large, "gpgsig", &kit.sign(&large, "ada", "git")));
    let error = source(&kit).candidate().unwrap_err();
    let SourceError::Refused(Refusal::Malformed { commit, .. }) = error else { panic!("{error}") };
    assert_eq!(commit.to_string(), bad);
}
