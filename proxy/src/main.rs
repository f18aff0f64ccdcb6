//! The `pillion` command.

mod commands;

use std::process::ExitCode;

/// Measured against the system's; see ARCHITECTURE.md. Without transparent huge pages: each thread would
/// hold some of 2 MiB before it has stored anything, 22 MiB where 9 do.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::main()
}
