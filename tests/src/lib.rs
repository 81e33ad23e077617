//! Real peers and the end-to-end tests of Satellite.
//!
//! The tests run against real Mesos masters and agents, ZooKeeper, Prometheus
//! and Alertmanager (`peers/README.md` says where each comes from). This crate
//! starts them, each on an address of its own and with its log in the run's
//! folder, waits until each is ready, talks to each, and sees to it that none
//! outlives the run, however the run ends.
//!
//! Everything here blocks: a test is one thread that starts processes and waits
//! for conditions, and plain code says that best.
//!
//! From the ground up:
//!
//! * [`run`]: what one run owns: its folder, its addresses, its [`reaper`].
//! * [`process`]: a child process that can be stopped, killed, frozen, restarted.
//! * [`wait`]: waiting for a condition with a deadline, never for a time.
//! * [`way`]: a way to servers that can be cut, or fall silent.
//! * [`zookeeper`], [`mesos`], [`framework`], [`prometheus`], [`alertmanager`],
//!   [`satellite`]: one module per peer.
//! * [`rules`]: the shipped alert rules, sped up by a factor.
//! * [`cluster`]: a whole Mesos cluster with tasks on every host.
//! * [`shipped`]: the configuration files of `alerts/`, moved and sped up.
//! * [`deployment`]: all of Satellite, running beside a cluster.
//! * [`cases`]: cases that share all that, and run one after another.

pub mod address;
pub mod alertmanager;
pub mod cases;
pub mod cluster;
pub mod deployment;
pub mod framework;
pub mod http;
pub mod layout;
pub mod mesos;
pub mod process;
pub mod prometheus;
pub mod reaper;
pub mod rules;
pub mod run;
pub mod satellite;
pub mod shipped;
pub mod wait;
pub mod way;
pub mod zookeeper;
