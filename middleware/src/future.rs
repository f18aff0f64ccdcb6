//! The one future of the pipeline: an answer that is there already, or one that is to come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::{Response, Result};

/// What the layers of the front answer with: there already, or to come. [`ResponseFuture`] is one; the
/// outer layers have futures of their own, so that what they keep meanwhile needs no box.
pub trait Answering: Future<Output = Result<Response>> + Send + Unpin + 'static {
    /// The answer where it lies, if it is there already.
    fn as_ready(&mut self) -> Option<&mut Result<Response>>;

    /// The answer if it is there already, else the future back.
    ///
    /// # Errors
    /// The future itself, when the answer is still to come.
    fn try_ready(mut self) -> std::result::Result<Result<Response>, Self>
    where
        Self: Sized,
    {
        take_ready(&mut self).ok_or(self)
    }

    /// Changes the answer where it lies: now if it is there, else when it comes.
    fn change(
        mut self,
        change: impl FnOnce(&mut Result<Response>) + Send + 'static,
    ) -> ResponseFuture
    where
        Self: Sized,
    {
        match take_ready(&mut self) {
            Some(result) => ResponseFuture::ready(result).change(change),
            None => ResponseFuture::boxed(self).change(change),
        }
    }
}

/// An answer of the layer below, or one that takes its place and needs no waiting.
#[must_use = "futures do nothing unless polled"]
pub enum Early<F> {
    /// The layer below's.
    Below(F),
    /// One in its place; `None` once it was given.
    Here(Option<Result<Response>>),
}

impl<F: Answering> Answering for Early<F> {
    fn as_ready(&mut self) -> Option<&mut Result<Response>> {
        match self {
            Self::Below(below) => below.as_ready(),
            Self::Here(here) => here.as_mut(),
        }
    }
}

impl<F: Answering> Future for Early<F> {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Below(below) => Pin::new(below).poll(cx),
            Self::Here(here) => Poll::Ready(
                here.take()
                    .expect("a future is not polled after it is done"),
            ),
        }
    }
}

/// The answer, if it is there already.
pub(crate) fn take_ready(answer: &mut impl Answering) -> Option<Result<Response>> {
    let ready = answer.as_ready()?;
    Some(std::mem::replace(ready, Ok(Response::default())))
}

/// What every service of a route's stack returns from `call`.
///
/// A hit is [`ready`](Self::ready) at once and passes every layer above the cache without an
/// allocation; only what waits is boxed.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(State);

type Boxed = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

enum State {
    // Boxing the small case would cost the hit path what this type exists to save.
    Ready(Option<Result<Response>>),
    Pending(Boxed),
}

impl ResponseFuture {
    /// An answer that needs no waiting.
    pub fn ready(result: Result<Response>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// An answer to come; the one place where the pipeline boxes a future.
    pub fn boxed(future: impl Future<Output = Result<Response>> + Send + 'static) -> Self {
        Self(State::Pending(Box::pin(future)))
    }

    /// Applies `change` to the answer: now if it is there, else when it comes.
    pub fn map(
        self,
        change: impl FnOnce(Result<Response>) -> Result<Response> + Send + 'static,
    ) -> Self {
        self.then(move |result| Self::ready(change(result)))
    }

    /// Changes the answer where it lies: now if it is there, else when it comes. A response is some
    /// 150 bytes, which [`map`](Self::map) moves twice for each layer that it passes.
    pub fn change(mut self, change: impl FnOnce(&mut Result<Response>) + Send + 'static) -> Self {
        match self.0 {
            State::Ready(ref mut result) => {
                let result = result.as_mut();
                change(result.expect("a ready future is gone on with before it is polled"));
                self
            }
            State::Pending(future) => Self(State::Pending(Box::pin(Changed {
                future,
                change: Some(change),
            }))),
        }
    }

    /// As [`change`](Self::change), for what may put another answer in its place (`Some`), which may take
    /// a while itself.
    pub fn change_or_replace(
        mut self,
        change: impl FnOnce(&mut Result<Response>) -> Option<Self> + Send + 'static,
    ) -> Self {
        match self.0 {
            State::Ready(ref mut result) => {
                let result = result.as_mut();
                let result = result.expect("a ready future is gone on with before it is polled");
                change(result).unwrap_or(self)
            }
            State::Pending(future) => Self(State::Pending(Box::pin(Replaced {
                future,
                change: Some(change),
            }))),
        }
    }

    /// As [`change`](Self::change), with what a layer keeps in an `Arc` or so: a handle is made only
    /// where the answer is still to come.
    pub fn change_with<C: Clone + Send + 'static>(
        mut self,
        context: &C,
        change: impl FnOnce(&C, &mut Result<Response>) + Send + 'static,
    ) -> Self {
        if let Some(result) = self.as_ready() {
            change(context, result);
            return self;
        }
        let context = context.clone();
        self.change(move |result| change(&context, result))
    }

