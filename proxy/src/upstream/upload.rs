//! A request's content on its way to the upstream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use middleware::clock::Clock;
use middleware::forwarding::strip_trailers;
use middleware::{Body, Error, ErrorKind, Result, Side};
use tokio::time::Sleep;

/// What hyper sends as the content of a request.
pub(super) enum Outgoing {
    /// Here already, all of it: may be sent twice.
    Whole(Body),
    /// Still coming from the client.
    Upload(Upload),
}

/// The sending side of content that is still coming.
pub(super) struct Upload {
    state: Arc<State>,
    hint: SizeHint,
    ended: bool,
    /// How long we wait for the upstream's `100 Continue`; from when the head was sent.
    patience: Option<Pin<Box<Sleep>>>,
}

/// The other end of an [`Upload`]: watches it, and gives the content up when dropped, so that the
/// client's upload is read no further once its answer is complete.
pub(super) struct Watch(Arc<State>);

struct State {
    clock: Clock,
    progress: Mutex<Progress>,
}

/// Written for each frame by the task that drives the connection, read when a deadline passes.
struct Progress {
    /// `None` once it was given up, or sent.
    body: Option<Body>,
    /// When the last frame was taken, or the last was asked for.
    moved: Instant,
    /// Whether the upstream would take more, but the client has not sent it.
    starved: bool,
    complete: bool,
    /// Whether the upstream has to say `100 Continue` first.
    awaits_continue: bool,
    /// Who sends, to be told when that is settled or the content is given up.
    sender: Option<Waker>,
    /// What the client's content failed with.
    failure: Option<(ErrorKind, Side)>,
}

impl Outgoing {
    /// Content to send, and what watches it if it is still coming.
    pub(super) fn new(body: Body, clock: &Clock) -> (Self, Option<Watch>) {
        if body.is_end_stream() {
            return (Self::Whole(Body::empty()), None);
        }
        if body.as_whole().is_some() {
            return (Self::Whole(body), None);
        }
        let hint = body.size_hint();
        let state = Arc::new(State {
            clock: clock.clone(),
            progress: Mutex::new(Progress {
                body: Some(body),
                moved: clock.mono(),
                starved: false,
                complete: false,
                awaits_continue: false,
                sender: None,
                failure: None,
            }),
        });
        let upload = Upload {
            state: state.clone(),
            hint,
            ended: false,
            patience: None,
        };
        (Self::Upload(upload), Some(Watch(state)))
    }

    /// The same content again, if it is whole.
    pub(super) fn again(&self) -> Option<Body> {
        match self {
            Self::Whole(body) => Some(Body::from(body.as_whole()?.clone())),
            Self::Upload(_) => None,
        }
    }

    /// Sends nothing before the upstream has said `100 Continue`, or some time has passed: it may
    /// refuse by its head alone, and then the client need not send (RFC 9110 §10.1.1).
    pub(super) fn await_continue(&mut self) {
        if let Self::Upload(upload) = self {
            upload.state.progress().awaits_continue = true;
        }
    }

    /// What is to be called when that word comes, if it is awaited.
    pub(super) fn continuation(&self) -> Option<impl Fn() + Send + Sync + 'static> {
        let Self::Upload(upload) = self else {
            return None;
        };
        let is_awaited = upload.state.progress().awaits_continue;
        let state = upload.state.clone();
        is_awaited.then_some(move || state.go_on())
    }

    /// Sends at once, whatever was awaited.
    pub(super) fn go_on(&self) {
        if let Self::Upload(upload) = self {
            upload.state.go_on();
        }
    }
}

impl Watch {
    /// Whether all of it was handed on.
    pub(super) fn is_complete(&self) -> bool {
        self.0.progress().complete
    }

    /// When it last moved.
    pub(super) fn moved(&self) -> Instant {
        self.0.progress().moved
    }

    /// Why nothing came from the upstream for too long.
    pub(super) fn lateness(&self) -> Error {
        let progress = self.0.progress();
        if progress.complete {
            Error::upstream(ErrorKind::ConnectionReadTimeout)
        } else if progress.starved {
            Error::client(ErrorKind::RequestTimeout).detail("the request's content stopped coming")
        } else {
            Error::upstream(ErrorKind::ConnectionWriteTimeout)
        }
    }

    /// The client's failure, if it is what ended the upload.
    pub(super) fn failure(&self) -> Option<Error> {
        let (kind, side) = self.0.progress().failure?;
        Some(Error::new(kind, side).detail("the request's content broke off"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut progress = self.0.progress();
        let body = progress.body.take();
        let sender = progress.sender.take();
        drop(progress);
        // Outside the lock: both run foreign code.
        drop(body);
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

impl State {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self) {
        let mut progress = self.progress();
        progress.awaits_continue = false;
        let sender = progress.sender.take();
        drop(progress);
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let mut progress = self.state.progress();
        if progress.awaits_continue {
            let patience = || Box::pin(tokio::time::sleep(CONTINUE_PATIENCE));
            let patience = self.patience.get_or_insert_with(patience);
            if patience.as_mut().poll(cx).is_pending() {
                progress.sender = Some(cx.waker().clone());
                return Poll::Pending;
            }
            progress.awaits_continue = false;
        }
        let Some(body) = &mut progress.body else {
            let given_up = Error::client(ErrorKind::ConnectionTerminated);
            return Poll::Ready((!self.ended).then_some(Err(given_up)));
        };
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            strip_trailers(trailers);
        }
        let ends = body.is_end_stream();
        progress.moved = self.state.clock.mono();
        progress.starved = polled.is_pending();
        match &polled {
            Poll::Pending => progress.sender = Some(cx.waker().clone()),
            Poll::Ready(Some(Ok(_))) if !ends => {}
            Poll::Ready(Some(Ok(_)) | None) => {
                self.ended = true;
                progress.complete = true;
                progress.body = None;
            }
            Poll::Ready(Some(Err(error))) => {
                progress.failure = Some((error.kind(), error.side()));
                progress.body = None;
            }
        }
        polled
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Upload(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Upload(upload) => upload.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Upload(upload) => upload.hint,
        }
    }
}

/// How long the upstream may take to say `100 Continue`: apps that do not know the expectation
/// never say it. What curl waits for us.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
