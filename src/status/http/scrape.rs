//! `/metrics`: every series, written once for all who ask at the same moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use warp::reply::Response;

use super::Context;
use super::content::Content;
use crate::status::Status;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// For so long a text stands for the next one, if nothing but scrapes was counted meanwhile.
const MOMENT: Duration = Duration::from_millis(5);

/// What was written last.
#[derive(Debug, Default)]
pub(super) struct Scrape(Mutex<Option<Written>>);

#[derive(Debug)]
struct Written {
    at: Instant,
    /// How much had been counted before.
    counted: u64,
    content: Arc<Content>,
}

impl Scrape {
    /// Answers with every series.
    pub(super) fn answer(&self, context: &Context, status: &Status) -> Response {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = context.shared.metrics.counted();
        if let Some(last) = written.as_ref().filter(|last| last.counted == counted && last.at.elapsed() < MOMENT) {
            return last.content.response(StatusCode::OK);
        }
        let content = Arc::new(Content::once(TEXT_FORMAT, text(context, status)));
        *written = Some(Written { at: Instant::now(), counted, content: Arc::clone(&content) });
        content.response(StatusCode::OK)
    }
}

fn text(context: &Context, status: &Status) -> String {
    let (metrics, gate, now) = (&context.shared.metrics, &context.shared.gate, (context.shared.now)());
    let none = BTreeSet::new();
    let revoked = status.exports.as_ref().map_or(&none, |exports| &exports.revoked);
    metrics.tokens_in_use(context.shared.desk.active_tokens(now, revoked));
    metrics.certificate(context.shared.tls.as_ref().map(|tls| tls.certificate()).as_ref());
    metrics.locked_out(gate.lockouts(context.now()).len(), gate.lockouts_so_far());
    metrics.text(status.activity, now)
}
