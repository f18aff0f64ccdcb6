//! The disk tier: what survives a restart, what must not, and what happens when the disk fails.

mod failing;
mod restart;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use middleware::metrics::Exposition;
use tests::client::request;
use tests::proxy::Folder;
use tests::{Fetched, Proxy, Seen, Upstream, fetch, reply, within};

/// Memory with room for a few of the pages that the tests ask for.
const LITTLE: &str = "[cache]\nmemory = { size = \"256KiB\" }\nmax_body = \"64KiB\"\n";
const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
/// The content of a page but for its first words.
const LENGTH: usize = 16 << 10;

/// An upstream whose pages say in which edition they are; all pages are tagged `all`, and `/a/…` is also
/// tagged `a`.
struct Site {
    upstream: Upstream,
    edition: Arc<AtomicU64>,
}

impl Site {
    async fn start() -> Self {
        let edition = Arc::<AtomicU64>::default();
        let current = edition.clone();
        let upstream = Upstream::start(move |seen: Seen| {
            let edition = current.load(Ordering::SeqCst);
            async move {
                let tags = if seen.target.starts_with("/a/") {
                    "all a"
                } else {
                    "all"
                };
                reply(200)
                    .header("cache-control", "max-age=3600")
                    .header("surrogate-key", tags)
                    .body(content(&seen.target, edition))
            }
        })
        .await;
        Self { upstream, edition }
    }

    /// From now on, pages are different.
    fn next_edition(&self) -> u64 {
        self.edition.fetch_add(1, Ordering::SeqCst) + 1
    }
}

fn content(target: &str, edition: u64) -> String {
    let mut content = format!("{target} {edition} ");
    let fill = format!("{target}-{edition}.").repeat(LENGTH / (target.len() + 3));
    content.push_str(&fill);
    content
}

/// The edition of an answer, whose content is what the upstream sends as that.
fn edition(answer: &Fetched, target: &str) -> u64 {
    let mut words = answer.text().splitn(3, ' ');
    assert_eq!(words.next(), Some(target));
    let edition = words.next().expect("an edition").parse().expect("a number");
    assert_eq!(answer.text(), content(target, edition));
    edition
}

fn disk(path: &Path) -> String {
    format!("[cache.disk]\npath = {path:?}\nsize = \"16MiB\"\n")
}

/// A Pillion whose disk tier is open.
async fn opened(site: &Site, toml: &str) -> Proxy {
    let proxy = Proxy::with(&site.upstream, toml).await;
    let open = async {
        while metric(&proxy, "pillion_cache_disk_on") < 1.0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the opening", open).await;
    proxy
}

/// Whether a read of the disk took longer than requests wait, which a busy machine brings about: what was to be found
/// was not, as it should be, and the test has shown nothing.
fn was_late(proxy: &Proxy) -> bool {
    metric(proxy, "pillion_cache_disk_reads_lost_total{cause=\"late\"}") > 0.0
}

/// Plays a scene again where the disk [was late](was_late), which it says.
async fn undisturbed(scene: impl AsyncFn() -> bool) {
    for _ in 0..5 {
        if scene().await {
            return;
        }
    }
    panic!("the disk was late in each of five scenes");
}

/// Asks for so many pages, and waits until what memory has no room for is on disk: on a busy machine it may be given up
/// for lack of room in the queue.
async fn all_to_disk(proxy: &Proxy, pages: usize) {
    for page in 0..pages {
        let target = format!("/{page}");
        edition(&proxy.get(&target).await, &target);
        proxy.running().shared().cache.written_below().await;
    }
}

/// GET as of the same site, whatever port this Pillion has.
async fn get(proxy: &Proxy, target: &str) -> Fetched {
    proxy.get_with(target, &[("host", "the.site")]).await
}

fn metrics(proxy: &Proxy) -> String {
    let metrics = &proxy.running().shared().metrics;
    metrics.encode(Exposition::Classic)
}

fn metric(proxy: &Proxy, series: &str) -> f64 {
    value(&metrics(proxy), series)
}

/// The value of a series in a scrape.
fn value(scrape: &str, series: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    let found = scrape.lines().find_map(value);
    found.unwrap_or_else(|| panic!("{series} is no series"))
}

async fn purge(admin: std::net::SocketAddr, query: &str) -> Fetched {
    let target = format!("/purge?{query}");
    fetch(admin, request(Method::POST, &target, &[], String::new())).await
}

#[tokio::test]
async fn what_memory_has_no_room_for_is_found_on_disk_and_back_in_memory() {
    undisturbed(found_on_disk_and_back_in_memory).await;
}

async fn found_on_disk_and_back_in_memory() -> bool {
    let (site, folder) = (Site::start().await, Folder::new());
    let kept = folder.path().join("kept");
    let proxy = opened(&site, &format!("{LITTLE}{}", disk(&kept))).await;
    // Asked for twice, pages deserve the disk.
    for _ in 0..2 {
        all_to_disk(&proxy, 100).await;
    }
    let before = site.upstream.count();
    let mut from_disk = 0;
    for page in 0..100 {
        let target = format!("/{page}");
        let answer = proxy.get(&target).await;
        assert_eq!(edition(&answer, &target), 0);
        from_disk += u32::from(answer.header("cache-status").contains("detail=disk"));
        proxy.running().shared().cache.written_below().await;
        assert!(answer.header("surrogate-key").is_empty());
        // The next one comes from memory.
        let again = proxy.get(&target).await;
        assert!(
            !again.header("cache-status").contains("disk"),
            "{}",
            again.header("cache-status")
        );
    }
    let asked = site.upstream.count() - before;
    if was_late(&proxy) {
        return false;
    }
    assert!(
        from_disk > 50 && asked < 40,
        "{from_disk} from disk, {asked} from the upstream"
    );
    assert!(metric(&proxy, "pillion_cache_entries{tier=\"disk\"}") > 50.0);
    let bytes = metric(
        &proxy,
        "pillion_cache_bytes{tier=\"disk\",kind=\"accounted\"}",
    );
    assert!(bytes > 50.0 * LENGTH as f64, "{bytes}");
    let budget = metric(&proxy, "pillion_cache_bytes{tier=\"disk\",kind=\"budget\"}");
    assert_eq!(budget, f64::from(16 << 20));
    true
}

#[tokio::test]
async fn without_a_path_there_is_no_disk_tier() {
    let site = Site::start().await;
    let proxy = Proxy::with(&site.upstream, LITTLE).await;
    for _ in 0..2 {
        for page in 0..60 {
            proxy.get(&format!("/{page}")).await;
        }
    }
    assert!(site.upstream.count() > 80, "memory alone");
    assert!(!metrics(&proxy).contains("\npillion_cache_disk_on "));
}
