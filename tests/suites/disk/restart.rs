//! What the next process finds.

use std::fs;
use std::os::unix::fs::FileExt;

use rustix::process::Signal;
use tests::binary::Binary;

use super::*;

#[tokio::test]
async fn a_restart_is_warm_and_what_is_found_has_its_age() {
    undisturbed(warm_with_age).await;
}

async fn warm_with_age() -> bool {
    let (site, folder) = (Site::start().await, Folder::new());
    let toml = disk(&folder.path().join("kept"));
    let proxy = opened(&site, &toml).await;
    for page in 0..50 {
        get(&proxy, &format!("/{page}")).await;
    }
    let first = site.upstream.count();
    proxy.stop().await;
    let proxy = opened(&site, &toml).await;
    for page in 0..50 {
        let target = format!("/{page}");
        let answer = get(&proxy, &target).await;
        assert_eq!(edition(&answer, &target), 0);
        if was_late(&proxy) {
            return false;
        }
        let status = answer.header("cache-status");
        assert!(status.contains("detail=disk"), "{status}");
        assert!(!answer.header("age").is_empty());
    }
    assert_eq!(site.upstream.count(), first, "nobody asked the app");
    // And it does not live longer for having been on disk.
    proxy.advance(Duration::from_secs(3601));
    let answer = get(&proxy, "/1").await;
    assert!(
        answer.header("cache-status").contains("fwd="),
        "{}",
        answer.header("cache-status")
    );
    proxy.stop().await;
    true
}

#[tokio::test]
async fn what_was_purged_stays_purged_over_a_restart() {
    undisturbed(purged_over_a_restart).await;
}

async fn purged_over_a_restart() -> bool {
    let (site, folder) = (Site::start().await, Folder::new());
    let toml = format!("{LITTLE}{}{ADMIN}", disk(&folder.path().join("kept")));
    let proxy = opened(&site, &toml).await;
    let pages = ["/a/1", "/a/2", "/b/1", "/c/1", "/c/2?x=1", "/d/1", "/e/1"];
    for target in pages {
        get(&proxy, target).await;
    }
    proxy.stop().await;
    let proxy = opened(&site, &toml).await;
    let admin = proxy.admin.expect("an admin listener");
    site.next_edition();
    for query in [
        "tag=a",
        "url=http://the.site/b/1",
        "prefix=/c",
        "pattern=/d/*",
    ] {
        let answer = purge(admin, query).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains("warning"), "{}", answer.text());
    }
    assert!(metric(&proxy, "pillion_cache_disk_purges_total") >= 4.0);
    proxy.stop().await;
    let proxy = opened(&site, &toml).await;
    for target in pages {
        let answer = get(&proxy, target).await;
        let expected = u64::from(target != "/e/1");
        if was_late(&proxy) {
            return false;
        }
        assert_eq!(edition(&answer, target), expected, "{target}");
    }
    proxy.stop().await;
    true
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_is_a_miss_at_worst() {
    let (site, folder) = (Site::start().await, Folder::new());
    let kept = folder.path().join("kept");
    let toml = format!("{}{ADMIN}", disk(&kept));
    for round in 0..6_u64 {
        let proxy = opened(&site, &toml).await;
        for page in 0..40 {
            let target = format!("/a/{page}");
            let answer = get(&proxy, &target).await;
            assert_eq!(edition(&answer, &target), round);
        }
        // Half of what is on disk is not valid any more.
        purge(proxy.admin.expect("an admin listener"), "tag=a").await;
        site.next_edition();
        for page in 0..20 {
            get(&proxy, &format!("/a/{page}")).await;
        }
        proxy.stop().await;
        for name in ["records", "purges"] {
            // A round with all of it whole, one with a damaged journal, others with damaged records.
            if round == 0 || (name == "purges") != (round == 1) {
                continue;
            }
            let mut options = fs::OpenOptions::new();
            let file = options.read(true).write(true).open(kept.join(name));
            let file = file.expect("it is there");
            let length = file.metadata().expect("a length").len();
            for at in (round * 97..length).step_by(if name == "records" { 3571 } else { 17 }) {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("within it");
                file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at)
                    .expect("within it");
            }
        }
        let proxy = opened(&site, &toml).await;
        for page in 0..40 {
            let target = format!("/a/{page}");
            let answer = get(&proxy, &target).await;
            assert_eq!(
                edition(&answer, &target),
                round + 1,
                "round {round}: {target}"
            );
        }
        proxy.stop().await;
    }
}

/// A real process that is killed (SIGKILL) while it stores and purges, again and again.
#[tokio::test]
async fn a_purge_that_was_acknowledged_before_a_kill_stays_one() {
    let (site, folder) = (Site::start().await, Folder::new());
    let file = folder.path().join("pillion.toml");
    let toml = format!(
        "{LITTLE}{}{ADMIN}[[listen]]\naddress = \"127.0.0.1:0\"\n[request_log]\nenabled = false\n\
         [upstream.app]\nurl = {:?}\n",
        disk(&folder.path().join("kept")),
        site.upstream.url
    );
    fs::write(&file, toml).expect("a writable folder");
    let file = file.to_str().expect("a plain path");
    let host = [("host", "the.site")];
    let (mut from_disk, mut purged) = (0, 0);
    for round in 0..12_u64 {
        let binary = Binary::start(&["run", "--config", file]);
        let address = binary.address("http://").await;
        let admin = binary.address("admin").await;
        binary
            .line(|line| {
                line.contains("disk tier of the cache is open")
                    .then_some(())
            })
            .await;
        let mut least = site.edition.load(Ordering::SeqCst);
        // What is killed at another place each time: amid asking, or amid purging.
        let steps = 20 + round * 37 % 90;
        for step in 0..steps {
            let target = format!("/a/{}", step * 7 % 40);
            let get = request(Method::GET, &target, &host, "");
            let answer = fetch(address, get).await;
            let found = edition(&answer, &target);
            assert!(
                found >= least,
                "round {round}: {target} of edition {found} after {least}"
            );
            from_disk += u32::from(answer.header("cache-status").contains("detail=disk"));
            if step % 31 == 30 || step + 1 == steps {
                let next = site.next_edition();
                let answer = purge(admin, "tag=a").await;
                assert_eq!(answer.status, 200);
                (least, purged) = (next, purged + 1);
            }
        }
        // Some pages of the latest edition, one of which is being written.
        for page in 0..(round * 5 % 17) {
            let get = request(Method::GET, &format!("/a/{page}"), &host, "");
            fetch(address, get).await;
        }
        binary.signal(Signal::KILL);
        binary.ended().await;
    }
    assert!(purged > 15, "{purged}");
    assert!(from_disk > 0, "something was found on disk");
}
