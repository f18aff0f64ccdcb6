use std::convert::Infallible;

use bytes::BytesMut;
use futures_util::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const PATIENCE: Patience = Patience {
    pause: Duration::from_millis(5),
    total: Duration::from_millis(50),
};

/// A stream of chunks, each after a wait in milliseconds.
fn slow(chunks: &'static [(u64, &'static str)]) -> Body {
    let frames = stream::unfold(chunks.iter(), |mut chunks| async {
        let (wait, text) = chunks.next()?;
        if *wait > 0 {
            tokio::time::sleep(Duration::from_millis(*wait)).await;
        }
        let frame = Frame::data(Bytes::from_static(text.as_bytes()));
        Some((Ok::<_, Error>(frame), chunks))
    });
    Body::stream(StreamBody::new(Box::pin(frames)))
}

async fn content(body: Body) -> Bytes {
    body.collect().await.expect("a body").to_bytes()
}

fn whole(buffered: Buffered) -> Option<Bytes> {
    match buffered {
        Buffered::Whole(bytes) => Some(bytes),
        Buffered::TooLong(_) => None,
    }
}

async fn let_go(buffered: Buffered) -> Bytes {
    match buffered {
        Buffered::Whole(bytes) => panic!("buffered: {bytes:?}"),
        Buffered::TooLong(body) => content(body).await,
    }
}

#[tokio::test]
async fn a_body_within_the_limit_is_buffered_whole() {
    for (body, expected) in [
        (Body::empty(), ""),
        (Body::from("abc"), "abc"),
        (slow(&[]), ""),
        (slow(&[(0, "abc")]), "abc"),
        (slow(&[(0, "ab"), (0, ""), (0, "c")]), "abc"),
    ] {
        let buffered = body.buffer(3).await.expect("read");
        assert_eq!(whole(buffered).expect("whole"), expected);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_replayed() {
    let buffered = slow(&[(0, "ab"), (0, "cd"), (0, "ef")]).buffer(3).await;
    assert_eq!(let_go(buffered.expect("read")).await, "abcdef");
    let buffered = Body::from("abcd").buffer(3).await;
    assert_eq!(let_go(buffered.expect("read")).await, "abcd");
}

#[tokio::test]
async fn a_body_with_trailers_keeps_them() {
    let trailers =
        HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
    let frames = [
        Ok::<_, Error>(Frame::data(Bytes::from_static(b"ab"))),
        Ok(Frame::trailers(trailers.clone())),
    ];
    let body = Body::stream(StreamBody::new(stream::iter(frames)));
    let Buffered::TooLong(body) = body.buffer(9).await.expect("read") else {
        panic!("the trailers are lost");
    };
    let collected = body.collect().await.expect("read");
    assert_eq!(collected.trailers(), Some(&trailers));
}

#[tokio::test]
async fn many_short_frames_are_not_kept() {
    let frames =
        stream::iter((0..10_000).map(|_| Ok::<_, Error>(Frame::data(Bytes::from_static(b"x")))));
    let buffered = Body::stream(StreamBody::new(frames)).buffer(1 << 20).await;
    assert_eq!(let_go(buffered.expect("read")).await.len(), 10_000);
}

#[tokio::test]
async fn a_failure_while_buffering_is_a_failure() {
    let failure = || Error::upstream(ErrorKind::HttpResponseIncomplete);
    let frames = [Ok(Frame::data(Bytes::from_static(b"ab"))), Err(failure())];
    let buffered = Body::stream(StreamBody::new(stream::iter(frames)))
        .buffer(9)
        .await;
    assert_eq!(
        buffered.err().map(|error| error.kind()),
        Some(failure().kind())
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_coming_is_buffered() {
    let body = slow(&[(4, "a"), (4, "b"), (4, "c")]);
    let buffered = body.buffer_promptly(9, PATIENCE).await.expect("read");
    assert_eq!(whole(buffered).expect("whole"), "abc");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_let_go_with_all_that_came() {
    for chunks in [
        &[(6, "a"), (0, "b"), (0, "c")],
        &[(0, "a"), (6, "b"), (0, "c")],
        &[(0, "a"), (0, "b"), (1000, "c")],
    ] {
        let started = tokio::time::Instant::now();
        let buffered = slow(chunks)
            .buffer_promptly(9, PATIENCE)
            .await
            .expect("read");
        assert_eq!(started.elapsed(), PATIENCE.pause, "held no longer");
        assert_eq!(let_go(buffered).await, "abc");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_let_go() {
    static TRICKLE: [(u64, &str); 100] = [(4, "x"); 100];
    let started = tokio::time::Instant::now();
    let buffered = slow(&TRICKLE)
        .buffer_promptly(999, PATIENCE)
        .await
        .expect("read");
    assert_eq!(started.elapsed(), PATIENCE.total);
    assert_eq!(let_go(buffered).await.len(), 100);
}

#[test]
fn a_stream_has_no_pieces() {
    let body =
        Body::stream(http_body_util::Empty::new().map_err(|never: Infallible| match never {}));
    assert_eq!(body.pieces(0, 1), None);
}

proptest! {
    #[test]
    fn pieces_are_the_slice_of_the_whole(
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..6),
        first in 0..40_u64,
        length in 0..40_u64,
    ) {
        let expected: Vec<u8> = segments.concat().into_iter().skip(first as usize).take(length as usize).collect();
        let segments: Arc<[Bytes]> = segments.into_iter().map(Bytes::from).collect();
        let pieces = Body::segments(segments).pieces(first, length).expect("in memory");
        prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        let found: BytesMut = pieces.iter().flatten().copied().collect();
        prop_assert_eq!(&found[..], &expected[..]);
    }

    #[test]
    fn pieces_of_any_numbers_do_no_harm(first: u64, length: u64) {
        let body = Body::from("abc");
        prop_assert!(body.pieces(first, length).is_some());
    }
}
