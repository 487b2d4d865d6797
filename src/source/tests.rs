//! Real files, real repositories and the real kernel. Every wait is for a value, and only after a wake-up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::desired::lists::ListProblem;
use crate::error::{Classify, Kind};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn file_source(path: &Path) -> Source {
    Source::new(SourceSpec::File(path.to_owned()))
}

fn content(source: &Source) -> Option<String> {
    source.candidate().ok().map(|candidate| String::from_utf8(candidate.bytes).unwrap())
}

/// A source that is being watched; what came before the test began is already heard.
struct Watched {
    source: Source,
    wakes: Receiver<()>,
    _watch: Watch,
}

impl Watched {
    fn new(source: Source) -> Self {
        let (sender, wakes) = channel();
        let watch = source.watch(move || _ = sender.send(())).unwrap();
        wakes.recv_timeout(DEADLINE).expect("a watch starts with a wake-up");
        Self { source, wakes, _watch: watch }
    }

    /// Waits for wake-ups until the source says `expected`.
    fn sees(&self, expected: Option<&str>) {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.wakes.recv_timeout(left).is_ok(), "no wake-up; the source says {:?}", content(&self.source));
            if content(&self.source).as_deref() == expected {
                return;
            }
        }
    }
}

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_file_is_named_by_its_digest() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    fs::write(&path, "version: 1\n").unwrap();
    let candidate = file_source(&path).candidate().unwrap();
    let digest = "file@sha256:09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847";
    assert_eq!(candidate.bytes, b"version: 1\n");
    assert_eq!(candidate.file, path.display().to_string());
    assert_eq!(candidate.revision.to_string(), digest);
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = directory();
    let refusal = |path: &Path| file_source(path).candidate().unwrap_err();
    assert!(matches!(refusal(&directory.path().join("none.yaml")), SourceError::Missing { .. }));
    assert!(matches!(refusal(directory.path()), SourceError::NotAFile { .. }));
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(refusal(&pipe), SourceError::NotAFile { .. }));
    let large = directory.path().join("large");
    fs::write(&large, vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
    let error = refusal(&large);
    assert!(matches!(error, SourceError::TooLarge { .. }));
    assert_eq!(error.kind(), Kind::Source);
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    assert!(matches!(file_source(&path).candidate().unwrap_err(), SourceError::Unreadable { .. }));
}

#[test]
fn a_file_that_is_written_in_place_is_seen() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    fs::write(&path, "one").unwrap();
    let watched = Watched::new(file_source(&path));
    for text in ["two", "three"] {
        fs::write(&path, text).unwrap();
        watched.sees(Some(text));
    }
}

#[test]
fn a_file_that_is_renamed_over_is_seen_every_time() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    fs::write(&path, "one").unwrap();
    let watched = Watched::new(file_source(&path));
    for text in ["two", "three", "four"] {
        let other = directory.path().join(".pool.yaml.new");
        fs::write(&other, text).unwrap();
        fs::rename(&other, &path).unwrap();
        watched.sees(Some(text));
    }
}

#[test]
fn a_file_that_comes_goes_and_comes_back_is_seen() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    let watched = Watched::new(file_source(&path));
    fs::write(&path, "one").unwrap();
    watched.sees(Some("one"));
    fs::remove_file(&path).unwrap();
    watched.sees(None);
    fs::write(&path, "two").unwrap();
    watched.sees(Some("two"));
}

