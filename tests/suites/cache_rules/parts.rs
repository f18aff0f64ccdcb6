//! Stored parts (RFC 9111 §3.3, §3.4, RFC 9110 §15.3.7): served where they do, put together where they
//! are of one representation, and never taken for the whole.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body::Frame;
use tests::client::request;
use tests::{Answer, Fetched, Proxy, RawUpstream, Seen, Upstream, reply, within};

/// A representation, and how it is described. Every byte tells its place and its version.
#[derive(Clone, Debug)]
struct File {
    version: u8,
    length: u64,
    etag: Option<&'static str>,
    fields: Vec<(&'static str, &'static str)>,
    is_streamed: bool,
}

impl File {
    fn byte(&self, place: u64) -> u8 {
        u8::try_from(place % 199).expect("a byte") ^ self.version
    }

    fn bytes(&self, first: u64, last: u64) -> Vec<u8> {
        (first..=last).map(|place| self.byte(place)).collect()
    }

    /// What an upstream that knows ranges and conditions answers.
    fn answer(&self, seen: &Seen) -> Answer {
        if seen.method == Method::POST {
            return reply(204).empty();
        }
        let described = |status: u16| {
            let described = reply(status).header("x-version", &self.version.to_string());
            let described = self
                .etag
                .into_iter()
                .fold(described, |described, tag| described.header("etag", tag));
            let fields = self.fields.iter();
            fields.fold(described, |described, (name, value)| {
                described.header(name, value)
            })
        };
        if self
            .etag
            .is_some_and(|tag| seen.header("if-none-match") == tag)
        {
            return described(304).empty();
        }
        let is_same =
            matches!(seen.header("if-range"), "") || Some(seen.header("if-range")) == self.etag;
        let span = span(seen.header("range"), self.length).filter(|_| is_same);
        let Some((first, last)) = span else {
            return described(200).body(self.bytes(0, self.length - 1));
        };
        let range = format!("bytes {first}-{last}/{}", self.length);
        let described = described(206).header("content-range", &range);
        let content = self.bytes(first, last);
        if !self.is_streamed {
            return described.body(content);
        }
        let (sender, answer) = described.stream();
        for piece in content.chunks(1000) {
            sender
                .send(Ok(Frame::data(piece.to_vec().into())))
                .expect("it is read");
        }
        answer
    }
}

/// Of `bytes=a-b`, `a-` or `-n`.
fn span(range: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = length - 1;
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => Some((first, last.min(end))),
        (Ok(first), Err(_)) => Some((first, end)),
        (Err(_), Ok(count)) => Some((length - count, end)),
        (Err(_), Err(_)) => None,
    }
}

struct Shelf {
    file: Arc<Mutex<File>>,
    upstream: Upstream,
    proxy: Proxy,
}

impl Shelf {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(toml: &str) -> Self {
        let file = Arc::new(Mutex::new(File {
            version: 0,
            length: 1000,
            etag: Some("\"a\""),
            fields: vec![
                ("cache-control", "max-age=60"),
                ("content-type", "text/plain"),
            ],
            is_streamed: false,
        }));
        let upstream = Upstream::start({
            let file = file.clone();
            move |seen| {
                let answer = file.lock().expect("no panic").answer(&seen);
                async move { answer }
            }
        })
        .await;
        let proxy = Proxy::with(&upstream, toml).await;
        Self {
            file,
            upstream,
            proxy,
        }
    }

    fn change(&self, change: impl FnOnce(&mut File)) {
        change(&mut self.file.lock().expect("no panic"));
    }

    fn file(&self) -> File {
        self.file.lock().expect("no panic").clone()
    }

    async fn range(&self, range: &str) -> Fetched {
        self.proxy
            .get_with("/", &[("range", &format!("bytes={range}"))])
            .await
    }

    /// A part by a hit, with the right bytes and all that belongs to it.
    async fn hits(&self, range: &str) {
        let before = self.upstream.count();
        let answer = self.range(range).await;
        self.is_part(&answer, range);
        assert!(
            answer.header("cache-status").contains("pillion; hit"),
            "{range}: {answer:?}"
        );
        assert_eq!(answer.headers.get_all("age").iter().count(), 1);
        assert_eq!(self.upstream.count(), before, "{range}");
    }

