//! The operator's command line for the Satellite remediator.

fn main() {}
