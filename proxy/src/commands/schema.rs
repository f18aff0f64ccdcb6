//! `pillion schema`: the JSON Schema of the configuration.

use super::Failure;

/// Prints the schema (draft 2020-12).
///
/// # Errors
/// If it cannot be printed.
pub(crate) fn schema() -> Result<(), Failure> {
    super::print(&format!("{}\n", config::schema()))
}
