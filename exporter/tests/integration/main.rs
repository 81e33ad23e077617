//! The real exporter as a process, against a Mesos that answers as told.

#![expect(clippy::unwrap_used, reason = "a test and its helpers fail by panicking")]

mod access;
mod every_key;
mod exporter;
mod fake_mesos;
mod faults;
mod golden;
mod lifecycle;
mod reference;
mod web;
