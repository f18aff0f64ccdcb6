//! What the kernel knows about this process. Linux only: elsewhere these metrics are absent.

use std::fs;

use super::catalogue::{
    PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_RESIDENT, PROCESS_START, PROCESS_THREADS,
    PROCESS_VIRTUAL,
};
use super::exposition::Gathered;

/// Adds what can be read; a figure that cannot is left out.
pub(super) fn gather(gathered: &mut Gathered) {
    if let Some(stat) = read("/proc/self/stat").as_deref().and_then(Stat::parse) {
        gathered.seconds(&PROCESS_CPU, stat.cpu_seconds);
        gathered.gauge(&PROCESS_THREADS, vec![], stat.threads);
        gathered.gauge(&PROCESS_VIRTUAL, vec![], stat.virtual_bytes);
        let boot = read("/proc/stat").as_deref().and_then(boot_time);
        if let Some(boot) = boot {
            gathered.gauge(&PROCESS_START, vec![], boot + stat.started_after_boot);
        }
    }
    // `stat` counts resident memory in pages of a size it does not tell, and lazily; this is exact.
    if let Some(resident) = resident() {
        gathered.gauge(&PROCESS_RESIDENT, vec![], resident);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that we are reading.
        gathered.gauge(&PROCESS_FDS, vec![], open.count().saturating_sub(1) as f64);
    }
    if let Some(limit) = read("/proc/self/limits").as_deref().and_then(max_open) {
        gathered.gauge(&PROCESS_MAX_FDS, vec![], limit);
    }
}

/// Resident memory in bytes, where it can be read.
pub fn resident() -> Option<f64> {
    read("/proc/self/status")
        .as_deref()
        .and_then(resident_bytes)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The fields of `/proc/self/stat` that we report (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// Seconds.
    started_after_boot: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the command in parentheses, and may itself hold any of these.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered from 1 in the manual; `rest` begins with field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS,
            threads: field(20)?,
            started_after_boot: field(22)? / TICKS,
            virtual_bytes: field(23)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<f64> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse().ok()
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn max_open(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The kernel's clock ticks in a second as user space sees them: 100 on every architecture that
/// we build for (USER_HZ), whatever the kernel's own rate is.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_of_a_command_with_spaces_and_parentheses() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 1234 4096 5 6";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                cpu_seconds: 2.0,
                threads: 9.0,
                started_after_boot: 12.34,
                virtual_bytes: 4096.0
            }
        );
    }

    #[test]
    fn reads_the_small_files() {
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
        assert_eq!(
            resident_bytes("Name:\tx\nVmRSS:\t   12 kB\n"),
            Some(12288.0)
        );
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(max_open(limits), Some(1024.0));
        assert_eq!(max_open("Max open files unlimited unlimited files"), None);
    }
}
