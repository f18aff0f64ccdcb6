//! What an operator meets: a whole file in, settings or problems out.

use std::time::Duration;

use super::*;

fn with_env(
    text: &str,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    load_text(
        text,
        Some("/etc/pillion/pillion.toml".as_ref()),
        overrides,
        env,
    )
}

fn with(text: &str, overrides: &Overrides) -> Result<Loaded, Problems> {
    with_env(text, overrides, &|_| None)
}

fn settings(text: &str) -> Settings {
    let loaded = with(text, &Overrides::default());
    loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .settings
}

fn problems(text: &str) -> String {
    match with(text, &Overrides::default()) {
        Ok(_) => panic!("nothing is wrong"),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn smoke() {
    let text =
        "[upstream.app]\nurl = 'http://127.0.0.1:3000'\n[[route]]\nmatch='GET /x'\ncache.ttl='30s'";
    let loaded = with(text, &Overrides::default()).unwrap();
    println!("{}", loaded.to_toml());
    println!("{:#?}", loaded.settings);
    println!(
        "{}",
        problems(
            "[limit]\nidle = 75\n[cache]\nmax_bdy = '1MB'\nttl = 30\ncookies='ignored'\n[upstream.app]\nurl = 3000\n[[listen]]\nadress='x'"
        )
    );
    println!("{}", schema());
}
