//! `/export/…`: the lists, for whoever shows a token.
//!
//! What a token says is told to nobody but its owner: until a trusted key is known to have signed it, the only answer is
//! that it is not valid. After that the answer says what is wrong.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use warp::reply::Response;

use super::content::Content;
use super::kept::Kept;
use super::routes::Asked;
use super::{Context, Peer, access, reply};
use crate::desired::names::hex;
use crate::desired::{Exports, PoolName};
use crate::export::address::caller;
use crate::export::judge::{self, Permit};
use crate::export::list::{self, Entry, Host, List};
use crate::export::query::{self, Order, Query};
use crate::export::token::Claims;
use crate::export::{Attempt, Download, ExportFormat};
use crate::gate::Now;
use crate::gate::limits::{Consequence, Wait};
use crate::status::metrics::Method;
use crate::status::{NodeState, NodeStatus, Status};
use crate::sys::random;

/// The header that says what the order of a list follows from.
const SEED: HeaderName = HeaderName::from_static("exitpool-seed");
/// How soon to ask again where nothing can be said yet.
const SOON: Wait = Wait(Duration::from_secs(5));

/// The lists that were made from the status that was published last.
pub(super) type Lists = Kept<Wish, Listed>;

/// What makes two lists of one status different.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    format: ExportFormat,
    query: Query,
    pools: BTreeSet<PoolName>,
    limit: Option<usize>,
    reached: IpAddr,
    is_behind_a_proxy: bool,
}

/// A list as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    content: Arc<Content>,
    seed: Option<HeaderValue>,
    nodes: usize,
}

/// Why a list is not handed out.
struct Refusal {
    attempt: Attempt,
    status: StatusCode,
    detail: String,
    wait: Option<Wait>,
}

/// A request for a list, with all that it is judged by.
struct Request<'a> {
    context: &'a Context,
    asked: &'a Asked,
    status: &'a Arc<Status>,
    format: ExportFormat,
    now: Now,
}

/// Answers a request for a list.
pub(super) fn answer(context: &Context, asked: &Asked, status: &Arc<Status>, format: ExportFormat) -> Response {
    let request = Request { context, asked, status, format, now: context.now() };
    let answered = request.hand_out();
    let attempt = answered.as_ref().map_or_else(|refusal| refusal.attempt, |_| Attempt::Accepted);
    context.shared.metrics.attempted(attempt);
    if attempt.is_held_against() {
        request.hold_against();
    }
    answered.unwrap_or_else(Refusal::response)
}