    /// A part that the upstream was asked for; the `Cache-Status`.
    async fn misses(&self, range: &str) -> String {
        let before = self.upstream.count();
        let answer = self.range(range).await;
        self.is_part(&answer, range);
        assert_eq!(self.upstream.count(), before + 1, "{range}");
        assert_eq!(
            self.upstream.last().header("range"),
            format!("bytes={range}")
        );
        answer.header("cache-status").to_owned()
    }

    fn is_part(&self, answer: &Fetched, range: &str) {
        let file = self.file();
        let (first, last) = span(&format!("bytes={range}"), file.length).expect("a range");
        assert_eq!(
            answer.status,
            StatusCode::PARTIAL_CONTENT,
            "{range}: {answer:?}"
        );
        assert_eq!(answer.body, file.bytes(first, last), "{range}");
        let told = format!("bytes {first}-{last}/{}", file.length);
        assert_eq!(answer.header("content-range"), told);
        if !file.is_streamed {
            assert_eq!(
                answer.header("content-length"),
                answer.body.len().to_string()
            );
        }
        assert_eq!(answer.header("etag"), file.etag.unwrap_or_default());
        assert_eq!(answer.headers.get_all("content-type").iter().count(), 1);
    }
}

#[tokio::test]
async fn a_stored_part_answers_ranges_wholly_within_it() {
    let shelf = Shelf::new().await;
    let told = shelf.misses("100-199").await;
    assert!(
        told.contains("fwd=uri-miss; fwd-status=206; ttl=60; stored"),
        "{told}"
    );
    for within in ["100-199", "100-100", "150-180", "199-199"] {
        shelf.hits(within).await;
    }
    shelf.misses("900-").await;
    for within in ["950-", "-100", "-1", "990-2000", "120-130"] {
        shelf.hits(within).await;
    }
}

#[tokio::test]
async fn a_request_for_more_is_forwarded_as_it_is_and_added() {
    let shelf = Shelf::new().await;
    shelf.misses("100-199").await;
    let told = shelf.misses("150-299").await;
    assert!(
        told.contains("fwd=partial; fwd-status=206; ttl=60; stored"),
        "{told}"
    );
    assert!(told.contains("other-parts"), "{told}");
    let seen = shelf.upstream.last();
    for condition in ["if-none-match", "if-range", "if-modified-since"] {
        assert!(!seen.headers.contains_key(condition), "{seen:?}");
    }
    shelf.hits("100-299").await;
    shelf.misses("400-499").await;
    shelf.misses("199-450").await;
    shelf.hits("100-499").await;
    shelf.misses("99-100").await;
}

#[tokio::test]
async fn with_no_byte_missing_it_is_the_whole() {
    for is_streamed in [false, true] {
        let shelf = Shelf::new().await;
        shelf.change(|file| {
            file.is_streamed = is_streamed;
            file.length = 300_000;
        });
        shelf.misses("250000-").await;
        shelf.misses("0-99999").await;
        shelf.misses("90000-260000").await;
        let before = shelf.upstream.count();
        let whole = shelf.proxy.get("/").await;
        assert_eq!(whole.status, 200);
        assert_eq!(whole.body, shelf.file().bytes(0, 299_999));
        assert_eq!(whole.header("content-length"), "300000");
        assert!(!whole.headers.contains_key("content-range"));
        assert!(whole.header("cache-status").contains("; hit"), "{whole:?}");
        let several = shelf.range("0-1,299998-299999").await;
        assert!(
            several
                .header("content-type")
                .starts_with("multipart/byteranges")
        );
        let head = shelf.proxy.send(request(Method::HEAD, "/", &[], "")).await;
        assert_eq!(
            (head.status.as_u16(), head.header("content-length")),
            (200, "300000")
        );
        let condition = [("if-none-match", "\"a\"")];
        assert_eq!(shelf.proxy.get_with("/", &condition).await.status, 304);
        assert_eq!(shelf.upstream.count(), before);
    }
}

