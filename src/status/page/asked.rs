//! What of the page is asked for, by its query string.

/// How many rows of nodes a page has.
pub(super) const ROWS: usize = 100;

/// What of the page is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Whether it loads itself again.
    pub refresh: Refresh,
    /// The pool that is asked for alone.
    pub pool: Option<String>,
    /// How many rows of nodes are passed over.
    pub from: usize,
}

/// Whether the page loads itself again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// Whenever something happens, or every few seconds.
    #[default]
    On,
    /// Not by itself: for reading at leisure.
    Off,
}

impl Asked {
    /// Reads the query string of a request for the page; what it does not know, it passes over.
    pub fn of(query: &str) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "refresh" if value == "off" => asked.refresh = Refresh::Off,
                "pool" => asked.pool = Some(value.into_owned()),
                "from" => asked.from = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        asked
    }

    /// The same page, as a query string.
    pub(super) fn link(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(pool) = &self.pool {
            query.append_pair("pool", pool);
        }
        if self.from > 0 {
            query.append_pair("from", &self.from.to_string());
        }
        if self.refresh == Refresh::Off {
            query.append_pair("refresh", "off");
        }
        match query.finish() {
            query if query.is_empty() => "./".to_owned(),
            query => format!("?{query}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_asks_for_what_it_was_made_from() {
        for query in ["?pool=eu&from=100&refresh=off", "?pool=eu", "?refresh=off", "./"] {
            assert_eq!(Asked::of(query.trim_start_matches(['?', '.', '/'])).link(), query);
        }
        assert_eq!(Asked::of("a=b&from=-1&refresh=maybe&&"), Asked::default());
        assert_eq!(Asked::of("pool=%3Cb%3E").link(), "?pool=%3Cb%3E");
    }
}
