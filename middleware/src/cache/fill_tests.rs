use http::StatusCode;

use super::*;
use crate::cache::testing::{settle, streamed};
use crate::clock::Clock;

type Told = Arc<Mutex<Option<Result<usize, Reason>>>>;

fn start(source: Body, most: u64, most_held: u64) -> (Reader, Told, Arc<AtomicU64>) {
    let now = Clock::system().now();
    let head = StoredResponse::fixed(StatusCode::OK, HeaderMap::new(), Bytes::new(), now);
    let held = Arc::<AtomicU64>::default();
    let bounds = Bounds {
        most,
        held: held.clone(),
        most_held,
    };
    let told = Told::default();
    let tell = told.clone();
    let reader = Fill::start(
        source,
        None,
        Arc::new(head),
        bounds,
        TaskTracker::new(),
        |_| {
            Box::new(move |content| {
                let length = content.map(|content| content.iter().map(Bytes::len).sum());
                *tell.lock().unwrap() = Some(length);
            })
        },
    );
    (reader, told, held)
}

async fn read(reader: Reader) -> usize {
    let mut body = Body::stream(reader);
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.into_data().map_or(0, |data| data.len());
    }
    length
}

#[tokio::test(start_paused = true)]
async fn trailers_are_relayed_to_all_and_stored_with_none() {
    struct WithTrailers(u8);
    impl HttpBody for WithTrailers {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>>>> {
            self.0 += 1;
            Poll::Ready(match self.0 {
                1 => Some(Ok(Frame::data("abc".into()))),
                2 => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("x-sum", http::HeaderValue::from_static("1"));
                    Some(Ok(Frame::trailers(trailers)))
                }
                _ => None,
            })
        }
    }
    let (reader, told, _) = start(Body::stream(WithTrailers(0)), 100, 100);
    let other = reader.fill.reader().unwrap();
    for reader in [reader, other] {
        let mut body = Body::stream(reader);
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            seen.push(frame.unwrap().into_trailers().is_ok());
        }
        assert_eq!(seen, [false, true]);
    }
    assert_eq!(*told.lock().unwrap(), Some(Ok(3)));
}

#[tokio::test(start_paused = true)]
async fn what_all_fills_hold_is_bounded_and_given_back() {
    let (sender, body) = streamed();
    let (reader, told, held) = start(body, 1000, 5);
    for _ in 0..10 {
        sender.send(Ok("123".into())).unwrap();
    }
    drop(sender);
    assert_eq!(read(reader).await, 30);
    assert_eq!(*told.lock().unwrap(), Some(Err(Reason::FillMemory)));
    assert_eq!(held.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_once_the_beginning_is_gone() {
    let (sender, body) = streamed();
    let (reader, _, _) = start(body, 4, 1000);
    let fill = reader.fill.clone();
    sender.send(Ok("12345".into())).unwrap();
    let reading = TaskTracker::new().spawn(read(reader));
    settle().await;
    assert!(fill.reader().is_none());
    drop(sender);
    assert_eq!(reading.await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_woken_by_whatever_another_read() {
    let (sender, body) = streamed();
    let (one, told, _) = start(body, 1000, 1000);
    let two = one.fill.reader().unwrap();
    let tasks = TaskTracker::new();
    let readers = [one, two].map(|reader| tasks.spawn(read(reader)));
    settle().await;
    for _ in 0..3 {
        sender.send(Ok("12345".into())).unwrap();
        settle().await;
    }
    drop(sender);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 15);
    }
    assert_eq!(*told.lock().unwrap(), Some(Ok(15)));
}
