//! One connection's way, read by read: what is answered beneath HTTP, and what never is.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use middleware::cache::stored::StoredResponse;
use middleware::clock::{Clock, Now};
use middleware::facts::{self, Peer, RequestId, Scheme};
use middleware::repeat::{Enters, Repeat, Stands};
use middleware::{Body, Response};

use crate::server::repeats::Repeats;
use crate::server::repeats::repeater::Repeater;
use crate::server::repeats::saying::Saying;
use crate::server::watch::{Order, Watch};

const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const ID: [u64; 2] = [1, 2];
const OTHER_ID: &str = "x-request-id: ";

/// A stored response that may have gone, and how often its answer was entered.
#[derive(Debug, Clone)]
struct App {
    stored: Arc<StoredResponse>,
    is_gone: Arc<AtomicBool>,
    entered: Arc<AtomicUsize>,
}

impl Stands for App {
    fn stands(&self) -> Option<Arc<StoredResponse>> {
        (!self.is_gone.load(SeqCst)).then(|| self.stored.clone())
    }
}

impl Enters for App {
    fn enter(&self, _: Now, _: RequestId, _: Peer) {
        self.entered.fetch_add(1, SeqCst);
    }
}

impl App {
    fn new(clock: &Clock) -> Self {
        let content = Bytes::from_static(b"content");
        let stored = StoredResponse::fixed(StatusCode::OK, HeaderMap::new(), content, clock.now());
        Self {
            stored: Arc::new(stored),
            is_gone: Arc::default(),
            entered: Arc::default(),
        }
    }

    fn response(&self, until: Now) -> Response {
        let mut response = Response::new(Body::of_stored(&self.stored.body));
        let mut repeat = Repeat::new(until, Box::new(self.clone()));
        repeat.is_entered_by(Box::new(self.clone()));
        let facts = facts::of_response(&mut response);
        facts.repeat = Some(Arc::new(repeat));
        facts.stored = Some(self.stored.clone());
        response
    }
}

/// A connection whose HTTP does as hyper does.
struct Connection {
    repeater: Repeater,
    watch: Arc<Watch>,
    app: App,
    clock: Clock,
}

/// A core.
fn core() -> (Arc<Repeats>, Clock) {
    let clock = Clock::standing();
    (Arc::new(Repeats::new(clock.clone())), clock)
}

impl Connection {
    fn open(core: &(Arc<Repeats>, Clock), app: &App) -> Self {
        Self::by(core, app, Scheme::Http, Peer::Unix)
    }

    fn by((repeats, clock): &(Arc<Repeats>, Clock), app: &App, scheme: Scheme, peer: Peer) -> Self {
        let watch = Arc::new(Watch::default());
        watch.open(false);
        Self {
            repeater: Repeater::new(repeats.clone(), watch.clone(), scheme, peer),
            watch,
            app: app.clone(),
            clock: clock.clone(),
        }
    }

    /// What is answered to `bytes` beneath HTTP.
    fn read(&mut self, bytes: &[u8]) -> Option<String> {
        let said = self
            .repeater
            .hear(bytes, |head, content| [head, content].concat());
        let (written, entry) = said?;
        self.repeater.enter(entry);
        self.watch.note_repeated();
        Some(String::from_utf8(written).unwrap())
    }

    /// HTTP makes a request of what it has read, and answers in these words.
    fn answer(&mut self, written: &str) {
        self.begin(false, written);
        self.watch.finish(false, true);
        self.flush();
    }

    fn begin(&mut self, has_content: bool, written: &str) {
        self.watch.begin(has_content);
        let wanted = self.watch.exchange().begin(has_content);
        let now = self.clock.now();
        let until = Now {
            wall: now.wall + Duration::from_secs(1),
            mono: now.mono + Duration::from_secs(1),
        };
        let response = self.app.response(until);
        if wanted && let Some(saying) = Saying::of(&response, &RequestId::Made(ID)) {
            self.watch.exchange().say(saying);
        }
        let (head, content) = written.split_at(written.find("\r\n\r\n").unwrap() + 4);
        let pieces = [head, content].map(|piece| IoSlice::new(piece.as_bytes()));
        self.repeater.note_written(&pieces);
    }

    fn flush(&mut self) {
        self.repeater.note_flushed();
    }

    /// Asks until an answer is kept: twice, where no other head had its slot.
    fn teach(&mut self) {
        while self.read(HEAD).is_none() {
            self.answer(&plain());
        }
    }
}

/// An answer as HTTP writes it, with these lines besides.
fn words(lines: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\n{lines}x-request-id: {}\r\n\r\ncontent",
        name()
    )
}

fn plain() -> String {
    words("content-length: 7\r\n")
}

fn name() -> String {
    RequestId::Made(ID).to_string()
}

