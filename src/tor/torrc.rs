//! The torrc of an instance: what it is told at its start. Pure.
