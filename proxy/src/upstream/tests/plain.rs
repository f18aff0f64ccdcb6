//! What is answered beneath hyper is what hyper would have made of it, and nothing else is.

use super::*;

const FIRST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";

/// All that is known of an answer.
async fn told(result: Result<Response>) -> String {
    let response = match result {
        Ok(response) => response,
        Err(error) => return format!("{:?}", error.kind()),
    };
    let (status, version) = (response.status(), response.version());
    let fields = response.headers().iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>();
    let phrase = format!("{phrase:?}");
    let content = match response.into_body().collect().await {
        Ok(content) => format!(
            "{:?}, {:?}",
            content.trailers().cloned(),
            content.to_bytes()
        ),
        Err(error) => format!("{:?}", error.kind()),
    };
    format!("{version:?} {status} {phrase} {fields:?} {content}")
}

/// An upstream with a connection that served before, so that the next exchange may be plain.
struct Warm {
    raw: Raw,
    fixture: Fixture,
    upstream: Upstream,
    connection: Conversation,
}

async fn warm() -> Warm {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let serve = async {
        let mut connection = raw.accept().await;
        connection.serve(FIRST).await;
        connection
    };
    let (connection, first) = tokio::join!(serve, asked(&mut upstream, "/"));
    assert_eq!(first, "first");
    Warm {
        raw,
        fixture,
        upstream,
        connection,
    }
}

/// The content that `upstream` answers with.
async fn asked(upstream: &mut Upstream, target: &str) -> String {
    let answer = upstream.call(get(target)).await.unwrap();
    text(answer).await.unwrap()
}

/// Both, which are to come to an end.
async fn in_time<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let both = async { tokio::join!(one, other) };
    let both = tokio::time::timeout(Duration::from_secs(20), both).await;
    both.expect("neither waits for ever")
}