/// Says to whom it refuses, so that they know what to ask their operator for.
pub(super) fn refused(peer: &Peer) -> Response {
    let detail = format!("{} may not ask here: neither access.panel nor a grant has it", peer.address);
    let mut response = reply::problem(StatusCode::FORBIDDEN, Attempt::WrongAddress.label(), detail);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says which formats there are.
pub(super) fn no_such_format() -> Response {
    let known = ExportFormat::ALL.map(ExportFormat::word).join(", ");
    reply::problem(StatusCode::NOT_FOUND, "no_such_format", format!("there is no such format: use one of {known}"))
}

impl Request<'_> {
    fn hand_out(&self) -> Result<Response, Refusal> {
        let exports = self.status.exports.as_deref().ok_or_else(Refusal::too_early)?;
        let claims = self.believed(exports)?;
        let query = Query::parse(&self.asked.query).map_err(|error| Refusal::unclear(error.to_string()))?;
        let permit = self.judged(exports, &claims, &query)?;
        self.gate().may_take(&claims.grant, permit.quota, self.now).map_err(Refusal::quota)?;
        let listed = self.listed(exports, &permit, query)?;
        if self.asked.method == Method::Get {
            self.gate().take(&claims.grant, permit.quota, self.now).map_err(Refusal::quota)?;
            self.count(&claims, &permit, listed.nodes);
        }
        Ok(listed.response())
    }

    /// What the token says that is shown, if a trusted key has signed it.
    fn believed(&self, exports: &Exports) -> Result<Arc<Claims>, Refusal> {
        let limit = self.status.access.rate_limit.as_ref();
        self.gate().may_try(limit, self.caller(), self.now).map_err(Refusal::locked_out)?;
        let authorization = access::values(&self.asked.headers, header::AUTHORIZATION);
        let shown =
            query::token(&self.asked.query, &authorization).map_err(|error| Refusal::unclear(error.to_string()))?;
        let shown = shown.ok_or_else(Refusal::missing)?;
        self.desk().believed(&shown, &exports.trusted_keys).map_err(|_| Refusal::not_valid())
    }

    fn judged(&self, exports: &Exports, claims: &Claims, query: &Query) -> Result<Permit, Refusal> {
        let (now, address) = ((self.context.shared.now)(), self.asked.peer.address);
        let asked = judge::Asked { now, address, format: self.format, pools: &query.pools };
        let permit = judge::judge(exports, claims, &asked).map_err(|refusal| Refusal::judged(&refusal))?;
        self.gate().passed(self.caller(), self.now);
        self.desk().accepted(claims);
        Ok(permit)
    }

    /// The list that is asked for, made once for a status; one that is another each time is made each time.
    fn listed(&self, exports: &Exports, permit: &Permit, query: Query) -> Result<Listed, Refusal> {
        if query.order == Order::Random {
            return self.written(exports, permit, &query);
        }
        let peer = &self.asked.peer;
        let wish = Wish {
            format: self.format,
            query,
            pools: permit.pools.clone(),
            limit: permit.limit,
            reached: peer.reached,
            is_behind_a_proxy: peer.is_behind_a_proxy(),
        };
        self.context.lists.find(self.status, wish, |wish| self.written(exports, permit, &wish.query))
    }

    fn written(&self, exports: &Exports, permit: &Permit, query: &Query) -> Result<Listed, Refusal> {
        let list = self.list(exports, permit, query);
        let text = list.write(self.format).map_err(Refusal::unwritable)?;
        Ok(Listed {
            content: Arc::new(Content::once(list::content_type(self.format), text)),
            seed: list.seed.as_ref().and_then(|seed| HeaderValue::from_str(seed).ok()),
            nodes: list.entries.len(),
        })
    }

    fn list(&self, exports: &Exports, permit: &Permit, query: &Query) -> List {
        let entries = self.status.nodes.iter().map(|node| self.entry(exports, node)).collect();
        let at = (self.context.shared.now)();
        // The kernel always has random bytes; if it had none, the time would do.
        let random = || random::bytes::<8>().map_or_else(|_| at.as_nanosecond().to_string(), |bytes| hex(&bytes));
        let (entries, seed) = list::select(entries, permit, query, random);
        List { at, revision: self.status.revision.clone(), seed, entries }
    }

    fn entry(&self, exports: &Exports, node: &NodeStatus) -> Entry {
        Entry {
            node: node.name.clone(),
            pool: node.pool.clone(),
            host: self.host(exports, node.socks.ip()),
            port: node.socks.port(),
            countries: node.countries.clone(),
            country: node.exit.as_ref().and_then(|exit| exit.country),
            exit: node.exit.as_ref().and_then(|exit| exit.ip),
            latency_ms: node.latency_ms,
            state: node.state.as_str(),
            is_ready: node.state == NodeState::Ready,
        }
    }

    /// Where a consumer reaches what listens on an address: as advertised, there itself, or, where it listens on all of
    /// this host's, on the one that the consumer has reached already.
    fn host(&self, exports: &Exports, listen: IpAddr) -> Host {
        if let Some(host) = &exports.advertise {
            return host.parse().map_or_else(|_| Host::Name(host.clone()), Host::Address);
        }
        if !listen.is_unspecified() {
            return Host::Address(listen);
        }
        let peer = &self.asked.peer;
        let is_fit = |address: &IpAddr| address.is_ipv4() == listen.is_ipv4();
        let reached = Some(peer.reached).filter(|reached| is_fit(reached) && !peer.is_behind_a_proxy());
        let own = || self.status.server_addresses.iter().copied().find(|own| is_fit(own) && !own.is_loopback());
        Host::Address(reached.or_else(own).unwrap_or(peer.reached))
    }

    fn count(&self, claims: &Claims, permit: &Permit, nodes: usize) {
        self.context.shared.metrics.downloaded(self.format);
        self.desk().record(Download {
            at: (self.context.shared.now)(),
            revision: self.status.revision.clone(),
            token: claims.jti.clone(),
            grant: claims.grant.clone(),
            address: self.asked.peer.address,
            format: self.format,
            pools: permit.pools.iter().cloned().collect(),
            nodes,
        });
    }

    /// Holds a refused token against whoever has shown it.
    fn hold_against(&self) {
        let limit = self.status.access.rate_limit.as_ref();
        if self.gate().failed(limit, self.caller(), self.now) == Consequence::LockedOut {
            tracing::warn!(address = %self.caller(), "too many export tokens were refused: locked out for access.rate_limit.lockout_for, or until `exitpool unlock`");
        }
    }

    fn desk(&self) -> &crate::export::Desk {
        &self.context.shared.desk
    }

    fn gate(&self) -> &crate::gate::Gate {
        &self.context.shared.gate
    }

    fn caller(&self) -> IpAddr {
        caller(self.asked.peer.address)
    }
}

