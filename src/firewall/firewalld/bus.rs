//! The line to firewalld, over the system bus. What should stand there is not known here.
//!
//! firewalld is never started by a call: an operator who stopped it wants it stopped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::Mutex;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::proxy::MethodFlags;
use zbus::wire::DynamicDeserialize;
use zbus::{
    Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Proxy, Variant, connection,
};

use super::policy::{NAME, PRIORITY, Policy, RULES};
use crate::firewall::FirewallError;
use crate::sys::netns;

/// What it is called in messages.
pub const FIREWALLD: &str = "firewalld";
const SERVICE: &str = "org.fedoraproject.FirewallD1";
const RUNNING: &str = "/org/fedoraproject/FirewallD1";
const RUNNING_POLICIES: &str = "org.fedoraproject.FirewallD1.policy";
const PERMANENT: &str = "/org/fedoraproject/FirewallD1/config";
const PERMANENT_SETTINGS: &str = "org.fedoraproject.FirewallD1.config";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const PERMANENT_POLICY: &str = "org.fedoraproject.FirewallD1.config.policy";

/// A reload with ipsets of 10,000 entries takes it less than a second; this long, it hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where firewalld is spoken to.
#[derive(Debug)]
pub struct Bus {
    /// Elsewhere than at this host's system bus.
    address: Option<String>,
    /// The permanent policies' signals, once somebody listens.
    news: Mutex<Option<MessageStream>>,
}

/// A connection to a firewalld that is running.
#[derive(Debug)]
pub struct Line {
    connection: Connection,
}

impl Bus {
    /// The system bus, or the bus at an address.
    pub fn at(address: Option<&str>) -> Self {
        Self { address: address.map(str::to_owned), news: Mutex::default() }
    }

    /// Calls firewalld, which must be running, and rule over our network namespace: a bus can be reached from any.
    pub async fn open(&self) -> Result<Line, FirewallError> {
        let connection = self.connect().await?;
        is_here(&connection).await?;
        Ok(Line { connection })
    }

    /// Waits until somebody has changed a permanent policy; the kernel tells of all that is in force.
    pub async fn news(&self) {
        let mut news = self.news.lock().await;
        if news.is_none() {
            *news = self.listen().await.ok();
        }
        let heard = match news.as_mut() {
            Some(stream) => stream.next().await,
            None => None,
        };
        if !matches!(heard, Some(Ok(_))) {
            // The bus is gone: the next one who waits tries again, woken by other news.
            *news = None;
            drop(news);
            std::future::pending().await
        }
    }

    async fn listen(&self) -> Result<MessageStream, FirewallError> {
        let connection = self.connect().await?;
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).interface(PERMANENT_POLICY).build();
        MessageStream::for_match_rule(rule.map_err(failed)?, &connection, None).await.map_err(failed)
    }

    async fn connect(&self) -> Result<Connection, FirewallError> {
        let builder = match &self.address {
            Some(address) => connection::Builder::address(address.as_str()),
            None => connection::Builder::system(),
        };
        match tokio::time::timeout(DEADLINE, builder.method_timeout(DEADLINE).build()).await {
            Ok(connected) => connected.map_err(|error| FirewallError::NoBus(io::Error::other(error))),
            Err(_) => Err(late()),
        }
    }
}

impl Line {
    /// What firewalld writes its rules with.
    pub async fn writes_with(&self) -> Result<String, FirewallError> {
        let property = (PERMANENT_SETTINGS, "FirewallBackend");
        let written_with: OwnedVariant = self.call((PERMANENT, PROPERTIES), "Get", &property).await?;
        Ok(text(&written_with))
    }

    /// The policy as the files have it.
    pub async fn permanent(&self) -> Result<Option<Policy>, FirewallError> {
        let Some(path) = self.path().await? else { return Ok(None) };
        let settings = self.call((path.as_str(), PERMANENT_POLICY), "getSettings", &()).await?;
        Ok(Some(policy(&settings)))
    }

    /// The policy as firewalld believes it to be in force.
    pub async fn running(&self) -> Result<Option<Policy>, FirewallError> {
        let settings = self.call((RUNNING, RUNNING_POLICIES), "getPolicySettings", &NAME).await;
        Ok(absent(settings)?.map(|settings| policy(&settings)))
    }

    /// Makes the permanent policy anew.
    pub async fn replace(&self, policy: &Policy) -> Result<(), FirewallError> {
        self.delete().await?;
        let place = (PERMANENT, PERMANENT_SETTINGS);
        self.call::<_, OwnedObjectPath>(place, "addPolicy", &(NAME, settings(policy))).await.map(drop)
    }

    /// Deletes the permanent policy.
    pub async fn delete(&self) -> Result<(), FirewallError> {
        let Some(path) = self.path().await? else { return Ok(()) };
        self.call((path.as_str(), PERMANENT_POLICY), "remove", &()).await
    }

