//! Forwarding for others than the one client: for those who follow, or for the store alone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::cache::Cache;
use crate::cache::collapse::Flight;
use crate::cache::errand::Errand;
use crate::cache::stored::StoredResponse;
use crate::facts::{self, CacheOutcome};
use crate::metrics::Event;
use crate::{Inner, Request, Response, ResponseFuture, Result};

/// A validation that no client waits for: its answer goes to the store only.
pub(crate) async fn background(
    answer: ResponseFuture,
    errand: Errand,
    flight: Flight,
    stored: Arc<StoredResponse>,
) {
    let (clock, metrics) = (
        errand.shared.clock().clone(),
        errand.shared.metrics().clone(),
    );
    let validation = async {
        let Ok(mut answer) = errand.finish(answer.await, Some(flight)) else {
            return Event::BackgroundFailed;
        };
        let came = has_come(&mut answer);
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return Event::BackgroundFailed;
            }
        }
        came
    };
    metrics.count(timeout(BACKGROUND, validation).await.unwrap_or_else(|_| {
        tracing::debug!("A validation in the background took too long and was given up.");
        Event::BackgroundFailed
    }));
    // If it worked, this one is not stored any more; if not, the next request tries again, but not
    // every request of a busy site at once.
    stored.put_off_validation(clock.now(), PAUSE);
}

/// Whether `answer` is the upstream's news, and not its failure or what stands in for that.
fn has_come(answer: &mut Response) -> Event {
    let outcome = facts::of_response(answer)
        .cache
        .map(|status| status.outcome);
    if answer.status().is_server_error() || outcome == Some(CacheOutcome::HitStale) {
        Event::BackgroundFailed
    } else {
        Event::BackgroundValidated
    }
}

impl<S: Inner + Clone> Cache<S> {
    pub(crate) fn alone(&mut self, request: Request, errand: Errand) -> ResponseFuture {
        match errand.may_look_below() {
            true => self.alone_below(request, errand),
            false => self.alone_upstream(request, errand),
        }
    }

    pub(crate) fn alone_upstream(
        &mut self,
        request: Request,
        mut errand: Errand,
    ) -> ResponseFuture {
        match self.layer.permit(&errand) {
            Ok(permit) => errand.permit = permit,
            Err(shed) => return ResponseFuture::ready(errand.shed(shed, None)),
        }
        self.unlimited(request, errand)
    }

    pub(crate) fn unlimited(&mut self, request: Request, mut errand: Errand) -> ResponseFuture {
        let answer = self.ask(request, &mut errand);
        answer.map(move |result| errand.finish(result, None))
    }

    pub(crate) fn lead(
        &mut self,
        request: Request,
        errand: Errand,
        flight: Flight,
    ) -> ResponseFuture {
        match errand.may_look_below() {
            true => self.lead_below(request, errand, flight),
            false => self.lead_upstream(request, errand, flight),
        }
    }

    pub(crate) fn lead_upstream(
        &mut self,
        request: Request,
        mut errand: Errand,
        flight: Flight,
    ) -> ResponseFuture {
        match self.layer.permit(&errand) {
            Ok(permit) => errand.permit = permit,
            Err(shed) => return ResponseFuture::ready(errand.shed(shed, Some(flight))),
        }
        match self.ask(request, &mut errand).try_ready() {
            Ok(result) => ResponseFuture::ready(errand.finish(result, Some(flight))),
            Err(answer) => ResponseFuture::boxed(Leading::new(answer, errand, flight)),
        }
    }
}

/// A request that others may follow. If its own client goes away while others wait, a task goes on
/// with it.
pub(crate) struct Leading {
    rest: Option<(ResponseFuture, Errand, Flight)>,
    is_handed_over: bool,
}

impl Leading {
    pub(crate) fn new(answer: ResponseFuture, errand: Errand, flight: Flight) -> Self {
        Self {
            rest: Some((answer, errand, flight)),
            is_handed_over: false,
        }
    }
}

impl Future for Leading {
    type Output = Result<Response>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, ..) = self
            .rest
            .as_mut()
            .expect("a future is not polled after it is done");
        let Poll::Ready(result) = Pin::new(answer).poll(cx) else {
            return Poll::Pending;
        };
        let (_, errand, flight) = self.rest.take().expect("it was there a moment ago");
        Poll::Ready(errand.finish(result, Some(flight)))
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let Some((answer, errand, flight)) = self.rest.take() else {
            return;
        };
        let may_go_on = !self.is_handed_over && flight.has_followers();
        if !may_go_on || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let tasks = errand.shared.tasks().clone();
        let rest = Self {
            rest: Some((answer, errand, flight)),
            is_handed_over: true,
        };
        tasks.spawn(async move { drop(timeout(BACKGROUND, rest).await) });
    }
}

/// How long a validation in the background, or a request whose client has gone, may take.
pub(crate) const BACKGROUND: Duration = Duration::from_secs(30);
/// Between two validations in the background of one stored response.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
