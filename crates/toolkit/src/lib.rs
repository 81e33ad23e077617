//! What every Satellite daemon is served, logged and stopped with.
//!
//! This crate is what exporter-toolkit is to Go programs: the parts of a daemon
//! that an operator meets before its purpose. It knows neither Mesos nor alerts,
//! so that both daemons start, log, reload, fail and end in the same manner.
//!
//! A daemon uses the modules in this order: [`exit::parse_args`], [`logging::init`],
//! its own configuration (through `satellite-yaml`), [`shutdown::Shutdown`],
//! [`web`], [`lifecycle`], [`serve::bind`], [`serve::serve`], and at its end
//! [`shutdown::Shutdown::drain`] and [`exit::finish`].

pub mod browser;
pub mod exit;
pub mod exposition;
pub mod lifecycle;
pub mod logging;
pub mod process;
pub mod serve;
pub mod shutdown;
pub mod web;
