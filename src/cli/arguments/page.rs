//! How the daemon serves its page.

use std::path::PathBuf;

use clap::Args;

use crate::daemon::settings::{Files, PageSettings};

/// How the daemon serves its page.
#[derive(Debug, Clone, Args)]
pub struct Page {
    /// The page's certificate, with those that lead to its root, in PEM; read anew when it changes
    #[arg(long, env = "EXITPOOL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM; read anew when it changes
    #[arg(long, env = "EXITPOOL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Who may connect to the socket of `--listen unix:PATH`: its mode, in octal
    #[arg(long, env = "EXITPOOL_LISTEN_MODE", value_name = "MODE", default_value = "660", value_parser = mode)]
    listen_mode: u32,
}

impl Page {
    /// The daemon's settings.
    pub fn settings(self) -> PageSettings {
        let tls = self.tls_cert.zip(self.tls_key).map(|(certificate, key)| Files { certificate, key });
        PageSettings { tls, mode: self.listen_mode }
    }
}

/// A mode of a file: nothing but who may read, write and enter.
fn mode(text: &str) -> Result<u32, String> {
    const MOST: u32 = 0o777;
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= MOST);
    mode.ok_or_else(|| format!("`{text}` is no mode: write it as in `660`"))
}
