//! The remediator as a process, among peers that behave well, badly, or not at
//! all.
//!
//! The peers are fakes in this process ([`fake`], [`peers`]); the remediator is
//! the real binary ([`remediator`]), with short intervals. Every wait is for a
//! condition and has a deadline; that something does *not* happen is asserted
//! over rounds that the remediator has made, never over time that has passed.
//! What the core decides is tested in the core: here it is how facts come in and
//! what becomes of decisions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod addresses;
mod crash;
mod crash_sweep;
mod dice;
mod disk;
mod fake;
mod file;
mod first_start;
mod lifecycle;
mod manual;
mod midway;
mod migration;
mod outage;
mod peers;
mod predecessor;
mod remediator;
mod rest;
mod several;
mod sources;
mod start;
mod surface;
mod web;
mod webhook;
mod world;
