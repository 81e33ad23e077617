//! The one Mesos client and its wire types.
