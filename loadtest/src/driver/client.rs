//! One client: its connection, its entity tags, its requests one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::mix::{Mix, Next};
use super::{Load, Tally};
use crate::scenario::Http;

type Content = Full<Bytes>;

/// A client with a connection of its own, until the load's end.
pub(super) async fn one(load: Arc<Load>, mut mix: Mix) -> Tally {
    let mut tally = Tally::default();
    let mut tags = Tags::new(load.scenario.keep_etags);
    let mut kept: Option<(http1::SendRequest<Content>, JoinSet<()>)> = None;
    while let Some(due) = load.pace.next().await {
        let next = mix.next();
        let exchange = async {
            let mut usable = None;
            if let Some((mut sender, connection)) = kept.take()
                && sender.ready().await.is_ok()
            {
                usable = Some((sender, connection));
            }
            let (mut sender, connection) = match usable {
                Some(usable) => usable,
                None => open_one(&load).await?,
            };
            let request = tags.asking(&next, &load, Http::One)?;
            let response = sender.send_request(request).await.map_err(words)?;
            let answer = read(response).await?;
            Ok((answer, (sender, connection)))
        };
        match timeout(load.scenario.patience, exchange).await {
            Ok(Ok((answer, connection))) => {
                kept = Some(connection);
                count(&load, &mut tally, &mut tags, &next, answer, due);
            }
            Ok(Err(why)) => failed(&mut tally, why).await,
            Err(_) => failed(&mut tally, late(&load)).await,
        }
    }
    tally
}

/// An HTTP/2 connection with several clients on it.
pub(super) async fn two(load: Arc<Load>, mix: Mix, seed: u64) -> Tally {
    let mut tally = Tally::default();
    let opened = async {
        let stream = load
            .origin
            .connect(Http::Two)
            .await
            .map_err(|error| error.to_string())?;
        let executor = TokioExecutor::new();
        http2::handshake(executor, TokioIo::new(stream))
            .await
            .map_err(words)
    };
    let (sender, connection) = match opened.await {
        Ok(opened) => opened,
        Err(why) => {
            tally.failed(why);
            return tally;
        }
    };
    let mut clients = JoinSet::new();
    for number in 0..load.scenario.parallel {
        let seed = seed.wrapping_add((number as u64 + 1).wrapping_mul(0x2545_f491));
        clients.spawn(stream(load.clone(), mix.again(seed), sender.clone()));
    }
    drop(sender);
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    while let Some(one) = clients.join_next().await {
        tally.merge(one.unwrap_or_default());
    }
    tally
}

/// One client of an HTTP/2 connection.
async fn stream(load: Arc<Load>, mut mix: Mix, mut sender: http2::SendRequest<Content>) -> Tally {
    let mut tally = Tally::default();
    let mut tags = Tags::new(load.scenario.keep_etags);
    while let Some(due) = load.pace.next().await {
        let next = mix.next();
        let exchange = async {
            let request = tags.asking(&next, &load, Http::Two)?;
            sender.ready().await.map_err(words)?;
            read(sender.send_request(request).await.map_err(words)?).await
        };
        match timeout(load.scenario.patience, exchange).await {
            Ok(Ok(answer)) => count(&load, &mut tally, &mut tags, &next, answer, due),
            Ok(Err(why)) => {
                failed(&mut tally, why).await;
                if sender.is_closed() {
                    break;
                }
            }
            Err(_) => failed(&mut tally, late(&load)).await,
        }
    }
    tally
}

async fn open_one(load: &Load) -> Result<(http1::SendRequest<Content>, JoinSet<()>), String> {
    let stream = load
        .origin
        .connect(Http::One)
        .await
        .map_err(|error| error.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    let mut task = JoinSet::new();
    // Its failure is told to whoever waits for an answer.
    task.spawn(async move { connection.await.unwrap_or_default() });
    Ok((sender, task))
}

struct Answer {
    status: StatusCode,
    tag: Option<HeaderValue>,
    bytes: u64,
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let mut answer = Answer {
        status: response.status(),
        tag: response.headers().get(header::ETAG).cloned(),
        bytes: 0,
    };
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(words)?.data_ref() {
            answer.bytes += data.len() as u64;
        }
    }
    Ok(answer)
}

fn count(
    load: &Load,
    tally: &mut Tally,
    tags: &mut Tags,
    next: &Next,
    answer: Answer,
    due: std::time::Instant,
) {
    tally.latencies.record(due.elapsed());
    tally.body_bytes += answer.bytes;
    *tally.statuses.entry(answer.status.as_u16()).or_default() += 1;
    tags.keep(next.identity, &answer);
    load.answered();
}

/// Counts a failure, and waits a little: a target that refuses must not be asked a million times.
async fn failed(tally: &mut Tally, why: String) {
    tally.failed(why);
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn late(load: &Load) -> String {
    format!(
        "no answer within {} s",
        load.scenario.patience.as_secs_f64()
    )
}

/// What a client remembers of earlier answers.
struct Tags {
    kept: Option<HashMap<(usize, u32), HeaderValue>>,
}

impl Tags {
    fn new(keep: bool) -> Self {
        Self {
            kept: keep.then(HashMap::new),
        }
    }

    fn asking(&self, next: &Next, load: &Load, http: Http) -> Result<Request<Content>, String> {
        let mut request = next.question.request(&load.origin, http)?;
        let tag = self.kept.as_ref().and_then(|kept| kept.get(&next.identity));
        if let Some(tag) = tag {
            request
                .headers_mut()
                .insert(header::IF_NONE_MATCH, tag.clone());
        }
        Ok(request)
    }

    fn keep(&mut self, identity: (usize, u32), answer: &Answer) {
        if let (Some(kept), Some(tag)) = (&mut self.kept, &answer.tag)
            && (kept.len() < MOST_TAGS || kept.contains_key(&identity))
        {
            kept.insert(identity, tag.clone());
        }
    }
}

/// An error without what changes from one time to the next.
fn words(error: hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Entity tags of one client.
const MOST_TAGS: usize = 10_000;
