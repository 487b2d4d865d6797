//! Every command of the documents: what calls exitpool is parsed as exitpool parses it, and all of it is good shell.

use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};
use exitpool::cli::Cli;
use exitpool::cli::reference::names;

use super::fences::{Fence, fences};
use super::pages;
use super::shell::{Call, calls};

/// Other programs that a document may call: what an operator of a Debian host has, or is told to install.
const PROGRAMS: &[&str] = &[
    ".",
    "[",
    "apt",
    "apt-get",
    "apt-mark",
    "awk",
    "bash",
    "break",
    "cargo",
    "cat",
    "cd",
    "chmod",
    "chown",
    "cmp",
    "comm",
    "command",
    "cp",
    "curl",
    "cut",
    "date",
    "dd",
    "df",
    "diff",
    "docker",
    "dpkg",
    "du",
    "echo",
    "exit",
    "export",
    "false",
    "find",
    "firewall-cmd",
    "gh",
    "git",
    "gpg",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "helm",
    "hostname",
    "id",
    "install",
    "ip",
    "ip6tables",
    "ipset",
    "iptables",
    "journalctl",
    "kill",
    "kubectl",
    "ln",
    "logger",
    "ls",
    "make",
    "man",
    "mkdir",
    "mktemp",
    "mount",
    "mv",
    "nft",
    "nginx",
    "nsenter",
    "openssl",
    "passwd",
    "pgrep",
    "podman",
    "podman-compose",
    "printf",
    "promtool",
    "proxychains4",
    "ps",
    "psql",
    "python3",
    "read",
    "rm",
    "rmdir",
    "rsync",
    "runuser",
    "scp",
    "sed",
    "set",
    "setpriv",
    "sha256sum",
    "sh",
    "sleep",
    "sort",
    "sqlite3",
    "ss",
    "ssh",
    "ssh-add",
    "ssh-keygen",
    "ssh-keyscan",
    "stat",
    "sudo",
    "sync",
    "systemctl",
    "systemd-analyze",
    "systemd-creds",
    "systemd-run",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "tail",
    "tar",
    "tee",
    "test",
    "timedatectl",
    "touch",
    "tor",
    "torify",
    "torsocks",
    "tr",
    "true",
    "ufw",
    "umask",
    "umount",
    "uname",
    "unshare",
    "useradd",
    "userdel",
    "visudo",
    "wc",
    "wget",
    "wpa_cli",
    "xargs",
    "zcat",
    "age",
    "cosign",
    "syft",
    "apt-key",
    "dpkg-deb",
    "dpkg-query",
    "apt-cache",
    "caddy",
    "chronyc",
    "crontab",
    "buildah",
    "sops",
    "base64",
    "watch",
];
/// Programs of others are called by a path, too: scripts that lie in this repository.
const OURS: [&str; 5] = ["./", "scripts/", "hooks/", "ci/", "target/"];

/// A commit id where the document has one that is cut short, or that only a run could tell.
const A_COMMIT: &str = "4f0c5a3b9d2e1f60718293a4b5c6d7e8f9012345";

