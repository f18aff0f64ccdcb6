//! An upstream that means harm by what its answers say: it costs nothing but its own response.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::raw::read_head;
use tests::{Proxy, RawUpstream, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Lines of one name. `http` checks its links at each removal, in debug builds alone, by looking at all
/// the others; without that ten thousand would be no more trouble.
const REPEATED: usize = if cfg!(debug_assertions) { 2_000 } else { 9_000 };

/// What is said, and whether the next client is answered from what is stored of it.
struct Case {
    name: &'static str,
    fields: fn() -> Vec<u8>,
    is_reused: bool,
}

const CASES: [Case; 16] = [
    Case {
        name: "harmless",
        fields: || b"Cache-Control: max-age=60\r\n".to_vec(),
        is_reused: true,
    },
    Case {
        name: "age-of-2-to-64",
        fields: || b"Cache-Control: max-age=99999999999\r\nAge: 18446744073709551616\r\n".to_vec(),
        is_reused: false,
    },
    Case {
        name: "lifetime-without-end",
        fields: || [&b"Cache-Control: max-age="[..], &[b'9'; 100_000], b"\r\n"].concat(),
        is_reused: true,
    },
    Case {
        name: "ten-thousand-vary-members",
        fields: || listed("Vary", 10_000, |index| format!("x-{index}")),
        is_reused: false,
    },
    Case {
        name: "one-vary-member-ten-thousand-times",
        fields: || listed("Vary", 10_000, |_| "accept-encoding".into()),
        is_reused: true,
    },
    Case {
        name: "a-field-repeated",
        fields: || repeated("X-Same", REPEATED, |index| index.to_string()),
        is_reused: true,
    },
    Case {
        name: "cache-control-repeated",
        fields: || repeated("Cache-Control", REPEATED, |_| "max-age=60".into()),
        is_reused: true,
    },
    Case {
        name: "no-store-at-the-end",
        fields: || {
            listed("Cache-Control", 50_000, |index| match index {
                49_999 => "no-store".into(),
                _ => "x=1".into(),
            })
        },
        is_reused: false,
    },
    Case {
        name: "other-bytes-than-ascii",
        fields: || b"Cache-Control: max-age=6\xff0, \xfe\"\xff\r\n".to_vec(),
        is_reused: false,
    },
    Case {
        name: "a-quoted-string-without-end",
        fields: || {
            [
                &b"Cache-Control: max-age=60, x=\""[..],
                &[b','; 300_000],
                b"\r\n",
            ]
            .concat()
        },
        is_reused: true,
    },
    Case {
        name: "private-for-tens-of-thousands-of-fields",
        fields: || {
            let names: String = (0..40_000).map(|index| format!("{index:x},")).collect();
            let private = format!("Cache-Control: max-age=60, private=\"{names}\"\r\n");
            let others: String = (0..9_000).map(|index| format!("{index}:\r\n")).collect();
            format!("{private}{others}").into_bytes()
        },
        is_reused: true,
    },
    Case {
        name: "thousands-of-cookies",
        fields: || repeated("Set-Cookie", REPEATED, |index| format!("c{index}=1")),
        is_reused: false,
    },
    Case {
        name: "surrogate-keys",
        fields: || {
            [
                &b"Surrogate-Key: "[..],
                "a1 b2 c3 ".repeat(40_000).as_bytes(),
                b"\r\n",
            ]
            .concat()
        },
        is_reused: false,
    },
    Case {
        name: "tens-of-thousands-of-surrogate-keys",
        fields: || {
            let keys: String = (0..50_000).map(|index| format!("{index:x} ")).collect();
            format!("Surrogate-Key: {keys}\r\n").into_bytes()
        },
        is_reused: false,
    },
    Case {
        name: "tens-of-thousands-of-groups",
        fields: || listed("Cache-Groups", 40_000, |index| format!("\"{index:x}\"")),
        is_reused: false,
    },
    Case {
        name: "a-tag-of-300-kilobytes",
        fields: || {
            [
                &b"Cache-Control: max-age=60\r\nETag: \""[..],
                &[b'a'; 300_000],
                b"\"\r\n",
            ]
            .concat()
        },
        is_reused: true,
    },
];

fn listed(name: &str, count: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    let members: Vec<_> = (0..count).map(member).collect();
    format!("{name}: {}\r\n", members.join(",")).into_bytes()
}

fn repeated(name: &str, count: usize, value: impl Fn(usize) -> String) -> Vec<u8> {
    let lines = (0..count).map(|index| format!("{name}: {}\r\n", value(index)));
    lines.collect::<String>().into_bytes()
}

/// Answers `/NAME` with the fields of that case, and a number as content.
async fn upstream() -> RawUpstream {
    let count = Arc::new(AtomicUsize::new(0));
    RawUpstream::start(move |mut stream| {
        let count = count.clone();
        async move {
            let head = read_head(&mut stream).await;
            let text = String::from_utf8_lossy(&head);
            let name = text.split(['/', ' ', '?']).find_map(|word| {
                let case = CASES.iter().find(|case| case.name == word)?;
                Some((case.fields)())
            });
            let fields = name.unwrap_or_default();
            // What says nothing of how long it may be kept, may be kept for a minute.
            let has_own = fields.starts_with(b"Cache-Control");
            let control = if has_own {
                ""
            } else {
                "Cache-Control: max-age=60\r\n"
            };
            let number = count.fetch_add(1, Ordering::SeqCst).to_string();
            let length = number.len();
            let start = format!(
                "HTTP/1.1 200 OK\r\n{control}Content-Length: {length}\r\nConnection: close\r\n"
            );
            let answer = [start.as_bytes(), &fields, b"\r\n", number.as_bytes()].concat();
            stream.write_all(&answer).await.ok();
            stream.shutdown().await.ok();
            head
        }
    })
    .await
}

/// Head and content of an answer; a well-behaved client would not take such heads.
async fn ask(proxy: &Proxy, target: &str) -> (String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(proxy.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    let answer = within(target, exchange).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, content)) = answer.split_once("\r\n\r\n") else {
        panic!("{target}: no whole head in {} bytes", answer.len());
    };
    (head.to_ascii_lowercase(), content.to_owned())
}