#[test]
fn the_third_request_of_the_same_bytes_is_answered_in_the_same_words_under_another_name() {
    let core = core();
    let app = App::new(&core.1);
    let mut connection = Connection::open(&core, &app);
    for _ in 0..2 {
        assert_eq!(connection.read(HEAD), None);
        connection.answer(&plain());
    }
    let said = connection.read(HEAD).expect("it is known");
    let other = said
        .split(OTHER_ID)
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    assert_ne!(other, name());
    assert_eq!(said.replace(other, &name()), plain());
    assert_eq!(app.entered.load(SeqCst), 1);
    let again = connection.read(HEAD).expect("it is known");
    assert_ne!(again, said, "each has a name of its own");
    // And to another client of the core.
    assert!(Connection::open(&core, &app).read(HEAD).is_some());
    for (scheme, peer) in [
        (Scheme::Https, Peer::Unix),
        (Scheme::Http, Peer::Ip(([127, 0, 0, 1], 1).into())),
    ] {
        let mut other = Connection::by(&core, &app, scheme, peer);
        assert_eq!(other.read(HEAD), None, "{scheme:?} {peer:?}");
    }
    let other_words = b"GET /a HTTP/1.1\r\nhost: b\r\n\r\n";
    assert!(Connection::open(&core, &app).read(other_words).is_none());
}

#[test]
fn nothing_is_said_again_that_would_not_be_said_now() {
    let core = core();
    let app = App::new(&core.1);
    let mut connection = Connection::open(&core, &app);
    connection.teach();
    app.is_gone.store(true, SeqCst);
    assert_eq!(connection.read(HEAD), None);
    app.is_gone.store(false, SeqCst);
    let mut connection = Connection::open(&core, &app);
    connection.teach();
    core.1.advance(Duration::from_millis(999));
    assert!(connection.read(HEAD).is_some());
    core.1.advance(Duration::from_millis(1));
    assert_eq!(connection.read(HEAD), None, "its second is over");
    connection.answer(&plain());
    assert!(
        connection.read(HEAD).is_some(),
        "it was learnt anew at once"
    );
}

#[test]
fn what_is_asked_for_rarely_is_not_kept() {
    let core = core();
    let app = App::new(&core.1);
    let mut connection = Connection::open(&core, &app);
    for _ in 0..5 {
        assert_eq!(connection.read(HEAD), None);
        assert!(!connection.watch.exchange().begin(false));
        connection.answer(&plain());
        core.1.advance(Duration::from_secs(1));
    }
}

#[test]
fn what_follows_unfinished_bytes_is_not_a_request_however_it_looks() {
    let core = core();
    let app = App::new(&core.1);
    Connection::open(&core, &app).teach();
    let firsts: [&[u8]; 9] = [
        b"\r\n\r\n",
        b"GET /b HTTP/1.1\r\nhost: a\r\n\r\nGET /c HTTP/1.1\r\nx: ",
        b"GET /b HTTP/1.1\r\nx: ",
        b"GET /b HTTP/1.1\r\nhost: a\r\n",
        b"\r\n",
        b"\n",
        b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r",
        // Two requests in one read: the second one's answer is HTTP's.
        b"GET /b HTTP/1.1\r\nhost: a\r\n\r\nGET /c HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /b HTTP/1.1\n\nGET /c HTTP/1.1\r\nhost: a\r\n\r\n",
    ];
    for first in firsts {
        let mut connection = Connection::open(&core, &app);
        assert!(connection.read(HEAD).is_some(), "here it is one");
        assert_eq!(connection.read(first), None);
        let said = first.escape_ascii();
        assert_eq!(connection.read(HEAD), None, "{said}");
        connection.answer(&plain());
        assert_eq!(connection.read(HEAD), None, "{said}");
    }
    // Of these HTTP makes a request first, and what it made nothing of waits in its buffer.
    for first in [firsts[1], firsts[7], firsts[8]] {
        let mut connection = Connection::open(&core, &app);
        assert_eq!(connection.read(first), None);
        connection.answer(&plain());
        assert_eq!(connection.read(HEAD), None, "{}", first.escape_ascii());
    }
}

#[test]
fn what_follows_a_head_with_content_is_content() {
    let core = core();
    let app = App::new(&core.1);
    Connection::open(&core, &app).teach();
    let post = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        HEAD.len()
    );
    let mut connection = Connection::open(&core, &app);
    assert_eq!(connection.read(post.as_bytes()), None);
    connection.begin(true, &plain());
    assert_eq!(connection.read(HEAD), None, "while it is answered");
    // HTTP may answer before it has read the content.
    let mut connection = Connection::open(&core, &app);
    assert_eq!(connection.read(post.as_bytes()), None);
    connection.begin(true, &plain());
    connection.watch.finish(false, true);
    connection.flush();
    assert_eq!(connection.read(HEAD), None, "when it was answered");
}

