//! `pillion completions`: what a shell needs to complete our command line.

use clap_complete::Shell;

use super::Failure;

/// See the module.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// Prints the shell's script for `command`.
///
/// # Errors
/// If it cannot be printed.
pub(crate) fn completions(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