/// As Kubernetes mounts a ConfigMap: `pool.yaml -> ..data/pool.yaml`, `..data -> ..<time>`.
#[test]
fn a_link_that_is_swapped_is_seen_every_time() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let publish = |version: &str| {
        fs::create_dir(at(&format!("..{version}"))).unwrap();
        fs::write(at(&format!("..{version}/pool.yaml")), version).unwrap();
        symlink(format!("..{version}"), at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    publish("one");
    symlink("..data/pool.yaml", at("pool.yaml")).unwrap();
    let watched = Watched::new(file_source(&at("pool.yaml")));
    for version in ["two", "three"] {
        publish(version);
        watched.sees(Some(version));
    }
    fs::write(at("..three/pool.yaml"), "in place").unwrap();
    watched.sees(Some("in place"));
}

#[test]
fn a_link_in_the_middle_of_the_path_is_seen_to_move() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    for version in ["one", "two"] {
        fs::create_dir_all(at("releases").join(version)).unwrap();
        fs::write(at("releases").join(version).join("pool.yaml"), version).unwrap();
    }
    symlink("releases/one", at("current")).unwrap();
    let watched = Watched::new(file_source(&at("current/pool.yaml")));
    symlink("releases/two", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    watched.sees(Some("two"));
    fs::write(at("releases/two/pool.yaml"), "in place").unwrap();
    watched.sees(Some("in place"));
}

#[test]
fn a_directory_that_vanishes_and_comes_back_is_seen() {
    let directory = directory();
    let folder = directory.path().join("a/b");
    let path = folder.join("pool.yaml");
    fs::create_dir_all(&folder).unwrap();
    fs::write(&path, "one").unwrap();
    let watched = Watched::new(file_source(&path));
    fs::remove_dir_all(directory.path().join("a")).unwrap();
    watched.sees(None);
    fs::create_dir_all(&folder).unwrap();
    fs::write(&path, "two").unwrap();
    watched.sees(Some("two"));
    fs::write(&path, "three").unwrap();
    watched.sees(Some("three"));
}

#[test]
fn a_directory_that_is_replaced_by_another_is_seen() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    for folder in ["live", "next"] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("pool.yaml"), folder).unwrap();
    }
    let watched = Watched::new(file_source(&at("live/pool.yaml")));
    fs::rename(at("live"), at("old")).unwrap();
    fs::rename(at("next"), at("live")).unwrap();
    watched.sees(Some("next"));
    fs::write(at("live/pool.yaml"), "in place").unwrap();
    watched.sees(Some("in place"));
}

