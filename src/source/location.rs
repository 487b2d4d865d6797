//! Where a remote repository is, and what may be shown of it.

use std::fmt;
use std::path::Path;

use super::SourceError;

/// How a remote repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Smart or dumb HTTP over TLS.
    Https,
    /// `ssh://`, or `user@host:path`.
    Ssh,
    /// `git://`: neither secret nor authentic, so only signatures say what is believed.
    Git,
}

/// The location of a remote repository. What is printed has no user and no password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    scheme: Scheme,
    url: String,
}

impl Location {
    /// Understands a URL, or `host:path` as git's ssh takes it; `None` where it is a path on this host.
    pub fn parse(text: &str) -> Result<Option<Self>, SourceError> {
        let scheme = match text.split_once("://") {
            Some(("https", _)) => Scheme::Https,
            Some(("ssh" | "git+ssh" | "ssh+git", _)) => Scheme::Ssh,
            Some(("git", _)) => Scheme::Git,
            Some(_) => return Err(SourceError::Scheme { location: without_user(text) }),
            None if is_host_and_path(text) => Scheme::Ssh,
            None => return Ok(None),
        };
        let location = Self { scheme, url: text.to_owned() };
        // A host that begins with a dash would be an option of ssh, and `x::y` a program of git's.
        let host = location.host();
        let is_host = !host.is_empty() && !host.starts_with(['-', '[']);
        let is_sane = is_host && !text.contains(char::is_control) && !text.starts_with(&format!("{host}::"));
        if is_sane { Ok(Some(location)) } else { Err(SourceError::Scheme { location: location.to_string() }) }
    }

    /// How it is reached.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The whole location, with user and password; never for people.
    pub fn secret(&self) -> &str {
        &self.url
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        let (host, _) = self.host_and_port();
        host
    }

    /// The host as OpenSSH writes it into `known_hosts`.
    pub fn known_host(&self) -> String {
        match self.host_and_port() {
            (host, Some(port)) if port != "22" => format!("[{host}]:{port}"),
            (host, _) => host.to_owned(),
        }
    }

    fn host_and_port(&self) -> (&str, Option<&str>) {
        let Some((_, rest)) = self.url.split_once("://") else {
            let host = self.url.split_once(':').map_or(&*self.url, |(host, _)| host);
            return (host.rsplit_once('@').map_or(host, |(_, host)| host), None);
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if let Some((host, rest)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            return (host, rest.strip_prefix(':'));
        }
        host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)))
    }

    /// The secret parts of the location, to be taken out of what others say.
    pub fn secrets(&self) -> Option<&str> {
        let (_, rest) = self.url.split_once("://")?;
        let authority = rest.split('/').next()?;
        authority
            .rsplit_once('@')
            .map(|(user, _)| user)
            .filter(|user| user.contains(':') || self.scheme == Scheme::Https)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_user(&self.url))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

fn is_host_and_path(text: &str) -> bool {
    let host = text.split_once(':').map(|(host, _)| host);
    host.is_some_and(|host| !host.is_empty() && !host.contains('/')) && !Path::new(text).exists()
}

/// A location without the user and password in it.
fn without_user(location: &str) -> String {
    let (scheme, rest) = location.split_once("://").map_or(("", location), |(scheme, rest)| (scheme, rest));
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let host_start = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
    if scheme.is_empty() { rest[host_start..].to_owned() } else { format!("{scheme}://{}", &rest[host_start..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Location {
        Location::parse(text).unwrap().unwrap()
    }

    #[test]
    fn locations_are_shown_without_user_and_password() {
        for (text, shown, known_host) in [
            ("https://user:word@git.example.org/pool.git", "https://git.example.org/pool.git", "git.example.org"),
            (
                "ssh://git@git.example.org:2222/pool.git",
                "ssh://git.example.org:2222/pool.git",
                "[git.example.org]:2222",
            ),
            ("ssh://git@[2001:db8::1]:22/pool.git", "ssh://[2001:db8::1]:22/pool.git", "2001:db8::1"),
            ("git@git.example.org:pool.git", "git.example.org:pool.git", "git.example.org"),
            ("git.example.org:pool.git", "git.example.org:pool.git", "git.example.org"),
            ("git://git.example.org/pool.git", "git://git.example.org/pool.git", "git.example.org"),
        ] {
            let location = remote(text);
            assert_eq!((location.to_string().as_str(), location.known_host().as_str()), (shown, known_host));
            assert_eq!(format!("{location:?}"), format!("Location({shown})"));
        }
        assert_eq!(remote("https://user:word@git.example.org/").secrets(), Some("user:word"));
        assert_eq!(remote("ssh://git@git.example.org/").secrets(), None);
    }

    #[test]
    fn what_is_neither_secure_nor_a_repository_is_refused() {
        for text in [
            "http://a/b",
            "ext::sh -c id",
            "ftp://a/b",
            "ssh://-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "https:///x",
        ] {
            assert!(matches!(Location::parse(text), Err(SourceError::Scheme { .. })), "{text}");
        }
        for text in ["/srv/pool.git", "pool.yaml", "./a:b", "/nowhere/pool:1.yaml"] {
            assert_eq!(Location::parse(text).unwrap(), None, "{text}");
        }
    }
}
