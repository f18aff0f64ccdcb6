//! One upstream body, read once, for all who share it and for the store.
//!
//! Nobody pumps it: whichever reader has used up what is buffered reads on for all, and the upstream
//! wakes every reader that waits. So a slow client holds up nobody but itself, and no task is needed.
//! While the content may still be stored all of it is kept, and readers may join. Once it turns out
//! to be too long to store, only a window is kept: the fastest reader waits for the slowest, and one
//! that takes nothing for too long is dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use crate::cache::reason::Reason;
use crate::cache::stored::StoredResponse;
use crate::{Body, Error, ErrorKind, Result};

/// What becomes of the content when it is all there, or when it is clear that it never will be
/// stored. Called once, outside of all locks.
pub(crate) type OnEnd = Box<dyn FnOnce(Result<Vec<Bytes>, Reason>) + Send>;

/// The bounds of one fill.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Longer content is not stored.
    pub(crate) most: u64,
    /// Bytes that all fills hold together, and what they may.
    pub(crate) held: Arc<AtomicU64>,
    pub(crate) most_held: u64,
}

/// See the module.
pub(crate) struct Fill {
    /// The head that all readers' answers have.
    pub(crate) head: Arc<StoredResponse>,
    /// As the upstream says it.
    declared: Option<u64>,
    bounds: Bounds,
    tasks: TaskTracker,
    state: Mutex<State>,
    waiting: Arc<Waiting>,
}

struct State {
    /// `None` once it has ended.
    source: Option<Body>,
    /// What is kept, and the number of its first piece.
    pieces: VecDeque<Bytes>,
    first: u64,
    /// Bytes in `pieces`.
    kept: u64,
    received: u64,
    /// `Some` as long as the content may be stored.
    on_end: Option<OnEnd>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    /// Places of the readers by their number.
    readers: Vec<(u64, u64)>,
    next_reader: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Failed(ErrorKind),
}

/// What is to be done when the lock is released.
type After = Option<(OnEnd, Result<Vec<Bytes>, Reason>)>;

impl Fill {
    /// Starts to read `source`, which declared `declared` bytes; the reader is the leader's.
    pub(crate) fn start(
        source: Body,
        declared: Option<u64>,
        head: Arc<StoredResponse>,
        bounds: Bounds,
        tasks: TaskTracker,
        on_end: impl FnOnce(&Arc<Self>) -> OnEnd,
    ) -> Reader {
        let fill = Arc::new(Self {
            head,
            declared,
            bounds,
            tasks,
            state: Mutex::new(State {
                source: Some(source),
                pieces: VecDeque::new(),
                first: 0,
                kept: 0,
                received: 0,
                on_end: None,
                trailers: None,
                end: None,
                readers: Vec::new(),
                next_reader: 0,
            }),
            waiting: Arc::default(),
        });
        let on_end = on_end(&fill);
        fill.lock().on_end = Some(on_end);
        fill.reader().expect("nothing was read yet")
    }

