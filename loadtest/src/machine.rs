//! The machine that measures: figures of one say nothing of another.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a reader of figures must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// As baselines are named: the same for machines of one kind.
    pub(crate) key: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Of the last minute, before the measurement.
    pub(crate) load: f64,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or(std::env::consts::ARCH, |(_, name)| name)
            .to_owned();
        let kib: u64 = read("/proc/meminfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("MemTotal:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        // All of them, however few this process was given.
        let cores = cpuinfo
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count()
            .max(1);
        let memory_gib = (kib + (1 << 19)) >> 20;
        Self {
            key: key(&processor, cores, memory_gib),
            processor,
            cores,
            memory_gib,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }

    /// In one line.
    pub(crate) fn words(&self) -> String {
        format!(
            "{}, {} cores, {} GiB, Linux {}",
            self.processor, self.cores, self.memory_gib, self.kernel
        )
    }
}

fn key(processor: &str, cores: usize, memory_gib: u64) -> String {
    let mut key = String::new();
    for character in processor
        .chars()
        .chain(format!(" {cores}x {memory_gib}gib").chars())
    {
        match character.to_ascii_lowercase() {
            letter if letter.is_ascii_alphanumeric() => key.push(letter),
            _ if key.ends_with('-') || key.is_empty() => {}
            _ => key.push('-'),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_is_a_file_s_name() {
        assert_eq!(
            super::key("Intel(R) Xeon(R) CPU @ 2.20GHz", 2, 23),
            "intel-r-xeon-r-cpu-2-20ghz-2x-23gib"
        );
        assert!(super::Machine::this().cores >= 1);
    }
}
