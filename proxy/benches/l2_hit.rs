//! What a hit of the second tier costs, beside a bare GET of the same bytes: `just l2-hit`.
//!
//! Starts a redis-server and an upstream of its own. One Pillion fills Redis from the upstream; another,
//! whose memory is empty, is asked for the same URLs, each once, through its whole pipeline. Between
//! its rounds, a plain multiplexed connection of the Redis library reads the same records, on the same
//! thread. Every answer is checked: that it came from the second tier, has the content, and that the
//! upstream heard nothing; and that the same request once more is answered from memory. The memory is
//! small, so that from the third round on it is full, as that of a sidecar that runs for a while:
//! what comes replaces what was there, and the system has no pages to clear. Redis and the thread that
//! asks have a core each: a wake-up across cores takes longer here than either's work, and comes to
//! both alike. What is told is the median of the rounds, and of their ratios: a machine that others use as
//! well is quicker in one moment than in the next.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use http_body_util::BodyExt;
use middleware::clock::Clock;
use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
use middleware::{Body, Request};
use proxy::pipeline::{FrontStack, front_stack};
use proxy::shared::Core;
use redis::aio::MultiplexedConnection;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::task::JoinSet;
use tower::Service;

/// As the product has it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if !words.iter().any(|word| word == "--measure") {
        println!("l2_hit: run by `just l2-hit`, which says --measure");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut reached = true;
    for size in [2 << 10, 16 << 10] {
        for callers in [1, 64] {
            reached &= runtime.block_on(measure(size, callers));
        }
    }
    match reached {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Measures and prints one line; whether the ratio is as it should be.
async fn measure(size: usize, callers: usize) -> bool {
    let redis = Redis::start();
    let upstream = Upstream::start(size);
    let filler = Pillion::start(&redis, &upstream);
    let count = ROUNDS * PER_ROUND;
    let mut stack = filler.stack(0);
    // What was asked for before the order of purges is known is not trusted by others.
    warm_up(&mut stack, size).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for number in 0..=count {
        let (status, _) = ask(&mut stack, number, size).await;
        assert!(status.contains("fwd=uri-miss"), "{status}");
        if number % 50 == 0 {
            // What waits to be written is bounded.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let mut bare = redis.connect().await;
    let names = redis.names(&mut bare, count + 1).await;
    let reader = Pillion::start(&redis, &upstream);
    let mut stack = reader.stack(1);
    warm_up(&mut stack, size).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = upstream.count();
    let (found, _) = ask(&mut stack, count, size).await;
    assert!(found.contains("detail=l2"), "{found}");
    let (again, _) = ask(&mut stack, count, size).await;
    assert!(
        !again.contains("detail") && again.contains("hit"),
        "in memory since: {again}"
    );
    pin(0);
    let stack = Arc::new(Mutex::new(stack));
    let (mut gets, mut hits) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let numbers = round * PER_ROUND..(round + 1) * PER_ROUND;
        let requests: Vec<_> = numbers.clone().map(request).collect();
        let bare = bare.clone();
        let get = move |name| {
            let mut bare = bare.clone();
            async move {
                let record: Option<Bytes> = redis::cmd("GET")
                    .arg(name)
                    .query_async(&mut bare)
                    .await
                    .expect("an answer");
                assert!(record.is_some_and(|record| record.len() > size));
            }
        };
        gets.push(timed(callers, names[numbers].to_vec(), get).await);
        let stack = stack.clone();
        let hit = move |request| {
            let answer = stack.lock().expect("nobody panicked").call(request);
            async move {
                let (status, _) = read(answer, size).await;
                assert!(
                    status.contains("hit; ") && status.contains("detail=l2"),
                    "{status}"
                );
            }
        };
        hits.push(timed(callers, requests, hit).await);
    }
    assert_eq!(
        upstream.count(),
        asked,
        "the upstream hears nothing of hits"
    );
    unpin();
    let ratio = median(gets.iter().zip(&hits).map(|(get, hit)| hit / get));
    let (get, hit) = (median(gets), median(hits));
    println!(
        "{:>2} KiB, {callers:>2} callers: bare GET {:>6.1} us, L2 hit {:>6.1} us, {ratio:.2} times",
        size >> 10,
        get * 1e6,
        hit * 1e6,
    );
    ratio <= MOST
}

/// The median of the times that calls took in seconds, made by so many callers: each a task as a connection is,
/// which makes its next call when it has its answer.
async fn timed<W, F>(
    callers: usize,
    work: Vec<W>,
    call: impl Fn(W) -> F + Clone + Send + 'static,
) -> f64
where
    W: Send + 'static,
    F: Future<Output = ()> + Send,
{
    let work = Arc::new(Mutex::new(work.into_iter()));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (work, call, clock) = (work.clone(), call.clone(), Clock::system());
        tasks.spawn(async move {
            let next = || work.lock().expect("nobody panicked").next();
            let mut times = Vec::new();
            while let Some(item) = next() {
                let began: Instant = clock.mono();
                call(item).await;
                times.push((clock.mono() - began).as_secs_f64());
            }
            times
        });
    }
    median(tasks.join_all().await.concat())
}

/// Keeps this thread, and no other, to one core.
fn pin(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("there are two cores");
}

fn unpin() {
    let mut all = CpuSet::new();
    (0..2).for_each(|core| all.set(core));
    sched_setaffinity(None, &all).expect("there are two cores");
}

fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Asks until the tier below is connected and trusted.
async fn warm_up(stack: &mut FrontStack, size: usize) {
    for number in 0..PER_ROUND {
        // Beyond what is measured, and so not there: a miss of both tiers, forwarded.
        ask(stack, usize::MAX - number, size).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// `Cache-Status` and content of an answer.
async fn ask(stack: &mut FrontStack, number: usize, size: usize) -> (String, Bytes) {
    read(stack.call(request(number)), size).await
}

/// A request as a connection hands it on.
fn request(number: usize) -> Request {
    let now = Clock::system().now();
    let peer = Peer::Ip(([127, 0, 0, 1], 5000).into());
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("/{number}").parse().expect("a path");
    let host = HeaderValue::from_static("example.com");
    request.headers_mut().insert(HOST, host);
    let id = RequestId::Made([0, number as u64]);
    let facts = RequestFacts::new(now, id, peer, Scheme::Http);
    request.extensions_mut().insert(facts);
    request
}

type Answer = <FrontStack as Service<Request>>::Future;

async fn read(answer: Answer, size: usize) -> (String, Bytes) {
    let answer = answer.await.expect("an answer");
    let status = answer.headers().get("cache-status").expect("a status");
    let status = status.to_str().expect("text").to_owned();
    let content = answer.into_body().collect().await.expect("content");
    let content = content.to_bytes();
    assert_eq!(content.len(), size, "{status}");
    (status, content)
}

/// A Pillion in this process, with its own memory.
struct Pillion(proxy::Running);

impl Pillion {
    fn start(redis: &Redis, upstream: &Upstream) -> Self {
        let folder = std::env::temp_dir().join(format!("pillion-l2-hit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a writable folder");
        let file = folder.join("pillion.toml");
        let toml = format!(
            "[cache]\nmemory.size = \"4MiB\"\n[cache.redis]\nurl = \"redis://{}\"\ntimeout = \"1s\"\n\
             [upstream.app]\nurl = \"http://{}\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
             [request_log]\nenabled = false\n[admin]\nenabled = false\n",
            redis.address, upstream.address
        );
        std::fs::write(&file, toml).expect("a writable folder");
        let loaded = config::load(Some(&file), &config::Overrides::default(), &|_| None);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        std::fs::remove_dir_all(&folder).ok();
        let running = proxy::start(loaded.settings, Clock::system());
        Self(running.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The way of a request through all layers, as a core has it.
    fn stack(&self, index: usize) -> FrontStack {
        let shared = self.0.shared();
        let core = Core {
            index,
            metrics: shared.metrics.core(),
            journal: None,
            hottest: None,
        };
        front_stack(self.0.settings(), shared, &core)
    }
}

/// A redis-server that ends with this.
struct Redis {
    address: SocketAddr,
    server: Child,
}

impl Redis {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let server = Command::new("taskset")
            .args(["-c", "1", "redis-server"])
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server and taskset are installed");
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, server }
    }

    async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{}", self.address)).expect("a URL");
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        connection.expect("a connection")
    }

    /// The names of `count` records, once all are there, in no order.
    async fn names(&self, bare: &mut MultiplexedConnection, count: usize) -> Arc<[String]> {
        for _ in 0..1000 {
            let mut keys = redis::cmd("KEYS");
            let keys: Vec<String> = keys
                .arg("pillion:r:*")
                .query_async(bare)
                .await
                .expect("keys");
            // Leases and markers have a record's name and a suffix.
            let keys: Vec<String> = keys.into_iter().filter(|key| key.ends_with('}')).collect();
            if keys.len() >= count {
                return keys.into();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not all {count} records were written in ten seconds");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// An upstream that answers everything with the same, for ten minutes.
struct Upstream {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Upstream {
    fn start(size: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let count = Arc::<AtomicUsize>::default();
        let counted = count.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = counted.clone();
                std::thread::spawn(move || serve(stream, size, &counted));
            }
        });
        Self { address, count }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, size: usize, count: &AtomicUsize) {
    // Not to be coded, and as long as it says.
    let content: Vec<u8> = (0..size).map(|place| (place * 31 % 251) as u8).collect();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {size}\r\n\
         cache-control: max-age=600\r\netag: \"a\"\r\n\r\n"
    );
    let answer = [head.as_bytes(), &content].concat();
    let (mut asked, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => asked.extend_from_slice(&buffer[..length]),
        }
        while let Some(end) = asked.windows(4).position(|four| four == b"\r\n\r\n") {
            asked.drain(..end + 4);
            count.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// What an L2 hit may cost, in bare GETs.
const MOST: f64 = 2.5;
const ROUNDS: usize = 41;
const PER_ROUND: usize = 500;
