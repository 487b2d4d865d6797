//! The integration tests.

mod tor;