#[test]
fn every_command_of_ours_is_one_that_the_program_takes() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (fence, call) in every_call() {
        let Some(words) = ours(&call.words) else { continue };
        seen += 1;
        if let Err(why) = parse(&words) {
            wrong.push(format!("{}: `{}`: {why}", place(&fence, &call), call.words.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "exitpool does not take these commands:\n  {}", wrong.join("\n  "));
    assert!(seen > 60, "only {seen} commands were found");
}

#[test]
fn every_other_program_is_one_that_an_operator_has() {
    let is_known = |program: &str| {
        PROGRAMS.contains(&program) || OURS.iter().any(|place| program.starts_with(place)) || program.starts_with('$')
    };
    let mut wrong = Vec::new();
    for (fence, call) in every_call() {
        let program = call.words[0].rsplit_once("bin/").map_or(call.words[0].as_str(), |(_, program)| program);
        if program != "exitpool" && !is_known(program) {
            wrong.push(format!("{}: {program}", place(&fence, &call)));
        }
    }
    let advice =
        "If it is meant, add it to PROGRAMS in tests/it/docs/commands.rs; what is no command belongs into ```text.";
    assert!(wrong.is_empty(), "nobody knows these programs:\n  {}\n{advice}", wrong.join("\n  "));
}

#[test]
fn every_block_is_good_shell() {
    let mut seen = 0;
    for fence in every_fence() {
        let Some(script) = fence.script() else { continue };
        let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = bash.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}:{}: {told}", fence.page, fence.line);
        seen += 1;
    }
    assert!(seen > 40, "only {seen} blocks were found");
}

fn every_fence() -> Vec<Fence> {
    pages().iter().flat_map(|(page, text)| fences(page, text)).collect()
}

fn every_call() -> Vec<(Fence, Call)> {
    let of = |fence: Fence| -> Vec<(Fence, Call)> {
        let script = fence.script().unwrap_or_default();
        calls(&script).into_iter().map(|call| (fence.clone(), call)).collect()
    };
    every_fence().into_iter().flat_map(of).collect()
}

fn place(fence: &Fence, call: &Call) -> String {
    format!("{}:{}", fence.page, fence.line + call.line - 1)
}

/// The words of a call of exitpool, also where another program calls it for somebody else, or somewhere else.
fn ours(words: &[String]) -> Option<Vec<String>> {
    let is_ours = |word: &String| word == "exitpool" || word.ends_with("/exitpool");
    let at = match words[0].as_str() {
        "sudo" | "runuser" => program_for_another_user(words),
        "docker" | "kubectl" | "nsenter" | "podman" | "setpriv" | "ssh" | "watch" => {
            // A container or an image may have that name as well: what is called has a verb behind it.
            let verbs = names();
            (1..words.len() - 1).find(|at| is_ours(&words[*at]) && verbs.contains(&words[at + 1]))?
        }
        _ => 0,
    };
    let called = words.get(at).filter(|word| is_ours(word))?;
    let name = called.rsplit('/').next().unwrap_or_default().to_owned();
    Some([&[name], &words[at + 1..]].concat())
}

/// Where the program stands behind `sudo -u NAME` or `runuser -u NAME --`.
fn program_for_another_user(words: &[String]) -> usize {
    let mut at = 1;
    while let Some(option) = words.get(at).filter(|word| word.starts_with('-')) {
        at += if ["-u", "--user", "-g", "--group"].contains(&option.as_str()) { 2 } else { 1 };
    }
    at
}

/// Asks the real definition of the command line.
fn parse(words: &[String]) -> Result<(), String> {
    let is_cut_short = words.iter().any(|word| word == "…");
    let words: Vec<String> = words.iter().filter_map(|word| stand_in(word)).collect();
    let Err(error) = Cli::try_parse_from(&words) else { return Ok(()) };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
        // A command that is cut short by `…` has the rest there.
        ErrorKind::MissingRequiredArgument if is_cut_short => Ok(()),
        // What only a run could tell is not judged.
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if is_of_a_run(&error) => Ok(()),
        _ => Err(told(&error)),
    }
}

fn told(error: &clap::Error) -> String {
    error.to_string().lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ")
}

fn is_of_a_run(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.contains('$') || value.ends_with('…'),
        _ => false,
    }
}

/// What a word of a document is when it is typed.
fn stand_in(word: &str) -> Option<String> {
    let begins_a_commit = |text: &str| text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit());
    match word {
        "…" | "..." => None,
        word if word.starts_with("$(git rev-parse") => Some(A_COMMIT.to_owned()),
        word => match word.strip_suffix('…') {
            Some(begun) if begins_a_commit(begun) => Some(A_COMMIT.to_owned()),
            _ => Some(word.to_owned()),
        },
    }
}

#[test]
fn a_command_that_is_wrong_is_found() {
    let words = |line: &str| calls(line).into_iter().find_map(|call| ours(&call.words)).unwrap();
    for wrong in [
        "exitpool destroy",
        "exitpool status --loud",
        "exitpool plan --source x -o xml",
        "exitpool plan",
        "sudo -u exitpool exitpool frob",
    ] {
        assert!(parse(&words(wrong)).is_err(), "{wrong}");
    }
    for right in [
        "exitpool plan --source pool.yaml",
        "exitpool run … --first-commit 4f0c…",
        "sudo -u exitpool exitpool validate --source x",
    ] {
        assert_eq!(parse(&words(right)), Ok(()), "{right}");
    }
    Cli::command().debug_assert();
}