async fn before(upstream: &RawUpstream) -> Proxy {
    let url = upstream.url();
    let app = format!("[upstream.app]\nurl = {url:?}\nfields = {{ count = 10000 }}\n");
    Proxy::configured(&app).await
}

#[tokio::test]
async fn what_an_answer_says_is_stored_and_reused_by_the_rules_however_it_is_said() {
    let upstream = upstream().await;
    let proxy = before(&upstream).await;
    for Case {
        name, is_reused, ..
    } in CASES
    {
        let target = format!("/{name}");
        let (head, first) = ask(&proxy, &target).await;
        assert!(head.starts_with("http/1.1 200"), "{name}: {head}");
        let (_, second) = ask(&proxy, &target).await;
        assert_eq!(first == second, is_reused, "{name}");
        // Nothing is made of it for anybody else.
        let (plain, _) = ask(&proxy, "/harmless").await;
        assert!(!plain.contains("set-cookie") && !plain.contains("x-same"));
    }
    let figures = proxy.running().shared().cache.figures();
    assert_eq!((figures.flights, figures.filling), (0, 0));
    assert!(figures.bytes < 16 << 20, "{figures:?}");
    proxy.running().shared().cache.purge_all();
    let figures = proxy.running().shared().cache.figures();
    assert_eq!((figures.entries, figures.bytes), (0, 0));
}

#[tokio::test]
async fn others_are_served_meanwhile() {
    let upstream = upstream().await;
    let proxy = before(&upstream).await;
    let (_, plain) = ask(&proxy, "/harmless").await;
    let hostile = async {
        for round in 0..5 {
            for Case { name, .. } in CASES {
                ask(&proxy, &format!("/{name}?{round}")).await;
            }
        }
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let began = tokio::time::Instant::now();
            let (_, answer) = ask(&proxy, "/harmless").await;
            assert_eq!(answer, plain);
            slowest = slowest.max(began.elapsed());
            tokio::task::yield_now().await;
        }
        slowest
    };
    let ((), slowest) = tokio::join!(hostile, others);
    // Reading 400 KB of fields takes a debug build some milliseconds; what is quadratic, minutes.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

/// What each case costs, beside as many bytes in fields that mean nothing:
/// `cargo test --release -p tests --test suites hostile_upstream -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints figures"]
async fn what_each_costs() {
    for Case { name, fields, .. } in CASES {
        let hostile = fields();
        let mut harmless = hostile.clone();
        // The same lines and lengths, under names and values without a meaning.
        let mut at_line = true;
        for byte in &mut harmless {
            match byte {
                b'\r' | b'\n' | b':' => {}
                _ if at_line => *byte = b'z',
                _ => *byte = b'y',
            }
            at_line = *byte == b'\n';
        }
        let cost = async |fields: Vec<u8>| {
            let upstream = RawUpstream::start(move |mut stream| {
                let fields = fields.clone();
                async move {
                    let head = read_head(&mut stream).await;
                    let start = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n";
                    let answer = [start.as_bytes(), &fields, b"\r\nx"].concat();
                    stream.write_all(&answer).await.ok();
                    stream.shutdown().await.ok();
                    head
                }
            })
            .await;
            let proxy = before(&upstream).await;
            ask(&proxy, "/warm").await;
            let before = resident();
            let began = tokio::time::Instant::now();
            for round in 0..40 {
                ask(&proxy, &format!("/{round}")).await;
            }
            let took = began.elapsed() / 40;
            let held = resident().saturating_sub(before) >> 10;
            let stored = proxy.running().shared().cache.figures().bytes >> 10;
            (took, held, stored)
        };
        let length = hostile.len();
        let one = cost(harmless).await;
        let other = cost(hostile).await;
        println!(
            "{name}, {length} bytes: harmless {one:.1?}, hostile {other:.1?} (time, KiB resident, KiB stored)"
        );
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}
