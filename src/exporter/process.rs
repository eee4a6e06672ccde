//! The standard `process_*` metrics.
//!
//! The `prometheus` crate's own collector truncates CPU time to seconds and reports a start time of 0 where
//! `/proc/stat` is hidden (`ProcSubset=pid`). A value that cannot be had here is left out, not made up.

use std::time::{Duration, SystemTime};

use procfs::process::Process as Proc;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::unix_seconds;
use crate::exposition::{Family, Page, Value};

/// This process.
#[derive(Debug)]
pub struct Process {
    started: SystemTime,
}

impl Process {
    /// Works out once when the process started, so that the value never wobbles with the clock.
    pub fn new() -> Self {
        Self { started: started().unwrap_or_else(SystemTime::now) }
    }

    /// Unix time when it started, in milliseconds.
    pub fn started_unix_ms(&self) -> u64 {
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes the families.
    pub fn write(&self, page: &mut Page<'_>) {
        page.family(Family::counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        ))
        .add_since("", cpu_seconds(), self.started_unix_ms());
        let mut gauge = |name, help, value: Option<Value>| {
            if let Some(value) = value {
                page.family(Family::gauge(name, help)).add("", value);
            }
        };
        let open_files = Proc::myself().and_then(|process| process.fd_count()).ok();
        gauge("process_max_fds", "Maximum number of open file descriptors.", Some(limit(Resource::Nofile)));
        gauge("process_open_fds", "Number of open file descriptors.", open_files.map(Value::from));
        let stat = Proc::myself().and_then(|process| process.stat()).ok();
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            stat.as_ref().map(|stat| (stat.rss * procfs::page_size()).into()),
        );
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            Some(((unix_seconds(self.started) * 100.0).round() / 100.0).into()),
        );
        gauge(
            "process_threads",
            "Number of OS threads in the process.",
            stat.as_ref().and_then(|stat| u64::try_from(stat.num_threads).ok()).map(Value::from),
        );
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            stat.as_ref().map(|stat| stat.vsize.into()),
        );
        gauge(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            Some(limit(Resource::As)),
        );
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

/// CPU time of all threads: `/proc` tells hundredths of a second, this clock nanoseconds.
fn cpu_seconds() -> f64 {
    let time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
    // Whole microseconds, so that the page shows no digits that mean nothing.
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).as_secs_f64()
}

/// A limit without end is +Inf.
fn limit(resource: Resource) -> Value {
    getrlimit(resource).current.map_or(Value::Float(f64::INFINITY), Value::Integer)
}

/// Now, less the time since the start. `/proc/self/stat` tells the start in ticks since boot, and the boot
/// clock's reading needs no `/proc`.
fn started() -> Option<SystemTime> {
    let ticks = Proc::myself().ok()?.stat().ok()?.starttime;
    let per_second = procfs::ticks_per_second();
    let since_boot = Duration::from_millis(ticks.checked_mul(1000)?.checked_div(per_second)?);
    let uptime = Duration::try_from(clock_gettime(ClockId::Boottime)).ok()?;
    SystemTime::now().checked_sub(uptime.checked_sub(since_boot)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Format;

    fn value(page: &str, name: &str) -> f64 {
        let line = page.lines().find(|line| line.starts_with(name) && !line.starts_with('#')).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn tells_the_truth() {
        // Some CPU time below a second, which must not be rounded away.
        let spun: u64 = (0..3_000_000u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(spun);
        let mut text = Vec::new();
        let mut page = Page::new(Format::Text, &mut text);
        Process::new().write(&mut page);
        page.finish().unwrap();
        let page = String::from_utf8(text).unwrap();
        let cpu = value(&page, "process_cpu_seconds_total");
        assert!(cpu > 0.0 && cpu.fract() > 0.0, "{cpu}");
        let now = unix_seconds(SystemTime::now());
        let age = now - value(&page, "process_start_time_seconds");
        assert!((0.0..3600.0).contains(&age), "{age}");
        assert!(value(&page, "process_open_fds") >= 3.0);
        assert!(value(&page, "process_resident_memory_bytes") > 100_000.0);
        assert!(value(&page, "process_threads") >= 1.0);
    }
}