    /// One more reader from the beginning; `None` if the beginning is gone.
    pub(crate) fn reader(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        let is_whole = state.on_end.is_some() || state.end == Some(End::Complete);
        if !is_whole || state.first > 0 {
            return None;
        }
        let number = state.next_reader;
        state.next_reader += 1;
        state.readers.push((number, 0));
        drop(state);
        Some(Reader {
            fill: self.clone(),
            number,
            given: 0,
            stall: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one frame of the upstream for all; ready if anything has changed.
    fn advance(&self, state: &mut State, after: &mut After) -> Poll<()> {
        let Some(source) = state.source.as_mut() else {
            return Poll::Ready(());
        };
        let waker = Waker::from(self.waiting.clone());
        let frame = match Pin::new(source).poll_frame(&mut Context::from_waker(&waker)) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame,
        };
        match frame {
            None => self.complete(state, after),
            Some(Err(error)) => self.fail(state, error.kind(), after),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.take(state, data, after),
                Err(frame) => state.trailers = frame.into_trailers().ok(),
            },
        }
        Poll::Ready(())
    }

    fn take(&self, state: &mut State, data: Bytes, after: &mut After) {
        if data.is_empty() {
            return;
        }
        let length = data.len() as u64;
        state.received += length;
        state.kept += length;
        state.pieces.push_back(data);
        let held = self.bounds.held.fetch_add(length, Ordering::Relaxed) + length;
        if state.received > self.bounds.most {
            state.give_up(Reason::TooLarge, after);
        } else if held > self.bounds.most_held {
            state.give_up(Reason::FillMemory, after);
        }
        self.trim(state);
        if state.source.as_ref().is_some_and(HttpBody::is_end_stream) {
            self.complete(state, after);
        }
    }

    fn complete(&self, state: &mut State, after: &mut After) {
        if self
            .declared
            .is_some_and(|declared| declared != state.received)
        {
            self.fail(state, ErrorKind::HttpResponseIncomplete, after);
            return;
        }
        state.source = None;
        state.end = Some(End::Complete);
        if let Some(on_end) = state.on_end.take() {
            *after = Some((on_end, Ok(state.pieces.iter().cloned().collect())));
        }
    }

    fn fail(&self, state: &mut State, kind: ErrorKind, after: &mut After) {
        state.source = None;
        state.end = Some(End::Failed(kind));
        state.give_up(Reason::Incomplete, after);
    }

    /// Forgets what all readers have, once nothing is to be stored and nobody can join.
    fn trim(&self, state: &mut State) {
        if state.on_end.is_some() || state.end == Some(End::Complete) {
            return;
        }
        let slowest = state.slowest();
        while state.first < slowest {
            let Some(piece) = state.pieces.pop_front() else {
                return;
            };
            state.first += 1;
            state.kept -= piece.len() as u64;
            self.bounds
                .held
                .fetch_sub(piece.len() as u64, Ordering::Relaxed);
        }
    }

    /// Whether the fastest reader has to wait for the slowest.
    fn is_full(state: &State) -> bool {
        state.on_end.is_none() && state.end.is_none() && state.kept >= WINDOW
    }
}

impl State {
    fn give_up(&mut self, reason: Reason, after: &mut After) {
        if let Some(on_end) = self.on_end.take() {
            *after = Some((on_end, Err(reason)));
        }
    }

    fn slowest(&self) -> u64 {
        self.readers
            .iter()
            .map(|(_, place)| *place)
            .min()
            .unwrap_or(u64::MAX)
    }

    fn place(&mut self, number: u64) -> Option<&mut u64> {
        let reader = self
            .readers
            .iter_mut()
            .find(|(reader, _)| *reader == number)?;
        Some(&mut reader.1)
    }

    /// The next piece for the reader at `place`.
    fn piece(&self, place: u64) -> Option<Bytes> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.pieces.get(index).cloned()
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.bounds.held.fetch_sub(state.kept, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fill")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// One client's way through a [`Fill`].
pub(crate) struct Reader {
    fill: Arc<Fill>,
    number: u64,
    given: u64,
    /// Runs while this reader waits for a slower one, which was then at this place.
    stall: Option<(Pin<Box<Sleep>>, u64)>,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let mut after = None;
        let polled = self.poll_locked(cx, &mut after);
        if let Some((on_end, content)) = after {
            on_end(content);
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        match self.fill.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.given)),
            None => SizeHint::new(),
        }
    }
}

