//! Who descends from a process, and on which ports they listen; read from `/proc`, so only on Linux.
//! Elsewhere both lists are empty, and what uses them does with less.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use rustix::process::Pid;

/// All living processes that descend from `ancestor`, parents before children.
pub(crate) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in processes() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![ancestor.as_raw_pid()];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        // Taken out, so that even a table read while ids were reused has no circle.
        found.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    found
        .into_iter()
        .skip(1)
        .filter_map(Pid::from_raw)
        .collect()
}

/// The TCP ports on which `ancestor` and its descendants listen.
pub(crate) fn listening_ports(ancestor: Pid) -> BTreeSet<u16> {
    let listening: HashMap<u64, u16> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(listener).collect::<Vec<_>>())
        .collect();
    let mut family = descendants(ancestor);
    family.push(ancestor);
    family
        .into_iter()
        .flat_map(sockets_of)
        .filter_map(|inode| listening.get(&inode).copied())
        .collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fourth field of `/proc/PID/stat`. The second is a name in parentheses that may hold anything,
/// parentheses and spaces included, so fields are counted from the last one.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn sockets_of(pid: Pid) -> Vec<u64> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid()));
    let inode = |link: &str| {
        link.strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    };
    descriptors
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .filter_map(|link| inode(link.to_str()?))
        .collect()
}

/// Inode and port of one line of `/proc/net/tcp`, if it is a listening socket.
fn listener(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (*fields.get(3)? == LISTEN).then_some(())?;
    Some((fields.get(9)?.parse().ok()?, port))
}

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::{descendants, listener, listening_ports};

    #[test]
    fn a_child_descends_from_us() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat");
        let pid = i32::try_from(child.id()).unwrap();
        let found = descendants(rustix::process::getpid());
        assert!(found.iter().any(|found| found.as_raw_pid() == pid));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_listener_of_ours_is_found_by_its_port() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(listening_ports(rustix::process::getpid()).contains(&port));
    }

    #[test]
    fn lines_of_the_table() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listener(line), Some((4711, 8080)));
        assert_eq!(listener(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
        assert_eq!(listener(""), None);
    }
}
