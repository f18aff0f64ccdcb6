//! Coding of content: in one go, or as it comes.
//!
//! Levels by measurement (2-vCPU Xeon; JSON and an HTML page, in µs and bytes left of 100):
//!
//! | | 2 KiB | 16 KiB | 64 KiB | 512 KiB |
//! |---|---|---|---|---|
//! | zstd 3 | 8, 29-39 | 30-40, 18-32 | 100-220, 16-33 | 1,000-1,900, 14-25 |
//! | br 3 | 27, 29-39 | 100-150, 19-32 | 440-770, 17-33 | 3,300-5,100, 16-26 |
//! | br 4 | 40, 28-34 | 160-260, 18-31 | 1,100, 16-31 | 4,000-7,000, 15-25 |
//! | gzip 4 | 18, 29-38 | 70-110, 18-31 | 380-680, 15-32 | 3,000-5,900, 14-26 |
//! | br 9 | 1,000, 26-31 | 2,500-4,900, 16-29 | 5,000-10,000, 13-29 | 30,000-40,000, 11-22 |
//! | br 11 | 3,000, 23-27 | 22,000, 14-25 | 80,000-94,000, 12-26 | 700,000-840,000, 10-20 |
//! | zstd 19 | 400, 27-38 | 5,000, 15-30 | 15,000-30,000, 12-30 | 120,000-190,000, 10-21 |

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;

use async_compression::Level;
use async_compression::brotli::EncoderParams;
use async_compression::codecs::flate::params::FlateEncoderParams;
use async_compression::codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use async_compression::zstd::CParameter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::content_coding::Coding;
use crate::content_coding::recoded::Codec;

/// How much time a coded byte is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A client waits for it.
    Quick,
    /// It is made once, in the background, to be sent many times: at most about 0.2 s.
    Best,
}

/// `content` coded in one go; `None` if that makes it no smaller.
pub(crate) fn whole(content: &[Bytes], coding: Coding, effort: Effort) -> Option<Bytes> {
    let content = match content {
        [only] => Cow::Borrowed(&**only),
        segments => Cow::Owned(segments.concat()),
    };
    let level = level(coding, effort, content.len());
    let coded = match (coding, effort) {
        (Coding::Br, _) => brotli_whole(&content, level),
        (Coding::Zstd, Effort::Quick) => ZSTD.with_borrow_mut(|zstd| zstd.code(&content, level)),
        // A context for such a level takes megabytes, so it is not kept.
        (Coding::Zstd, Effort::Best) => Zstd::default().code(&content, level),
        (Coding::Gzip, Effort::Quick) => GZIP.with_borrow_mut(|gzip| gzip_whole(&content, gzip)),
        (Coding::Gzip, Effort::Best) => gzip_whole(&content, &mut gzip_context(level)),
    };
    coded
        .filter(|coded| coded.len() < content.len())
        .map(Bytes::from)
}

/// A coder for content that is still to come; of `length` bytes, if that is known.
pub(crate) fn streaming(coding: Coding, length: Option<u64>) -> Box<dyn Codec + Send> {
    let length = length.and_then(|length| usize::try_from(length).ok());
    let level = Level::Precise(level(coding, Effort::Quick, length.unwrap_or(usize::MAX)));
    let window = length.map_or(STREAM_WINDOW, window).min(STREAM_WINDOW);
    match coding {
        Coding::Br => {
            let window = i32::try_from(window).expect("a small number");
            let params = EncoderParams::default().quality(level).window_size(window);
            Box::new(Streaming(BrotliEncoder::new(params)))
        }
        Coding::Zstd => {
            let params = [CParameter::window_log(window)];
            let level = CParameter::quality(level);
            Box::new(Streaming(ZstdEncoder::new_with_params(level, &params)))
        }
        Coding::Gzip => Box::new(Streaming(GzipEncoder::new(FlateEncoderParams::from(level)))),
    }
}

/// How many bytes may be coded quickly on a core's own thread before others get their turn: about a
/// quarter of a millisecond's worth.
pub(crate) fn turn(coding: Coding) -> usize {
    match coding {
        Coding::Br => 16 << 10,
        Coding::Zstd => 64 << 10,
        Coding::Gzip => 32 << 10,
    }
}

