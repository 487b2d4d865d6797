//! Committed files that are made from the code: none may be stale. `make generated` writes them anew.

use exitpool::cli::reference;

use crate::support::generated;

#[test]
fn the_reference_of_the_command_line_is_fresh() {
    generated("docs/cli.md", &reference());
}

#[test]
fn the_reference_of_the_conditions_is_fresh() {
    generated("docs/conditions.md", &exitpool::status::reference());
}
