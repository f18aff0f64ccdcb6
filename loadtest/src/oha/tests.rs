use super::*;

#[test]
fn an_old_oha_is_refused_and_a_new_one_taken() {
    let judged = |answer: &str| Oha::judged("oha".into(), answer);
    assert_eq!(
        judged("oha 1.16.0\n").expect("new enough").version,
        "1.16.0"
    );
    assert!(judged("oha 2.0.1").is_ok());
    let old = judged("oha 1.4.6\n").expect_err("too old").to_string();
    assert!(old.contains("1.4.6 is too old; 1.16 or later"), "{old}");
    let other = judged("hello").expect_err("no oha").to_string();
    assert!(
        other.contains("no oha") && other.contains("--install-oha"),
        "{other}"
    );
}

#[test]
fn its_json_is_read() {
    let round = parse(
        br#"{"summary":{"successRate":1.0,"total":2.0,"slowest":0.5,"fastest":0.001,"average":0.01,
        "requestsPerSec":100.0,"totalData":5000,"sizePerRequest":25,"sizePerSec":2500.0},
        "latencyPercentiles":{"p10":0.001,"p50":0.002,"p99.9":0.4,"p99.99":null},
        "statusCodeDistribution":{"200":190,"503":10},
        "errorDistribution":{"aborted due to deadline":7,"connection refused":3}}"#,
    )
    .expect("its form");
    assert_eq!(
        (round.requests, round.body_bytes, round.seconds),
        (200, 5000, 2.0)
    );
    assert_eq!(round.latency.quantile(0.999), 0.4);
    assert!(round.latency.quantile(0.9999).is_nan());
    assert_eq!(
        round.errors,
        BTreeMap::from([("connection refused".to_owned(), 3)])
    );
    assert_eq!(round.error_answers(), 10);
}

#[test]
fn a_run_without_any_answer_is_read_too() {
    let round = parse(
        br#"{"summary":{"total":2.0,"slowest":null,"fastest":null,"average":null,"totalData":0},
        "latencyPercentiles":{"p50":null},"statusCodeDistribution":{},"errorDistribution":{"x":3}}"#,
    )
    .expect("its form");
    assert_eq!(round.requests, 0);
    assert_eq!(round.failed_share(), 1.0);
}

#[test]
fn another_json_is_told() {
    let message = parse(b"{}").expect_err("no oha").to_string();
    assert!(message.contains("not what its schema says"), "{message}");
}

#[test]
fn a_rate_is_always_corrected_for_omission() {
    let read = |text: &str| {
        let path = std::env::temp_dir().join(format!("rate-{}.toml", std::process::id()));
        std::fs::write(&path, text).expect("written");
        let scenario = Scenario::load(&path.to_string_lossy()).expect("well written");
        std::fs::remove_file(&path).expect("written before");
        let origin = Origin::local(1, false);
        arguments(
            &scenario,
            &origin,
            Duration::from_secs(1),
            &std::env::temp_dir(),
        )
        .expect("no file is needed")
        .join(" ")
    };
    let open = read("rate = 100.0\n[[request]]\npath = \"/x\"");
    assert!(open.contains("-q 100 --latency-correction"), "{open}");
    assert!(open.ends_with("http://127.0.0.1:1/x"), "{open}");
    let closed = read("[[request]]\npath = \"/x\"\nmethod = \"DELETE\"");
    assert!(
        !closed.contains("-q") && closed.contains("-m DELETE"),
        "{closed}"
    );
}
