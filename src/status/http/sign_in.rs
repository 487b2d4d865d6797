//! Signing in: HTTP Basic, with a second factor for those who have one.
//!
//! Hashing a password takes memory and time on purpose, so nobody may have it done at will: one hash at a time for the
//! whole page, few who wait, and none for an address that has failed too often. It is asked again after the wait,
//! so that many tries at once are no more tries than one after the other.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use tokio::sync::Semaphore;
use warp::reply::Response;

use super::limits::Shares;
use super::routes::{Asked, Room};
use super::{Context, access, reply};
use crate::desired::sign_in::User;
use crate::error::chain;
use crate::export::Attempt;
use crate::export::address::caller;
use crate::gate::limits::{Consequence, Wait};
use crate::gate::sign_in::{CODE_LASTS, Credentials, Known, Mark, PASSWORD_LASTS, SignIns};
use crate::gate::{password, totp};
use crate::secret::Revealed;
use crate::status::Status;
use crate::status::metrics::Endpoint;
use crate::sys::random;

/// So many wait for their password to be looked at; more of them are sent away.
const MOST_WAITING: usize = 16;
/// So many of one address.
const MOST_OF_ONE: usize = 4;
/// When to ask again who was sent away.
const SOON: Wait = Wait(Duration::from_secs(1));

/// The place where passwords are looked at, one after the other.
#[derive(Debug)]
pub(super) struct Desk {
    memory: Mutex<SignIns>,
    turn: Semaphore,
    waiting: Arc<Shares>,
}

/// What came of a look at a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Right,
    /// And this code was shown with it.
    RightWithCode(u64),
    Wrong,
    /// The second factor cannot be read.
    Broken,
}

impl Default for Desk {
    fn default() -> Self {
        // The kernel always has random bytes; without them somebody who can read this process's memory could guess.
        let key = random::bytes().unwrap_or_default();
        Self {
            memory: Mutex::new(SignIns::with(key)),
            turn: Semaphore::new(1),
            waiting: Arc::new(Shares::of(MOST_WAITING, MOST_OF_ONE)),
        }
    }
}

/// The refusal of somebody who has to sign in and has not; `None` lets them in.
pub(super) async fn refusal(context: &Context, asked: &Asked, status: &Status) -> Option<Response> {
    let sign_in = status.access.sign_in.as_deref()?;
    let is_health = matches!(asked.endpoint, Endpoint::Healthz | Endpoint::Readyz);
    if asked.room != Room::Page || is_health {
        return None;
    }
    let authorization = access::values(&asked.headers, header::AUTHORIZATION);
    let credentials = match Credentials::read(&authorization) {
        Ok(Some(credentials)) => credentials,
        Ok(None) => {
            return Some(refused(context, Attempt::Missing, "sign in: the operator has a name and a password for you"));
        }
        Err(_) => {
            context.shared.metrics.attempted(Attempt::Unanswered);
            let detail = "this sign-in is not understood: one header, `Authorization: Basic …`".to_owned();
            return Some(reply::problem(StatusCode::BAD_REQUEST, Attempt::Unanswered.label(), detail));
        }
    };
    let user = sign_in.0.get(&credentials.name);
    let visitor = Visitor { context, status, caller: caller(asked.peer.address), credentials: &credentials, user };
    visitor.refusal().await
}

/// Somebody who shows a name and a password.
struct Visitor<'a> {
    context: &'a Context,
    status: &'a Status,
    caller: IpAddr,
    credentials: &'a Credentials,
    user: Option<&'a User>,
}

