//! The committed JSON Schema: fresh, and of one mind with the loader.