#[tokio::test]
async fn a_part_is_never_served_as_the_whole() {
    let shelf = Shelf::new().await;
    shelf.misses("0-998").await;
    let head = shelf.proxy.send(request(Method::HEAD, "/", &[], "")).await;
    assert_eq!(
        (head.status.as_u16(), head.header("content-length")),
        (200, "1000")
    );
    assert!(
        head.header("cache-status").contains("fwd=partial"),
        "{head:?}"
    );
    let only = shelf
        .proxy
        .get_with("/", &[("cache-control", "only-if-cached")])
        .await;
    assert_eq!(only.status, 504);
    let conditional = shelf
        .proxy
        .get_with("/", &[("if-none-match", "\"a\"")])
        .await;
    assert_eq!(conditional.status, 304);
    assert_eq!(shelf.upstream.count(), 3);
    shelf.hits("0-998").await;
    let whole = shelf.proxy.get("/").await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, 1000));
    assert!(
        whole.header("cache-status").contains("fwd=partial"),
        "{whole:?}"
    );
    assert!(!shelf.upstream.last().headers.contains_key("if-none-match"));
    assert!(
        shelf
            .proxy
            .get("/")
            .await
            .header("cache-status")
            .contains("; hit")
    );
    // And the whole is not given up for a part.
    shelf.hits("0-10").await;
    assert_eq!(shelf.upstream.count(), 4);
}

#[tokio::test]
async fn parts_are_combined_only_under_one_strong_validator() {
    for (before, after) in [
        (Some("\"a\""), Some("\"b\"")),
        (Some("W/\"a\""), Some("W/\"a\"")),
        (Some("\"a\""), Some("W/\"a\"")),
        (Some("W/\"a\""), Some("\"a\"")),
        (Some("\"a\""), None),
        (None, None),
    ] {
        let shelf = Shelf::new().await;
        shelf.change(|file| {
            file.etag = before;
            file.fields
                .push(("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"));
        });
        shelf.misses("0-499").await;
        shelf.hits("10-19").await;
        shelf.change(|file| {
            file.etag = after;
            file.version = 77;
        });
        shelf.misses("500-999").await;
        let whole = shelf.proxy.get("/").await;
        assert_eq!(
            whole.body,
            shelf.file().bytes(0, 999),
            "{before:?} {after:?}"
        );
        assert_eq!(whole.header("x-version"), "77");
    }
    // Nor under one validator, but of two lengths.
    let shelf = Shelf::new().await;
    shelf.misses("0-499").await;
    shelf.change(|file| file.length = 1001);
    shelf.misses("500-999").await;
    shelf.misses("0-499").await;
}

#[tokio::test]
async fn fields_of_the_latest_part_are_true_for_all() {
    let shelf = Shelf::new().await;
    shelf.misses("0-499").await;
    shelf.proxy.advance(Duration::from_secs(50));
    shelf.change(|file| file.fields = vec![("cache-control", "max-age=600"), ("x-new", "1")]);
    let answer = shelf.range("500-").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (206, 500));
    shelf.proxy.advance(Duration::from_secs(50));
    let whole = shelf.proxy.get("/").await;
    assert!(whole.header("cache-status").contains("; hit"), "{whole:?}");
    assert_eq!(
        (whole.header("x-new"), whole.header("cache-control")),
        ("1", "max-age=600")
    );
    assert_eq!(
        whole.header("content-type"),
        "text/plain",
        "which the latest left out"
    );
}

#[tokio::test]
async fn an_if_range_is_compared_strongly() {
    let shelf = Shelf::new().await;
    shelf.misses("0-499").await;
    for (condition, is_hit, status) in [
        ("\"a\"", true, 206),
        ("\"b\"", false, 200),
        ("W/\"a\"", false, 200),
        ("Thu, 01 Jan 2015 00:00:00 GMT", false, 200),
    ] {
        let fields = [("range", "bytes=0-9"), ("if-range", condition)];
        let answer = shelf.proxy.get_with("/", &fields).await;
        assert_eq!(answer.status.as_u16(), status, "{condition}");
        assert_eq!(
            answer.header("cache-status").contains("; hit"),
            is_hit,
            "{condition}"
        );
        shelf.proxy.send(request(Method::POST, "/", &[], "")).await;
        shelf.misses("0-499").await;
    }
}

