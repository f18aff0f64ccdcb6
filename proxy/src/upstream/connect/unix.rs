//! Unix sockets.

use std::path::Path;

use middleware::Result;
use tokio::net::UnixStream;

use super::refused;

/// Connects to the socket at `path`.
pub(super) async fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).await.map_err(refused)
}
