//! The real program with the real oha and the real Pillion: short runs, nothing judged by time. What a busy machine
//! may disturb is measured again: [`in_some_attempt`].

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.to_string_lossy().into_owned()
    }

    fn report(&self) -> Value {
        let text = std::fs::read_to_string(self.0.join("report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs the program in `folder`.
fn loadtest(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pillion-loadtest"))
        .args(arguments)
        .current_dir(&folder.0)
        .output()
        .expect("the program starts")
}

/// Runs a short measurement whose report goes to `folder`.
fn measure(folder: &Folder, arguments: &[&str]) -> Output {
    let pillion = Path::new(env!("CARGO_BIN_EXE_pillion-loadtest")).with_file_name("pillion");
    assert!(pillion.exists(), "run `cargo build --workspace` first");
    let out = folder.0.to_string_lossy().into_owned();
    let short = [
        "--rounds",
        "2",
        "--duration",
        "300ms",
        "--warm-up",
        "300ms",
        "--connections",
        "4",
        "--out",
        &out,
    ];
    loadtest(folder, &[&short, arguments].concat())
}

fn words(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}\n{err}")
}

/// Whether one attempt of three shows what is to be shown: a machine that is busy with something else for a moment
/// disturbs one, a fault of ours all.
fn in_some_attempt(shown: impl Fn() -> Result<(), String>) {
    let mut failed = Vec::new();
    for _ in 0..3 {
        match shown() {
            Ok(()) => return,
            Err(why) => failed.push(why),
        }
    }
    panic!("in none of three attempts:\n{}", failed.join("\n\n"));
}

fn target<'a>(report: &'a Value, name: &str) -> &'a Value {
    let targets = report["targets"].as_array().expect("targets");
    targets
        .iter()
        .find(|target| target["name"] == name)
        .expect("measured")
}

#[test]
fn an_app_is_measured_direct_and_behind_pillion() {
    let folder = Folder::new("before-after");
    let output = measure(&folder, &["--app", "synthetic"]);
    assert!(output.status.success(), "{}", words(&output));
    let report = folder.report();
    assert!(
        report["load"]["engine"]
            .as_str()
            .expect("named")
            .starts_with("oha 1.")
    );
    for name in ["direct", "pillion"] {
        let rounds = target(&report, name)["rounds"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2);
        for round in rounds {
            assert!(round["requests"].as_u64().expect("a number") > 0);
            assert_eq!(round["errors"], serde_json::json!({}), "{}", words(&output));
            assert_eq!(round["statuses"].as_object().expect("a map").len(), 1);
            assert!(round["cpu"]["app"].is_number());
        }
    }
    // The start page is fresh for a minute: warmed up, Pillion asks the app no more.
    for round in target(&report, "pillion")["rounds"]
        .as_array()
        .expect("rounds")
    {
        assert_eq!(round["upstream_requests"], 0.0);
        assert_eq!(round["hit_ratio"], 1.0);
        assert!(round["cpu"]["pillion"].is_number());
    }
    let samples = &report["samples"][0];
    assert_eq!(
        (&samples["same"], &samples["different"]),
        (&2.into(), &Value::Array(Vec::new()))
    );
    let markdown = String::from_utf8_lossy(&output.stdout);
    assert!(markdown.contains("| Requests per second |"), "{markdown}");
}

#[test]
fn keys_and_tags_are_our_own_generator_s() {
    let folder = Folder::new("own");
    let scenario = folder.write(
        "shop.toml",
        "keep_etags = true\n[[request]]\npath = \"/p/{key}?etag&max-age=60&size=2000\"\nkeys = { count = 50, zipf = 1.0 }\n",
    );
    let output = measure(&folder, &["--app", "synthetic", "--scenario", &scenario]);
    assert!(output.status.success(), "{}", words(&output));
    let report = folder.report();
    assert!(
        report["load"]["engine"]
            .as_str()
            .expect("named")
            .starts_with("pillion-loadtest")
    );
    let round = &target(&report, "pillion")["rounds"][1];
    assert!(
        round["statuses"]["304"]
            .as_u64()
            .is_some_and(|count| count > 0),
        "{round}"
    );
    assert!(report["samples"][0]["same"].as_u64().expect("a number") > 20);
}

#[test]
fn both_generators_make_the_same_load() {
    let folder = Folder::new("agree");
    for engine in ["oha", "own"] {
        in_some_attempt(|| agrees(&folder, engine));
    }
}

