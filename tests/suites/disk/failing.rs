//! Disks that are full, absent or taken: no request fails for that.

use std::fs;

use tests::binary::Binary;

use super::*;

/// `pillion run` before `site`, with `toml`.
async fn started(
    site: &Site,
    folder: &Folder,
    toml: &str,
    start: impl Fn(&[&str]) -> Binary,
) -> (Binary, std::net::SocketAddr, std::net::SocketAddr) {
    let file = folder.path().join("pillion.toml");
    let rest = format!(
        "{ADMIN}[[listen]]\naddress = \"127.0.0.1:0\"\n[request_log]\nenabled = false\n\
         [upstream.app]\nurl = {:?}\n",
        site.upstream.url
    );
    fs::write(&file, format!("{toml}{rest}")).expect("a writable folder");
    let binary = start(&["run", "--config", file.to_str().expect("a plain path")]);
    let address = binary.address("http://").await;
    let admin = binary.address("admin").await;
    (binary, address, admin)
}

async fn all_pages(address: std::net::SocketAddr, count: usize) {
    for page in 0..count {
        let target = format!("/{page}");
        let answer = fetch(address, request(Method::GET, &target, &[], "")).await;
        assert_eq!(answer.status, 200);
        edition(&answer, &target);
    }
}

async fn scraped(admin: std::net::SocketAddr, series: &str) -> f64 {
    let answer = fetch(admin, request(Method::GET, "/metrics", &[], "")).await;
    value(answer.text(), series)
}

fn told(binary: &Binary) -> Vec<String> {
    let lines = binary.lines().into_iter();
    lines
        .filter(|line| line.contains("The disk tier of the cache is off"))
        .collect()
}

