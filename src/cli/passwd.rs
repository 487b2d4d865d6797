//! `exitpool passwd`: the hash of a password, and the secret of a second factor, for `access.sign_in`.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::gate::password;
use crate::sys::{files, random};

use super::{Exit, output};

/// No password is longer, by far.
const LONGEST_INPUT_BYTES: u64 = 8 * 1024;
/// The secret of a second factor: as many bits as SHA-1 has, RFC 4226, 4.
const TOTP_BYTES: usize = 20;
const PRIVATE_FILE: u32 = 0o600;

/// Hash a password for `access.sign_in`
///
/// It is asked for on a terminal, and else read from standard input, one line. Weak passwords are refused. The hash
/// goes to standard output; the password goes nowhere.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Whose password it is: one that has the name in it is refused
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Make the secret of a second factor as well, in this new file
    #[arg(long, value_name = "FILE")]
    totp: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let password = read()?;
    if let Some(why) = password::weakness(&password, arguments.user.as_deref()) {
        bail!("this password is too weak: {why}; take several words that have nothing to do with each other");
    }
    let salt = random::bytes().context("the kernel has no random bytes")?;
    if let Some(path) = &arguments.totp {
        make_totp(path, arguments.user.as_deref().unwrap_or("operator"))?;
    }
    output::data(&password::hash(&password, salt));
    Ok(Exit::Done)
}

fn read() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ").context("cannot ask for the password")?;
        let again = rpassword::prompt_password("Again: ").context("cannot ask for the password")?;
        if first != again {
            bail!("the two are not the same: nothing was made");
        }
        return Ok(first);
    }
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(LONGEST_INPUT_BYTES);
    input.read_line(&mut line).context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Makes a secret in a file that is not there yet, and says how an authenticator takes it.
fn make_totp(path: &std::path::Path, user: &str) -> anyhow::Result<()> {
    let secret: [u8; TOTP_BYTES] = random::bytes().context("the kernel has no random bytes")?;
    let text = base32::encode(base32::Alphabet::RFC4648 { padding: false }, &secret);
    files::make_new(path, format!("{text}\n").as_bytes(), PRIVATE_FILE)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let user: String = form_urlencoded::byte_serialize(user.as_bytes()).collect();
    output::talk(&format!(
        "Give this to the authenticator, and to nobody else: otpauth://totp/exitpool:{user}?secret={text}&issuer=exitpool"
    ));
    Ok(())
}