    /// Goes on with the answer, now if it is there, else when it comes, to what may take a while
    /// itself.
    pub fn then(self, next: impl FnOnce(Result<Response>) -> Self + Send + 'static) -> Self {
        match self.0 {
            State::Ready(result) => {
                next(result.expect("a ready future is gone on with before it is polled"))
            }
            State::Pending(future) => Self(State::Pending(Box::pin(Chained {
                future,
                next: Some(next),
            }))),
        }
    }

    /// The answer where it lies, if it is there already.
    pub fn as_ready(&mut self) -> Option<&mut Result<Response>> {
        match &mut self.0 {
            State::Ready(result) => result.as_mut(),
            State::Pending(_) => None,
        }
    }

    /// The answer if it is there already, else the future back.
    ///
    /// # Errors
    /// The future itself, when the answer is still to come.
    #[expect(
        clippy::result_large_err,
        reason = "both sides are about as large; a box would cost the hit path an allocation"
    )]
    pub fn try_ready(self) -> std::result::Result<Result<Response>, Self> {
        match self.0 {
            State::Ready(Some(result)) => Ok(result),
            state => Err(Self(state)),
        }
    }
}

impl Answering for ResponseFuture {
    fn as_ready(&mut self) -> Option<&mut Result<Response>> {
        self.as_ready()
    }

    fn change(self, change: impl FnOnce(&mut Result<Response>) + Send + 'static) -> Self {
        self.change(change)
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(
                result
                    .take()
                    .expect("a future is not polled after it is done"),
            ),
            State::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

/// An answer to come, and what is done to it.
struct Changed<F> {
    future: Boxed,
    /// `None` once it is done.
    change: Option<F>,
}

// As for `Chained`.
impl<F> Unpin for Changed<F> {}

impl<F: FnOnce(&mut Result<Response>)> Future for Changed<F> {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // One place for the answer, which is the caller's: it is not moved on its way up.
        let mut polled = self.future.as_mut().poll(cx);
        if let Poll::Ready(result) = &mut polled
            && let Some(change) = self.change.take()
        {
            change(result);
        }
        polled
    }
}

/// An answer to come, and what is done to it or comes in its place.
struct Replaced<F> {
    /// The first future, later the one in its place.
    future: Boxed,
    /// `None` once it is done.
    change: Option<F>,
}

// As for `Chained`.
impl<F> Unpin for Replaced<F> {}

impl<F: FnOnce(&mut Result<Response>) -> Option<ResponseFuture>> Future for Replaced<F> {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = self.future.as_mut().poll(cx);
        if let Poll::Ready(result) = &mut polled
            && let Some(change) = self.change.take()
            && let Some(instead) = change(result)
        {
            match instead.0 {
                State::Ready(instead) => {
                    *result = instead.expect("a ready future is gone on with before it is polled");
                }
                State::Pending(instead) => {
                    self.future = instead;
                    return self.future.as_mut().poll(cx);
                }
            }
        }
        polled
    }
}

/// An answer to come, and what follows it. By hand, since an async block would keep places for
/// both futures and for the answer, and all of it is moved when it is boxed.
struct Chained<F> {
    /// The first future, later the second.
    future: Boxed,
    /// `None` once the second has begun.
    next: Option<F>,
}

// The futures are pinned by their own boxes; a closure is not.
impl<F> Unpin for Chained<F> {}

impl<F: FnOnce(Result<Response>) -> ResponseFuture> Future for Chained<F> {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.future.as_mut().poll(cx));
        let Some(next) = self.next.take() else {
            return Poll::Ready(result);
        };
        match next(result).0 {
            State::Ready(result) => {
                Poll::Ready(result.expect("a ready future is gone on with before it is polled"))
            }
            State::Pending(mut second) => {
                let polled = second.as_mut().poll(cx);
                self.future = second;
                polled
            }
        }
    }
}
