//! Hears from the kernel that somebody has changed rules of nftables, and who.
//!
//! After each transaction the kernel sends what it has changed, and then one `NEWGEN` message, to the multicast group of
//! nftables. It is a hint to look, and nothing more is read out of it than who has touched which table last.
//! iptables-legacy and ipset are not heard.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::observe::Author;

/// `1 << (NFNLGRP_NFTABLES - 1)`, of linux/netfilter/nfnetlink.h.
const NFTABLES_GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`, of linux/netfilter/nf_tables.h.
const NEWGEN: u16 = (10 << 8) | 15;
/// The subsystem in a message's type, of linux/netfilter/nfnetlink.h.
const NFTABLES_SUBSYSTEM: u16 = 10;
/// `NFTA_TABLE_NAME`, and `NFTA_…_TABLE` of everything that is in a table, of linux/netfilter/nf_tables.h.
const TABLE_NAME: u16 = 1;
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

/// Of how many tables it is known who touched them last: a host has a few.
const MOST_TABLES: usize = 64;

/// A table: its family, as linux/netfilter.h numbers them, and its name.
pub type Place = (u8, &'static str);
/// `NFPROTO_INET`, `NFPROTO_IPV4` and `NFPROTO_IPV6`, of the same.
pub const INET: u8 = 1;
pub const IPV4: u8 = 2;
pub const IPV6: u8 = 10;

/// A socket that hears of every transaction in the network namespace it was opened in.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    /// How many transactions were heard of.
    heard: AtomicU64,
    told: Mutex<Told>,
    /// News that was taken aside, and that nobody was woken for.
    aside: Notify,
    deaf: Once,
}

/// What the messages have told so far.
#[derive(Debug, Default)]
struct Told {
    /// The tables that the transaction has touched whose end is not told yet.
    touched: Vec<(u8, String)>,
    /// Who touched a table last.
    authors: Vec<((u8, String), Author)>,
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
            told: Mutex::default(),
            aside: Notify::new(),
            deaf: Once::new(),
        })
    }

    /// Counts the transactions so far, with those that nobody has waited for yet.
    pub fn heard(&self) -> io::Result<u64> {
        self.drain().map(|(heard, _)| heard)
    }

    fn drain(&self) -> io::Result<(u64, bool)> {
        let mut news = News::nothing();
        for _ in 0..MAX_DRAINED {
            match news.take(self.socket.get_ref(), &mut self.told()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.count(&news);
                    return Err(error);
                }
            }
        }
        Ok((self.count(&news), news.came))
    }

    /// Who touched one of these tables last, since that was forgotten; whoever waits for news is still woken.
    pub fn author(&self, places: &[Place]) -> Option<Author> {
        if self.drain().is_ok_and(|(_, came)| came) {
            self.aside.notify_one();
        }
        self.told().author(places)
    }

    /// Forgets who touched these tables.
    pub fn forget_authors(&self, places: &[Place]) {
        self.told().authors.retain(|(place, _)| !is_one_of(places, place));
    }

    /// Forgets what a process of our own did, which has just ended.
    pub fn is_ours(&self, pid: Option<u32>) {
        if self.drain().is_ok_and(|(_, came)| came) {
            self.aside.notify_one();
        }
        self.told().authors.retain(|(_, author)| pid.is_none() || author.pid != pid);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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
        let heard = tokio::select! {
            heard = self.changed() => heard,
            () = self.aside.notified() => Ok(()),
        };
        if let Err(error) = heard {
            self.deaf.call_once(|| {
                tracing::error!(%error, "cannot hear of changes of the firewall any more: the resync finds them");
            });
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a transaction, then takes all the news that has come in: it is one wake-up.
    ///
    /// A burst that did not fit into the buffer is news as well, by nobody in particular.
    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut news = News::nothing();
            // Interrupted by the wish to be fair, it stays readable, and the next call goes on.
            for _ in 0..MAX_DRAINED {
                match ready.try_io(|socket| news.take(socket.get_ref(), &mut self.told())) {
                    Ok(taken) => taken?,
                    Err(_would_block) => break,
                }
            }
            if news.came {
                self.count(&news);
                return Ok(());
            }
        }
    }
}

impl Told {
    /// Takes in all that a datagram tells; says whether a transaction has ended.
    fn take(&mut self, datagram: &[u8], now: impl Fn() -> Timestamp) -> bool {
        let (mut rest, mut ended) = (datagram, false);
        while let Some((kind, content, after)) = message(rest) {
            let attributes = content.get(GENERATION_HEADER_BYTES..).unwrap_or_default();
            if kind == NEWGEN {
                self.end(&author(attributes, now()));
                ended = true;
            } else if kind >> 8 == NFTABLES_SUBSYSTEM {
                self.touch(content.first().copied().unwrap_or_default(), attributes);
            }
            rest = after;
        }
        ended
    }

    fn touch(&mut self, family: u8, attributes: &[u8]) {
        let Some((_, name, _)) = attribute(attributes).filter(|(kind, ..)| *kind == TABLE_NAME) else { return };
        let name = word(name);
        let is_known = self.touched.iter().any(|(of, known)| *of == family && *known == name);
        if !is_known && self.touched.len() < MOST_TABLES {
            self.touched.push((family, name));
        }
    }

    fn end(&mut self, author: &Author) {
        tracing::debug!(?author, tables = ?self.touched, "the firewall was changed");
        for place in self.touched.drain(..) {
            self.authors.retain(|(known, _)| *known != place);
            self.authors.push((place, author.clone()));
        }
        let surplus = self.authors.len().saturating_sub(MOST_TABLES);
        self.authors.drain(..surplus);
    }

    /// The newest stand last.
    fn author(&self, places: &[Place]) -> Option<Author> {
        self.authors.iter().rfind(|(place, _)| is_one_of(places, place)).map(|(_, author)| author.clone())
    }
}

fn is_one_of(places: &[Place], (family, name): &(u8, String)) -> bool {
    places.contains(&(*family, name.as_str()))
}

struct News {
    came: bool,
    buffer: Vec<u8>,
}

impl News {
    fn nothing() -> Self {
        Self { came: false, buffer: vec![0; MESSAGE_BYTES] }
    }

    /// Receives one datagram. Who calls holds what was told: a transaction comes in several datagrams, one after the other.
    fn take(&mut self, socket: &OwnedFd, told: &mut Told) -> io::Result<()> {
        match recv(socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => {
                self.came |= told.take(&self.buffer[..length], Timestamp::now);
                Ok(())
            }
            Err(Errno::NOBUFS) => {
                self.came = true;
                // Whose the lost messages were, nobody knows.
                *told = Told::default();
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn author(attributes: &[u8], at: Timestamp) -> Author {
    let mut author = Author { pid: None, name: None, at };
    let mut rest = attributes;
    while let Some((kind, content, after)) = attribute(rest) {
        match kind {
            PROCESS_ID => author.pid = content.try_into().ok().map(u32::from_be_bytes),
            PROCESS_NAME => author.name = Some(word(content)),
            _ => {}
        }
        rest = after;
    }
    author
}

/// A string of the kernel. A process may call itself as it likes: what a terminal could obey is not taken over.
fn word(bytes: &[u8]) -> String {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().map(|it| if it.is_control() { '?' } else { it }).collect()
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

    fn at_noon() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn named(pid: u32, name: &str) -> Author {
        Author { pid: Some(pid), name: Some(name.to_owned()), at: at_noon() }
    }

    /// What the kernel sends when a process changes a table: a rule of it, then the generation.
    fn transaction(family: u8, table: &str, (pid, name): (u32, &str)) -> Vec<Vec<u8>> {
        let mut rule =
            message_of((10 << 8) | 6, &[attribute_of(TABLE_NAME, table.as_bytes()), attribute_of(2, b"c\0")]);
        rule[HEADER_BYTES] = family;
        let pid = attribute_of(PROCESS_ID, &u32::to_be_bytes(pid));
        let name = attribute_of(PROCESS_NAME, name.as_bytes());
        vec![rule, message_of(NEWGEN, &[attribute_of(1, &7_u32.to_be_bytes()), pid, name])]
    }

    #[test]
    fn who_touched_a_table_last_is_read_out_of_the_messages() {
        let mut told = Told::default();
        for (family, table, by) in [
            (INET, "exitpool\0", (4711, "ufw\0")),
            (INET, "others\0", (1, "nft\0")),
            (IPV4, "exitpool\0", (2, "nft\0")),
        ] {
            // The end comes in a datagram of its own.
            let ended: Vec<bool> =
                transaction(family, table, by).iter().map(|datagram| told.take(datagram, at_noon)).collect();
            assert_eq!(ended, [false, true]);
        }
        assert_eq!(told.author(&[(INET, "exitpool")]), Some(named(4711, "ufw")));
        assert_eq!(told.author(&[(IPV4, "mangle")]), None);
        let again = transaction(INET, "exitpool\0", (5, "\u{1b}[2J\0")).concat();
        assert!(told.take(&again, at_noon), "or in the same one");
        assert_eq!(told.author(&[(INET, "exitpool")]), Some(named(5, "?[2J")));
    }

    #[test]
    fn a_flood_of_tables_is_not_kept() {
        let mut told = Told::default();
        for n in 0..3 * MOST_TABLES {
            told.take(&transaction(INET, &format!("t{n}\0"), (1, "nft\0")).concat(), at_noon);
        }
        assert_eq!(told.authors.len(), MOST_TABLES);
        let newest = told.authors.last().unwrap();
        assert_eq!(newest.0.1, format!("t{}", 3 * MOST_TABLES - 1));
    }

    #[test]
    fn a_damaged_datagram_ends_the_reading() {
        let whole = transaction(INET, "exitpool\0", (1, "nft\0")).concat();
        for length in 0..whole.len() {
            assert!(!Told::default().take(&whole[..length], at_noon), "{length}");
        }
        let mut shrunk = whole.clone();
        shrunk[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert!(!Told::default().take(&shrunk, at_noon));
        assert!(author(&[0, 0, 0, 0], at_noon()).name.is_none());
    }
}
