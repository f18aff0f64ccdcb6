//! The real binary in front of a real child: ports, signals, exit codes, orphans.

use rustix::process::Signal;
use tests::binary::Binary;
use tests::client::request;
use tests::{fetch, within};

/// An app of ten lines that says where it is and what it was told.
const APP: &str = r#"
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"pid {os.getpid()}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
print("app starts", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
"#;

const ANY: [&str; 5] = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

fn started(command: &[&str]) -> Binary {
    Binary::start(&[&ANY[..], &["--"], command].concat())
}

fn exists(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_child_is_served_signalled_and_leaves_no_orphan() {
    let binary = started(&["python3", "-c", APP]);
    let address = binary.address("http://").await;
    let answer = fetch(address, request(http::Method::GET, "/", &[], "")).await;
    let pid = answer
        .text()
        .strip_prefix("pid ")
        .expect("the app answers")
        .to_owned();
    // Output passes through.
    binary
        .line(|line| line.contains("app starts").then_some(()))
        .await;
    binary.signal(Signal::TERM);
    let (status, lines) = binary.ended().await;
    assert_eq!(status.code(), Some(0), "{}", lines.join("\n"));
    assert!(!exists(&pid));
}

#[tokio::test]
async fn even_a_killed_pillion_leaves_no_orphan() {
    // A shell in between, as `npm start` has it.
    let script = format!("python3 -c '{APP}' & wait");
    let binary = started(&["sh", "-c", &script]);
    let address = binary.address("http://").await;
    let answer = fetch(address, request(http::Method::GET, "/", &[], "")).await;
    let pid = answer
        .text()
        .strip_prefix("pid ")
        .expect("the app answers")
        .to_owned();
    binary.signal(Signal::KILL);
    within("the app's end", async {
        while exists(&pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_app_s_exit_code_is_pillion_s() {
    let (status, lines) = started(&["sh", "-c", "echo no luck; exit 7"]).ended().await;
    assert_eq!(status.code(), Some(7), "{}", lines.join("\n"));
    let said = lines.join("\n");
    assert!(said.contains("no luck") && said.contains('7'), "{said}");
    let (status, lines) = started(&["/nonexistent/app"]).ended().await;
    assert!(!status.success());
    assert!(lines.join("\n").contains("/nonexistent/app"), "{lines:?}");
}

#[tokio::test]
async fn a_bad_configuration_ends_with_2_and_all_problems() {
    let folder = tests::proxy::Folder::new();
    std::fs::write(
        folder.path().join("p.toml"),
        "threds = 2\n[upstream.app]\nurl = \"gopher://x\"\n",
    )
    .expect("writable");
    let binary = Binary::start_in(folder.path(), &["check", "p.toml"]);
    let (status, lines) = binary.ended().await;
    let said = lines.join("\n");
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("p.toml:1") && said.contains("`threads`") && said.contains("gopher"),
        "{said}"
    );
}

#[tokio::test]
async fn commands_print_what_they_promise() {
    for (arguments, word) in [
        (&["--version"][..], "pillion"),
        (
            &["print-config", "--upstream", "http://127.0.0.1:3000"],
            "max_body",
        ),
        (&["schema"], "\"$schema\""),
        (&["completions", "bash"], "complete"),
        (&["--help"], "run"),
    ] {
        let (status, lines) = Binary::start(arguments).ended().await;
        let said = lines.join("\n");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}
