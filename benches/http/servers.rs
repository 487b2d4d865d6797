//! The servers that are measured: ours in a process of its own, and nginx with the same bytes in files.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exitpool::status::Metrics;
use exitpool::status::http::{self, Shared};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::{World, noon};

/// Makes this program a server that says where it is, and ends with its standard input.
pub const SERVE: &str = "--serve";
/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a program is in the path, or where administrators' programs are.
pub fn is_installed(tool: &str) -> bool {
    let script = format!("PATH=$PATH:/usr/sbin:/sbin command -v {tool}");
    Command::new("sh").args(["-c", &script]).output().is_ok_and(|output| output.status.success())
}

/// Serves a healthy host, as the daemon does.
pub fn serve(nodes: u16) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (world, token) = World::exporting(nodes, &["eu", "us"]);
        println!("{} {token}", listener.local_addr().unwrap());
        let status = world.status();
        let metrics = Arc::new(Metrics::new());
        metrics.publish(&status);
        let (_sender, status) = watch::channel(Arc::new(status));
        let shared = Shared {
            status,
            metrics,
            visitors: Arc::default(),
            gate: Arc::default(),
            desk: Arc::default(),
            tls: None,
            now: noon,
        };
        let stop = CancellationToken::new();
        let server = tokio::spawn(http::serve(listener, shared, stop.clone()));
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
        stop.cancel();
        server.await.unwrap();
    });
}

/// Our server.
pub struct Ours {
    child: Child,
    pub address: SocketAddr,
    pub token: String,
}

impl Ours {
    pub fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, token) = line.trim().split_once(' ').unwrap();
        Self { child, address: address.parse().unwrap(), token: token.to_owned() }
    }

    /// The body of an answer.
    pub fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let token = &self.token;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path}: {}", String::from_utf8_lossy(&answer));
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        answer.split_off(head + 4)
    }

    /// The memory that it has in use, in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it has had in use, in bytes.
    pub fn most_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// nginx, with a file for each path.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    pub fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (path, bytes) in files {
            let file = root.join("www").join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // As many processes as our server has threads; the rest is what administrators set for speed.
        let text = format!(
            "user root; worker_processes auto; pid {root}/pid; error_log {root}/error.log crit; daemon off;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type text/plain;\n\
             open_file_cache max=100;\n  server {{ listen {address}; root {root}/www; }}\n}}\n",
            root = root.display(),
        );
        fs::write(root.join("nginx.conf"), text).unwrap();
        let script = "PATH=$PATH:/usr/sbin:/sbin exec nginx -p \"$0\" -c nginx.conf";
        let child = Command::new("sh").args(["-c", script]).arg(root).stderr(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, address, _directory: directory };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "nginx does not answer at {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