    /// Changes the rules of the policy that is in force, and nothing else.
    pub async fn change_rules(&self, policy: &Policy) -> Result<(), FirewallError> {
        let rules = HashMap::from([(RULES, Variant::from(Vec::from_iter(policy.rules())))]);
        self.call((RUNNING, RUNNING_POLICIES), "setPolicySettings", &(NAME, rules)).await
    }

    /// Puts the permanent configuration in force, once it is known to be valid: a firewalld that cannot load it lets
    /// nobody in.
    pub async fn reload(&self) -> Result<(), FirewallError> {
        self.call::<_, ()>((RUNNING, SERVICE), "checkPermanentConfig", &()).await?;
        self.call((RUNNING, SERVICE), "reload", &()).await
    }

    async fn path(&self) -> Result<Option<OwnedObjectPath>, FirewallError> {
        absent(self.call((PERMANENT, PERMANENT_SETTINGS), "getPolicyByName", &NAME).await)
    }

    async fn call<B, R>(&self, place: (&str, &str), method: &'static str, body: &B) -> Result<R, FirewallError>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let (path, interface) = place;
        let proxy = Proxy::new(&self.connection, SERVICE, path, interface).await.map_err(failed)?;
        let answer = proxy.call_with_flags(method, MethodFlags::NO_AUTO_START, body).await.map_err(failed)?;
        answer.ok_or_else(|| failed(zbus::Error::InvalidReply))
    }
}

async fn is_here(connection: &Connection) -> Result<(), FirewallError> {
    let service = || BusName::try_from(SERVICE).map_err(failed);
    let bus = DBusProxy::new(connection).await.map_err(failed)?;
    if !bus.name_has_owner(service()?).await.map_err(|error| failed(error.into()))? {
        return Err(FirewallError::NotRunning(FIREWALLD));
    }
    let pid = bus.get_connection_unix_process_id(service()?).await.map_err(|error| failed(error.into()))?;
    match netns::is_that_of(pid) {
        Ok(false) => Err(FirewallError::Elsewhere(FIREWALLD)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FirewallError::Elsewhere(FIREWALLD)),
        // Only root may look; firewalld says by itself that it obeys nobody else.
        _ => Ok(()),
    }
}

/// The same, where a policy that is not there is an answer.
fn absent<T>(answer: Result<T, FirewallError>) -> Result<Option<T>, FirewallError> {
    match answer {
        Err(FirewallError::Refused { stderr, .. }) if stderr.starts_with("INVALID_POLICY") => Ok(None),
        other => other.map(Some),
    }
}

fn failed(error: zbus::Error) -> FirewallError {
    match &error {
        zbus::Error::MethodError(name, text, _) => {
            let said = text.clone().unwrap_or_else(|| name.to_string());
            refused(name.rsplit('.').next().unwrap_or_default(), said)
        }
        zbus::Error::FDO(error) => refused("", error.to_string()),
        zbus::Error::InputOutput(source) if source.kind() == io::ErrorKind::TimedOut => late(),
        _ => FirewallError::Talk { tool: FIREWALLD, source: io::Error::other(error) },
    }
}

fn refused(name: &str, said: String) -> FirewallError {
    match name {
        "NotAuthorizedException" | "AccessDenied" => FirewallError::RootOnly { tool: FIREWALLD, said },
        "ServiceUnknown" | "NameHasNoOwner" | "NoReply" => FirewallError::NotRunning(FIREWALLD),
        _ => FirewallError::Refused { tool: FIREWALLD, stderr: said },
    }
}

fn late() -> FirewallError {
    FirewallError::Deadline { tool: FIREWALLD, seconds: DEADLINE.as_secs() }
}

/// Reads settings; elements that are no texts are shown as they are.
fn policy(settings: &HashMap<String, OwnedVariant>) -> Policy {
    let texts = |value: &Variant<'_>| -> BTreeSet<String> {
        match value {
            Variant::Array(values) => values.inner().iter().map(text).collect(),
            Variant::Bool(false) => BTreeSet::new(),
            other => BTreeSet::from([text(other)]),
        }
    };
    let settings = settings.iter().map(|(name, value)| (name.clone(), texts(value)));
    Policy(settings.filter(|(_, values)| !values.is_empty()).collect())
}

fn text(value: &Variant<'_>) -> String {
    match value {
        Variant::Str(text) => text.to_string(),
        Variant::I32(number) => number.to_string(),
        Variant::Variant(inner) => text(inner),
        other => other.to_string(),
    }
}

fn settings(policy: &Policy) -> BTreeMap<&str, Variant<'_>> {
    policy.0.iter().map(|(name, values)| (name.as_str(), typed(name, values))).collect()
}

/// firewalld takes each setting in its own type alone.
fn typed<'a>(name: &str, values: &'a BTreeSet<String>) -> Variant<'a> {
    let all = || Variant::from(Vec::from_iter(values.iter().map(String::as_str)));
    match (name, values.first()) {
        (PRIORITY, Some(number)) => number.parse::<i32>().map_or_else(|_| all(), Variant::from),
        ("target" | "description", Some(text)) => Variant::from(text.as_str()),
        _ => all(),
    }
}
