//! `pillion loadtest`: starts the load tester, which is a program of its own.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Failure, child};

/// See the module. Nothing of it is ours to read.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<OsString>,
}

/// Becomes the load tester.
///
/// # Errors
/// When it is neither beside this program nor on PATH.
pub(crate) fn loadtest(args: &Args) -> Result<std::process::ExitCode, Failure> {
    let own = env::current_exe().map_err(|error| {
        Failure::new(format!(
            "This program's own file cannot be found ({error})."
        ))
    })?;
    let beside = own.with_file_name(PROGRAM);
    if let Some(cargo) = env::var_os("CARGO").filter(|_| is_built_here(&own)) {
        build(Path::new(&cargo), &own)?;
    }
    let program = if beside.is_file() {
        beside
    } else if child::exists(PROGRAM.as_ref()) {
        PathBuf::from(PROGRAM)
    } else {
        return Err(Failure::new(format!(
            "{PROGRAM} is neither beside {} nor on PATH. Build it beside this program: \
             cargo build --release -p loadtest",
            own.display()
        )));
    };
    // Returns only when it could not become the other.
    let error = Command::new(&program).args(&args.arguments).exec();
    Err(Failure::new(format!(
        "{} cannot be started ({error}).",
        program.display()
    )))
}

/// Whether `cargo run` started this program, which builds nothing but this program.
fn is_built_here(own: &Path) -> bool {
    let Some(source) = env::var_os("CARGO_MANIFEST_DIR") else {
        return false;
    };
    let workspace = Path::new(&source).parent().unwrap_or(Path::new("/"));
    own.starts_with(workspace) && workspace.join("loadtest/Cargo.toml").is_file()
}

/// What `cargo run` has left out.
fn build(cargo: &Path, own: &Path) -> Result<(), Failure> {
    let folder = own.parent().and_then(Path::file_name);
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "loadtest"]);
    if folder.is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    if !own.with_file_name(PROGRAM).is_file() {
        eprintln!("Building the load tester; this is done once.");
    }
    let done = command.stdout(Stdio::null()).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("cargo build -p loadtest: {status}."))),
        Err(error) => Err(Failure::new(format!("cargo cannot be started ({error})."))),
    }
}

const PROGRAM: &str = "pillion-loadtest";
