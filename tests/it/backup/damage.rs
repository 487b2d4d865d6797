//! Backups that are not what was written.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use exitpool::backup::check::open;
use exitpool::backup::container::Keys;
use exitpool::backup::envelope::{Envelope, Opener};
use exitpool::backup::members::Wish;
use exitpool::backup::write::{Target, write};
use exitpool::error::chain;

use super::{exitpool, first_state, text, tree};

/// What a backup with these bytes is refused with.
fn refused(bytes: Vec<u8>, opener: &Opener) -> String {
    let into = tempfile::tempdir().unwrap();
    let found = open(std::io::Cursor::new(bytes), opener, into.path(), Keys::Unpack);
    found.map_or_else(|error| chain(&error), |_| "taken for whole".to_owned())
}

#[test]
fn what_is_cut_off_or_changed_is_found_wherever_it_is() {
    let place = tempfile::tempdir().unwrap();
    let state = first_state(place.path());
    let passphrase = place.path().join("passphrase");
    fs::write(&passphrase, "open sesame\n").unwrap();
    let key = place.path().join("id");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let public = fs::read_to_string(place.path().join("id.pub")).unwrap();
    let sealed = Envelope::to(&[public.trim().to_owned()], &[]).unwrap();
    for (envelope, opener) in [(Envelope::Open, Opener::default()), (sealed, Opener::of(&[key], None).unwrap())] {
        let path = place.path().join("made");
        write(&state, Wish::default(), &envelope, &Target::File(path.clone())).unwrap();
        let whole = fs::read(&path).unwrap();
        let into = tempfile::tempdir().unwrap();
        open(std::io::Cursor::new(whole.clone()), &opener, into.path(), Keys::Unpack).unwrap();
        let steps = whole.len() / 40;
        for at in (0..whole.len()).step_by(steps.max(1)).chain([1, 9, whole.len() - 8, whole.len() - 1]) {
            let why = refused(whole[..at].to_vec(), &opener);
            // Of a piece of an age file nobody can tell whether the rest of it was cut off or changed.
            let is_vague = !envelope.is_open() || at < 80;
            let is_told = why.contains("cut off") || is_vague && (why.contains("no backup") || why.contains("changed"));
            assert!(is_told, "cut at {at} of {}: {why}", whole.len());
            // Four bytes of gzip's head say when it was made and where, and mean nothing.
            if envelope.is_open() && (3..10).contains(&at) {
                continue;
            }
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            let why = refused(flipped, &opener);
            let names =
                ["changed or damaged", "cut off", "no backup of exitpool", "cannot be decrypted", "format", "newer"];
            assert!(names.iter().any(|name| why.contains(name)), "flipped at {at} of {}: {why}", whole.len());
        }
        let more = [&whole[..], b"more"].concat();
        assert!(refused(more, &opener).contains("changed or damaged"));
    }
    // Those that a test of every bit has to know: none of them is taken for whole, and the state is as it was.
    assert_eq!(
        refused(Vec::new(), &Opener::default()),
        "this backup is cut off: it is empty; take another copy of it, or an earlier one"
    );
}

/// Repacks a backup after a change to its parts, as somebody with tar would.
fn repacked(file: &Path, name: &str, change: &str) -> String {
    let script = format!(
        "set -e; d=$(mktemp -d); cd $d; tar xzf {0}; {change}; \
         tar czf {0}.{name} --owner=0 --mode=0600 $(tar tzf {0}); rm -rf $d",
        file.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("{}.{name}", file.display())
}

#[test]
fn what_is_of_others_or_of_later_is_named_and_nothing_is_done_with_it() {
    let place = tempfile::tempdir().unwrap();
    let state = first_state(place.path());
    let made = place.path().join("made.tar.gz");
    exitpool(&state, &["backup", &text(&made)]).done();
    // tar and sha256sum look into it without this program.
    let looked = format!(
        "set -e; d=$(mktemp -d); cd $d; tar xzf {}; sha256sum --check --quiet SHA256SUMS; rm -rf $d",
        made.display()
    );
    assert!(Command::new("sh").args(["-c", &looked]).status().unwrap().success());

    let sums = "sha256sum manifest.json $(tail -n +2 SHA256SUMS | cut -c 67-) > sums; mv sums SHA256SUMS";
    let later = format!(
        "sed -i 's/\"version\": 1/\"version\": 2/; s/\"exitpool\": \"[^\"]*\"/\"exitpool\": \"9.9.9\"/' manifest.json; {sums}"
    );
    let note = place.path().join("notes");
    fs::write(&note, "no backup").unwrap();
    let zipped = place.path().join("notes.gz");
    let script = format!("gzip --stdout {} > {}", note.display(), zipped.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let others = place.path().join("others.tar.gz");
    let script = format!("tar czf {} -C {} notes", others.display(), place.path().display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    // Its sums are right, and its trail is not what was signed.
    let forged = "python3 - <<'P'\nimport hashlib,json,re\nb=open('audit.sqlite','rb').read().replace(b'maintenance',b'maintenence').replace(b'is in force',b'is in farce')\n\
        open('audit.sqlite','wb').write(b)\nm=json.load(open('manifest.json'))\n\
        [e.update(sha256=hashlib.sha256(b).hexdigest()) for e in m['members'] if e['name']=='audit.sqlite']\n\
        json.dump(m,open('manifest.json','w'))\nP\n".to_owned() + sums;
    let strange = "sed -i 's/\"ratchet.json\"/\"..\\/ratchet.json\"/' manifest.json; ".to_owned() + sums;
    let untouched = tree(&state);
    for (file, words) in [
        (repacked(&made, "later", &later), "has format 2 and is of exitpool 9.9.9, and this exitpool knows format 1"),
        (text(&note), "no backup of exitpool: it is neither a gzipped tar nor an age file"),
        (text(&zipped), "no backup of exitpool"),
        (text(&others), "no backup of exitpool: it does not begin with a manifest.json"),
        (repacked(&made, "forged", &forged), "the audit trail in it is not whole"),
        (repacked(&made, "strange", &strange), "names `../ratchet.json`"),
        (repacked(&made, "longer", "echo >> orders.json"), "orders.json is not what was written"),
        (text(&place.path().join("missing")), "cannot read the backup"),
    ] {
        let into = place.path().join("into");
        for verb in [&["backup", "verify", &file][..], &["restore", &file]] {
            let refused = exitpool(&into, verb);
            assert!(refused.code == 1 && refused.stderr.contains(words), "{words}: {refused:?}");
        }
        let is_empty = !into.exists() || fs::read_dir(&into).unwrap().next().is_none();
        assert!(is_empty, "{words}: something was left");
        let replaced = exitpool(&state, &["restore", &file, "--replace"]);
        assert_eq!((replaced.code, tree(&state)), (1, untouched.clone()), "{words}");
    }
    let mut kept = String::new();
    fs::File::open(&note).unwrap().read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "no backup");
}
