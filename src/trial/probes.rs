//! What has to work after a change because it worked before: those who were inside can come back, a node answers, and a
//! remote source is reached.
//!
//! The source is reached by fetching, in the way that the operator has set up: whoever judges a trial does that.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::firewall::model::Guard;
use crate::observe::collect::sessions;
use crate::observe::{Door, Visitor};
use crate::plan::lockout::lets_in;

use super::Terms;

/// How long a node on this host may take to answer.
const NODE_PATIENCE: Duration = Duration::from_secs(1);
/// A client's greeting and a server's answer (RFC 1928): version 5, and no authentication.
const GREETING: [u8; 3] = [5, 1, 0];
const ANSWER: [u8; 2] = [5, 0];

/// What has to pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Probes {
    /// Those who used SSH: each has to be let in.
    pub ssh: BTreeSet<Visitor>,
    /// Those who used the page: one of them has to be let in.
    pub panel: BTreeSet<Visitor>,
    /// A node that was ready: it has to answer.
    pub node: Option<SocketAddr>,
    /// Whether a remote source has to be reached.
    pub fetches: bool,
}

impl Probes {
    /// Chooses those that pass under the guard that stands.
    pub(super) async fn choose(terms: &Terms, (stands, guard): (Option<&Guard>, &Guard)) -> Self {
        let inside = terms.visitors.iter().copied().chain(sessions(guard));
        let inside = inside.filter(|visitor| stands.is_none_or(|stands| lets_in(stands, visitor)));
        let (panel, ssh) = inside.partition(|visitor| visitor.door == Door::Panel);
        let mut node = None;
        for ready in &terms.nodes {
            if answers(*ready).await {
                node = Some(*ready);
                break;
            }
        }
        Self { ssh, panel, node, fetches: terms.fetches }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ssh.len()
            + usize::from(!self.panel.is_empty())
            + usize::from(self.node.is_some())
            + usize::from(self.fetches)
    }

    /// Says which of those that this host can judge by itself does not pass.
    pub async fn failing(&self, guard: &Guard) -> Option<String> {
        if let Some(Visitor { address, .. }) = self.ssh.iter().find(|visitor| !lets_in(guard, visitor)) {
            return Some(format!("{address} could not come back by SSH"));
        }
        if let Some(first) = self.panel.first().filter(|_| !self.panel.iter().any(|visitor| lets_in(guard, visitor))) {
            return Some(format!("{} could not come back to the page, nor could others who read it", first.address));
        }
        match self.node {
            Some(node) if !answers(node).await => Some(format!("the node at {node} does not answer")),
            _ => None,
        }
    }
}

/// Whether a node answers as a SOCKS proxy, asked by this host itself.
async fn answers(node: SocketAddr) -> bool {
    let ip = match node.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let greeted = async {
        let mut stream = TcpStream::connect(SocketAddr::new(ip, node.port())).await.ok()?;
        stream.write_all(&GREETING).await.ok()?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.ok()?;
        (answer == ANSWER).then_some(())
    };
    tokio::time::timeout(NODE_PATIENCE, greeted).await.ok().flatten().is_some()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// A node that answers every greeting with some bytes.
    async fn node(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut greeting = [0; GREETING.len()];
                stream.read_exact(&mut greeting).await.unwrap();
                assert_eq!(greeting, GREETING);
                let _ = stream.write_all(answer).await;
                held.push(stream);
            }
        });
        (address, serving)
    }

    async fn chosen(nodes: Vec<SocketAddr>) -> Probes {
        let terms = Terms { nodes, ..Terms::default() };
        Probes::choose(&terms, (None, &Guard::default())).await
    }

    /// A node is asked by this host itself, so no guard is in its way: what else cuts it off counts.
    #[tokio::test]
    async fn a_node_that_answered_has_to_answer_again() {
        let (refusing, _first) = node(&[5, 0xff]).await;
        let (node, serving) = node(&ANSWER).await;
        let probes = chosen(vec![refusing, node]).await;
        assert_eq!(probes.node, Some(node), "the first that answers as a SOCKS proxy does");
        assert_eq!(probes.failing(&Guard::default()).await, None);
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        let failing = probes.failing(&Guard::default()).await;
        assert_eq!(failing, Some(format!("the node at {node} does not answer")));
    }

    #[tokio::test]
    async fn a_node_that_is_silent_is_none_that_answers() {
        let (silent, _serving) = node(&[]).await;
        assert_eq!(chosen(vec![silent]).await.node, None);
        let probes = Probes { node: Some(silent), ..Probes::default() };
        assert_eq!(probes.failing(&Guard::default()).await, Some(format!("the node at {silent} does not answer")));
    }

    #[tokio::test]
    async fn a_wildcard_is_asked_on_loopback() {
        let (node, _serving) = node(&ANSWER).await;
        assert!(answers(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), node.port())).await);
    }
}
