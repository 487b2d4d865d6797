//! How fast a control actor is, beside a loop over the socket that does nothing else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exitpool::tor::control::{Address, ControlClient};
use exitpool::tor::news::News;

/// A command that costs tor next to nothing.
const COMMAND: &str = "GETINFO version";
/// The longest that one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time of a command through an actor, one after the other.
pub async fn through_an_actor(instance: &Path, commands: u32) -> Duration {
    let address = Address { socket: instance.join("control"), cookie: instance.join("cookie") };
    let client = ControlClient::start(address, News::of_one(Arc::default()));
    assert!(client.ask(COMMAND.to_owned(), PATIENCE).await.unwrap().is_ok());
    let begun = Instant::now();
    for _ in 0..commands {
        client.ask(COMMAND.to_owned(), PATIENCE).await.unwrap();
    }
    begun.elapsed() / commands
}

/// The time of the same command over a bare socket.
pub async fn over_a_socket(instance: &Path, commands: u32) -> Duration {
    let cookie: String =
        std::fs::read(instance.join("cookie")).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let socket = instance.join("control");
    let work = move || {
        let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
        exchange(&mut stream, &format!("AUTHENTICATE {cookie}"));
        let begun = Instant::now();
        for _ in 0..commands {
            exchange(&mut stream, COMMAND);
        }
        begun.elapsed() / commands
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn exchange(stream: &mut BufReader<UnixStream>, command: &str) {
    stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    while !line.starts_with("250 ") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "tor closed the connection");
    }
}
