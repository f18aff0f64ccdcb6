//! How what is wanted at once is asked for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_util::future::join_all;

use super::super::reads::MOST;
use super::super::servers::Redis;
use super::*;

/// How many `MGET`s `redis` has heard, asked without this thread's runtime.
fn heard(redis: &Redis) -> u64 {
    let address = redis.url().replace("redis://", "");
    let mut stream = TcpStream::connect(address).expect("a server");
    let asked = stream.write_all(b"INFO commandstats\r\nQUIT\r\n");
    let mut text = String::new();
    asked.expect("a server that listens");
    stream.read_to_string(&mut text).expect("an answer");
    let calls = text.split("cmdstat_mget:calls=").nth(1);
    let calls = calls.and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

async fn filled(redis: &Redis, count: usize) -> Tested {
    let shared = connect(&url(&redis.url()));
    for number in 0..count {
        let (name, content) = (number.to_string(), format!("content {number}"));
        shared.store(&name, &content).await;
    }
    shared
}

#[tokio::test]
async fn so_many_records_are_one_question_and_each_gets_its_own() {
    let redis = Redis::start().await;
    let shared = filled(&redis, 2 * MOST + 1).await;
    for (wanted, questions) in [
        (1, 1),
        (MOST - 1, 1),
        (MOST, 1),
        (MOST + 1, 2),
        (2 * MOST, 2),
        (2 * MOST + 1, 3),
    ] {
        let before = heard(&redis);
        let names: Vec<_> = (0..wanted).map(|number| number.to_string()).collect();
        let got = join_all(names.iter().map(|name| shared.record(name))).await;
        for (number, got) in got.into_iter().enumerate() {
            assert_eq!(got, Ok(Some(format!("content {number}"))), "of {wanted}");
        }
        assert_eq!(heard(&redis) - before, questions, "for {wanted}");
    }
}

#[tokio::test]
async fn a_full_question_is_on_its_way_before_the_turn_ends() {
    let redis = Redis::start().await;
    let shared = filled(&redis, MOST).await;
    let before = heard(&redis);
    let names: Vec<_> = (0..MOST).map(|number| number.to_string()).collect();
    let mut all = pin!(join_all(names.iter().map(|name| shared.record(name))));
    let mut unheard = Context::from_waker(Waker::noop());
    assert!(all.as_mut().poll(&mut unheard).is_pending());
    // Nothing else runs on this thread meanwhile.
    let begun = timer_now();
    while heard(&redis) == before {
        assert!(begun.elapsed() < MINUTE, "nothing was written");
    }
    assert!(all.await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn who_gives_up_keeps_nobody_else_waiting() {
    let redis = Redis::start().await;
    let shared = filled(&redis, MOST + 4).await;
    for given_up in [1, MOST - 1, MOST, MOST + 1, MOST + 4] {
        let names: Vec<_> = (0..given_up).map(|number| number.to_string()).collect();
        let mut all = Box::pin(join_all(names.iter().map(|name| shared.record(name))));
        let mut unheard = Context::from_waker(Waker::noop());
        assert!(all.as_mut().poll(&mut unheard).is_pending());
        drop(all);
        let got = shared.record("3").await;
        assert_eq!(got, Ok(Some("content 3".into())), "after {given_up}");
    }
}

#[test]
fn what_a_runtime_leaves_behind_does_not_keep_the_next_one_waiting() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let background = runtime();
    let redis = background.block_on(Redis::start());
    let shared = background.block_on(filled(&redis, 1));
    let asked = || {
        let first = runtime();
        first.block_on(async {
            let mut unheard = Context::from_waker(Waker::noop());
            assert!(pin!(shared.record("0")).poll(&mut unheard).is_pending());
        });
        drop(first);
        let answered = async { tokio::time::timeout(MINUTE, shared.record("0")).await };
        runtime().block_on(answered)
    };
    let answered = std::thread::scope(|scope| scope.spawn(asked).join());
    let content = Ok(Some("content 0".to_owned()));
    assert_eq!(answered.expect("no panic"), Ok(content));
    drop(background);
}
