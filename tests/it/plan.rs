//! The planner: its laws on a modelled world, and its decisions on written-down ones.

mod fixtures;
mod holds;
mod laws;
pub mod world;
