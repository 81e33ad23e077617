//! Every decision of the remediator, as pure functions.
