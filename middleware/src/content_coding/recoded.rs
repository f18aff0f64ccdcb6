//! A body whose bytes pass through a coder or decoder on their way, frame by frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::core::util::{PartialBuffer, WriteBuffer};
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use crate::content_coding::coded_copies::Seat;
use crate::content_coding::head;
use crate::{Body, Error, Result};

/// What is done to the bytes.
pub(crate) trait Codec {
    /// Takes from `input` and gives to `output`, until one of them is used up.
    fn run(
        &mut self,
        input: &mut PartialBuffer<&[u8]>,
        output: &mut WriteBuffer<'_>,
    ) -> io::Result<()>;

    /// Gives what the receiver needs to see everything taken so far; `false`: there is more to give.
    fn flush(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool>;

    /// Ends the content; `false`: there is more to give.
    fn finish(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<bool>;
}

/// A source, passed through a codec.
///
/// Whenever the source pauses, what was taken is flushed, so nothing is held back. A source that
/// fails ends this body with its error, never with a clean end of what was coded so far. Trailers are
/// kept, save those that a new coding makes wrong.
pub(crate) struct Recoded {
    source: Body,
    /// Made by the first poll: it takes time and memory, and not every body is read.
    codec: MadeLate,
    /// Came from the source, not yet taken by the codec.
    input: Bytes,
    /// How many bytes the codec may take in one poll.
    turn: usize,
    /// How much the codec gave that is not yet passed on.
    given: usize,
    phase: Phase,
    trailers: Option<HeaderMap>,
    /// Told the bytes in and out when this is dropped, complete or not, if it was read.
    count: Box<dyn Fn(u64, u64) + Send>,
    taken: u64,
    passed_on: u64,
    /// What to call a failure of the codec.
    failed: fn(io::Error) -> Error,
    _seat: Seat,
}

enum MadeLate {
    Not(Box<dyn Fn() -> Box<dyn Codec + Send> + Send>),
    Made {
        codec: Box<dyn Codec + Send>,
        /// What the codec gave is in the first bytes.
        output: Box<[u8]>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the source; `unflushed`: the codec has something that the receiver has not seen.
    Reading {
        unflushed: bool,
    },
    /// The source pauses.
    Flushing,
    /// The source has ended.
    Finishing,
    /// Only trailers are left.
    Ending,
    Done,
}

/// What one step led to.
enum Step {
    Again,
    /// The source pauses, and there is nothing to pass on.
    Wait,
    /// The turn is over.
    Yield,
    /// The output is to be passed on.
    Give,
}

impl Recoded {
    /// Passes `source` through a codec, at most `turn` bytes in one poll. `count` is told how many
    /// bytes went in and came out.
    pub(crate) fn new(
        source: Body,
        codec: impl Fn() -> Box<dyn Codec + Send> + Send + 'static,
        turn: usize,
        failed: fn(io::Error) -> Error,
        count: impl Fn(u64, u64) + Send + 'static,
        seat: Seat,
    ) -> Self {
        Self {
            source,
            codec: MadeLate::Not(Box::new(codec)),
            input: Bytes::new(),
            turn,
            given: 0,
            phase: Phase::Reading { unflushed: false },
            trailers: None,
            count: Box::new(count),
            taken: 0,
            passed_on: 0,
            failed,
            _seat: seat,
        }
    }

    fn step(&mut self, turn: &mut usize, cx: &mut Context<'_>) -> Result<Step> {
        match self.phase {
            Phase::Reading { .. } if !self.input.is_empty() => self.take(turn),
            Phase::Reading { unflushed } => self.read(unflushed, cx),
            Phase::Flushing => {
                if self.drive(|codec, output| codec.flush(output))? {
                    self.phase = Phase::Reading { unflushed: false };
                    return Ok(Step::Give);
                }
                Ok(self.unless_full())
            }
            Phase::Finishing => {
                if self.drive(|codec, output| codec.finish(output))? {
                    self.phase = Phase::Ending;
                    return Ok(Step::Give);
                }
                Ok(self.unless_full())
            }
            Phase::Ending | Phase::Done => Ok(Step::Give),
        }
    }

    fn read(&mut self, unflushed: bool, cx: &mut Context<'_>) -> Result<Step> {
        match Pin::new(&mut self.source).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => self.input = data,
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    self.phase = Phase::Finishing;
                }
            },
            Poll::Ready(Some(Err(error))) => return Err(error),
            Poll::Ready(None) => self.phase = Phase::Finishing,
            Poll::Pending if unflushed => self.phase = Phase::Flushing,
            Poll::Pending if self.given > 0 => return Ok(Step::Give),
            Poll::Pending => return Ok(Step::Wait),
        }
        Ok(Step::Again)
    }

