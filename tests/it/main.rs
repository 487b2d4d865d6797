//! The integration tests.

mod desired;
mod schema;
