//! Stopping in order.

use std::sync::Arc;

use http::Method;
use tests::client::request;
use tests::{Proxy, Upstream, reply, within};
use tokio::sync::Semaphore;

#[tokio::test]
async fn what_is_in_flight_is_finished_and_told_to_close() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.expect("open").forget();
                reply(200).body("done")
            }
        }
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let address = proxy.address;
    let mut one = proxy.client().await;
    let one = tokio::spawn(async move { one.exchange(request(Method::GET, "/1", &[], "")).await });
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    let mut two = tests::Client::over_h2(stream, address.to_string()).await;
    let two = tokio::spawn(async move { two.exchange(request(Method::GET, "/2", &[], "")).await });
    upstream.wait_for(2).await;
    let stop = tokio::spawn(proxy.stop());
    // Once nobody is let in any more, the answers may come.
    let closed = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the closed door", closed).await;
    gate.add_permits(2);
    let one = within("the first answer", one)
        .await
        .expect("no panic")
        .expect("a whole answer");
    assert_eq!((one.text(), one.header("connection")), ("done", "close"));
    let two = within("the second answer", two)
        .await
        .expect("no panic")
        .expect("a whole answer");
    assert_eq!(two.text(), "done");
    within("the stop", stop).await.expect("no panic");
}