/// Whether a rate of 100/s for a second is 100 requests, but for the first or last slot.
fn agrees(folder: &Folder, engine: &str) -> Result<(), String> {
    let scenario = folder.write(
        "steady.toml",
        &format!(
            "engine = \"{engine}\"\nrate = 100.0\n[[request]]\npath = \"/?size=3000&wait=2ms\"\n"
        ),
    );
    let load = ["--scenario", &scenario, "--duration", "1s"];
    let output = measure(folder, &[&["--app", "synthetic"][..], &load].concat());
    if !output.status.success() {
        return Err(words(&output));
    }
    let (report, mut seen) = (folder.report(), Vec::new());
    for round in target(&report, "direct")["rounds"]
        .as_array()
        .expect("rounds")
    {
        let requests = round["requests"].as_u64().expect("a number");
        // The app counts what reaches it, whatever the generator says.
        assert_eq!(
            round["upstream_requests"].as_f64(),
            Some(requests as f64),
            "{engine}"
        );
        assert_eq!(
            round["body_bytes"].as_u64(),
            Some(requests * 3000),
            "{engine}"
        );
        let fastest = round["latency"]["fastest"].as_f64().expect("a number");
        assert!(fastest >= 0.002, "{engine}: nothing is faster than the app");
        seen.push(requests);
    }
    match seen.iter().all(|requests| (95..=105).contains(requests)) {
        true => Ok(()),
        false => Err(format!("{engine}: {seen:?}\n{}", words(&output))),
    }
}