    fn take(&mut self, turn: &mut usize) -> Result<Step> {
        if *turn == 0 {
            return Ok(Step::Yield);
        }
        let mut input = std::mem::take(&mut self.input);
        let part = input.get(..input.len().min(*turn)).unwrap_or_default();
        let mut part = PartialBuffer::new(part);
        let given = self.given;
        self.drive(|codec, output| codec.run(&mut part, output))?;
        let taken = part.written_len();
        if taken == 0 && self.given == given {
            return Err((self.failed)(io::Error::other("no progress")));
        }
        *turn -= taken;
        self.taken += taken as u64;
        input.advance(taken);
        self.input = input;
        self.phase = Phase::Reading { unflushed: true };
        Ok(self.unless_full())
    }

    fn drive<T>(
        &mut self,
        act: impl FnOnce(&mut dyn Codec, &mut WriteBuffer<'_>) -> io::Result<T>,
    ) -> Result<T> {
        if let MadeLate::Not(make) = &self.codec {
            let codec = make();
            let output = vec![0; OUTPUT].into_boxed_slice();
            self.codec = MadeLate::Made { codec, output };
        }
        let MadeLate::Made { codec, output } = &mut self.codec else {
            unreachable!("it was made just now");
        };
        let spare = output.get_mut(self.given..).unwrap_or_default();
        let mut output = WriteBuffer::new_initialized(spare);
        let result = act(&mut **codec, &mut output);
        self.given += output.written_len();
        result.map_err(self.failed)
    }

    fn unless_full(&self) -> Step {
        if self.given == OUTPUT {
            Step::Give
        } else {
            Step::Again
        }
    }

    fn give(&mut self) -> Option<Frame<Bytes>> {
        let given = std::mem::take(&mut self.given);
        if let (1.., MadeLate::Made { output, .. }) = (given, &self.codec) {
            let data = output.get(..given).unwrap_or_default();
            self.passed_on += given as u64;
            return Some(Frame::data(Bytes::copy_from_slice(data)));
        }
        if self.phase != Phase::Ending {
            return None;
        }
        self.phase = Phase::Done;
        let mut trailers = self.trailers.take()?;
        head::drop_digests(&mut trailers);
        Some(Frame::trailers(trailers))
    }
}

impl HttpBody for Recoded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let mut turn = this.turn;
        loop {
            match this.step(&mut turn, cx) {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return Poll::Pending,
                Ok(Step::Yield) if this.given > 0 => return Poll::Ready(this.give().map(Ok)),
                Ok(Step::Yield) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Step::Give) => match this.give() {
                    Some(frame) => return Poll::Ready(Some(Ok(frame))),
                    None if this.phase == Phase::Done => return Poll::Ready(None),
                    None => {}
                },
                Err(error) => {
                    this.phase = Phase::Done;
                    this.given = 0;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.phase == Phase::Done
    }
}

impl Drop for Recoded {
    fn drop(&mut self) {
        if let MadeLate::Made { .. } = self.codec {
            (self.count)(self.taken, self.passed_on);
        }
    }
}

/// One frame of output at most, and the memory that a stream holds beside its codec's.
const OUTPUT: usize = 16 << 10;
