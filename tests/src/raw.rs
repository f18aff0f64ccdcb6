//! Bytes as they are: for what a well-behaved library would not send.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Sends `bytes` on a fresh connection and returns all that comes back until the other side closes, or until it has been
/// silent for a while after it said something.
pub async fn raw_exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("Pillion listens");
    // A refusal may close the connection before all is written.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let patience = match answer.is_empty() {
            true => crate::PATIENCE,
            false => SILENCE,
        };
        match tokio::time::timeout(patience, stream.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => return answer,
            Ok(Ok(count)) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
}

/// Longer than an answer under way takes for its next bytes on loopback, however busy the machine.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// An upstream made of bytes: answers each connection's bytes with what the script says.
pub struct RawUpstream {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawUpstream {
    /// Each connection is handed to `script`, which reads and writes as it likes; what it returns
    /// is remembered as what this connection received.
    pub async fn start<F, A>(script: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + Sync + 'static,
        A: Future<Output = Vec<u8>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let received: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let log = received.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (run, log) = (script(stream), log.clone());
                connections.spawn(async move {
                    let bytes = run.await;
                    log.lock()
                        .expect("no test panics while holding this")
                        .push(bytes);
                });
            }
        });
        Self {
            address,
            received,
            task,
        }
    }

    /// Answers every connection's first head with `answer`, then closes.
    pub async fn replying(answer: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            let head = read_head(&mut stream).await;
            stream.write_all(answer).await.ok();
            stream.shutdown().await.ok();
            head
        })
        .await
    }

    /// `http://…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What each finished connection received.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received
            .lock()
            .expect("no test panics while holding this")
            .clone()
    }
}

/// Reads until the empty line that ends a header section, or the end.
pub async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    head
}
