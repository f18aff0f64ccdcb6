//! Asks a running Pillion's admin listener; for commands that are thin clients of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use config::listen::ListenAddress;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Failure, load};

/// Flags of every command that asks.
#[derive(clap::Args, Debug)]
pub(crate) struct Admin {
    /// Where the admin listener is: IP:PORT or unix:PATH [default: as configured, else 127.0.0.1:9900]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// A file with the admin token [default: as configured]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The configuration that the running Pillion was given [default: ./pillion.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One question.
pub(crate) struct Question<'a> {
    /// GET asks, POST orders.
    pub(crate) method: Method,
    /// Resource and encoded query.
    pub(crate) target: String,
    /// The kind of answer wanted.
    pub(crate) accept: &'a str,
}

impl Admin {
    /// Asks, and gives back the answer's content if it is a success.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal; in words for people.
    pub(crate) fn ask(&self, question: Question<'_>) -> Result<String, Failure> {
        let (address, token_file) = self.whereabouts()?;
        let token = token_file.map(|path| read_token(&path)).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        let asked = async { timeout(PATIENCE, ask(&address, question, token)).await };
        let (status, content) = runtime.block_on(asked).unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "The admin listener at {address} did not answer in time. \
                 Look at its log for what it is busy with."
            )))
        })?;
        if status.is_success() {
            return Ok(content);
        }
        Err(Failure::new(match status {
            StatusCode::UNAUTHORIZED => format!(
                "The admin listener at {address} wants its token. Name the file with --token-file."
            ),
            _ => refusal(&address, status, &content),
        }))
    }

    /// What flags say, else what the configuration says, else its default.
    fn whereabouts(&self) -> Result<(String, Option<PathBuf>), Failure> {
        if let Some(address) = &self.admin {
            return Ok((address.clone(), self.token_file.clone()));
        }
        let configured = load::configured_admin(self.config.as_deref())?;
        let token_file = self.token_file.clone().or(configured.token_file);
        Ok((written(&configured.address)?, token_file))
    }
}

fn written(address: &ListenAddress) -> Result<String, Failure> {
    match address {
        ListenAddress::Tcp(address) => Ok(address.to_string()),
        ListenAddress::Unix { path, .. } => Ok(format!("unix:{}", path.display())),
        ListenAddress::Systemd(name) => Err(Failure::new(format!(
            "Only systemd knows where its socket \"{name}\" is. Name the address with --admin."
        ))),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let token = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!(
            "The admin token cannot be read from {} ({error}). Name a file that you may read with --token-file.",
            path.display()
        ))
    })?;
    Ok(token.trim().to_owned())
}

fn refusal(address: &str, status: StatusCode, content: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(content).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| problem.get("detail")?.as_str())
        .unwrap_or("Is that address the admin listener's?");
    format!("The admin listener at {address} refuses ({status}): {detail}")
}

async fn ask(
    address: &str,
    question: Question<'_>,
    token: Option<String>,
) -> Result<(StatusCode, String), Failure> {
    let unreachable = |error: std::io::Error| {
        Failure::new(format!(
            "No Pillion answers at {address} ({error}). Start it with `pillion run`, \
             or name its admin address with --admin."
        ))
    };
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path).await.map_err(unreachable)?;
        converse(stream, "localhost", question, token).await
    } else {
        let host = address.strip_prefix("http://").unwrap_or(address);
        let host = host.trim_end_matches('/');
        let stream = TcpStream::connect(host).await.map_err(unreachable)?;
        converse(stream, host, question, token).await
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    question: Question<'_>,
    token: Option<String>,
) -> Result<(StatusCode, String), Failure> {
    let no_http = |error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "What listens at {host} is no admin listener ({error}). Name another with --admin."
        ))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| no_http(&error))?;
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.target)
        .header(HOST, host)
        .header(ACCEPT, question.accept);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(|error| no_http(&error))?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let content = Limited::new(body, LONGEST_ANSWER).collect().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head.status, content.to_bytes()))
    };
    // The connection does nothing unless it is polled, and has nothing to say once we are done.
    let exchanged = tokio::select! {
        exchanged = exchange => exchanged,
        Err(error) = connection => Err(error.into()),
    };
    let (status, content) = exchanged.map_err(|error| no_http(&error))?;
    Ok((status, String::from_utf8_lossy(&content).into_owned()))
}

/// `text` as a value in a query (RFC 3986 §3.4): all but unreserved characters are escaped.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

/// For the whole exchange.
const PATIENCE: Duration = Duration::from_secs(15);
/// In bytes.
const LONGEST_ANSWER: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn values_in_a_query() {
        assert_eq!(escaped("/a?b=c&d"), "%2Fa%3Fb%3Dc%26d");
        assert_eq!(escaped("a-._~Z9"), "a-._~Z9");
        assert_eq!(escaped("é"), "%C3%A9");
    }
}
