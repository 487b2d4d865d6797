//! Mail by SMTP: TLS from the start (`smtps://`), or STARTTLS (`smtp://`), which is asked for and not merely hoped for.
//!
//! A message has a text and an HTML part. All messages of an incident are one thread: the first has the incident's own
//! `Message-ID`, and the others refer to it.

use std::io;
use std::net::SocketAddr;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};
use minijinja::{Environment, context};

use super::{Errand, Failure, Fault, web};
use crate::alert::Notice;
use crate::desired::alerts::{Email, MailTls};
use crate::error::chain;
use crate::secret::Revealed;
use crate::web::Stream;

/// The ports of submission with TLS from the start, of submission, and of mail in the clear.
const PORTS: [u16; 3] = [465, 587, 25];
/// How servers let us in; both send the password as it is, and so only under TLS.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
/// The longest subject; the text says all of it.
const LONGEST_SUBJECT: usize = 150;

/// The HTML part. Its name tells the template engine to escape.
const PAGE: &str = include_str!("email.html");

impl AsyncTokioStream for Box<dyn Stream> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        // Through a node there is none, and it is only told in logs.
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A server, as the file names it.
#[derive(Debug, PartialEq, Eq)]
struct Server<'a> {
    host: &'a str,
    port: u16,
    tls: Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    FromTheStart,
    Starttls,
    Off,
}

pub(super) async fn send(email: &Email, errand: &Errand<'_>) -> Result<String, Failure> {
    let server = Server::of(email).ok_or_else(|| Failure::of_channel("this is no mail server"))?;
    let message = message(email, errand.notice).map_err(|error| notice_failed(error.as_ref()))?;
    let mut smtp = greet(&server, errand).await?;
    if let Some((user, password)) = &email.login {
        let credentials = Credentials::new(user.clone(), Revealed::read(password)?.reveal().to_owned());
        smtp.auth(&MECHANISMS, &credentials).await.map_err(failed("the login was refused"))?;
    }
    let said = deliver(&mut smtp, email, &message).await?;
    // It is taken; whether the farewell arrives changes nothing.
    let _ = smtp.quit().await;
    Ok(said)
}

/// Connects, speaks TLS where that is wished, and says who we are.
async fn greet(server: &Server<'_>, errand: &Errand<'_>) -> Result<AsyncSmtpConnection, Failure> {
    let mut stream = web::connect(&errand.route, server.host, server.port).await?;
    if server.tls == Tls::FromTheStart {
        stream = errand.trust()?.secure(server.host, stream).await?;
    }
    let hello = ClientId::Domain(errand.notice.host.clone());
    let smtp = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await;
    let mut smtp = smtp.map_err(failed("the mail server does not greet as one"))?;
    if server.tls == Tls::Starttls {
        if !smtp.can_starttls() {
            let why = "the mail server has no STARTTLS: use `smtps://`, or say `tls: off` to send in the clear";
            return Err(Failure::of_channel(why));
        }
        let tls = parameters(server.host, errand)?;
        smtp.starttls(tls, &hello).await.map_err(failed("no TLS with the mail server"))?;
    }
    Ok(smtp)
}

fn parameters(host: &str, errand: &Errand<'_>) -> Result<TlsParameters, Failure> {
    let unusable = failed("no TLS with the mail server");
    let mut builder = TlsParameters::builder(host.to_owned());
    let Some(file) = &errand.channel.ca_file else {
        return builder.certificate_store(CertificateStore::WebpkiRoots).build_rustls().map_err(unusable);
    };
    builder = builder.certificate_store(CertificateStore::None);
    for certificate in web::certificates(file)? {
        builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec()).map_err(&unusable)?);
    }
    builder.build_rustls().map_err(unusable)
}

/// Hands the message over. A recipient that is refused does not keep it from the others.
async fn deliver(smtp: &mut AsyncSmtpConnection, email: &Email, message: &Message) -> Result<String, Failure> {
    let sender = address(&email.from)?;
    smtp.command(Mail::new(Some(sender), Vec::new())).await.map_err(refused("the sender was refused"))?;
    let mut refusals = Vec::new();
    for recipient in &email.to {
        let answer = smtp.command(Rcpt::new(address(recipient)?, Vec::new())).await;
        if let Err(error) = answer {
            refusals.push(Failure { why: format!("{recipient}: {}", chain(&error)), ..refused("")(error) });
        }
    }
    let accepted = email.to.len() - refusals.len();
    match refusals.into_iter().next() {
        Some(first) if accepted == 0 => return Err(first),
        Some(first) => tracing::warn!(why = first.why, "a recipient of alerts was refused; the others have it"),
        None => {}
    }
    smtp.command(Data).await.map_err(refused("the message was refused"))?;
    let answer = smtp.message(&message.formatted()).await.map_err(refused("the message was refused"))?;
    let said = answer.first_line().unwrap_or_default();
    Ok(format!("{} of {} recipients: {said}", accepted, email.to.len()))
}

fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|_| Failure::of_channel(format!("{text} is no mail address")))
}

/// A server that does not speak as it should.
fn failed(what: &'static str) -> impl Fn(lettre::transport::smtp::Error) -> Failure {
    move |error| Failure::of_channel(format!("{what}: {}", chain(&error)))
}

/// A server that refuses this message, for now or for good.
fn refused(what: &'static str) -> impl Fn(lettre::transport::smtp::Error) -> Failure {
    move |error| {
        let fault = if error.is_permanent() { Fault::Notice } else { Fault::Channel };
        Failure { fault, ..failed(what)(error) }
    }
}

fn notice_failed(error: &dyn std::error::Error) -> Failure {
    Failure { fault: Fault::Notice, why: chain(error), retry_after: None }
}

