//! The `pillion` command.

mod commands;

use std::process::ExitCode;

/// Measured against the system's; see ARCHITECTURE.md.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::main()
}