/// What becomes of these bytes on a connection of their own, which hyper has; and on one that served before, where
/// they come in these pieces. Then the connection ends.
async fn both(pieces: &[&str]) -> [String; 2] {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let whole = pieces.concat();
    let serve = async { raw.accept().await.serve(&whole).await };
    let fresh = async { told(upstream.call(get("/a?b")).await).await };
    let (fresh, head) = tokio::join!(fresh, serve);

    let mut warm = warm().await;
    let serve = async {
        let head = warm.connection.head().await;
        for piece in pieces {
            warm.connection.say(piece).await;
            // Let the other side read it by itself.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        // Then it ends.
        drop(warm.connection);
        head
    };
    let reused = async { told(warm.upstream.call(get("/a?b")).await).await };
    let (reused, head_again) = tokio::join!(reused, serve);
    assert_eq!(head, head_again, "the same request is written");
    [fresh, reused]
}

#[tokio::test]
async fn an_answer_is_the_same_whoever_reads_it() {
    let long = "x".repeat(9000);
    let many = "X-Many: 1\r\n".repeat(98);
    let answers = [
        OK,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\nX-Empty:\r\nX-High: \u{e9}\r\n\r\nno",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nto the end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbreaks",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nBroken",
        "HTTP/1.1 200 OK\r\nFolded: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nSpace : a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nNul: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{long}"),
        &format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 2\r\n\r\nok"),
        &format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok"),
        &format!("HTTP/1.1 200 OK\r\n{many}{many}Content-Length: 2\r\n\r\nok"),
    ];
    for answer in answers {
        let shown = answer.get(..200).unwrap_or(answer);
        let [fresh, reused] = both(&[answer]).await;
        assert_eq!(fresh, reused, "{shown:?}");
        let middle = answer
            .find("\r\n\r\n")
            .map_or(answer.len() / 2, |end| end + 4);
        for cut in [1, answer.len() / 3, middle, answer.len() - 1] {
            if let Some((first, rest)) = answer.split_at_checked(cut) {
                let [fresh, reused] = both(&[first, rest]).await;
                assert_eq!(fresh, reused, "{shown:?} cut at {cut}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let answer = "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 7\r\n\r\ncontent";
    let bytes: Vec<_> = answer.split_inclusive(|_| true).collect();
    let [fresh, reused] = both(&bytes).await;
    assert_eq!(fresh, reused);
}

#[tokio::test]
async fn a_head_does_not_wait_for_its_content() {
    let mut warm = warm().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let serve = warm.connection.serve(head);
    let (_, answer) = in_time(serve, warm.upstream.call(get("/"))).await;
    warm.connection.say("ok").await;
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
}

/// Bytes that nobody asked for are no answer to whoever asks next (response queue poisoning).
#[tokio::test]
async fn what_comes_unasked_answers_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (answer, unasked) in [(OK, evil), (format!("{OK}{evil}").as_str(), "")] {
        let mut warm = warm().await;
        let serve = async {
            warm.connection.serve(answer).await;
            warm.connection.say(unasked).await;
            // It is let go, and the next request comes by another.
            warm.connection.closed().await;
            let mut second = warm.raw.accept().await;
            second.serve(OK).await;
            second
        };
        let ask = async {
            assert_eq!(asked(&mut warm.upstream, "/").await, "ok");
            while warm.fixture.open() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(asked(&mut warm.upstream, "/").await, "ok");
        };
        in_time(serve, ask).await;
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closes_is_not_used_again() {
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast";
    let mut warm = warm().await;
    let serve = async {
        warm.connection.serve(last).await;
        // Its end is not awaited.
        let mut second = warm.raw.accept().await;
        second.serve(OK).await;
        second
    };
    let ask = async {
        for expected in ["last", "ok"] {
            assert_eq!(asked(&mut warm.upstream, "/").await, expected);
        }
    };
    in_time(serve, ask).await;
}

/// A client that goes away takes its connection along: what is still to come is nobody's.
#[tokio::test]
async fn an_exchange_that_is_given_up_closes_its_connection() {
    let mut warm = warm().await;
    let given_up = warm.upstream.call(get("/given-up"));
    let head = warm.connection.head().await;
    assert!(head.starts_with("GET /given-up HTTP/1.1\r\n"), "{head}");
    drop(given_up);
    warm.connection.closed().await;
    let serve = async { warm.raw.accept().await.serve(OK).await };
    let (_, answer) = in_time(serve, asked(&mut warm.upstream, "/")).await;
    assert_eq!(answer, "ok");
}

#[tokio::test]
async fn connections_serve_plain_and_other_requests_in_turn() {
    let raw = Raw::new().await;
    let fixture = Fixture::new(raw.settings());
    let mut upstream = fixture.upstream();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let early = format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}");
    let ways = [
        (get("/1"), OK),
        (get("/2"), OK),
        (request("POST", "/3", Body::from("whole")), OK),
        (get("/4"), chunked),
        (get("/5"), OK),
        (
            request("HEAD", "/6", Body::empty()),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        ),
        (get("/7"), &early),
        (request("DELETE", "/8", Body::empty()), OK),
        (get("/9"), OK),
    ];
    let answers: Vec<_> = ways.iter().map(|(_, answer)| *answer).collect();
    let serve = async {
        let mut connection = raw.accept().await;
        for (number, answer) in answers.iter().enumerate() {
            let head = connection.head().await;
            assert!(
                head.contains(&format!(" /{} HTTP/1.1\r\n", number + 1)),
                "{head}"
            );
            if head.starts_with("POST") {
                connection.until(b"whole").await;
            }
            connection.say(answer).await;
        }
        connection
    };
    let ask = async {
        for (request, _) in ways {
            let has_content = request.method() != Method::HEAD;
            let answer = upstream.call(request).await.unwrap();
            assert_eq!(
                text(answer).await.unwrap(),
                if has_content { "ok" } else { "" }
            );
        }
    };
    let (_connection, ()) = tokio::join!(serve, ask);
    raw.assert_unvisited();
}