impl<'a> Server<'a> {
    fn of(email: &'a Email) -> Option<Self> {
        let (scheme, authority) = email.server.split_once("://")?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, behind) = rest.split_once(']')?;
                (address, behind.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let (tls, usual) = match (scheme, email.tls) {
            ("smtps", _) => (Tls::FromTheStart, PORTS[0]),
            (_, MailTls::Required) => (Tls::Starttls, PORTS[1]),
            (_, MailTls::Off) => (Tls::Off, PORTS[2]),
        };
        Some(Self { host, port: port.map_or(Some(usual), |port| port.parse().ok())?, tls })
    }
}

/// The message of a notice.
fn message(email: &Email, notice: &Notice) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
    let from: Address = email.from.parse()?;
    let id = |sequence: u32| format!("<{}.{sequence}@{}>", notice.incident, from.domain());
    let mut builder = Message::builder()
        .from(Mailbox::new(Some("exitpool".to_owned()), from.clone()))
        .subject(subject(notice))
        .message_id(Some(id(notice.sequence)))
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Exitpool-Severity", notice.severity.word()));
    for recipient in &email.to {
        builder = builder.to(Mailbox::new(None, recipient.parse()?));
    }
    if notice.sequence > 0 {
        builder = builder.in_reply_to(id(0)).references(id(0));
    }
    Ok(builder.multipart(MultiPart::alternative_plain_html(text(notice), html(notice)?))?)
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn subject(notice: &Notice) -> String {
    let whole = format!("[exitpool] {}: {} ({})", notice.heading(), notice.summary, notice.host);
    let line: String = whole.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    let short: String = line.chars().take(LONGEST_SUBJECT).collect();
    if short.len() < line.len() { short + "…" } else { short }
}

fn text(notice: &Notice) -> String {
    let details = notice.details.iter().map(|detail| format!("  - {detail}\n"));
    let fields = notice.fields().into_iter().map(|(name, value)| format!("{name:<9} {value}\n"));
    let details: String = details.collect();
    let space = if details.is_empty() { "" } else { "\n" };
    format!("{}: {}\n\n{details}{space}{}", notice.heading(), notice.summary, fields.collect::<String>())
}

fn html(notice: &Notice) -> Result<String, minijinja::Error> {
    let page = context! {
        heading => notice.heading(),
        severity => notice.severity.word(),
        over => notice.happened == crate::alert::Happened::Resolved,
        summary => &notice.summary,
        details => &notice.details,
        fields => notice.fields(),
    };
    Environment::new().render_named_str("email.html", PAGE, page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Happened;
    use crate::alert::notice::tests::notice;

    fn email(server: &str, tls: MailTls) -> Email {
        let to = vec!["ops@example.org".to_owned(), "night@example.org".to_owned()];
        Email { server: server.to_owned(), login: None, from: "pool@example.net".to_owned(), to, tls }
    }

    #[test]
    fn a_server_has_the_port_of_its_scheme_unless_it_says_another() {
        let of = |server: &str, tls| {
            let email = email(server, tls);
            Server::of(&email).map(|it| (it.host.to_owned(), it.port, it.tls)).unwrap()
        };
        let host = || "mail.example.org".to_owned();
        assert_eq!(of("smtps://mail.example.org", MailTls::Required), (host(), 465, Tls::FromTheStart));
        assert_eq!(of("smtp://mail.example.org", MailTls::Required), (host(), 587, Tls::Starttls));
        assert_eq!(of("smtp://mail.example.org:2525", MailTls::Off), (host(), 2525, Tls::Off));
        assert_eq!(of("smtp://[::1]", MailTls::Off), ("::1".to_owned(), 25, Tls::Off));
    }

    #[test]
    fn the_messages_of_an_incident_are_one_thread() {
        let said = |happened, sequence| {
            let notice = Notice { sequence, ..notice(happened) };
            String::from_utf8(message(&email("smtps://x", MailTls::Required), &notice).unwrap().formatted()).unwrap()
        };
        let first = said(Happened::Raised, 0);
        assert!(first.contains("Message-ID: <00ff00ff00ff00ff.0@example.net>\r\n"), "{first}");
        assert!(!first.contains("References:"), "{first}");
        let last = said(Happened::Resolved, 3);
        assert!(last.contains("Message-ID: <00ff00ff00ff00ff.3@example.net>\r\n"), "{last}");
        assert!(last.contains("References: <00ff00ff00ff00ff.0@example.net>\r\n"), "{last}");
        assert!(last.contains("In-Reply-To: <00ff00ff00ff00ff.0@example.net>\r\n"), "{last}");
        assert!(first.contains("Content-Type: text/plain") && first.contains("Content-Type: text/html"), "{first}");
        assert!(first.contains("Auto-Submitted: auto-generated\r\n"), "{first}");
    }

    #[test]
    fn the_severity_stands_in_the_subject_and_a_subject_is_one_line() {
        let told = subject(&notice(Happened::Raised));
        assert_eq!(told, "[exitpool] CRITICAL: 5 of 10 nodes do not serve (vps-1)");
        let odd = subject(&Notice { summary: "a\r\nBcc: x@y\n".repeat(50), ..notice(Happened::Raised) });
        assert!(!odd.contains(['\r', '\n']) && odd.chars().count() <= LONGEST_SUBJECT + 1, "{odd}");
    }

    #[test]
    fn what_others_have_said_is_escaped_in_html() {
        let notice = Notice { summary: "<script>alert(1)</script>".to_owned(), ..notice(Happened::Raised) };
        let page = html(&notice).unwrap();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
    }
}
