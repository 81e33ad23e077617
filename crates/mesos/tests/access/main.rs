//! Being let in, against a Mesos and a login service that let in whom they were told to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod credentials;
mod fake;
mod login;
mod tls;
