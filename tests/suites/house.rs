//! The rules of the house (ARCHITECTURE.md) that a machine can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, tests aside.
const LINES: usize = 500;

#[test]
fn imports_follow_the_floors_of_the_house() {
    // config ← middleware ← proxy ← tests
    for (room, allowed) in [
        ("config", &[][..]),
        ("middleware", &["config"]),
        ("proxy", &["config", "middleware"]),
        // It measures from outside.
        ("loadtest", &[]),
    ] {
        let manifest = read(&root().join(room).join("Cargo.toml"));
        let used: BTreeSet<&str> = ["config", "middleware", "proxy", "tests", "loadtest"]
            .into_iter()
            .filter(|name| manifest.contains(&format!("\n{name}.workspace")))
            .collect();
        assert_eq!(used, allowed.iter().copied().collect(), "imports of {room}");
    }
    let manifest = read(&root().join("config/Cargo.toml"));
    for foreign in ["tokio", "hyper", "tower", "http"] {
        assert!(
            !manifest.contains(&format!("\n{foreign}.")),
            "config knows no {foreign}"
        );
    }
}

#[test]
fn a_part_of_the_middleware_uses_no_other_part() {
    const PARTS: [&str; 8] = [
        "cache",
        "conditional",
        "content_coding",
        "etag",
        "forwarding",
        "limits",
        "request_log",
        "respond",
    ];
    // Coded copies are kept with the response that they are copies of.
    const NAMED: [(&str, &str); 2] = [("content_coding", "cache"), ("cache", "content_coding")];
    for part in PARTS {
        for file in sources(&root().join("middleware/src")) {
            let inside = file
                .strip_prefix(root().join("middleware/src"))
                .expect("below it");
            let owner = inside
                .components()
                .next()
                .expect("a name")
                .as_os_str()
                .to_string_lossy();
            let owner = owner.trim_end_matches(".rs");
            if owner == part || !PARTS.contains(&owner) || NAMED.contains(&(owner, part)) {
                continue;
            }
            // Tests may build a part's real neighbours.
            if is_for_tests(inside) {
                continue;
            }
            let text = read(&file);
            assert!(
                !text.contains(&format!("crate::{part}::"))
                    && !text.contains(&format!("use crate::{part};")),
                "{} uses {part}; what two parts must tell each other goes through facts.rs",
                inside.display()
            );
        }
    }
}

#[test]
fn every_layer_of_the_page_has_its_rooms() {
    let page = read(&root().join("proxy/src/pipeline.rs"));
    for line in page
        .lines()
        .filter(|line| line.trim_start().starts_with("use middleware::"))
    {
        let part = line.split("::").nth(1).expect("a path");
        let middleware = root().join("middleware/src");
        assert!(
            middleware.join(format!("{part}.rs")).exists() || middleware.join(part).is_dir(),
            "{part} has its room in middleware"
        );
        let config = root().join("config/src");
        assert!(
            config.join(format!("{part}.rs")).exists() || config.join(part).is_dir(),
            "{part} has its room in config"
        );
        assert!(
            root().join(format!("tests/suites/{part}.rs")).exists(),
            "{part} has its room in tests/suites"
        );
    }
}

#[test]
fn no_file_is_longer_than_a_reader_s_patience() {
    for room in [
        "config/src",
        "loadtest/src",
        "middleware/src",
        "proxy/src",
        "tests/src",
    ] {
        for file in sources(&root().join(room)) {
            let name = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            assert!(
                ![
                    "utils", "util", "helpers", "common", "misc", "manager", "core"
                ]
                .contains(&name.as_str()),
                "{} is not named by what it holds",
                file.display()
            );
            if is_for_tests(file.strip_prefix(root().join(room)).expect("below it")) {
                continue;
            }
            let text = read(&file);
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .expect("a first part");
            let lines = code.lines().count();
            assert!(
                lines <= LINES,
                "{} has {lines} lines; split it",
                file.display()
            );
        }
    }
}

#[test]
fn time_is_read_in_the_clock_and_tasks_belong_to_the_tracker() {
    for room in ["config/src", "loadtest/src", "middleware/src", "proxy/src"] {
        for file in sources(&root().join(room)) {
            if file.ends_with("clock.rs") {
                continue;
            }
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().expect("a first part");
            for banned in [
                "Instant::now(",
                "SystemTime::now(",
                "tokio::spawn(",
                "spawn_local(",
            ] {
                let inside = file.strip_prefix(root().join(room)).expect("below it");
                assert!(
                    is_for_tests(inside) || !code.contains(banned),
                    "{} calls {banned}…)",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_metric_is_documented_and_follows_the_name_template() {
    let documented = middleware::metrics::Metrics::documented();
    assert!(documented.len() > 30);
    for metric in documented {
        let name = metric.name;
        assert!(
            name.starts_with("pillion_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), metric.kind == "counter", "{name}");
        if metric.kind == "histogram" {
            assert!(
                name.ends_with("_seconds") || name.ends_with("_bytes"),
                "{name}"
            );
        }
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        for label in metric.labels {
            assert!(
                !["path", "key", "client", "url"].contains(label),
                "{name} by {label}"
            );
        }
    }
}

/// A file of tests alone is named so.
fn is_for_tests(file: &Path) -> bool {
    file.iter()
        .filter_map(|part| part.to_str())
        .any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}
