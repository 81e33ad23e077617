//! Takes sick hosts out of the Mesos whitelist and gives them back.

fn main() {}
