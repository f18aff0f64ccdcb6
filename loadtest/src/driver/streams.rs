//! Clients that open a stream and listen, while others ask.

use std::sync::Arc;

use http::HeaderValue;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Load, Tally};
use crate::ask::Question;
use crate::scenario::Http;

/// Open streams.
pub(super) struct Listeners {
    tasks: JoinSet<Tally>,
    end: watch::Sender<bool>,
}

impl Listeners {
    /// Opens all streams of the scenario, and waits for the head of each answer.
    pub(super) async fn open(load: &Arc<Load>) -> Self {
        let (end, ended) = watch::channel(false);
        let (opened, mut waiting) = tokio::sync::mpsc::channel::<()>(1);
        let mut tasks = JoinSet::new();
        if let Some(streams) = &load.scenario.streams {
            for _ in 0..streams.clients {
                let (load, path, ended) = (load.clone(), streams.path.clone(), ended.clone());
                let opened = opened.clone();
                tasks.spawn(async move {
                    let mut tally = Tally::default();
                    if let Err(why) = listen(&load, &path, ended, opened, &mut tally).await {
                        tally.failed(format!("a stream: {why}"));
                    }
                    tally
                });
            }
        }
        drop(opened);
        // Ends once each has let go of its sender: with the head of its answer, or in failure.
        while waiting.recv().await.is_some() {}
        Self { tasks, end }
    }

    /// Closes them, and says what they heard.
    pub(super) async fn close(mut self) -> Tally {
        self.end.send_replace(true);
        let mut all = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            all.merge(tally.unwrap_or_default());
        }
        all
    }
}

async fn listen(
    load: &Load,
    path: &str,
    mut ended: watch::Receiver<bool>,
    opened: tokio::sync::mpsc::Sender<()>,
    tally: &mut Tally,
) -> Result<(), String> {
    let words = |error: hyper::Error| error.to_string();
    let stream = load
        .origin
        .connect(Http::One)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let mut request = Question::get(path).request(&load.origin, Http::One)?;
    let events = HeaderValue::from_static("text/event-stream");
    request.headers_mut().insert(http::header::ACCEPT, events);
    let response = sender.send_request(request).await.map_err(words)?;
    drop(opened);
    if !response.status().is_success() {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let mut body = response.into_body();
    loop {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return Ok(()),
            frame = body.frame() => match frame {
                None => return Err("it ended before the load did".to_owned()),
                Some(Err(error)) => return Err(words(error)),
                Some(Ok(_)) => tally.stream_chunks += 1,
            },
        }
    }
}