impl Reader {
    fn poll_locked(
        &mut self,
        cx: &mut Context<'_>,
        after: &mut After,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let fill = self.fill.clone();
        let mut state = fill.lock();
        loop {
            let Some(place) = state.place(self.number).map(|place| *place) else {
                return Poll::Ready(Some(Err(too_slow())));
            };
            if let Some(piece) = state.piece(place) {
                self.give(&mut state, place, &piece);
                if state.on_end.is_none() {
                    fill.trim(&mut state);
                    // Whoever waits for the slowest, which we may have been, looks again.
                    fill.waiting.wake_all();
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match state.end {
                Some(End::Failed(kind)) => return Poll::Ready(Some(Err(Error::upstream(kind)))),
                Some(End::Complete) => return Poll::Ready(self.trailers(&state)),
                None => {}
            }
            if Fill::is_full(&state) && self.must_wait(cx, &mut state) {
                return Poll::Pending;
            }
            // In the list before the upstream is asked, so that no news is missed.
            fill.waiting.add(self.number, cx.waker());
            if fill.advance(&mut state, after).is_pending() {
                return Poll::Pending;
            }
            fill.waiting.remove(self.number);
            fill.waiting.wake_all();
        }
    }

    fn give(&mut self, state: &mut State, place: u64, piece: &Bytes) {
        self.stall = None;
        self.given += piece.len() as u64;
        if let Some(next) = state.place(self.number) {
            *next = place + 1;
        }
    }

    /// Trailers go to each reader once, after the content; they are not stored.
    fn trailers(&mut self, state: &State) -> Option<Result<Frame<Bytes>>> {
        const GIVEN: u64 = u64::MAX;
        let trailers = state.trailers.clone().filter(|_| self.given != GIVEN)?;
        self.given = GIVEN;
        Some(Ok(Frame::trailers(trailers)))
    }

    /// Waits until the slowest reader has moved, but no longer than [`STALL`]: then it is dropped.
    fn must_wait(&mut self, cx: &mut Context<'_>, state: &mut State) -> bool {
        let slowest = state.slowest();
        let fill = self.fill.clone();
        let (timer, _) = self
            .stall
            .take_if(|(_, seen)| *seen == slowest)
            .unwrap_or_else(|| (Box::pin(sleep(STALL)), slowest));
        let (timer, _) = self.stall.insert((timer, slowest));
        fill.waiting.add(self.number, cx.waker());
        if timer.as_mut().poll(cx).is_pending() {
            return true;
        }
        self.stall = None;
        let own = self.number;
        state
            .readers
            .retain(|(number, place)| *number == own || *place > slowest);
        fill.trim(state);
        fill.waiting.wake_all();
        false
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut after = None;
        let mut is_worth_finishing = false;
        {
            let mut state = self.fill.lock();
            state.readers.retain(|(number, _)| *number != self.number);
            self.fill.trim(&mut state);
            if state.readers.is_empty() && state.end.is_none() {
                let left = self
                    .fill
                    .declared
                    .map(|declared| declared.saturating_sub(state.received));
                is_worth_finishing = state.on_end.is_some()
                    && left.is_some_and(|left| left <= SMALL)
                    && tokio::runtime::Handle::try_current().is_ok();
                if !is_worth_finishing {
                    self.fill
                        .fail(&mut state, ErrorKind::ConnectionTerminated, &mut after);
                }
            }
        }
        self.fill.waiting.remove(self.number);
        self.fill.waiting.wake_all();
        if let Some((on_end, content)) = after {
            on_end(content);
        }
        if is_worth_finishing && let Some(reader) = self.fill.reader() {
            self.fill.tasks.spawn(finish(reader));
        }
    }
}

/// Reads the little that is left when all clients have gone, for the store.
async fn finish(reader: Reader) {
    let mut rest = Body::stream(reader);
    let read = async { while let Some(Ok(_)) = rest.frame().await {} };
    if tokio::time::timeout(FINISH, read).await.is_err() {
        tracing::debug!("The rest of a response that nobody reads any more did not come in time.");
    }
}

/// The readers that wait, to be woken all at once.
#[derive(Default)]
struct Waiting(Mutex<Vec<(u64, Waker)>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, reader: u64, waker: &Waker) {
        let mut waiting = self.lock();
        match waiting.iter_mut().find(|(number, _)| *number == reader) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((reader, waker.clone())),
        }
    }

    fn remove(&self, reader: u64) {
        self.lock().retain(|(number, _)| *number != reader);
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

fn too_slow() -> Error {
    Error::client(ErrorKind::HttpResponseIncomplete)
        .detail("the content was taken too slowly to be shared any longer")
}

/// Kept for slower readers once nothing is to be stored.
const WINDOW: u64 = 256 << 10;
/// How long a reader may hold up the others.
const STALL: Duration = Duration::from_secs(10);
/// What is read to its end for the store although every client has gone.
const SMALL: u64 = 64 << 10;
/// How long that may take.
const FINISH: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "fill_tests.rs"]
mod tests;
