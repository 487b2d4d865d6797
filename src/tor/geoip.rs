//! The countries of addresses, from a GeoIP file in tor's own format.
//!
//! The file is read as a stream, once for all addresses that are asked for, so it costs as much memory as the answer:
//! `start,end,CC` a line, where the addresses are decimal numbers (IPv4) or written out (IPv6, and IPv4 in some files).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::desired::Country;

/// Where the two files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeoipFiles {
    /// Ranges of IPv4 addresses.
    pub ipv4: PathBuf,
    /// Ranges of IPv6 addresses.
    pub ipv6: PathBuf,
}

/// A GeoIP file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the GeoIP file {path}: install tor-geoipdb, or say where it is with --{option}")]
pub struct GeoipError {
    path: String,
    option: &'static str,
    #[source]
    source: std::io::Error,
}

impl GeoipFiles {
    /// Finds the countries of addresses; one that no range holds is left out.
    ///
    /// A file is opened only when an address of its family is asked for. Lines that make no sense are passed over.
    pub fn countries(&self, addresses: &BTreeSet<IpAddr>) -> Result<BTreeMap<IpAddr, Country>, GeoipError> {
        let (ipv4, ipv6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
        let mut countries = stream(&self.ipv4, "geoip", &ipv4)?;
        countries.extend(stream(&self.ipv6, "geoip6", &ipv6)?);
        Ok(countries)
    }
}

/// Reads one file, for addresses in order.
fn stream(path: &Path, option: &'static str, addresses: &[IpAddr]) -> Result<BTreeMap<IpAddr, Country>, GeoipError> {
    let mut countries = BTreeMap::new();
    if addresses.is_empty() {
        return Ok(countries);
    }
    let failed = |source| GeoipError { path: path.display().to_string(), option, source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        if let Some((first, last, country)) = std::str::from_utf8(&line).ok().and_then(range) {
            let from = addresses.partition_point(|address| *address < first);
            let within = addresses[from..].iter().take_while(|address| **address <= last);
            countries.extend(within.map(|address| (*address, country)));
        }
        line.clear();
    }
    Ok(countries)
}

/// Reads one line; `None` for comments, for ranges of no known country and for whatever makes no sense.
fn range(line: &str) -> Option<(IpAddr, IpAddr, Country)> {
    let mut fields = line.split(',').map(|field| field.trim().trim_matches('"'));
    let (first, last, code) = (fields.next()?, fields.next()?, fields.next()?);
    let (first, last) = (address(first)?, address(last)?);
    Some((first, last, code.parse().ok()?)).filter(|_| first.is_ipv4() == last.is_ipv4())
}

/// Reads an address: a number is an IPv4 one.
fn address(text: &str) -> Option<IpAddr> {
    match text.parse::<u32>() {
        Ok(number) => Some(IpAddr::V4(Ipv4Addr::from(number))),
        Err(_) => text.parse::<Ipv6Addr>().map(IpAddr::V6).or_else(|_| text.parse().map(IpAddr::V4)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ask(ipv4: &str, ipv6: &str, addresses: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let files = GeoipFiles { ipv4: dir.path().join("geoip"), ipv6: dir.path().join("geoip6") };
        fs::write(&files.ipv4, ipv4).unwrap();
        fs::write(&files.ipv6, ipv6).unwrap();
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let found = files.countries(&addresses).unwrap();
        found.iter().map(|(address, country)| format!("{address} {country}")).collect()
    }

    #[test]
    fn the_first_and_the_last_address_of_a_range_are_in_it() {
        let ipv4 = "# comment\n16777216,16777471,AU\n1.0.1.0,1.0.1.255,CN\n";
        let found = ask(ipv4, "", &["0.255.255.255", "1.0.0.0", "1.0.0.255", "1.0.1.0", "1.0.2.0"]);
        assert_eq!(found, ["1.0.0.0 au", "1.0.0.255 au", "1.0.1.0 cn"]);
    }

    #[test]
    fn ipv6_has_its_own_file() {
        let found = ask("", "2001:db8::,2001:db8:ffff::,DE\n", &["2001:db8::1", "2001:db9::1"]);
        assert_eq!(found, ["2001:db8::1 de"]);
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let ipv4 = "nonsense\n1,2\n,,\n16777216,::1,AU\n16777216,16777471,??\n\"16777216\",\"16777471\",\"AU\"\n";
        assert_eq!(ask(ipv4, "", &["1.0.0.1"]), ["1.0.0.1 au"]);
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let files = GeoipFiles { ipv4: "/nonexistent/geoip".into(), ipv6: "/nonexistent/geoip6".into() };
        let error = files.countries(&["1.2.3.4".parse().unwrap()].into()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/geoip: install"), "{error}");
        assert!(files.countries(&BTreeSet::new()).unwrap().is_empty());
    }
}
