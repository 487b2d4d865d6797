//! The release: packed twice to the same bytes, with a bill of materials that is one, and scripts that any sh takes.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{pack, packed, release, repository};
use crate::git_kit;

#[test]
fn it_is_packed_twice_to_the_same_bytes() {
    let again = tempfile::tempdir().unwrap();
    pack(again.path());
    let mut names = Vec::new();
    for entry in fs::read_dir(again.path()).unwrap().map(|entry| entry.unwrap()) {
        let (once, twice) = (fs::read(release().join(entry.file_name())).unwrap(), fs::read(entry.path()).unwrap());
        assert!(once == twice, "{} differs", entry.path().display());
        names.push(entry.file_name().into_string().unwrap());
    }
    assert_eq!(names.len(), 4, "{names:?}");
    git_kit::run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(release()), b"");
    let list = git_kit::text(&git_kit::run(Command::new("tar").arg("-tvf").arg(packed(".tar.gz")), b""));
    for line in list.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(" 2023-11-14 "), "{line}");
    }
    assert!(list.contains("/install.sh -> scripts/install.sh"), "{list}");
}

/// The list says what is in the package, and everything of the list is there.
#[test]
fn the_debian_package_has_what_the_list_says() {
    let listed = git_kit::text(&git_kit::run(Command::new("dpkg-deb").arg("-c").arg(packed(".deb")), b""));
    let files = listed.lines().filter(|line| line.starts_with('-'));
    let files: BTreeSet<(String, String)> =
        files.map(|line| (line[1..10].to_owned(), line.split_whitespace().last().unwrap()[1..].to_owned())).collect();
    let list = fs::read_to_string(repository().join("scripts/installed-files")).unwrap();
    let mut seen = BTreeSet::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [place_of, mode, file, place] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mode = if mode == "755" { "rwxr-xr-x" } else { "rw-r--r--" };
        let ending = file.rsplit_once('*').map(|(_, ending)| ending);
        let is_there = |(its, path): &&(String, String)| match ending {
            Some(ending) => its == mode && path.starts_with(place) && path.ends_with(ending),
            None => its == mode && path == place,
        };
        let found: Vec<_> = files.iter().filter(is_there).cloned().collect();
        assert!(ending.is_some() || found.is_empty() == (place_of == "rpm"), "{file}: {files:?}");
        seen.extend(found);
    }
    assert_eq!(seen, files, "a file is in the package and not in the list");
    // Units, and what makes the user and its directories: a list that knows no more than half of them would be noticed.
    let units = fs::read_dir(repository().join("systemd")).unwrap().count() - 1;
    assert_eq!(
        files.iter().filter(|(_, path)| path.starts_with("/usr/lib/s") || path.starts_with("/usr/lib/t")).count(),
        units
    );
    let field = |name: &str| {
        git_kit::text(&git_kit::run(Command::new("dpkg-deb").arg("-f").arg(packed(".deb")).arg(name), b""))
    };
    assert!(field("Depends").contains("tor (>= 0.4.8)") && field("Depends").starts_with("libc6 (>= 2."));
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
}

#[test]
fn its_bill_of_materials_is_one_and_says_what_is_linked() {
    let folder = repository().join("tests/fixtures/cyclonedx");
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    let mut options = jsonschema::options();
    for name in ["spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json"] {
        let place = format!("http://cyclonedx.org/schema/{name}");
        options = options.with_resource(place, jsonschema::Resource::from_contents(read(name)).unwrap());
    }
    let validator = options.build(&read("bom-1.4.SNAPSHOT.schema.json")).unwrap();
    let bill: Value = serde_json::from_slice(&fs::read(packed(".cdx.json")).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&bill).map(|it| format!("{}: {it}", it.instance_path)).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(validator.iter_errors(&serde_json::json!({"bomFormat": "CycloneDX"})).count() > 0, "the schema judges");

    let components = bill["components"].as_array().unwrap();
    let scope = |name: &str| components.iter().find(|it| it["name"] == name).map(|it| it["scope"].as_str().unwrap());
    assert_eq!((scope("rusqlite"), scope("libgit2-sys")), (Some("required"), Some("required")));
    assert_eq!((scope("serde_derive"), scope("cc"), scope("proptest")), (Some("excluded"), Some("excluded"), None));
    let without = components.iter().filter(|it| it["hashes"].is_null() || it["licenses"].is_null());
    let without: Vec<_> = without.map(|it| &it["name"]).collect();
    assert!(without.is_empty(), "{without:?}");
    let known: BTreeSet<&str> = components.iter().map(|it| it["bom-ref"].as_str().unwrap()).collect();
    let edges = bill["dependencies"].as_array().unwrap().iter().flat_map(|it| it["dependsOn"].as_array().unwrap());
    assert!(edges.map(|it| it.as_str().unwrap()).all(|to| known.contains(to)));
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let scripts = ["install.sh", "uninstall.sh", "stage.sh", "package.sh", "maintainer.sh"];
    let scripts = scripts.map(|name| repository().join("scripts").join(name));
    let Ok(checked) = Command::new("shellcheck").args(["--shell=sh", "--severity=style"]).args(&scripts).output()
    else {
        crate::support::skip("shellcheck is not installed");
        return;
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
