//! The app: started with a port of its own, or found where it runs already.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Program, Target, free_port};
use crate::failure::{Failure, Result};
use crate::origin::Origin;

/// Which app is measured.
#[derive(Clone, Debug)]
pub(crate) enum App {
    /// A command for the shell, which is told its port in PORT and in place of `{port}`.
    Command {
        command: String,
        /// The port that it takes without being told.
        port: Option<u16>,
        /// What it may take to start.
        patience: Duration,
    },
    /// One that runs already.
    Running(Origin),
}

impl App {
    /// Starts it, if it is to be started, and waits until it listens.
    ///
    /// # Errors
    /// When it ends, or never listens.
    pub(crate) async fn start(
        &self,
        name: &str,
        folder: &Path,
        cores: Option<&str>,
    ) -> Result<(Target, Option<Program>)> {
        let port = match self {
            Self::Command {
                port: Some(port), ..
            } => *port,
            _ => free_port()?,
        };
        self.start_at(port, name, folder, cores).await
    }

    /// The same at a port that is known.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) async fn start_at(
        &self,
        port: u16,
        name: &str,
        folder: &Path,
        cores: Option<&str>,
    ) -> Result<(Target, Option<Program>)> {
        let target = |origin: Origin, processes| Target {
            name: name.to_owned(),
            origin,
            processes,
            admin: None,
        };
        let (command, patience) = match self {
            Self::Running(origin) => {
                origin
                    .connect(crate::scenario::Http::One)
                    .await
                    .map_err(|error| {
                        Failure::unmeasured(format!(
                            "Nothing answers at {} ({error}).",
                            origin.base()
                        ))
                    })?;
                return Ok((target(origin.clone(), Vec::new()), None));
            }
            Self::Command {
                command, patience, ..
            } => (command, *patience),
        };
        let text = expanded(command, port)?;
        let mut shell = match cores {
            None => Command::new("sh"),
            Some(cores) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["-c", cores, "sh"]);
                taskset
            }
        };
        shell.args(["-c", &text]).env("PORT", port.to_string());
        let mut program = Program::start(name, shell, folder)?;
        let origin = Origin::local(port, false);
        program.listens(&origin, patience).await?;
        let processes = vec![("app".to_owned(), program.pid())];
        Ok((target(origin, processes), Some(program)))
    }
}

/// `synthetic` is this program's own upstream; `{port}` is the port.
fn expanded(command: &str, port: u16) -> Result<String> {
    let command = match command.strip_prefix(SYNTHETIC) {
        Some(options) if options.is_empty() || options.starts_with(' ') => {
            let own = std::env::current_exe().map_err(|error| {
                Failure::unmeasured(format!("This program's own file: {error}."))
            })?;
            format!("exec {} upstream --port {{port}}{options}", quoted(&own))
        }
        _ => command.to_owned(),
    };
    Ok(command.replace("{port}", &port.to_string()))
}

/// Whether the command is this program's own upstream, which counts what it is asked.
pub(crate) fn is_synthetic(command: &str) -> bool {
    command == SYNTHETIC || command.starts_with("synthetic ")
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// The Pillion to measure: the one named, else the one beside this program, else the one on PATH.
///
/// # Errors
/// When there is none.
pub(crate) fn pillion(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        let found = path.is_file().then(|| path.to_owned());
        return found.ok_or_else(|| Failure::usage(format!("{} is not there.", path.display())));
    }
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join("pillion")));
    beside
        .filter(|path| path.is_file())
        .or_else(|| super::peers::on_path("pillion"))
        .ok_or_else(|| {
            Failure::unmeasured(
                "There is no pillion beside this program or on PATH. Build it (cargo build --release), \
                 or name it with --pillion.",
            )
        })
}

const SYNTHETIC: &str = "synthetic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_takes_its_place() {
        assert_eq!(
            expanded("serve -p {port}", 5).ok().as_deref(),
            Some("serve -p 5")
        );
        let own = expanded("synthetic --slow 20%", 5).expect("this program has a file");
        assert!(own.ends_with("' upstream --port 5 --slow 20%"), "{own}");
        assert_eq!(
            expanded("synthetics", 5).ok().as_deref(),
            Some("synthetics")
        );
        assert!(is_synthetic("synthetic") && !is_synthetic("synthetics"));
    }
}
