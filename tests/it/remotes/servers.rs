//! Servers for tests, each on a port that the kernel chose: git's own, OpenSSH's, lighttpd, a SOCKS proxy, and
//! whatever a test makes up. They end with the test.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::git_kit::{Kit, git, run, text};
use crate::support::skip;

/// Listens on this host alone.
pub fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A server that handles every connection on a thread of its own, until it is dropped.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Serves with a function.
    pub fn new(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let (accepting, serve) = (listener.try_clone().unwrap(), Arc::new(serve));
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { listener }
    }

    /// Serves with a program that speaks on its standard input and output, as inetd does.
    fn program(listener: TcpListener, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self::new(listener, move |stream| attend(command(), stream))
    }

    /// Serves all repositories of a directory by `git://`.
    pub fn git(listener: TcpListener, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self::program(listener, move || git_daemon(&directory))
    }

    /// A server that can be made another one at any time.
    pub fn fickle(listener: TcpListener, directory: &Path) -> (Self, Arc<Mutex<Manner>>) {
        let (manner, directory) = (Arc::new(Mutex::new(Manner::Good)), directory.to_owned());
        let kept = Arc::clone(&manner);
        let server = Self::new(listener, move |stream| {
            let manner = *manner.lock().unwrap();
            match manner {
                Manner::Good => attend(git_daemon(&directory), stream),
                Manner::Bad(misbehave) => misbehave(stream),
            }
        });
        (server, kept)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// A URL of the served repository.
    pub fn git_url(&self) -> String {
        format!("git://127.0.0.1:{}/pool.git", self.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Who waits in `accept` is told so as well.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// How a fickle server treats who comes.
#[derive(Clone, Copy)]
pub enum Manner {
    /// As git's own does.
    Good,
    /// In another way.
    Bad(fn(TcpStream)),
}

/// Takes everything and says nothing.
pub fn silent(mut stream: TcpStream) {
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// Says what a server would say, one byte at a time.
pub fn dripping(mut stream: TcpStream) {
    let line = format!("{:04x}version 2\n0000", 14);
    for byte in line.bytes().cycle() {
        if stream.write_all(&[byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Offers branches without end.
pub fn endless(mut stream: TcpStream) {
    let commit = "1".repeat(40);
    for number in 0_u64.. {
        let line = format!("{commit} refs/heads/{number:020}\n");
        if stream.write_all(format!("{:04x}{line}", line.len() + 4).as_bytes()).is_err() {
            return;
        }
    }
}

/// Says what no server says.
pub fn senseless(mut stream: TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
}

/// Hangs up.
pub fn rude(stream: TcpStream) {
    drop(stream);
}

fn git_daemon(directory: &Path) -> Command {
    let mut command = git();
    command.args(["daemon", "--inetd", "--export-all"]).arg(format!("--base-path={}", directory.display()));
    command
}

/// Lets a program speak with a peer.
fn attend(mut command: Command, stream: TcpStream) {
    let output = OwnedFd::from(stream.try_clone().unwrap());
    let _ = command.stdin(OwnedFd::from(stream)).stdout(output).stderr(Stdio::null()).status();
}

/// What an OpenSSH server needs: host keys, and who may do what.
pub struct Sshd {
    directory: PathBuf,
}

impl Sshd {
    /// Makes host keys, a deploy key that may fetch, and an operator's key that may push; `None` where there is no sshd.
    pub fn new(kit: &Kit) -> Option<Self> {
        if !Path::new("/usr/sbin/sshd").exists() {
            skip("there is no sshd (Debian: apt install openssh-server)");
            return None;
        }
        for (name, kind) in
            [("host", "ed25519"), ("other-host", "ed25519"), ("deploy", "ed25519"), ("pusher", "ed25519")]
        {
            kit.make_key(name, kind);
        }
        let sshd = Self { directory: kit.at("") };
        let line = |name: &str, command: &str| {
            let key = fs::read_to_string(kit.at(&format!("{name}.pub"))).unwrap();
            format!("restrict,command=\"{command}\" {key}")
        };
        let fetch = format!("git-upload-pack '{}'", kit.at("served/pool.git").display());
        let keys = line("deploy", &fetch) + &line("pusher", "git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"");
        fs::write(kit.at("authorized_keys"), keys).unwrap();
        sshd.configure();
        Some(sshd)
    }

    fn configure(&self) {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let path = std::env::var("PATH").unwrap();
        let lines = [
            format!("HostKey {}", at("host")),
            format!("AuthorizedKeysFile {}", at("authorized_keys")),
            format!("SetEnv PATH={path}"),
            "AuthenticationMethods publickey".to_owned(),
            "PermitRootLogin yes".to_owned(),
            "PidFile none".to_owned(),
            "StrictModes no".to_owned(),
            "UsePAM no".to_owned(),
        ];
        fs::write(self.directory.join("sshd_config"), lines.join("\n") + "\n").unwrap();
    }

    /// Serves.
    pub fn serve(&self, listener: TcpListener) -> Server {
        let configuration = self.directory.join("sshd_config").display().to_string();
        let log = self.directory.join("sshd.log").display().to_string();
        // sshd wants a directory that an init system makes; it gets one that nobody else sees.
        let script = "if [ $(id -u) = 0 ]; then mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd; fi\n\
                      exec /usr/sbin/sshd -i -E \"$2\" -f \"$1\"";
        let is_root = rustix::process::geteuid().is_root();
        Server::program(listener, move || {
            let mut command = Command::new(if is_root { "unshare" } else { "env" });
            command.args(is_root.then_some("--mount")).args(["sh", "-ec", script, "sh", &configuration, &log]);
            command
        })
    }

    /// Pins host keys of a server at a port.
    pub fn pin(&self, port: u16, keys: &[&str]) -> PathBuf {
        let line = |name: &&str| {
            let key = fs::read_to_string(self.directory.join(format!("{name}.pub"))).unwrap();
            format!("[127.0.0.1]:{port} {key}")
        };
        let path = self.directory.join("known_hosts");
        fs::write(&path, keys.iter().map(line).collect::<String>()).unwrap();
        path
    }
}

/// A URL of the served repository by SSH.
pub fn ssh_url(kit: &Kit, port: u16) -> String {
    let user = text(&run(Command::new("id").arg("-un"), b""));
    format!("ssh://{user}@127.0.0.1:{port}{}", kit.at("served/pool.git").display())
}

/// A lighttpd with a certificate of an authority of its own.
pub struct Https {
    child: Child,
    port: u16,
}

/// The name in the server's certificate, beside 127.0.0.1; nobody resolves it.
pub const HTTPS_NAME: &str = "git.exitpool.test";
/// Who may fetch and push over HTTPS.
pub const HTTPS_USER: &str = "deploy:correct-horse";

impl Https {
    /// Starts the server; `None` where lighttpd is not installed.
    pub fn start(kit: &Kit, listener: TcpListener) -> Option<Self> {
        let needed = ["/usr/sbin/lighttpd", "/usr/lib/lighttpd/mod_openssl.so"];
        if !needed.iter().all(|file| Path::new(file).exists()) {
            skip("there is no lighttpd with TLS (Debian: apt install lighttpd lighttpd-mod-openssl)");
            return None;
        }
        certify(kit, 2);
        let configuration = kit.at("lighttpd.conf");
        fs::write(&configuration, lighttpd(kit)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // It inherits the socket as from systemd: as number 3, with its own process id beside.
        let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec /usr/sbin/lighttpd -D -f \"$1\" 3<&0 </dev/null";
        let mut command = Command::new("sh");
        command.args(["-ec", script, "sh", &configuration.display().to_string()]);
        let log = fs::File::create(kit.at("lighttpd.log")).unwrap();
        let child = command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Some(Self { child, port })
    }

    /// A URL of the served repository, with user and password.
    pub fn url(&self, host: &str) -> String {
        format!("https://{HTTPS_USER}@{host}:{}/git/pool.git", self.port)
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes an authority, and a certificate of its for the server that is valid for so many days: `server.crt` and
/// `server.key`, believed by whoever believes `ca.pem`.
pub fn certify(kit: &Kit, days: u32) {
    let days = days.to_string();
    let openssl = |arguments: &[&str]| run(Command::new("openssl").current_dir(kit.at("")).args(arguments), b"");
    let names = format!("subjectAltName=IP:127.0.0.1,DNS:{HTTPS_NAME}");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", &days];
    let authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=An authority of a test"];
    openssl(&[&["req", "-x509"][..], &key, &authority].concat());
    let server = ["-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=server", "-addext", &names];
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
    openssl(&[&["req", "-x509"][..], &key, &server, &signed].concat());
    let pem = [fs::read(kit.at("server.key")).unwrap(), fs::read(kit.at("server.crt")).unwrap()].concat();
    fs::write(kit.at("server.pem"), pem).unwrap();
}

/// lighttpd's configuration: `git http-backend` below `/git/`, and a redirect to it below `/moved/`.
fn lighttpd(kit: &Kit) -> String {
    let programs = text(&run(git().arg("--exec-path"), b""));
    fs::write(kit.at("users"), format!("{HTTPS_USER}\n")).unwrap();
    format!(
        r#"
server.modules = ("mod_openssl", "mod_auth", "mod_authn_file", "mod_redirect", "mod_alias", "mod_setenv", "mod_cgi")
server.systemd-socket-activation = "enable"
server.document-root = "{root}"
ssl.engine = "enable"
ssl.pemfile = "{root}/server.pem"
url.redirect = ("^/moved/(.*)$" => "/git/$1")
alias.url = ("/git/" => "{programs}/git-http-backend/")
$HTTP["url"] =~ "^/git/" {{
    auth.backend = "plain"
    auth.backend.plain.userfile = "{root}/users"
    auth.require = ("/git/" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))
    cgi.assign = ("" => "")
    setenv.add-environment = ("GIT_PROJECT_ROOT" => "{root}/served", "GIT_HTTP_EXPORT_ALL" => "1",
        "GIT_CONFIG_GLOBAL" => "/dev/null", "GIT_CONFIG_NOSYSTEM" => "1")
}}
"#,
        root = kit.at("").display().to_string().trim_end_matches('/')
    )
}

/// A SOCKS5 proxy that leads every name to this host, and remembers the names that it was asked for.
pub struct Socks {
    pub server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// Starts the proxy. `connect` reaches a port of the host that it serves.
    pub fn start(listener: TcpListener, connect: impl Fn(u16) -> TcpStream + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&asked);
        let server = Server::new(listener, move |stream| {
            // A peer that says something else is sent away by an error.
            let _ = relay(stream, &names, &connect);
        });
        Self { server, asked }
    }

    /// The names it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Speaks RFC 1928 without authentication, with names alone.
fn relay(mut stream: TcpStream, asked: &Mutex<Vec<String>>, connect: impl Fn(u16) -> TcpStream) -> io::Result<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    io::copy(&mut (&stream).take(head[1].into()), &mut io::sink())?;
    stream.write_all(&[5, 0])?;
    let mut request = [0; 5];
    stream.read_exact(&mut request)?;
    let [5, 1, 0, 3, length] = request else { return Err(io::ErrorKind::InvalidData.into()) };
    let mut name = vec![0; length.into()];
    stream.read_exact(&mut name)?;
    let mut port = [0; 2];
    stream.read_exact(&mut port)?;
    asked.lock().unwrap().push(String::from_utf8_lossy(&name).into_owned());
    let other = connect(u16::from_be_bytes(port));
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from, mut to) = (stream.try_clone()?, other.try_clone()?);
    let forth = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (other, stream);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = forth.join();
    Ok(())
}