impl Visitor<'_> {
    async fn refusal(&self) -> Option<Response> {
        if let Some(answer) = self.known() {
            return answer.refusal;
        }
        let desk = &self.context.sign_ins;
        let Some(_place) = Shares::take(&desk.waiting, self.caller) else { return Some(self.busy()) };
        let Ok(_turn) = desk.turn.acquire().await else { return Some(self.busy()) };
        // Meanwhile it may have been looked at for another request, or the address have failed too often.
        if let Some(answer) = self.known() {
            return answer.refusal;
        }
        self.judged(self.look().await)
    }

    /// Answers without a look at the password, where that can be.
    fn known(&self) -> Option<Answer> {
        let mark = self.mark();
        let known = mark.map_or(Known::No, |mark| self.context.sign_ins.memory().known(&mark, Instant::now()));
        match known {
            Known::Good => return Some(Answer { refusal: None }),
            Known::Stale if self.user.is_some_and(|user| user.totp.is_some()) => {
                let detail = "this code was good once: sign in again, with the one that is shown now";
                return Some(Answer { refusal: Some(refused(self.context, Attempt::Expired, detail)) });
            }
            Known::Stale | Known::No => {}
        }
        let limit = self.status.access.rate_limit.as_ref();
        let wait = self.context.shared.gate.may_try(limit, self.caller, self.context.now()).err()?;
        self.context.shared.metrics.attempted(Attempt::Limited);
        let detail = "this address has failed too often: its passwords are not looked at for now".to_owned();
        Some(Answer { refusal: Some(reply::too_many(wait, detail)) })
    }

    fn mark(&self) -> Option<Mark> {
        self.user.map(|user| self.context.sign_ins.memory().mark(self.credentials, user))
    }

    /// Looks at the password, on a thread that may take its time.
    async fn look(&self) -> Looked {
        let (credentials, user) = (self.credentials.clone(), self.user.cloned());
        let step = totp::step((self.context.shared.now)());
        let looked = tokio::task::spawn_blocking(move || look(&credentials, user.as_ref(), step)).await;
        looked.unwrap_or(Looked::Broken)
    }

    fn judged(&self, looked: Looked) -> Option<Response> {
        let is_new = |step| self.context.shared.gate.take_code(&self.credentials.name, step);
        match looked {
            Looked::Right => self.let_in(PASSWORD_LASTS),
            Looked::RightWithCode(step) if is_new(step) => self.let_in(CODE_LASTS),
            Looked::RightWithCode(_) | Looked::Wrong => Some(self.held_against()),
            Looked::Broken => {
                self.context.shared.metrics.attempted(Attempt::Unanswered);
                let detail = "the second factor cannot be checked here: the log of the daemon says why".to_owned();
                let response = reply::problem(StatusCode::SERVICE_UNAVAILABLE, Attempt::Unanswered.label(), detail);
                Some(reply::after(SOON, response))
            }
        }
    }

    fn let_in(&self, lasts: Duration) -> Option<Response> {
        if let Some(mark) = self.mark() {
            self.context.sign_ins.memory().remember(mark, lasts, Instant::now());
        }
        self.context.shared.gate.passed(self.caller, self.context.now());
        self.context.shared.metrics.attempted(Attempt::Accepted);
        None
    }

    /// What was shown may be a password in the name's place: neither is written down.
    fn held_against(&self) -> Response {
        let limit = self.status.access.rate_limit.as_ref();
        let consequence = self.context.shared.gate.failed(limit, self.caller, self.context.now());
        if consequence == Consequence::LockedOut {
            tracing::warn!(address = %self.caller, "too many sign-ins were refused: locked out for access.rate_limit.lockout_for, or until `exitpool unlock`");
        } else {
            tracing::info!(address = %self.caller, "a sign-in was refused");
        }
        refused(
            self.context,
            Attempt::Invalid,
            "nobody here has this name and password, or the code is not the one that counts now",
        )
    }

    fn busy(&self) -> Response {
        self.context.shared.metrics.attempted(Attempt::Limited);
        let detail = "too many are signing in: try again".to_owned();
        let response = reply::problem(StatusCode::SERVICE_UNAVAILABLE, Attempt::Limited.label(), detail);
        reply::after(SOON, response)
    }
}

/// An answer that needs no look at a password.
struct Answer {
    /// `None` lets in.
    refusal: Option<Response>,
}

impl Desk {
    fn memory(&self) -> MutexGuard<'_, SignIns> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at a password, and at the code behind it; for a name that nobody has it takes as long.
fn look(credentials: &Credentials, user: Option<&User>, now: u64) -> Looked {
    let (shown, code) = credentials.parts(user);
    if !password::is_right(user.map(|user| &user.password), shown) {
        return Looked::Wrong;
    }
    let Some(place) = user.and_then(|user| user.totp.as_ref()) else { return Looked::Right };
    let secret = match Revealed::read(place) {
        Ok(text) => totp::secret(text.reveal()).ok_or_else(|| "it is no base32 of 128 bits or more".to_owned()),
        Err(error) => Err(chain(&error)),
    };
    match secret {
        Ok(secret) => totp::shown(&secret, code, now).map_or(Looked::Wrong, Looked::RightWithCode),
        Err(error) => {
            tracing::error!(
                user = credentials.name,
                error,
                "the secret of a second factor cannot be used: nobody signs in with it"
            );
            Looked::Broken
        }
    }
}

fn refused(context: &Context, attempt: Attempt, detail: &str) -> Response {
    context.shared.metrics.attempted(attempt);
    let mut response = reply::problem(StatusCode::UNAUTHORIZED, attempt.label(), detail.to_owned());
    let challenge = HeaderValue::from_static("Basic realm=\"exitpool\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}
