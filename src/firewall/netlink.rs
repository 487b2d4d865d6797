//! Hears from the kernel that somebody has changed rules of nftables, and who.
//!
//! After each transaction the kernel sends one `NEWGEN` message to the multicast group of nftables. It is a hint to
//! look, and nothing more is read out of it than a name for the log. iptables-legacy and ipset are not heard.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `1 << (NFNLGRP_NFTABLES - 1)`, of linux/netfilter/nfnetlink.h.
const NFTABLES_GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`, of linux/netfilter/nf_tables.h.
const NEWGEN: u16 = (10 << 8) | 15;
/// `NFTA_GEN_PROC_PID` and `NFTA_GEN_PROC_NAME`, of the same.
const PROCESS_ID: u16 = 2;
const PROCESS_NAME: u16 = 3;

/// `struct nlmsghdr`, and `struct nfgenmsg` after it.
const HEADER_BYTES: usize = 16;
const GENERATION_HEADER_BYTES: usize = 4;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// The flags in an attribute's type.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// A set of 10,000 elements comes as 20,000 messages at once.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// Larger than the kernel makes a message of this group.
const MESSAGE_BYTES: usize = 64 << 10;
/// How many messages are taken before others get their turn.
const MAX_DRAINED: usize = 100_000;

/// Who committed a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// The process id.
    pub pid: Option<u32>,
    /// The process name.
    pub name: Option<String>,
}

/// A socket that hears of every transaction in the network namespace it was opened in.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    /// How many transactions were heard of.
    heard: AtomicU64,
    deaf: Once,
}

impl Listener {
    /// Opens the socket in the calling thread's network namespace; needs CAP_NET_ADMIN.
    #[expect(deprecated, reason = "the other constructor is unsafe; an OwnedFd always is the descriptor it was")]
    fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
        // Without the right to force it, the kernel's limit for everybody is what there is.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
        }
        bind(&socket, &SocketAddrNetlink::new(0, NFTABLES_GROUP))?;
        Ok(Self {
            socket: AsyncFd::with_interest(socket, Interest::READABLE)?,
            heard: AtomicU64::new(0),
            deaf: Once::new(),
        })
    }

    /// Counts the transactions so far, with those that nobody has waited for yet.
    pub fn heard(&self) -> io::Result<u64> {
        let mut news = News::nothing();
        for _ in 0..MAX_DRAINED {
            match news.take(self.socket.get_ref()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(self.count(&news)),
                Err(error) => {
                    self.count(&news);
                    return Err(error);
                }
            }
        }
        Ok(self.count(&news))
    }

    fn count(&self, news: &News) -> u64 {
        let more = u64::from(news.came);
        self.heard.fetch_add(more, Ordering::SeqCst) + more
    }

    /// Opens the socket, or says in the log that nothing will be heard.
    pub fn open_or_warn() -> Option<Self> {
        let opened = Self::open().inspect_err(|error| {
            tracing::warn!(%error, "cannot hear of changes of the firewall: they are found by the resync");
        });
        opened.ok()
    }

    /// Waits for news as [`Self::changed`] does, and for ever once none can be heard any more.
    pub async fn news(&self) {
        match self.changed().await {
            Ok(authors) => tracing::debug!(?authors, "the firewall was changed"),
            Err(error) => {
                self.deaf.call_once(|| {
                    tracing::error!(%error, "cannot hear of changes of the firewall any more: the resync finds them");
                });
                std::future::pending().await
            }
        }
    }

    /// Waits for a transaction, then takes all the news that has come in: it is one wake-up.
    ///
    /// A burst that did not fit into the buffer is news as well, by nobody in particular.
    async fn changed(&self) -> io::Result<Vec<Author>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut news = News::nothing();
            // Interrupted by the wish to be fair, it stays readable, and the next call goes on.
            for _ in 0..MAX_DRAINED {
                match ready.try_io(|socket| news.take(socket.get_ref())) {
                    Ok(taken) => taken?,
                    Err(_would_block) => break,
                }
            }
            if news.came {
                self.count(&news);
                return Ok(news.authors);
            }
        }
    }
}

struct News {
    came: bool,
    authors: Vec<Author>,
    buffer: Vec<u8>,
}

impl News {
    fn nothing() -> Self {
        Self { came: false, authors: Vec::new(), buffer: vec![0; MESSAGE_BYTES] }
    }

    /// Receives one datagram.
    fn take(&mut self, socket: &OwnedFd) -> io::Result<()> {
        match recv(socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => {
                let authors = authors(&self.buffer[..length]);
                self.came |= !authors.is_empty();
                self.authors.extend(authors);
                self.authors.dedup();
                Ok(())
            }
            Err(Errno::NOBUFS) => {
                self.came = true;
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads the authors of all the transactions that a datagram tells of.
fn authors(datagram: &[u8]) -> Vec<Author> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Some((kind, content, after)) = message(rest) {
        if kind == NEWGEN {
            found.push(author(content.get(GENERATION_HEADER_BYTES..).unwrap_or_default()));
        }
        rest = after;
    }
    found
}

fn author(attributes: &[u8]) -> Author {
    let mut author = Author::default();
    let mut rest = attributes;
    while let Some((kind, content, after)) = attribute(rest) {
        match kind {
            PROCESS_ID => author.pid = content.try_into().ok().map(u32::from_be_bytes),
            PROCESS_NAME => {
                let name = content.split(|&byte| byte == 0).next().unwrap_or_default();
                author.name = Some(String::from_utf8_lossy(name).into_owned());
            }
            _ => {}
        }
        rest = after;
    }
    author
}

/// Splits the first message off: its type, its content and what comes after it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((kind, bytes.get(HEADER_BYTES..length)?, aligned(bytes, length)))
}

/// Splits the first attribute off, likewise.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE_MASK;
    Some((kind, bytes.get(ATTRIBUTE_HEADER_BYTES..length)?, aligned(bytes, length)))
}

/// What comes after the first `length` bytes and their padding.
fn aligned(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute_of(kind: u16, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + content.len()).unwrap();
        padded([&length.to_ne_bytes(), &kind.to_ne_bytes(), content].concat())
    }

    fn message_of(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let content = [vec![0; GENERATION_HEADER_BYTES], attributes.concat()].concat();
        let length = u32::try_from(HEADER_BYTES + content.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &content].concat()
    }

    #[test]
    fn the_author_is_read_out_of_a_generation() {
        let id = attribute_of(1, &7_u32.to_be_bytes());
        let pid = attribute_of(PROCESS_ID, &4711_u32.to_be_bytes());
        let name = attribute_of(PROCESS_NAME, b"ufw\0");
        let other = message_of((10 << 8) | 3, &[attribute_of(9, b"x")]);
        let datagram = [other, message_of(NEWGEN, &[id, pid, name]), message_of(NEWGEN, &[])].concat();
        let named = Author { pid: Some(4711), name: Some("ufw".to_owned()) };
        assert_eq!(authors(&datagram), [named, Author::default()]);
    }

    #[test]
    fn a_damaged_datagram_ends_the_reading() {
        let whole = message_of(NEWGEN, &[attribute_of(PROCESS_ID, &1_u32.to_be_bytes())]);
        for length in 0..whole.len() {
            assert!(authors(&whole[..length]).is_empty(), "{length}");
        }
        let mut shrunk = whole.clone();
        shrunk[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert!(authors(&shrunk).is_empty());
        assert!(author(&[0, 0, 0, 0]).name.is_none());
    }
}
