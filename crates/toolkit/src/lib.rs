//! What every Satellite daemon is served, logged and stopped with.
