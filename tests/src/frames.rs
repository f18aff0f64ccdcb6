//! HTTP/2 frames by hand: for what a well-behaved library would not send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An HTTP/2 connection that sends what it is told.
pub struct Frames {
    stream: TcpStream,
}

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type (RFC 9113 §6).
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A frame type.
pub const DATA: u8 = 0;
/// A frame type.
pub const HEADERS: u8 = 1;
/// A frame type.
pub const RST_STREAM: u8 = 3;
/// A frame type.
pub const SETTINGS: u8 = 4;
/// A frame type.
pub const PING: u8 = 6;
/// A frame type.
pub const GOAWAY: u8 = 7;
/// A frame type.
pub const CONTINUATION: u8 = 9;

/// A flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// A flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

impl Frames {
    /// Connects and says hello with these settings.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.expect("Pillion listens");
        // Frames are small and many; each goes by itself.
        stream.set_nodelay(true).expect("a TCP socket");
        let mut frames = Self { stream };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        frames.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(SETTINGS, 0, 0, &payload).await;
        frames
    }

    /// Sends one frame; says whether the other side still takes bytes.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.bytes(&frame(kind, flags, stream, payload)).await
    }

    /// Sends a header section in one frame.
    pub async fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> bool {
        self.send(HEADERS, flags | END_HEADERS, stream, &literal(fields))
            .await
    }

    /// A complete GET.
    pub async fn get(&mut self, stream: u32, path: &str) -> bool {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", path),
        ];
        self.headers(stream, END_STREAM, &fields).await
    }

    /// Sends bytes as they are: several frames in one write arrive together.
    pub async fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; `None` when the connection is over.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            payload,
        })
    }

    /// Reads until a frame of this kind for this stream, or the end.
    pub async fn find(&mut self, kind: u8, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if (frame.kind, frame.stream) == (kind, stream) {
                return Some(frame);
            }
        }
    }
}

/// One frame's bytes (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals without indexing and without Huffman coding (RFC 7541 §6.2.2): any bytes go.
pub fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn integer(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(0x7f) else {
        block.push(u8::try_from(value).expect("less than the prefix"));
        return;
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}
