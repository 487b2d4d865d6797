//! What tests of Git sources share: a repository, keys, and objects that git itself would not make.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use exitpool::source::settings::{SourceSettings, Transport, Trust};
use exitpool::source::verify::Keys;
use exitpool::source::{Source, SourceSpec};
use tempfile::TempDir;

/// A repository with its keys, beside a state directory.
pub struct Kit {
    directory: TempDir,
}

impl Kit {
    /// Makes a repository without commits, and the keys of `ada`, `bob` and `eve`.
    pub fn new() -> Self {
        let kit = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(kit.at("repo")).unwrap();
        kit.git(&["init", "--quiet", "--initial-branch=main"]);
        for name in ["ada", "bob", "eve"] {
            kit.make_key(name, "ed25519");
        }
        kit.allow(&[kit.line("ada", "")]);
        kit
    }

    /// A path in the kit's directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path of the repository, as an argument.
    pub fn repo(&self) -> String {
        self.at("repo").display().to_string()
    }

    /// Makes a key pair.
    pub fn make_key(&self, name: &str, kind: &str) {
        let path = self.at(name).display().to_string();
        run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", name, "-f", &path]), b"");
    }

    /// A line of the allowed signers.
    pub fn line(&self, name: &str, options: &str) -> String {
        let key = fs::read_to_string(self.at(&format!("{name}.pub"))).unwrap();
        format!("{name}@example.org {options} {}", key.trim())
    }

    /// Writes the allowed signers.
    pub fn allow(&self, lines: &[String]) {
        fs::write(self.at("allowed_signers"), lines.join("\n") + "\n").unwrap();
    }

    /// A key's fingerprint.
    pub fn fingerprint(&self, name: &str) -> String {
        let path = self.at(&format!("{name}.pub")).display().to_string();
        let listed = text(&run(Command::new("ssh-keygen").args(["-l", "-f", &path]), b""));
        listed.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
    }

    /// Runs git in the repository; it must succeed.
    pub fn git(&self, arguments: &[&str]) -> String {
        text(&run(self.git_command().args(arguments), b""))
    }

    fn git_command(&self) -> Command {
        let mut command = git();
        command.current_dir(self.at("repo"));
        command
    }

    /// Commits a text as `pool.yaml`, signed by somebody or nobody, and says the commit's id.
    pub fn commit(&self, content: &str, signer: Option<&str>) -> String {
        fs::write(self.at("repo/pool.yaml"), content).unwrap();
        self.git(&["add", "--all"]);
        self.git_signing(signer, &["commit", "--quiet", "--allow-empty", "-m", "change"]);
        self.head()
    }

    /// Runs git with the signing key of somebody; where that is nobody, nothing is signed.
    pub fn git_signing(&self, signer: Option<&str>, arguments: &[&str]) {
        let mut command = self.git_command();
        if let Some(signer) = signer {
            let key = format!("user.signingkey={}", self.at(signer).display());
            command.args(["-c", "gpg.format=ssh", "-c", "commit.gpgsign=true", "-c", "tag.gpgsign=true", "-c", &key]);
        }
        run(command.args(arguments), b"");
    }

    /// The branch's newest commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "main"])
    }

    /// An object's bytes.
    pub fn raw(&self, id: &str) -> Vec<u8> {
        run(self.git_command().args(["cat-file", "commit", id]), b"")
    }

    /// Stores bytes as a commit, however strange, makes it the branch's newest, and says its id.
    pub fn store(&self, bytes: &[u8]) -> String {
        let arguments = ["hash-object", "-t", "commit", "-w", "--literally", "--stdin"];
        let id = text(&run(self.git_command().args(arguments), bytes));
        self.point(&id);
        id
    }

    /// Makes a commit the branch's newest, also one that git does not take for a commit.
    pub fn point(&self, id: &str) {
        fs::write(self.at("repo/.git/refs/heads/main"), format!("{id}\n")).unwrap();
    }

    /// Signs bytes as `ssh-keygen -Y sign` does.
    pub fn sign(&self, bytes: &[u8], signer: &str, namespace: &str) -> String {
        let key = self.at(signer).display().to_string();
        text(&run(Command::new("ssh-keygen").args(["-q", "-Y", "sign", "-n", namespace, "-f", &key]), bytes))
    }

    /// Whether `git verify-commit` believes a commit.
    pub fn git_believes(&self, id: &str) -> bool {
        let file = format!("gpg.ssh.allowedSignersFile={}", self.at("allowed_signers").display());
        let mut command = self.git_command();
        command.args(["-c", &file, "verify-commit", id]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    /// How signatures are asked for, beginning at a commit.
    pub fn trust(&self, first: Option<&str>) -> Trust {
        Trust {
            allowed_signers: self.at("allowed_signers"),
            first_commit: first.map(|id| git2::Oid::from_str(id).unwrap()),
            keys: Keys::Any,
            min_signers: 1,
        }
    }

    /// The repository as a source.
    pub fn source(&self, trust: Trust) -> Source {
        let spec = SourceSpec::from_options(&self.repo(), "main", "pool.yaml").unwrap();
        Source::with(SourceSettings {
            spec,
            state_dir: self.at("state"),
            transport: Transport::default(),
            trust: Some(trust),
        })
    }
}

/// git without anybody's configuration.
pub fn git() -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Puts a signature into the header of a commit.
pub fn with_header(commit: &[u8], name: &str, armour: &str) -> Vec<u8> {
    let at = commit.windows(2).position(|pair| pair == b"\n\n").unwrap() + 1;
    let folded = armour.trim_end().replace('\n', "\n ");
    [&commit[..at], format!("{name} {folded}\n").as_bytes(), &commit[at..]].concat()
}

/// Runs a program with an input; it must succeed.
pub fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A program's output as text, without the newline at its end.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned()
}

/// What a source refuses its newest version for.
pub fn refusal(source: &Source) -> String {
    match source.candidate() {
        Ok(candidate) => panic!("{} was believed", candidate.revision),
        Err(error) => exitpool::error::chain(&error),
    }
}

/// Accepts the newest version, as a daemon does.
pub fn accepts(source: &Source) -> String {
    let candidate = source.candidate().unwrap_or_else(|error| panic!("{}", exitpool::error::chain(&error)));
    source.accept(&candidate).unwrap();
    String::from_utf8(candidate.bytes).unwrap()
}