/// By the table at the top of the file.
fn level(coding: Coding, effort: Effort, length: usize) -> i32 {
    const SMALL: usize = 64 << 10;
    const MIDDLE: usize = 1 << 20;
    match (coding, effort, length) {
        (Coding::Br, Effort::Quick, _) => 4,
        (Coding::Br, Effort::Best, ..=SMALL) => 11,
        (Coding::Br, Effort::Best, ..=MIDDLE) => 9,
        (Coding::Br, Effort::Best, _) => 7,
        (Coding::Zstd, Effort::Quick, _) => 3,
        (Coding::Zstd, Effort::Best, ..=SMALL) => 19,
        (Coding::Zstd, Effort::Best, ..=MIDDLE) => 15,
        (Coding::Zstd, Effort::Best, _) => 12,
        (Coding::Gzip, Effort::Quick, _) => GZIP_QUICK,
        (Coding::Gzip, Effort::Best, _) => 9,
    }
}

/// The window that spans `length` bytes, as a power of two: a larger one only costs time and memory.
/// RFC 9659 permits 8 MiB for zstd; Brotli's end of the range is 16 MiB.
fn window(length: usize) -> u32 {
    const BROTLI_RESERVES: usize = 16;
    let spans = usize::BITS - length.saturating_add(BROTLI_RESERVES).leading_zeros();
    spans.clamp(10, 22)
}

fn brotli_whole(content: &[u8], quality: i32) -> Option<Vec<u8>> {
    let params = BrotliEncoderParams {
        quality,
        lgwin: i32::try_from(window(content.len())).expect("a small number"),
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    let mut coded = Vec::with_capacity(content.len() / 2);
    let mut input = content;
    let done = brotli::BrotliCompress(&mut input, &mut coded, &params);
    reported(done).map(|_| coded)
}

/// A context that remembers its level, since setting it costs time.
#[derive(Default)]
struct Zstd {
    context: zstd::bulk::Compressor<'static>,
    level: i32,
}

impl Zstd {
    fn code(&mut self, content: &[u8], level: i32) -> Option<Vec<u8>> {
        if self.level != level {
            reported(self.context.set_compression_level(level))?;
            self.level = level;
        }
        // What does not fit is not smaller: the one error that there can be.
        let mut coded = Vec::with_capacity(content.len());
        self.context.compress_to_buffer(content, &mut coded).ok()?;
        Some(coded)
    }
}

fn gzip_context(level: i32) -> Compress {
    const WINDOW_BITS: u8 = 15;
    let level = u32::try_from(level).expect("a level is positive");
    Compress::new_gzip(Compression::new(level), WINDOW_BITS)
}

fn gzip_whole(content: &[u8], context: &mut Compress) -> Option<Vec<u8>> {
    context.reset();
    let mut coded = Vec::with_capacity(content.len());
    match context.compress_vec(content, &mut coded, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(coded),
        // What does not fit is not smaller.
        Ok(Status::Ok | Status::BufError) => None,
        Err(error) => reported(Err(error.into())),
    }
}

/// A coder that fails costs the client nothing: content goes as it is.
fn reported<T>(result: io::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| tracing::warn!(%error, "A coder failed; content goes uncoded."))
        .ok()
}

/// A coder for a stream, as a [`Codec`].
struct Streaming<E>(E);

impl<E: EncodeV2> Codec for Streaming<E> {
    fn run(
        &mut self,
        input: &mut PartialBuffer<&[u8]>,
        output: &mut WriteBuffer<'_>,
    ) -> io::Result<()> {
        self.0.encode(input, output)
    }

    fn flush(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool> {
        self.0.flush(output)
    }

    fn finish(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool> {
        self.0.finish(output)
    }
}

thread_local! {
    /// A fresh context costs 20 µs, a reused one nothing; each thread has its own, about 1 MiB.
    static ZSTD: RefCell<Zstd> = RefCell::default();
    /// Likewise, 300 KiB.
    static GZIP: RefCell<Compress> = RefCell::new(gzip_context(GZIP_QUICK));
}

const GZIP_QUICK: i32 = 4;
/// 512 KiB: thousands of streams at once must fit into memory, each with its window.
const STREAM_WINDOW: u32 = 19;
