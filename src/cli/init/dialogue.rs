//! The questions on a terminal, for what no option has said.

use std::io::BufRead;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};

use crate::desired::DriverChoice;

use super::super::output;
use super::signing::Signing;
use super::wish::{Options, SIZE};

/// Somebody who answers.
pub struct Dialogue<I, Q> {
    answers: I,
    question: Q,
}

impl<I: BufRead, Q: Fn(&str)> Dialogue<I, Q> {
    /// Reads answers line by line; questions are shown by a function.
    pub fn new(answers: I, question: Q) -> Self {
        Self { answers, question }
    }

    /// Asks for what was not said, each until the answer can be understood.
    pub fn complete(&mut self, said: &Options, signing: &mut Signing) -> anyhow::Result<Options> {
        let mut options = said.clone();
        if options.pool_size.is_none() {
            options.pool_size = Some(self.ask(&format!("How many nodes? [{SIZE}]"), size)?);
        }
        if options.countries.is_none() {
            let question = "From which countries may they leave the Tor network, as in de,nl? [any]";
            options.countries = Some(self.ask(question, list)?);
        }
        if options.socks_allow.is_none() && options.listen.is_none_or(|address| !address.is_loopback()) {
            let question = "Which addresses or networks may use them, as in 203.0.113.0/24? [this host alone]";
            options.socks_allow = Some(self.ask(question, list)?);
        }
        if options.panel_allow.is_none() {
            let question = "Which may look at the status page? [this host alone]";
            options.panel_allow = Some(self.ask(question, list)?);
        }
        if options.driver.is_none() && !options.no_firewall {
            let question = "Which firewall: auto, nftables, iptables, ufw, firewalld or none? [auto]";
            options.driver = Some(self.ask(question, driver)?);
        }
        if !signing.is_said() {
            let question = "Which SSH key is to sign commits? A file; it is made where it is not there. [not signed]";
            signing.take(self.ask(question, file)?);
        }
        Ok(options)
    }

    fn ask<T>(&mut self, question: &str, understand: fn(&str) -> Result<T, String>) -> anyhow::Result<T> {
        loop {
            (self.question)(question);
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).context("cannot read the answer")?;
            ensure!(read > 0, "there are no more answers: nothing was made");
            match understand(line.trim()) {
                Ok(answer) => return Ok(answer),
                Err(why) => output::talk(&why),
            }
        }
    }
}

fn size(answer: &str) -> Result<u16, String> {
    let size = if answer.is_empty() { Some(SIZE) } else { answer.parse().ok() };
    size.filter(|size| (1..=1000).contains(size)).ok_or_else(|| format!("`{answer}` is no number from 1 to 1000"))
}

/// Words between commas or blanks; none is an empty list.
fn list<T: FromStr<Err: ToString>>(answer: &str) -> Result<Vec<T>, String> {
    let words = answer.split([',', ' ']).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|error: T::Err| error.to_string())).collect()
}

fn driver(answer: &str) -> Result<DriverChoice, String> {
    let name = if answer.is_empty() { DriverChoice::default().name() } else { answer };
    DriverChoice::named(name).ok_or_else(|| format!("`{answer}` is none of these"))
}

fn file(answer: &str) -> Result<Option<PathBuf>, String> {
    Ok((!answer.is_empty()).then(|| PathBuf::from(answer)))
}