#[test]
fn nothing_is_written_before_what_is_owed() {
    let core = core();
    let app = App::new(&core.1);
    Connection::open(&core, &app).teach();
    // Its answer is under way.
    let mut connection = Connection::open(&core, &app);
    assert_eq!(connection.read(b"GET /0 HTTP/1.1\r\nhost: a\r\n\r\n"), None);
    connection.begin(false, &plain());
    connection.flush();
    assert_eq!(connection.read(HEAD), None);
    // HTTP has all of it, and has not written it.
    let mut connection = Connection::open(&core, &app);
    assert_eq!(connection.read(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"), None);
    connection.begin(false, &plain());
    connection.watch.finish(false, true);
    assert_eq!(connection.read(HEAD), None);
    // Something else is being written beneath HTTP.
    let mut connection = Connection::open(&core, &app);
    connection.repeater.note_written(&[]);
    assert_eq!(connection.read(HEAD), None);
    // All is written.
    let mut connection = Connection::open(&core, &app);
    assert_eq!(connection.read(b"GET /2 HTTP/1.1\r\nhost: a\r\n\r\n"), None);
    connection.answer(&plain());
    assert!(connection.read(HEAD).is_some());
}

#[test]
fn only_an_answer_that_leaves_the_connection_open_and_tells_its_length_is_kept() {
    let long = format!("content-length: 7\r\nx-long: {}\r\n", "a".repeat(5000));
    for (lines, is_kept) in [
        ("content-length: 7\r\n", true),
        ("x-a: connection: close\r\ncontent-length: 7\r\n", true),
        ("content-length: 7\r\nconnection: close\r\n", false),
        ("transfer-encoding: chunked\r\n", false),
        ("content-length: 8\r\n", false),
        ("", false),
        (
            &format!("content-length: 7\r\nx-request-id: {}\r\n", name()),
            false,
        ),
        (&long, false),
    ] {
        let core = core();
        let app = App::new(&core.1);
        let mut connection = Connection::open(&core, &app);
        for _ in 0..2 {
            assert_eq!(connection.read(HEAD), None);
            connection.answer(&words(lines));
        }
        assert_eq!(connection.read(HEAD).is_some(), is_kept, "{lines}");
    }
}

#[test]
fn a_connection_that_is_to_be_closed_is_left_to_http() {
    let core = core();
    let app = App::new(&core.1);
    let mut connection = Connection::open(&core, &app);
    connection.teach();
    connection.watch.give(Order::Leave);
    assert_eq!(connection.read(HEAD), None);
    let mut tunnel = Connection::open(&core, &app);
    tunnel.watch.hand_over();
    assert_eq!(tunnel.read(HEAD), None);
}

#[test]
fn a_connection_on_which_nothing_comes_again_is_looked_at_seldom_until_something_does() {
    let core = core();
    let app = App::new(&core.1);
    let mut connection = Connection::open(&core, &app);
    for number in 0..65 {
        let head = format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(connection.read(head.as_bytes()), None);
        connection.answer(&plain());
    }
    Connection::open(&core, &app).teach();
    let mut said = 0;
    for _ in 0..20 {
        match connection.read(HEAD) {
            Some(_) => said += 1,
            None => {
                assert_eq!(said, 0, "from then on each is said again");
                connection.answer(&plain());
            }
        }
    }
    assert!((4..20).contains(&said), "{said}");
}

/// While answers may not be repeated, near the end of a lifetime, say, the same head comes again and again.
#[test]
fn a_head_that_could_not_be_kept_for_a_while_is_kept_again() {
    let core = core();
    let app = App::new(&core.1);
    let mut connection = Connection::open(&core, &app);
    connection.teach();
    app.is_gone.store(true, SeqCst);
    for _ in 0..1000 {
        assert_eq!(connection.read(HEAD), None);
        // Not in words that can be kept.
        connection.answer(&words("transfer-encoding: chunked\r\n"));
    }
    app.is_gone.store(false, SeqCst);
    let learnt = (0..40).any(|_| {
        let said = connection.read(HEAD).is_some();
        if !said {
            connection.answer(&plain());
        }
        said
    });
    assert!(learnt);
}

#[test]
fn what_is_kept_is_bounded_and_what_comes_often_stays() {
    let core = core();
    let app = App::new(&core.1);
    let mut often = Connection::open(&core, &app);
    let mut said = 0;
    for number in 0..5000 {
        let head = format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut connection = Connection::open(&core, &app);
        for _ in 0..2 {
            assert_eq!(connection.read(head.as_bytes()), None);
            connection.answer(&plain());
        }
        if number % 50 == 0 {
            match often.read(HEAD) {
                Some(_) => said += 1,
                None => often.answer(&plain()),
            }
        }
    }
    // Slots are chosen by a keyed hash, so now and then two others come to its slot in between.
    assert!(said > 80, "{said} of 100");
    let kept = || {
        let table = core.0.table.lock().unwrap();
        assert_eq!(table.slots.all.len(), super::SLOTS);
        table
            .slots
            .all
            .iter()
            .filter(|slot| slot.kept.is_some())
            .count()
    };
    for number in 0..50 {
        let head = format!("GET /again/{number} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut connection = Connection::open(&core, &app);
        for _ in 0..10 {
            if connection.read(head.as_bytes()).is_none() {
                connection.answer(&plain());
            }
        }
    }
    assert!(kept() > 30, "{}", kept());
    // What has had its time is let go as others are kept.
    for _ in 0..super::SLOTS {
        core.1.advance(Duration::from_secs(1));
        often.teach();
    }
    assert_eq!(kept(), 1);
}
