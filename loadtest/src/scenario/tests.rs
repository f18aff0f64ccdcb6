use super::*;

fn read(text: &str) -> Result<Scenario> {
    written::read(text, Path::new("shop.toml"))
}

fn refused(text: &str) -> String {
    read(text).expect_err("it is wrong").to_string()
}

#[test]
fn the_built_in_scenarios_are_well_formed() {
    for (name, about) in Scenario::built_in() {
        assert!(about.ends_with('.'), "{name} says what it is: {about}");
    }
}

#[test]
fn defaults_fill_what_is_not_written() {
    let scenario = read("[[request]]\npath = \"/\"").expect("enough");
    assert_eq!(scenario.name, "shop");
    assert_eq!((scenario.connections, scenario.rounds), (50, 12));
    assert_eq!(scenario.requests.len(), 1);
    assert_eq!(scenario.beyond_oha(), None);
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
    let message = refused("connections = 5\nconections = 6\n[[request]]\npath = \"/\"");
    assert!(
        message.contains("shop.toml:2: unknown key `conections`"),
        "{message}"
    );
    assert!(message.contains("did you mean `connections`?"), "{message}");
    let message = refused("[[request]]\npath = \"/\"\nwieght = 3");
    assert!(message.contains("shop.toml:3:"), "{message}");
    assert!(message.contains("`weight`"), "{message}");
    let message = refused("zzzzzz = 1");
    assert!(message.contains("expected one of"), "{message}");
}

#[test]
fn what_cannot_be_meant_is_told_with_its_line() {
    for (text, told) in [
        (
            "rounds = 0\n[[request]]\npath='/'",
            "shop.toml:1: 0 is not between 1",
        ),
        (
            "rate = -1.0\n[[request]]\npath='/'",
            "a rate is a number above 0",
        ),
        ("duration = '5'\n[[request]]\npath='/'", "shop.toml:1:"),
        ("duration = '5'\n[[request]]\npath='/'", "500ms, 30s or 10m"),
        ("", "nothing is asked for"),
        ("[[request]]\npath='x'", "starts with /"),
        ("[[request]]\npath='/{key}'", "come together"),
        ("[[request]]\npath='/'\nkeys={count=5}", "come together"),
        (
            "[[request]]\npath='/{key}'\nkeys={count=0}",
            "count is between",
        ),
        ("[[request]]\npath='/'\nmethod='G T'", "is no method"),
        ("[[request]]\npath='/'\nweight=0", "a weight is between"),
        (
            "[[request]]\npath='/'\nheaders={'a b'='c'}",
            "is no field name",
        ),
        (
            "[[request]]\npath='/'\nbody='x'\njson_rpc={method='m'}",
            "one of body",
        ),
        (
            "[[request]]\npath='/'\njson_rpc={method='m',batch=0}",
            "between 1 and 10000 calls",
        ),
        ("[replay]\nlog='no-such.log'", "cannot be read"),
        ("http = '3'\n[[request]]\npath='/'", "unknown variant"),
    ] {
        let message = refused(text);
        assert!(message.contains(told), "{text}\n→ {message}");
    }
}

#[test]
fn calls_become_json() {
    let scenario = read("[[request]]\npath='/rpc'\njson_rpc={method='sum',params=[1,2],batch=2}")
        .expect("well written");
    let kind = scenario.requests.first().expect("one");
    assert_eq!(kind.method, http::Method::POST);
    assert_eq!(
        kind.body.as_deref().map(String::from_utf8_lossy).as_deref(),
        Some(concat!(
            r#"[{"id":1,"jsonrpc":"2.0","method":"sum","params":[1,2]},"#,
            r#"{"id":2,"jsonrpc":"2.0","method":"sum","params":[1,2]}]"#
        ))
    );
}

#[test]
fn what_oha_cannot_do_is_known() {
    let beyond = |text: &str| read(text).expect("well written").beyond_oha();
    assert_eq!(
        beyond("[[request]]\npath='/a'\nweight=3\n[[request]]\npath='/b'"),
        None
    );
    for text in [
        "keep_etags=true\n[[request]]\npath='/a'",
        "[[request]]\npath='/{key}'\nkeys={count=5,zipf=1.1}",
        "[streams]\npath='/e'\nclients=2\n[[request]]\npath='/a'",
        "[[request]]\npath='/a'\n[[request]]\npath='/b'\nmethod='POST'",
    ] {
        assert!(beyond(text).is_some(), "{text}");
    }
}
