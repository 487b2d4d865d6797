use super::*;

fn record(name: &str) -> Record {
    Record { name: name.to_owned(), owner: Owner { pid: 1, started: 0 }, directory: "/nonexistent".into() }
}

#[test]
fn links_have_names_of_their_own_that_an_interface_can_have() {
    let longest = record("exitpo-4194304-35");
    assert_eq!(longest.link('c'), "exitpo2hwcgzc");
    assert!(longest.link('c').len() <= 15);
    assert_ne!(longest.link('c'), longest.link('s'));
    assert_ne!(longest.link('c'), record("exitpo-4194304-34").link('c'));
}

#[test]
fn only_our_own_names_are_understood() {
    assert_eq!(owner_in("demo-12-0", "demo"), Some(12));
    assert_eq!(owner_in("demo-12-3-client", "demo"), Some(12));
    for name in ["demo", "demo-", "demo-12", "demo-x-0", "demo-12-x", "demo2-12-0", "other-12-0", "demo-12-0-server"] {
        assert_eq!(owner_in(name, "demo"), None, "{name}");
    }
}

#[test]
fn a_prefix_is_short_and_plain() {
    for prefix in ["a", "demo", "it9", "sixsix"] {
        assert!(check_prefix(prefix).is_ok(), "{prefix}");
    }
    for prefix in ["", "sevenup", "9lives", "De", "a-b", "a/b", "ä"] {
        assert!(matches!(check_prefix(prefix), Err(Error::Prefix(_))), "{prefix}");
    }
}

#[test]
fn an_owner_is_alive_only_with_its_own_start_time() {
    let this = Owner::this().unwrap();
    assert!(this.is_alive());
    assert!(!Owner { started: this.started + 1, ..this }.is_alive());
    assert!(!Owner { pid: u32::MAX, started: 0 }.is_alive());
}

#[test]
fn the_callers_own_namespace_is_never_emptied() {
    assert!(is_inside("self", Path::new("/proc/self/ns/net")));
    assert_eq!(processes_in(Path::new("/proc/self/ns/net")), Vec::<u32>::new());
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("precious");
    fs::write(&file, "data").unwrap();
    assert!(matches!(empty_directory(directory.path()), Err(Error::Directory(_))));
    assert!(file.exists());
    assert!(empty_directory(&directory.path().join("new/one")).unwrap().is_dir());
}
