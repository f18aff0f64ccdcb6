//! `[respond]`: pages shown instead of the built-in problem document.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Error pages by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RespondSettings {
    /// HTML files for 502, 503 and 504, sent to clients that accept HTML.
    pub pages: BTreeMap<u16, PathBuf>,
}