#[tokio::test]
async fn a_stale_part_is_validated_by_the_range_that_it_answers() {
    let shelf = Shelf::new().await;
    shelf.misses("0-499").await;
    shelf.proxy.advance(Duration::from_secs(61));
    let answer = shelf.range("100-199").await;
    shelf.is_part(&answer, "100-199");
    let seen = shelf.upstream.last();
    assert_eq!(
        (seen.header("if-none-match"), seen.header("range")),
        ("\"a\"", "bytes=100-199")
    );
    let told = answer.header("cache-status");
    assert!(
        told.contains("fwd=stale; fwd-status=304; ttl=60; stored"),
        "{told}"
    );
    shelf.hits("0-499").await;
    // Changed meanwhile: what comes takes its place.
    shelf.proxy.advance(Duration::from_secs(61));
    shelf.change(|file| (file.version, file.etag) = (9, Some("\"b\"")));
    let answer = shelf.range("100-199").await;
    shelf.is_part(&answer, "100-199");
    shelf.hits("150-160").await;
    shelf.misses("0-10").await;
}

#[tokio::test]
async fn a_304_after_which_it_may_not_be_stored_is_still_a_part() {
    let shelf = Shelf::new().await;
    shelf.misses("0-499").await;
    shelf.proxy.advance(Duration::from_secs(61));
    shelf.change(|file| file.fields = vec![("cache-control", "no-store")]);
    let answer = shelf.range("100-199").await;
    shelf.is_part(&answer, "100-199");
    assert!(
        answer.header("cache-status").contains("no-store"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn no_cache_and_a_stale_window_mean_for_parts_to_be_validated() {
    for control in [
        "public, max-age=60, no-cache",
        "max-age=0, stale-while-revalidate=60",
    ] {
        let shelf = Shelf::new().await;
        shelf.change(|file| {
            file.fields = vec![
                ("cache-control", control.to_owned().leak()),
                ("content-type", "a/b"),
            ]
        });
        shelf.misses("0-499").await;
        let answer = shelf.range("0-9").await;
        shelf.is_part(&answer, "0-9");
        assert_eq!(
            shelf.upstream.last().header("if-none-match"),
            "\"a\"",
            "{control}"
        );
        assert_eq!(shelf.upstream.count(), 2, "{control}");
    }
}

#[tokio::test]
async fn parts_go_with_whatever_invalidates_the_rest() {
    let shelf = Shelf::new().await;
    shelf.misses("0-499").await;
    shelf.proxy.send(request(Method::POST, "/", &[], "")).await;
    let told = shelf.misses("0-9").await;
    assert!(told.contains("fwd=uri-miss"), "{told}");

    let shelf = Shelf::new().await;
    shelf.change(|file| file.fields.push(("surrogate-key", "one two")));
    let answer = shelf.proxy.get_with("/", &[("range", "bytes=0-499")]).await;
    assert!(answer.header("cache-status").contains("stored"));
    let before = shelf.upstream.count();
    shelf.proxy.get_with("/", &[("range", "bytes=0-9")]).await;
    assert_eq!(
        shelf.upstream.count(),
        before,
        "what a purge would hit is there"
    );
}

#[tokio::test]
async fn what_may_not_be_stored_whole_may_not_be_stored_in_part() {
    for fields in [
        &[][..],
        &[("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT")],
        &[("cache-control", "no-store")],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        &[
            ("cache-control", "max-age=60"),
            ("content-encoding", "x-own"),
        ],
        &[("cache-control", "max-age=60, private=\"x-one\"")],
    ] {
        let shelf = Shelf::new().await;
        shelf.change(|file| file.fields = [&[("content-type", "a/b")], fields].concat());
        for _ in 0..2 {
            let told = shelf.misses("0-499").await;
            assert!(told.contains("fwd=uri-miss"), "{fields:?}: {told}");
        }
    }
}

#[tokio::test]
async fn parts_are_of_the_variant_that_they_were_sent_for() {
    let shelf = Shelf::new().await;
    shelf.change(|file| file.fields.push(("vary", "x-which")));
    let get = async |which: &str| {
        let fields = [("range", "bytes=0-499"), ("x-which", which)];
        shelf.proxy.get_with("/", &fields).await
    };
    get("one").await;
    shelf.change(|file| file.version = 5);
    get("two").await;
    for (which, version) in [("one", "0"), ("two", "5")] {
        let answer = get(which).await;
        assert!(
            answer.header("cache-status").contains("; hit"),
            "{answer:?}"
        );
        assert_eq!(answer.header("x-version"), version);
        assert_eq!(answer.body.first(), Some(&version.parse().expect("a byte")));
    }
}

#[tokio::test]
async fn they_can_be_switched_off_and_are_bounded() {
    let shelf = Shelf::with("[cache]\npartial = false").await;
    for _ in 0..2 {
        assert!(shelf.misses("0-9").await.contains("partial-content"));
    }
    let shelf = Shelf::with("[cache]\nmax_body = \"1KiB\"").await;
    shelf.change(|file| file.length = 100_000);
    shelf.misses("0-999").await;
    shelf.hits("0-999").await;
    shelf.misses("1000-1999").await;
    shelf.hits("1000-1999").await;
    shelf.misses("0-0").await;
    assert!(shelf.misses("5000-6999").await.contains("partial-content"));
}

#[tokio::test]
async fn a_part_whose_content_range_disagrees_with_its_body_is_not_stored() {
    for (about, answer) in [
        (
            "a longer body",
            "Content-Length: 6\r\nContent-Range: bytes 0-4/100\r\n\r\n012345",
        ),
        (
            "a shorter body",
            "Content-Length: 4\r\nContent-Range: bytes 0-4/100\r\n\r\n0123",
        ),
        (
            "a longer body in chunks",
            "Transfer-Encoding: chunked\r\nContent-Range: bytes 0-4/100\r\n\r\n6\r\n012345\r\n0\r\n\r\n",
        ),
        (
            "a shorter body in chunks",
            "Transfer-Encoding: chunked\r\nContent-Range: bytes 0-4/100\r\n\r\n4\r\n0123\r\n0\r\n\r\n",
        ),
        (
            "broken off",
            "Content-Length: 5\r\nContent-Range: bytes 0-4/100\r\n\r\n0123",
        ),
        (
            "of unknown length",
            "Content-Length: 5\r\nContent-Range: bytes 0-4/*\r\n\r\n01234",
        ),
        (
            "past the end",
            "Content-Length: 5\r\nContent-Range: bytes 0-4/4\r\n\r\n01234",
        ),
        (
            "twice",
            "Content-Length: 5\r\nContent-Range: bytes 0-4/100\r\nContent-Range: bytes 5-9/100\r\n\r\n01234",
        ),
    ] {
        let head = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\n";
        let answer: &'static str = format!("{head}{answer}").leak();
        let upstream = RawUpstream::replying(answer.as_bytes()).await;
        let proxy =
            Proxy::configured(&format!("[upstream.app]\nurl = {:?}\n", upstream.url())).await;
        for _ in 0..2 {
            let mut client = proxy.client().await;
            let ask = request(Method::GET, "/", &[("range", "bytes=0-4")], "");
            within("an end", client.exchange(ask)).await.ok();
        }
        assert_eq!(upstream.received().len(), 2, "{about}");
    }
}

#[tokio::test]
async fn ranges_side_by_side_come_together() {
    let shelf = Shelf::new().await;
    let ranges = ["0-249", "250-499", "500-749", "750-999"];
    let all = ranges.map(|range| shelf.range(range));
    let [a, b, c, d] = all;
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    for (answer, range) in [a, b, c, d].iter().zip(ranges) {
        shelf.is_part(answer, range);
    }
    // Whichever was lost to another is fetched again.
    for range in ranges {
        shelf.range(range).await;
    }
    let whole = shelf.proxy.get("/").await;
    assert_eq!(whole.body, shelf.file().bytes(0, 999));
    assert!(whole.header("cache-status").contains("; hit"), "{whole:?}");
}
