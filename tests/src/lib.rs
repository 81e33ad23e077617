//! Real peers and the end-to-end tests of Satellite.
