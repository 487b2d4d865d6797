//! The `exitpool` program.

fn main() {}
