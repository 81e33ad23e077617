//! Stories of a small world, one file for each thing that can be asked for.
//!
//! `world` is the kit and `peers` what it is made of. Names that begin with an
//! invariant's number (`i15_…`) hold that invariant. `property` holds them all
//! over random histories.

mod absence;
mod budget;
mod evidence;
mod first_start;
mod holds;
mod inheriting;
mod inventory;
mod leaving;
mod manual;
mod peers;
mod property;
mod relapse;
mod reload;
mod rest;
mod restart;
mod returning;
mod storm;
mod telling;
mod world;