impl Listed {
    fn response(self) -> Response {
        let mut response = self.content.response(StatusCode::OK);
        if let Some(seed) = self.seed {
            response.headers_mut().insert(SEED, seed);
        }
        response
    }
}

impl Refusal {
    fn new(attempt: Attempt, status: StatusCode, detail: impl Into<String>) -> Self {
        Self { attempt, status, detail: detail.into(), wait: None }
    }

    fn after(self, wait: Wait) -> Self {
        Self { wait: Some(wait), ..self }
    }

    fn too_early() -> Self {
        let detail = "no desired state is in force yet: ask again later";
        Self::new(Attempt::Unanswered, StatusCode::SERVICE_UNAVAILABLE, detail).after(SOON)
    }

    fn unclear(detail: String) -> Self {
        Self::new(Attempt::Unanswered, StatusCode::BAD_REQUEST, detail)
    }

    fn missing() -> Self {
        let detail = "show a token: `Authorization: Bearer …`, or `?token=…`";
        Self::new(Attempt::Missing, StatusCode::UNAUTHORIZED, detail)
    }

    fn not_valid() -> Self {
        Self::new(Attempt::Invalid, StatusCode::UNAUTHORIZED, "this token is not valid")
    }

    fn locked_out(wait: Wait) -> Self {
        let detail = "this address is locked out: too many tokens or passwords from it were refused";
        Self::new(Attempt::Limited, StatusCode::TOO_MANY_REQUESTS, detail).after(wait)
    }

    fn quota(wait: Wait) -> Self {
        let detail = "the quota of this token's grant is used up";
        Self::new(Attempt::QuotaUsed, StatusCode::TOO_MANY_REQUESTS, detail).after(wait)
    }

    fn judged(refusal: &judge::Refusal) -> Self {
        let status = match refusal.attempt() {
            Attempt::WrongAddress | Attempt::NotGranted => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self::new(refusal.attempt(), status, refusal.to_string())
    }

    fn unwritable(unwritable: list::Unwritable) -> Self {
        match unwritable {
            list::Unwritable::Empty(_) => {
                Self::new(Attempt::Unanswered, StatusCode::SERVICE_UNAVAILABLE, unwritable.to_string()).after(SOON)
            }
            list::Unwritable::Name(_) => Self::new(Attempt::Unanswered, StatusCode::CONFLICT, unwritable.to_string()),
        }
    }

    fn response(self) -> Response {
        let challenge = self.challenge();
        let mut response = reply::problem(self.status, self.attempt.label(), self.detail);
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        match self.wait {
            Some(wait) => reply::after(wait, response),
            None => response,
        }
    }

    /// What RFC 6750 has a server say of a token: nothing of what was wrong where none was shown.
    fn challenge(&self) -> Option<HeaderValue> {
        let error = match (self.status, self.attempt) {
            (StatusCode::UNAUTHORIZED, Attempt::Missing) => {
                return Some(HeaderValue::from_static("Bearer realm=\"exitpool\""));
            }
            (StatusCode::UNAUTHORIZED, _) => "invalid_token",
            (StatusCode::FORBIDDEN, _) => "insufficient_scope",
            _ => return None,
        };
        // Names of grants and pools have neither quotes nor control characters in them.
        let said = format!("Bearer realm=\"exitpool\", error=\"{error}\", error_description=\"{}\"", self.detail);
        HeaderValue::from_str(&said).ok()
    }
}