#[test]
fn a_run_of_errors_is_not_fast() {
    let folder = Folder::new("errors");
    let output = measure(&folder, &["--app", "synthetic --fail 50%"]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(
        words(&output).contains("A run of errors is not fast"),
        "{}",
        words(&output)
    );
    assert!(words(&output).contains("status 500"), "{}", words(&output));
    let scenario = folder.write("missing.toml", "[[request]]\npath = \"/?status=404\"\n");
    let output = measure(&folder, &["--app", "synthetic", "--scenario", &scenario]);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(
        words(&output).contains("Is the scenario's path right?"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_wrong_answer_is_found() {
    let folder = Folder::new("wrong");
    // The other "Pillion" answers by itself, and tells no metrics.
    let script = format!(
        "#!/bin/sh\nport=$(sed -n 's/^address = \"127.0.0.1:\\([0-9]*\\)\"/\\1/p' \"$3\" | head -1)\n\
         exec '{}' upstream --port \"$port\" --wait 1ms\n",
        env!("CARGO_BIN_EXE_pillion-loadtest")
    );
    let impostor = folder.write("impostor", &script);
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&impostor, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let app = "python3 -m http.server {port} --bind 127.0.0.1";
    let scenario = folder.write("page.toml", "[[request]]\npath = \"/page.toml\"\n");
    let output = measure(
        &folder,
        &[
            "--app",
            app,
            "--pillion",
            &impostor,
            "--scenario",
            &scenario,
        ],
    );
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    assert!(
        words(&output).contains("answers that are not the app's"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_run_is_compared_with_the_baseline_of_this_machine() {
    let folder = Folder::new("baseline");
    // Most of the time is the app's wait, which no busy machine shortens.
    let app = |slow: &str| format!("synthetic --wait 20ms --slow {slow}");
    let scenario = folder.write("wait.toml", "[[request]]\npath = \"/x\"\n");
    let run = |slow: &str, more: &[&str]| {
        let app = app(slow);
        let arguments = ["--app", &app, "--scenario", &scenario, "--rounds", "5"];
        measure(&folder, &[&arguments, more].concat())
    };
    let baseline = ["--baseline", "baselines"];
    std::fs::create_dir(folder.0.join("baselines")).expect("ours");
    let output = run("0%", &baseline);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(
        words(&output).contains("accept-baseline"),
        "{}",
        words(&output)
    );
    in_some_attempt(|| {
        let output = run("0%", &[]);
        assert!(output.status.success(), "{}", words(&output));
        let output = loadtest(&folder, &["accept-baseline", "report.json"]);
        assert!(output.status.success(), "{}", words(&output));
        // Three times as long is beyond most noise of a wait.
        let output = run("200%", &baseline);
        let told = words(&output).contains("direct against direct at ");
        match (output.status.code(), told) {
            (Some(1), true) => Ok(()),
            _ => Err(words(&output)),
        }
    });
    let output = loadtest(&folder, &["history"]);
    assert!(words(&output).contains("| direct |"), "{}", words(&output));
}

#[test]
fn a_killed_app_comes_back_and_a_cache_bridges_the_gap() {
    let folder = Folder::new("drill");
    let output = measure(&folder, &["--app", "synthetic", "--drill", "kill"]);
    assert!(output.status.success(), "{}", words(&output));
    let page = std::fs::read_to_string(folder.0.join("drills.md")).expect("a report");
    let failed = |target: &str, phase: &str| {
        let start = format!("| app killed | {target} | {phase} |");
        let row = page
            .lines()
            .find(|line| line.starts_with(&start))
            .expect("a row");
        row.rsplit('|').nth(1).expect("cells").trim().to_owned()
    };
    assert_eq!(failed("direct", "before"), "0.0 %");
    assert_eq!(failed("direct", "during"), "100.0 %");
    assert_eq!(failed("direct", "after"), "0.0 %");
    assert_eq!(
        failed("pillion", "during"),
        "0.0 %",
        "the page is fresh for a minute"
    );
    assert!(page.contains("pillion answers again"), "{page}");
}

#[test]
fn a_cancelled_measurement_leaves_nothing_behind() {
    let folder = Folder::new("cancelled");
    let mark = folder.0.join("pid");
    let app = format!("echo $$ > {} && exec sleep 600", mark.display());
    let mut running = Command::new(env!("CARGO_BIN_EXE_pillion-loadtest"))
        .args(["--app", &app])
        .spawn()
        .expect("the program starts");
    let pid = loop {
        match std::fs::read_to_string(&mark) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
        let ended = running.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "it ended before it started the app");
    };
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
    let app = pidfd_open(pid, PidfdFlags::empty()).expect("the app runs");
    let own = Pid::from_child(&running);
    kill_process(own, Signal::TERM).expect("it runs");
    let status = running.wait().expect("it ends");
    assert_eq!(status.code(), Some(3));
    let mut ended = [PollFd::new(&app, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let count = poll(&mut ended, Some(&patience)).expect("a process can be waited for");
    assert_eq!(count, 1, "the app ends with it");
}

#[test]
fn stress_and_soak_tell_what_they_saw() {
    let folder = Folder::new("endure");
    // A promise that even the first rate breaks: the app waits longer.
    let app = "synthetic --wait 60ms";
    let scenario = folder.write("wait.toml", "[[request]]\npath = \"/x\"\n");
    let output = measure(
        &folder,
        &[
            "--app",
            app,
            "--scenario",
            &scenario,
            "--stress",
            "--slo",
            "50ms",
        ],
    );
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(
        words(&output).contains("direct holds 0.00/s, then p99"),
        "{}",
        words(&output)
    );
    let output = measure(&folder, &["--app", "synthetic", "--soak", "2s"]);
    assert!(
        words(&output).contains("| Resident set |"),
        "{}",
        words(&output)
    );
    assert!(folder.0.join("soak.html").exists());
}

#[test]
fn an_app_that_never_listens_is_told() {
    let folder = Folder::new("mute");
    let output = measure(&folder, &["--app", "sleep 60", "--app-wait", "300ms"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        words(&output).contains("does not listen at http://127.0.0.1:"),
        "{}",
        words(&output)
    );
    let output = measure(&folder, &["--app", "echo no database >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        words(&output).contains("ended before it listened"),
        "{}",
        words(&output)
    );
    assert!(words(&output).contains("no database"), "{}", words(&output));
    // On whatever port is free, and not the one that it was told.
    let elsewhere = "exec python3 -u -c \"import socket; s = socket.create_server(('127.0.0.1', 0)); \
        print(s.getsockname()[1]); s.accept()\" > elsewhere";
    let output = measure(&folder, &["--app", elsewhere, "--app-wait", "10s"]);
    let port = std::fs::read_to_string(folder.0.join("elsewhere")).expect("it has started");
    let told = format!("--app-port {}", port.trim());
    assert!(
        !port.trim().is_empty() && words(&output).contains(&told),
        "{port}: {}",
        words(&output)
    );
}

#[test]
fn an_oha_that_is_missing_or_too_old_is_told() {
    let folder = Folder::new("oha");
    use std::os::unix::fs::PermissionsExt;
    let old = folder.write("oha", "#!/bin/sh\necho oha 1.4.6\n");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).expect("ours");
    for (path, told) in [
        (folder.0.as_path(), "oha 1.4.6 is too old"),
        (Path::new("/nowhere"), "is not installed"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pillion-loadtest"))
            .args(["--app", "synthetic", "--scenario", "page"])
            .env("PATH", path)
            .env("CARGO_HOME", "/nowhere")
            .current_dir(&folder.0)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(3), "{}", words(&output));
        assert!(words(&output).contains(told), "{}", words(&output));
        assert!(
            words(&output).contains("--install-oha"),
            "{}",
            words(&output)
        );
    }
}

#[test]
fn a_scenario_with_an_unknown_key_is_refused() {
    let folder = Folder::new("key");
    let scenario = folder.write("shop.toml", "conections = 5\n[[request]]\npath = \"/\"\n");
    let output = measure(&folder, &["--app", "synthetic", "--scenario", &scenario]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        words(&output)
            .contains("shop.toml:1: unknown key `conections`; did you mean `connections`?")
    );
    let output = loadtest(&folder, &["--app", "synthetic", "--scenario", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("catalogue"), "{}", words(&output));
    let output = loadtest(&folder, &["--scenario", "page"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        words(&output).contains("--app synthetic"),
        "{}",
        words(&output)
    );
}
