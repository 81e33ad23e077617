//! Mesos master, agent and task container metrics for Prometheus.

fn main() {}