/// Asks for `pages` pages again and again, from when the tier is open until it has ended.
async fn ends_by_writing(binary: &Binary, address: std::net::SocketAddr, pages: usize) {
    binary
        .line(|line| {
            line.contains("disk tier of the cache is open")
                .then_some(())
        })
        .await;
    // What is written depends on how busy the machine is.
    within("the end of the tier", async {
        while told(binary).is_empty() {
            all_pages(address, pages).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_takes_no_more_switches_the_tier_off_with_one_line() {
    let (site, folder) = (Site::start().await, Folder::new());
    let kept = folder.path().join("kept");
    let toml = format!("{LITTLE}{}", disk(&kept));
    let (binary, address, admin) =
        started(&site, &folder, &toml, Binary::start_with_short_files).await;
    ends_by_writing(&binary, address, 80).await;
    all_pages(address, 80).await;
    assert_eq!(told(&binary).len(), 1, "{:?}", told(&binary));
    assert!(
        told(&binary)[0].contains("cannot be written"),
        "{:?}",
        told(&binary)
    );
    assert_eq!(scraped(admin, "pillion_cache_disk_on").await, 0.0);
    assert_eq!(
        scraped(admin, "pillion_cache_disk_failures_total").await,
        1.0
    );
    // The room is given back, so there is nothing that a purge would have to reach.
    let answer = purge(admin, "all").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().contains("warning")),
        (200, false)
    );
    assert_eq!(
        fs::metadata(kept.join("records"))
            .expect("it is there")
            .len(),
        0
    );
}

#[tokio::test]
async fn a_directory_that_cannot_be_had_switches_the_tier_off() {
    let (site, folder) = (Site::start().await, Folder::new());
    // Not even root may make one there.
    for path in ["/proc/pillion-kept", "/dev/null/kept"] {
        let toml = format!("{LITTLE}{}", disk(Path::new(path)));
        let (binary, address, admin) = started(&site, &folder, &toml, Binary::start).await;
        all_pages(address, 60).await;
        binary
            .line(|line| {
                line.contains("The disk tier of the cache is off")
                    .then_some(())
            })
            .await;
        assert_eq!(told(&binary).len(), 1);
        assert!(told(&binary)[0].contains(path), "{:?}", told(&binary));
        assert_eq!(scraped(admin, "pillion_cache_disk_on").await, 0.0);
        assert_eq!(
            scraped(admin, "pillion_cache_disk_failures_total").await,
            1.0
        );
        assert_eq!(purge(admin, "all").await.status, 200);
    }
}

#[tokio::test]
async fn of_two_processes_on_one_directory_the_second_goes_without() {
    let (site, folder) = (Site::start().await, Folder::new());
    let kept = folder.path().join("kept");
    let toml = format!("{LITTLE}{}", disk(&kept));
    let first = opened(&site, &toml).await;
    let (binary, address, _) = started(&site, &folder, &toml, Binary::start).await;
    binary
        .line(|line| line.contains("another process uses it").then_some(()))
        .await;
    all_pages(address, 60).await;
    assert_eq!(told(&binary).len(), 1);
    // Which is nothing to the first.
    for _ in 0..2 {
        all_to_disk(&first, 60).await;
    }
    let before = site.upstream.count();
    all_to_disk(&first, 60).await;
    let asked = site.upstream.count() - before;
    assert!(asked < 30 || was_late(&first), "{asked}");
    assert_eq!(metric(&first, "pillion_cache_disk_on"), 1.0);
    drop(binary);
    first.stop().await;
    let (binary, _, _) = started(&site, &folder, &toml, Binary::start).await;
    binary
        .line(|line| {
            line.contains("disk tier of the cache is open")
                .then_some(())
        })
        .await;
}

/// A process that sees `kept` with `mount` over it, or `None` where the system lets nobody mount.
async fn mounted(
    site: &Site,
    folder: &Folder,
    kept: &Path,
    mount: &str,
) -> Option<(Binary, std::net::SocketAddr, std::net::SocketAddr)> {
    let mounts = mount.replace("KEPT", kept.to_str().expect("a plain path"));
    // Is it allowed at all?
    let probe = Binary::start_with_mounts("true", &["--version"]);
    if probe.is_none() {
        eprintln!("skipped: no mount namespaces here");
        return None;
    }
    let toml = format!("{LITTLE}{}", disk(kept));
    let start = |arguments: &[&str]| {
        let started = Binary::start_with_mounts(&mounts, arguments);
        started.expect("it was allowed just now")
    };
    Some(started(site, folder, &toml, start).await)
}

async fn is_off_with(binary: &Binary, admin: std::net::SocketAddr, words: &str) {
    binary
        .line(|line| {
            line.contains("The disk tier of the cache is off")
                .then_some(())
        })
        .await;
    let told = told(binary);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(words), "{told:?}");
    assert_eq!(scraped(admin, "pillion_cache_disk_on").await, 0.0);
    let failures = scraped(admin, "pillion_cache_disk_failures_total").await;
    assert_eq!(failures, 1.0);
}

#[tokio::test]
async fn a_disk_that_is_read_only_switches_the_tier_off_and_purges_say_what_they_do_not_reach() {
    let (site, folder) = (Site::start().await, Folder::new());
    let kept = folder.path().join("kept");
    // With records of an earlier run, and for one that has never been written to.
    for round in 0..2 {
        let mount = "mount --bind KEPT KEPT && mount -o remount,ro,bind KEPT";
        if round == 1 {
            let toml = format!("{LITTLE}{}", disk(&kept));
            let proxy = opened(&site, &toml).await;
            all_pages(proxy.address, 20).await;
            proxy.stop().await;
        } else {
            fs::create_dir(&kept).expect("a writable folder");
        }
        let Some((binary, address, admin)) = mounted(&site, &folder, &kept, mount).await else {
            return;
        };
        for _ in 0..3 {
            all_pages(address, 60).await;
        }
        is_off_with(&binary, admin, "Read-only file system").await;
        let answer = purge(admin, "all").await;
        assert_eq!(answer.status, 200);
        let is_warned = answer.text().contains("empty the directory of cache.disk");
        assert_eq!(is_warned, round == 1, "{}", answer.text());
        drop(binary);
        fs::remove_dir_all(&kept).ok();
    }
}

#[tokio::test]
async fn a_file_system_without_room_switches_the_tier_off_and_gets_its_room_back() {
    let (site, folder) = (Site::start().await, Folder::new());
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).expect("a writable folder");
    let mount = "mount -t tmpfs -o size=1m,mode=700 none KEPT";
    let Some((binary, address, admin)) = mounted(&site, &folder, &kept, mount).await else {
        return;
    };
    ends_by_writing(&binary, address, 100).await;
    is_off_with(&binary, admin, "No space left on device").await;
    let answer = purge(admin, "all").await;
    let is_warned = answer.text().contains("warning");
    assert_eq!((answer.status.as_u16(), is_warned), (200, false));
    all_pages(address, 20).await;
}
