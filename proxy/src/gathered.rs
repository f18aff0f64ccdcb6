//! Writing several pieces to a socket.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Writes `pieces` as one where that is cheap: `send` takes the kernel less time than `writev` does, by more
/// than it takes to copy a head and a short content (1.4 KiB in two pieces: 2.56 us against 2.68, with the
/// copy).
pub(crate) fn poll_write(
    stream: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = pieces {
        return stream.poll_write(cx, only);
    }
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    if length > SHORT {
        return stream.poll_write_vectored(cx, pieces);
    }
    WHOLE.with_borrow_mut(|whole| {
        whole.clear();
        pieces
            .iter()
            .for_each(|piece| whole.extend_from_slice(piece));
        stream.poll_write(cx, whole)
    })
}

thread_local! {
    static WHOLE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// In bytes.
const SHORT: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Writes all of `pieces`, and reads them at the other end.
    async fn written(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let all: Vec<u8> = pieces.concat();
        let length = all.len();
        let write = async move {
            let mut left = &all[..];
            let mut first: Vec<IoSlice<'_>> =
                pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            while !left.is_empty() {
                let sent = std::future::poll_fn(|cx| poll_write(Pin::new(&mut ours), cx, &first));
                let sent = sent.await.unwrap();
                assert!(sent > 0);
                left = &left[sent..];
                first = vec![IoSlice::new(left)];
            }
        };
        let mut read = Vec::new();
        let reading = async {
            let mut theirs = (&mut theirs).take(length as u64);
            theirs.read_to_end(&mut read).await.unwrap();
        };
        tokio::join!(write, reading);
        read
    }

    #[tokio::test]
    async fn what_is_written_is_what_was_given() {
        let (short, long) = (vec![b'a'; 1000], vec![b'b'; 1 << 20]);
        for pieces in [
            &[&short[..]][..],
            &[&short, b"", &short],
            &[&long],
            &[&short, &long, &short],
        ] {
            assert!(written(pieces).await == pieces.concat(), "{}", pieces.len());
        }
    }
}
