//! An HTTP endpoint that keeps every request, byte for byte, and answers as a test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::netns::Netns;
use crate::remotes::servers::{Server, listen};
use crate::support::eventually;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its first line.
    pub line: String,
    /// The other lines of its head, in lower case up to the colon.
    pub head: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
    pub from: IpAddr,
}

/// What is answered: the first line's end, more lines of the head, the body.
pub type Answer = (&'static str, &'static str, String);

/// What is answered to which request.
type Script = Box<dyn Fn(usize) -> Answer + Send>;

/// An endpoint.
pub struct Endpoint {
    server: Server,
    kept: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Mutex<Script>>,
}

pub fn ok() -> Answer {
    ("200 OK", "", String::new())
}

impl Endpoint {
    /// Listens in a namespace, and takes everything.
    pub fn new(netns: &Netns) -> Self {
        Self::at(netns.run(listen))
    }

    /// Takes everything that comes to a listener.
    pub fn at(listener: TcpListener) -> Self {
        let (kept, answer) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::new(Mutex::new(always(ok))));
        let (keeping, answering) = (Arc::clone(&kept), Arc::clone(&answer));
        let server = Server::new(listener, move |stream| {
            let Some(request) = read(&stream) else { return };
            let number = {
                let mut kept = keeping.lock().unwrap();
                kept.push(request);
                kept.len() - 1
            };
            let (status, head, body) = answering.lock().unwrap()(number);
            let length = body.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{head}\r\n{body}"
            );
        });
        Self { server, kept, answer }
    }

    /// Answers otherwise from now on; the function is given how many requests came before.
    pub fn answer(&self, answer: impl Fn(usize) -> Answer + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// What came so far.
    pub fn kept(&self) -> Vec<Request> {
        self.kept.lock().unwrap().clone()
    }

    /// Waits for so many requests.
    #[track_caller]
    pub fn wait(&self, number: usize) -> Vec<Request> {
        let came = eventually(|| Some(self.kept()).filter(|kept| kept.len() >= number));
        came.unwrap_or_else(|| panic!("{number} requests did not come: {:#?}", self.kept()))
    }
}

fn always(answer: fn() -> Answer) -> Script {
    Box::new(move |_| answer())
}

impl Request {
    /// A line of its head.
    pub fn header(&self, name: &str) -> &str {
        self.head.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Its body, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let from = stream.peer_addr().ok()?.ip();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        head.push((name.to_lowercase(), value.to_owned()));
    }
    let length = head.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: line.trim_end().to_owned(),
        head,
        body: String::from_utf8(body).ok()?,
        at: Instant::now(),
        from,
    })
}
