//! The web configuration: its files, and a listener that obeys one over real sockets.

#![expect(clippy::unwrap_used, reason = "a test and its helpers fail by panicking")]

mod certificates;
mod changes;
mod files;
mod listener;
mod tls;
mod users;
