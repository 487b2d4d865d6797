//! The integration tests.

mod page;
mod panel;
