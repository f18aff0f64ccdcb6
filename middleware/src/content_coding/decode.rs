//! Takes a coding off that the upstream put on, for clients that do not take it.

use std::io;

use async_compression::codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use async_compression::zstd::DParameter;

use crate::content_coding::Coding;
use crate::content_coding::recoded::Codec;
use crate::{Error, ErrorKind};

/// A decoder for content that is coded with `coding`. It fails where content ends before its coding
/// does, where it is not coded so, and where it grows beyond all measure.
pub(crate) fn decoder(coding: Coding) -> Box<dyn Codec + Send> {
    match coding {
        Coding::Br => Box::new(Decoding::new(BrotliDecoder::new(), Members::One)),
        Coding::Zstd => {
            let params = [DParameter::window_log_max(ZSTD_WINDOW)];
            let decoder = ZstdDecoder::new_with_params(&params);
            Box::new(Decoding::new(decoder, Members::Several))
        }
        Coding::Gzip => Box::new(Decoding::new(GzipDecoder::new(), Members::Several)),
    }
}

/// What a failure of a decoder means for the client.
pub(crate) fn failed(error: io::Error) -> Error {
    let (kind, detail) = match error.kind() {
        io::ErrorKind::UnexpectedEof => (
            ErrorKind::HttpResponseIncomplete,
            "the upstream's coded content ended early",
        ),
        io::ErrorKind::FileTooLarge => (
            ErrorKind::HttpProtocolError,
            "the upstream's coded content is too large when decoded",
        ),
        _ => (
            ErrorKind::HttpProtocolError,
            "the upstream's content is not coded as it says",
        ),
    };
    Error::upstream(kind).detail(detail).caused_by(error)
}

/// Whether content may be several coded pieces in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    /// What follows the end is left out, as browsers do.
    One,
    /// RFC 1952 §2.2, RFC 8878 §3.1.
    Several,
}

/// A decoder as a [`Codec`], with a measure.
struct Decoding<D> {
    decoder: D,
    members: Members,
    state: State,
    taken: u64,
    given: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing came yet. Nothing at all is no content, coded or not.
    Empty,
    Within,
    /// A member has ended.
    Between,
}

impl<D: DecodeV2> Decoding<D> {
    fn new(decoder: D, members: Members) -> Self {
        Self {
            decoder,
            members,
            state: State::Empty,
            taken: 0,
            given: 0,
        }
    }

    /// Decodes what fits; notes the end of a member.
    fn decode(
        &mut self,
        input: &mut PartialBuffer<&[u8]>,
        output: &mut WriteBuffer<'_>,
    ) -> io::Result<()> {
        let before = output.written_len();
        let taken = input.written_len();
        if self.decoder.decode(input, output)? {
            self.state = State::Between;
        }
        self.taken += (input.written_len() - taken) as u64;
        self.given += (output.written_len() - before) as u64;
        self.measure()
    }

    fn measure(&self) -> io::Result<()> {
        let allowed = self.taken.saturating_mul(RATIO).max(ALLOWED);
        if self.given > allowed.min(LIMIT) {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "a decompression bomb",
            ));
        }
        Ok(())
    }
}

impl<D: DecodeV2> Codec for Decoding<D> {
    fn run(
        &mut self,
        input: &mut PartialBuffer<&[u8]>,
        output: &mut WriteBuffer<'_>,
    ) -> io::Result<()> {
        match (self.state, self.members) {
            (State::Within | State::Empty, _) => {}
            (State::Between, Members::Several) => self.decoder.reinit()?,
            (State::Between, Members::One) => {
                input.advance(input.unwritten().len());
                return Ok(());
            }
        }
        self.state = State::Within;
        self.decode(input, output)
    }

    fn flush(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool> {
        if self.state != State::Within {
            return Ok(true);
        }
        // Without input: gives what is decoded and did not fit before. If there is no such thing, some
        // decoders call that an error.
        let before = output.written_len();
        let result = self.decode(&mut PartialBuffer::new(&[]), output);
        if output.written_len() > before {
            result?;
        }
        Ok(!output.has_no_spare_space())
    }

    fn finish(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool> {
        if self.flush(output)? {
            return match self.state {
                State::Within => Err(io::ErrorKind::UnexpectedEof.into()),
                State::Empty | State::Between => Ok(true),
            };
        }
        Ok(false)
    }
}

/// 8 MiB, as RFC 9659 §3 has it; the library would take 128.
const ZSTD_WINDOW: u32 = 23;
/// How much larger content may get. DEFLATE reaches 1,032; text rarely 20.
const RATIO: u64 = 256;
/// What is no harm at any ratio.
const ALLOWED: u64 = 16 << 20;
/// The end, at any ratio.
const LIMIT: u64 = 4 << 30;
