//! Events as a stream: those that are kept, and then each new one, until the server stops.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use warp::sse;

use super::{Peer, access};
use crate::status::wire::EventDocument;
use crate::status::wire::query::EventsQuery;
use crate::status::{Event, Status};

/// One open stream.
pub(super) struct Subscription {
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) peer: Peer,
    /// The id of the last event that the client has.
    pub(super) seen: u64,
    /// Which events it asks for.
    pub(super) query: EventsQuery,
    pub(super) stop: CancellationToken,
    /// Counts this stream as open while it is held.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(super) slot: OwnedSemaphorePermit,
}

/// What is still to be sent.
struct Sending {
    subscription: Subscription,
    queue: VecDeque<Arc<Event>>,
}

/// Streams events: it ends when the server stops, or when the client is no longer allowed to ask.
pub(super) fn stream(mut subscription: Subscription) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    // The first look is at once; after it only at what is new.
    subscription.status.mark_changed();
    let sending = Sending { subscription, queue: VecDeque::new() };
    stream::unfold(sending, |mut sending| async move {
        let event = sending.next().await?;
        Some((Ok(encode(&event)), sending))
    })
}

impl Sending {
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                self.subscription.seen = event.id;
                return Some(event);
            }
            tokio::select! {
                () = self.subscription.stop.cancelled() => return None,
                changed = self.subscription.status.changed() => changed.ok()?,
            }
            self.look()?;
        }
    }

    /// Queues what is new; `None` where the client may no longer ask.
    fn look(&mut self) -> Option<()> {
        let Subscription { status, peer, seen, query, .. } = &mut self.subscription;
        let status = status.borrow_and_update();
        if !access::allows(&status, peer) {
            return None;
        }
        let is_new = |event: &&Arc<Event>| event.id > *seen && query.wants(event);
        self.queue.extend(status.events.iter().filter(is_new).cloned());
        Some(())
    }
}

/// Writes one event, with its id, so that a client which comes back says what it has.
fn encode(event: &Event) -> sse::Event {
    let encoded = sse::Event::default().id(event.id.to_string());
    match serde_json::to_string(&EventDocument::from(event)) {
        Ok(json) => encoded.data(json),
        Err(error) => encoded.comment(error.to_string()),
    }
}
