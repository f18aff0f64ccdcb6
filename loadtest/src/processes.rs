//! What the kernel says of a program and all that it started: CPU time, memory, descriptors, ports.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A process by its number.
pub(crate) type Pid = u32;

/// User and system seconds of a process and its descendants, those that ended included.
///
/// To a hundredth of a second: a round must be long against that.
pub(crate) fn cpu_seconds(root: Pid) -> f64 {
    let ticks: u64 = tree(root)
        .into_iter()
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // After the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17.
            let fields = stat.rsplit_once(") ")?.1;
            let times = fields.split(' ').skip(11).take(4);
            Some(
                times
                    .filter_map(|time| time.parse::<u64>().ok())
                    .sum::<u64>(),
            )
        })
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Resident bytes of a process and its descendants; shared pages count once for each.
pub(crate) fn resident(root: Pid) -> u64 {
    let pages: u64 = tree(root)
        .into_iter()
        .filter_map(|pid| {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            statm.split(' ').nth(1)?.parse::<u64>().ok()
        })
        .sum();
    pages * rustix::param::page_size() as u64
}

/// Open descriptors of a process and its descendants.
pub(crate) fn descriptors(root: Pid) -> usize {
    let open = |pid: Pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    tree(root).into_iter().map(open).sum()
}

/// Threads of a process and its descendants.
pub(crate) fn threads(root: Pid) -> usize {
    let threads = |pid: Pid| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    tree(root).into_iter().map(threads).sum()
}

/// TCP ports that a process or a descendant listens on.
pub(crate) fn listening(root: Pid) -> BTreeSet<u16> {
    let mut sockets = BTreeSet::new();
    for pid in tree(root) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Ok(link) = fs::read_link(entry.path())
                && let Some(inode) = inode(&link)
            {
                sockets.insert(inode);
            }
        }
    }
    let mut ports = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<_> = line.split_whitespace().collect();
            if let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields.as_slice()
                && sockets.contains(*inode)
                && let Some((_, port)) = local.rsplit_once(':')
                && let Ok(port) = u16::from_str_radix(port, 16)
            {
                ports.insert(port);
            }
        }
    }
    ports
}

fn inode(link: &Path) -> Option<String> {
    let inside = link.to_str()?.strip_prefix("socket:[")?;
    Some(inside.strip_suffix(']')?.to_owned())
}

/// The process and all below it.
pub(crate) fn tree(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<Pid>().ok()),
            );
        }
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let own = std::process::id();
        assert!(listening(own).contains(&port));
        assert!(resident(own) > 1 << 20);
        assert!(descriptors(own) > 3 && threads(own) >= 1);
        assert!(cpu_seconds(own) >= 0.0);
    }

    #[test]
    fn children_count_while_they_run() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .spawn()
            .expect("there is a shell");
        while tree(child.id()).len() < 2 {
            std::thread::yield_now();
        }
        let tree = tree(child.id());
        assert!(tree.contains(&child.id()));
        for pid in tree {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("not zero");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
        child.wait().expect("it ended");
    }
}
