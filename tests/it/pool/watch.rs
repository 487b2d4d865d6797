//! Whether nodes can be reached, looked at from outside while something happens to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::inside;

/// Shorter than a pass, so that the doors that are closed in it are closed at once.
const ONE_MOMENT: Duration = Duration::from_millis(15);

/// Knocks at the nodes' doors, round after round, and keeps the smallest number that was open in one.
pub struct Watch {
    over: Arc<AtomicBool>,
    fewest: Arc<AtomicUsize>,
    looking: std::thread::JoinHandle<usize>,
}

impl Watch {
    pub fn of(namespace: &str, addresses: Vec<SocketAddr>) -> Self {
        let (over, fewest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (namespace, is_over, smallest) = (namespace.to_owned(), Arc::clone(&over), Arc::clone(&fewest));
        let look = move || {
            let mut looks = 0;
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let open = addresses.iter().filter(|address| std::net::TcpStream::connect(address).is_ok()).count();
                // A round that was interrupted adds up what was closed at different times.
                if began.elapsed() < ONE_MOMENT {
                    smallest.fetch_min(open, Ordering::Relaxed);
                    looks += 1;
                }
                // The doors are knocked at, not battered: tor has to answer others as well.
                std::thread::sleep(ONE_MOMENT);
            }
            looks
        };
        let looking = std::thread::spawn(move || inside(&namespace, look));
        Self { over, fewest, looking }
    }

    /// The smallest number of open doors, and how often all were knocked at.
    pub fn end(self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        let looks = self.looking.join().unwrap();
        (self.fewest.load(Ordering::Relaxed), looks)
    }
}