#[test]
fn a_dropped_watch_wakes_nobody() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    let Watched { wakes, _watch: watch, .. } = Watched::new(file_source(&path));
    drop(watch);
    // The thread ends and drops the closure, and the channel with it.
    while wakes.recv_timeout(DEADLINE).is_ok() {}
    assert_eq!(wakes.recv_timeout(DEADLINE), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

/// A repository that the `git` program made.
struct Repo {
    directory: TempDir,
    git_directory: PathBuf,
}

impl Repo {
    fn new() -> Self {
        let directory = directory();
        let repo = Self { git_directory: directory.path().join("repo/.git"), directory };
        repo.run(&["init", "--quiet", "--initial-branch=main", &repo.path().display().to_string()]);
        repo
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(arguments)
            .current_dir(if self.path().exists() { self.path() } else { self.directory.path().to_owned() })
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a text as `pool.yaml` and says the commit's id.
    fn commit(&self, text: &str) -> String {
        fs::write(self.path().join("pool.yaml"), text).unwrap();
        self.run(&["add", "--all"]);
        self.run(&["commit", "--quiet", "-m", "change"]);
        self.run(&["rev-parse", "HEAD"])
    }

    fn spec(&self, branch: &str, path: &str) -> Result<SourceSpec, SourceError> {
        SourceSpec::from_options(&self.path().display().to_string(), branch, path)
    }

    fn source(&self) -> Source {
        Source::new(self.spec("main", "pool.yaml").unwrap())
    }

    fn refusal(&self, branch: &str, path: &str) -> SourceError {
        Source::new(self.spec(branch, path).unwrap()).candidate().unwrap_err()
    }
}

#[test]
fn the_newest_commit_counts_and_the_work_tree_does_not() {
    let repo = Repo::new();
    repo.commit("one");
    let commit = repo.commit("two");
    fs::write(repo.path().join("pool.yaml"), "not committed").unwrap();
    let candidate = repo.source().candidate().unwrap();
    assert_eq!(candidate.bytes, b"two");
    assert_eq!(candidate.file, "pool.yaml");
    assert_eq!(candidate.revision, Revision::of_commit("main", &commit).unwrap());
}

#[test]
fn a_bare_repository_and_another_branch_and_path_are_read() {
    let repo = Repo::new();
    repo.commit("one");
    repo.run(&["checkout", "--quiet", "-b", "hosts/a"]);
    fs::create_dir(repo.path().join("hosts")).unwrap();
    fs::write(repo.path().join("hosts/a.yaml"), "two").unwrap();
    repo.commit("one");
    let bare = repo.directory.path().join("bare.git");
    repo.run(&["clone", "--quiet", "--bare", ".", &bare.display().to_string()]);
    let spec = SourceSpec::from_options(&format!("file://{}", bare.display()), "hosts/a", "hosts/a.yaml").unwrap();
    let candidate = Source::new(spec).candidate().unwrap();
    assert_eq!(candidate.bytes, b"two");
    assert!(candidate.revision.to_string().starts_with("hosts/a@sha1:"));
}

#[test]
fn what_a_repository_lacks_is_named() {
    let repo = Repo::new();
    let empty = repo.refusal("main", "pool.yaml").to_string();
    assert!(empty.ends_with("has no branch `main`; it has none: nothing has been committed yet"), "{empty}");
    let commit = repo.commit("one");
    let branch = repo.refusal("prod", "pool.yaml").to_string();
    assert!(branch.ends_with("has no branch `prod`; it has `main`"), "{branch}");
    let short = &commit[..12];
    let path = repo.refusal("main", "hosts/a.yaml").to_string();
    assert_eq!(path, format!("commit {short} of branch `main` has no file `hosts/a.yaml`; add it, or check `--path`"));
}

#[test]
fn what_is_no_plain_file_in_a_commit_is_refused() {
    let repo = Repo::new();
    fs::create_dir(repo.path().join("hosts")).unwrap();
    fs::write(repo.path().join("hosts/a.yaml"), "").unwrap();
    symlink("/etc/passwd", repo.path().join("link.yaml")).unwrap();
    fs::write(repo.path().join("large.yaml"), vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
    repo.commit("one");
    let what = |path: &str| match repo.refusal("main", path) {
        SourceError::NotAFileInCommit { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(what("hosts"), "a directory");
    assert_eq!(what("link.yaml"), "a symbolic link");
    assert!(matches!(repo.refusal("main", "large.yaml"), SourceError::TooLarge { .. }));
}

#[test]
fn a_corrupt_repository_says_so() {
    let repo = Repo::new();
    let commit = repo.commit("one");
    let blob = repo.run(&["rev-parse", "HEAD:pool.yaml"]);
    for object in [blob, commit] {
        let path = repo.git_directory.join("objects").join(&object[..2]).join(&object[2..]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not an object").unwrap();
        assert!(matches!(repo.refusal("main", "pool.yaml"), SourceError::Repository { .. }));
    }
}

#[test]
fn a_repository_of_another_user_is_refused_with_the_way_out() {
    let repo = Repo::new();
    repo.commit("one");
    let nobody = Some(65_534);
    let taken = std::os::unix::fs::chown(repo.path(), nobody, nobody)
        .and_then(|()| std::os::unix::fs::chown(&repo.git_directory, nobody, nobody));
    if taken.is_err() {
        println!("skipped: only root gives a directory away");
        return;
    }
    let error = repo.spec("main", "pool.yaml").unwrap_err();
    assert!(matches!(error, SourceError::NotOwned { .. }), "{error}");
    assert!(error.to_string().contains("safe.directory"));
}

#[test]
fn options_that_make_no_source_are_refused_with_a_reason() {
    let repo = Repo::new();
    for branch in ["", "a b", "a..b", "refs/heads/main", "-x y", "a.lock"] {
        assert!(matches!(repo.spec(branch, "pool.yaml"), Err(SourceError::BranchName { .. })), "{branch}");
    }
    for path in ["", "/etc/passwd", "../pool.yaml", "a/../../b"] {
        assert!(matches!(repo.spec("main", path), Err(SourceError::PathOutside { .. })), "{path}");
    }
    let directory = repo.directory.path().display().to_string();
    let error = SourceSpec::from_options(&directory, "main", "pool.yaml").unwrap_err();
    assert!(matches!(error, SourceError::NotARepository { .. }));
    assert_eq!(error.kind(), Kind::Usage);
}

#[test]
fn remote_sources_are_understood_and_no_password_is_repeated() {
    let remote = [
        ("https://user:word@git.example.org/pool.git", "https://git.example.org/pool.git"),
        ("ssh://git@git.example.org/pool.git", "ssh://git.example.org/pool.git"),
        ("git@git.example.org:pool.git", "git.example.org:pool.git"),
        ("git.example.org:pool.git", "git.example.org:pool.git"),
    ];
    for (location, shown) in remote {
        let spec = SourceSpec::from_options(location, "main", "pool.yaml").unwrap();
        assert!(!format!("{spec:?}").contains("word"));
        let error = Source::new(spec).candidate().unwrap_err();
        assert!(error.to_string().starts_with(&format!("the source `{shown}` is remote")), "{error}");
    }
    let local = SourceSpec::from_options("/nowhere/pool:1.yaml", "main", "pool.yaml").unwrap();
    assert_eq!(local, SourceSpec::File("/nowhere/pool:1.yaml".into()));
}

#[test]
fn a_commit_is_seen() {
    let repo = Repo::new();
    repo.commit("one");
    let watched = Watched::new(repo.source());
    for text in ["two", "three"] {
        repo.commit(text);
        watched.sees(Some(text));
    }
}

#[test]
fn a_push_into_a_bare_repository_is_seen() {
    let repo = Repo::new();
    repo.commit("one");
    let bare = repo.directory.path().join("bare.git").display().to_string();
    repo.run(&["clone", "--quiet", "--bare", ".", &bare]);
    let watched = Watched::new(Source::new(SourceSpec::from_options(&bare, "main", "pool.yaml").unwrap()));
    repo.commit("two");
    repo.run(&["push", "--quiet", &bare, "main"]);
    watched.sees(Some("two"));
}

#[test]
fn commits_after_refs_were_packed_are_seen() {
    let repo = Repo::new();
    repo.commit("one");
    repo.run(&["checkout", "--quiet", "-b", "hosts/a"]);
    let watched = Watched::new(Source::new(repo.spec("hosts/a", "pool.yaml").unwrap()));
    repo.run(&["pack-refs", "--all"]);
    assert!(!repo.git_directory.join("refs/heads/hosts/a").exists());
    repo.commit("two");
    watched.sees(Some("two"));
    repo.run(&["pack-refs", "--all"]);
    repo.commit("three");
    watched.sees(Some("three"));
}

#[test]
fn a_branch_that_is_moved_back_is_seen() {
    let repo = Repo::new();
    repo.commit("one");
    repo.commit("two");
    let watched = Watched::new(repo.source());
    repo.run(&["reset", "--quiet", "--hard", "HEAD~1"]);
    watched.sees(Some("one"));
}

#[test]
fn a_repository_that_comes_later_is_seen_whatever_its_kind() {
    let origin = Repo::new();
    origin.commit("one");
    for kind in ["--bare", "--no-bare"] {
        let place = origin.directory.path().join(format!("later{kind}.git"));
        let location = place.display().to_string();
        let watched = Watched::new(Source::new(SourceSpec::from_options(&location, "main", "pool.yaml").unwrap()));
        assert!(matches!(watched.source.candidate(), Err(SourceError::Missing { .. })));
        origin.run(&["clone", "--quiet", kind, ".", &location]);
        watched.sees(Some("one"));
        origin.commit(kind);
        origin.run(&["push", "--quiet", &location, "main:refs/heads/next"]);
        origin.run(&["--git-dir", &git_directory(&place), "update-ref", "refs/heads/main", "refs/heads/next"]);
        watched.sees(Some(kind));
        origin.run(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
}

fn git_directory(place: &Path) -> String {
    let within = place.join(".git");
    if within.exists() { within } else { place.to_owned() }.display().to_string()
}

const WITH_LIST: &str = "access: {socks: [{file: lists/a.txt}]}\n";

/// What a source says of the list, as text or as its problem.
fn list(source: &Source) -> Result<String, ListProblem> {
    let candidate = source.candidate().unwrap();
    let (_, content) = candidate.lists.iter().next().unwrap();
    content.clone().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_list_is_read_beside_the_file_and_never_out_of_its_directory() {
    let directory = directory();
    let inner = directory.path().join("inner");
    fs::create_dir_all(inner.join("lists/b")).unwrap();
    fs::write(inner.join("pool.yaml"), WITH_LIST).unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    let source = file_source(&inner.join("pool.yaml"));
    let place = inner.join("lists/a.txt");
    let again = |make: &dyn Fn()| {
        let _ = fs::remove_file(&place);
        make();
        (list(&source), source.candidate().unwrap().revision)
    };
    let link = |target: &str| again(&|| symlink(target, &place).unwrap()).0;
    let (missing, without) = again(&|| {});
    assert_eq!(missing, Err(ListProblem::Missing));
    let (one, with_one) = again(&|| fs::write(&place, "one").unwrap());
    let (two, with_two) = again(&|| fs::write(&place, "two").unwrap());
    assert_eq!([one, two], [Ok("one".to_owned()), Ok("two".to_owned())]);
    assert!(without != with_one && with_one != with_two, "every change is another revision");
    assert_eq!(link("../../secret"), Err(ListProblem::Outside));
    assert_eq!(link(&directory.path().join("secret").display().to_string()), Err(ListProblem::Outside));
    assert_eq!(link("/proc/self/fd/0"), Err(ListProblem::Outside));
    assert_eq!(link("b"), Err(ListProblem::Directory));
    fs::write(inner.join("lists/b/real"), "real").unwrap();
    assert_eq!(link("b/real"), Ok("real".to_owned()));
    let pipe = again(&|| assert!(Command::new("mkfifo").arg(&place).status().unwrap().success()));
    assert_eq!(pipe.0, Err(ListProblem::NotAFile));
    let large = again(&|| fs::write(&place, vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap());
    assert_eq!(large.0, Err(ListProblem::TooLarge));
}

#[test]
fn a_document_and_its_list_behind_one_link_are_read_together() {
    let directory = directory();
    for version in ["1", "2"] {
        fs::create_dir_all(directory.path().join(version).join("lists")).unwrap();
        fs::write(directory.path().join(version).join("pool.yaml"), WITH_LIST).unwrap();
        fs::write(directory.path().join(version).join("lists/a.txt"), version).unwrap();
    }
    symlink("1", directory.path().join("current")).unwrap();
    symlink("current/pool.yaml", directory.path().join("pool.yaml")).unwrap();
    let source = file_source(&directory.path().join("pool.yaml"));
    assert_eq!(list(&source), Ok("1".to_owned()));
    symlink("2", directory.path().join("next")).unwrap();
    fs::rename(directory.path().join("next"), directory.path().join("current")).unwrap();
    assert_eq!(list(&source), Ok("2".to_owned()));
}

#[test]
fn a_change_of_a_list_alone_is_seen() {
    let directory = directory();
    let path = directory.path().join("pool.yaml");
    fs::create_dir(directory.path().join("lists")).unwrap();
    fs::write(&path, "version: 1\n").unwrap();
    let watched = Watched::new(file_source(&path));
    fs::write(&path, WITH_LIST).unwrap();
    watched.sees(Some(WITH_LIST));
    for text in ["one", "two"] {
        let other = directory.path().join("lists/.a.txt");
        fs::write(&other, text).unwrap();
        while watched.wakes.try_recv().is_ok() {}
        fs::rename(&other, directory.path().join("lists/a.txt")).unwrap();
        assert!(watched.wakes.recv_timeout(DEADLINE).is_ok(), "no wake-up for {text}");
        assert_eq!(list(&watched.source).as_deref(), Ok(text));
    }
}

#[test]
fn a_list_is_of_the_same_commit_as_the_document() {
    let repo = Repo::new();
    fs::create_dir_all(repo.path().join("hosts/lists/tree")).unwrap();
    fs::write(repo.path().join("hosts/lists/a.txt"), "one").unwrap();
    fs::write(repo.path().join("hosts/lists/tree/x"), "").unwrap();
    fs::write(repo.path().join("hosts/pool.yaml"), WITH_LIST).unwrap();
    repo.commit("");
    fs::write(repo.path().join("hosts/lists/a.txt"), "not committed").unwrap();
    let source = Source::new(repo.spec("main", "hosts/pool.yaml").unwrap());
    let first = source.candidate().unwrap();
    assert_eq!(list(&source), Ok("one".to_owned()));
    repo.commit("");
    assert_eq!(list(&source), Ok("not committed".to_owned()));
    assert_ne!(source.candidate().unwrap().revision, first.revision);
    let again = |make: &dyn Fn(&Path)| {
        let place = repo.path().join("hosts/lists/a.txt");
        fs::remove_file(&place).unwrap();
        make(&place);
        repo.commit("");
        list(&source)
    };
    assert_eq!(again(&|place| symlink("tree/x", place).unwrap()), Err(ListProblem::Link));
    let large = vec![b'#'; usize::try_from(MAX_BYTES).unwrap() + 1];
    assert_eq!(again(&|place| fs::write(place, &large).unwrap()), Err(ListProblem::TooLarge));
    assert_eq!(again(&|_| ()), Err(ListProblem::Missing));
    fs::write(repo.path().join("hosts/pool.yaml"), WITH_LIST.replace("a.txt", "tree")).unwrap();
    repo.commit("");
    assert_eq!(list(&source), Err(ListProblem::Directory));
}
