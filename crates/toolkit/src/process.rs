//! The `process_*` series that every exporter of this ecosystem has, and
//! `satellite_build_info`.
//!
//! They are read from `/proc/self` at each scrape. That is no I/O that could wait: the kernel
//! answers from memory. What cannot be read is absent.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use crate::exposition::{Family, Kind, Labels};

/// The revision that was built, where the build says it.
const REVISION: Option<&str> = option_env!("SATELLITE_REVISION");

/// The process's own series as they are now, and `satellite_build_info` with the program's
/// version (pass `env!("CARGO_PKG_VERSION")`).
pub fn families(version: &str) -> Vec<Family> {
    let mut labels = Labels::new([("version", version)]);
    if let Some(revision) = REVISION {
        labels = labels.with([("revision", revision)]);
    }
    let mut build = Family::new("satellite_build_info", "Which Satellite this is.", Kind::Info);
    build.push(labels, 1.0);
    let mut families = of_process();
    families.push(build);
    families
}

#[expect(clippy::cast_precision_loss, reason = "process sizes are far below 2^53")]
fn of_process() -> Vec<Family> {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::parse);
    let ticks = clock_ticks_per_second() as f64;
    let started = stat.as_ref().zip(boot_time()).map(|(s, boot)| boot + s.start_ticks / ticks);
    let open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64);
    let max_fds = getrlimit(Resource::Nofile).current.map(|limit| limit as f64);
    let values = [
        (
            "process_cpu_seconds_total",
            "User and system CPU time spent, in seconds.",
            stat.as_ref().map(|s| s.cpu_ticks / ticks),
        ),
        (
            "process_resident_memory_bytes",
            "Memory held in RAM.",
            stat.as_ref().map(|s| s.resident_pages * page_size() as f64),
        ),
        (
            "process_virtual_memory_bytes",
            "Size of the address space.",
            stat.as_ref().map(|s| s.virtual_bytes),
        ),
        ("process_start_time_seconds", "When the process started, in seconds since 1970.", started),
        ("process_open_fds", "Open file descriptors.", open_fds),
        ("process_max_fds", "Most file descriptors that may be open.", max_fds),
    ];
    let family = |(name, help, value): (&'static str, &'static str, Option<f64>)| {
        let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        let mut family = Family::new(name, help, kind);
        family.push(Labels::default(), value?);
        Some(family)
    };
    values.into_iter().filter_map(family).collect()
}

/// What is used of `/proc/self/stat`; proc(5) numbers its fields from 1.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field, the program's name in brackets, may hold spaces and brackets.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let text = "1 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";
        let stat = Stat::parse(text).unwrap();
        let expected = Stat {
            cpu_ticks: 11.0 + 12.0,
            start_ticks: 19.0,
            virtual_bytes: 20.0,
            resident_pages: 21.0,
        };
        assert_eq!(stat, expected);
    }

    #[test]
    fn this_process_has_all_of_them_and_plausible_values() {
        let families = of_process();
        assert_eq!(families.len(), 6);
        for family in &families {
            assert!(family.samples[0].1 >= 0.0, "{family:?}");
        }
        let value = |name| families.iter().find(|f| f.name == name).unwrap().samples[0].1;
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        let age = jiff::Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
