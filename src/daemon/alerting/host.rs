//! What no status says of the host: certificates, the disk, the installed tor, refused tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::alert::HostFacts;
use crate::alert::facts::{Certificate, Disk};
use crate::desired::Alerts;
use crate::desired::alerts::{Criterion, RuleName};
use crate::error::chain;
use crate::gate::{Gate, Now};
use crate::status::http::tls::expires;
use crate::sys::host;
use crate::tor::program::Program;
use crate::web;

/// Looks at the host.
pub(super) struct Eye {
    state_dir: PathBuf,
    tor: Program,
    gate: Arc<Gate>,
    /// The certificate of our own page.
    certificate: Option<PathBuf>,
    facts: HostFacts,
}

impl Eye {
    pub(super) fn new(state_dir: PathBuf, tor: PathBuf, gate: Arc<Gate>, certificate: Option<PathBuf>) -> Self {
        Self { state_dir, tor: Program::new(tor), gate, certificate, facts: HostFacts::default() }
    }

    /// What was seen.
    pub(super) fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// Looks at what changes slowly, as far as a rule asks for it.
    pub(super) async fn look(&mut self, alerts: &Alerts) {
        let asks = |name| alerts.rule(name).is_some();
        if let Some(Criterion::CertificateExpiry { files, .. }) =
            alerts.rule(RuleName::CertificateExpiry).map(|rule| &rule.criterion)
        {
            let all = files.iter().chain(&self.certificate);
            self.facts.certificates = all.map(|path| certificate(path)).collect();
        }
        if asks(RuleName::StateDirectoryFull) {
            let disk = host::disk(&self.state_dir).ok();
            self.facts.state_directory =
                disk.map(|disk| Disk { used_percent: disk.used_percent, free_mib: disk.free_mib });
        }
        if asks(RuleName::TorUpdatePending) {
            self.facts.tor_installed = self.tor.find().await.ok().map(|program| program.version);
        }
    }

    /// Looks at what may be another thing each time.
    pub(super) fn glance(&mut self, alerts: &Alerts, failing_channels: Vec<(String, String)>) {
        self.facts.failing_channels = failing_channels;
        if let Some(Criterion::BruteForce { within, .. }) =
            alerts.rule(RuleName::BruteForce).map(|rule| &rule.criterion)
        {
            let now = Now { at: Timestamp::now(), clock: Instant::now() };
            self.facts.refusals = self.gate.failures_within(*within, now);
        }
    }
}

/// Reads when the first certificate of a file runs out.
fn certificate(path: &Path) -> Certificate {
    Certificate { path: path.to_owned(), ends: ends(path) }
}

fn ends(path: &Path) -> Result<Timestamp, String> {
    let certificates = web::certificates(path).map_err(|error| chain(&error))?;
    let ends = certificates.iter().map(|certificate| expires(certificate).map_err(|error| error.to_string()));
    let ends = ends.collect::<Result<Vec<_>, String>>()?;
    ends.into_iter().min().ok_or_else(|| "there is none in it".to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_certificate_ends_when_openssl_says() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "20",
            ])
            .args(["-subj", "/CN=pool", "-keyout", &file("key"), "-out", &file("cert")])
            .output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            println!("skipped: openssl is not here");
            return;
        };
        drop(made);
        let asked = ["x509", "-in", &file("cert"), "-noout", "-enddate", "-dateopt", "iso_8601"];
        let said = String::from_utf8(Command::new("openssl").args(asked).output().unwrap().stdout).unwrap();
        let said = said.trim().trim_start_matches("notAfter=").replace(' ', "T");
        assert_eq!(ends(Path::new(&file("cert"))).unwrap().to_string(), said);
        assert!(ends(Path::new(&file("key"))).is_err());
        assert!(ends(Path::new(&file("missing"))).unwrap_err().contains("cannot read certificates"));
    }
}
