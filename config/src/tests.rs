//! What an operator meets: a whole file in, settings or problems out.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::cache::{ClientDirectives, Cookies};
use super::content_coding::Breach;
use super::listen::ListenAddress;
use super::*;
use crate::document::{Item, KeyPath, Step, Value};
use crate::problem::Report;
use crate::schema::Form;

const APP: &str = "[upstream.app]\nurl = \"http://127.0.0.1:3000\"\n";

fn with_env(
    text: &str,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let path = Path::new("/etc/pillion/pillion.toml");
    load_text(text, Some(path), overrides, env)
}

fn loaded(text: &str) -> Loaded {
    let loaded = with_env(text, &Overrides::default(), &|_| None);
    loaded.unwrap_or_else(|problems| panic!("{problems}"))
}

fn settings(text: &str) -> Settings {
    loaded(text).settings
}

fn problems(text: &str) -> String {
    match with_env(text, &Overrides::default(), &|_| None) {
        Ok(_) => panic!("nothing is wrong with {text}"),
        Err(problems) => problems.to_string(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = loaded(text).warnings;
    warnings
        .iter()
        .map(|warning| warning.path().to_owned())
        .collect()
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    let deep = 20_000;
    for text in [
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}1{}", "[".repeat(deep), "]".repeat(deep)),
        format!("a = {}", "{ a = ".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
        format!("[{}a]", "a.".repeat(deep)),
        format!("[[{}a]]", "a.".repeat(deep)),
        format!("a = {{ {}a = 1 }}", "a.".repeat(deep)),
    ] {
        assert!(problems(&text).len() < 10_000);
    }
}

#[test]
fn a_file_that_is_something_else_does_not_flood_the_terminal() {
    let told = problems(&"<p class=\"x\">\n".repeat(500));
    assert!(
        told.ends_with("more problems.") && told.len() < 100_000,
        "{told}"
    );
}

fn order(text: &str) -> Vec<String> {
    let routes = settings(&format!("{APP}{text}")).routes;
    routes.iter().map(|route| route.name.to_string()).collect()
}

#[test]
fn an_upstream_is_all_that_is_needed() {
    let settings = settings(APP);
    assert_eq!(settings.listen, [listen::ListenSettings::default()]);
    assert_eq!(settings.admin, Some(admin::AdminSettings::default()));
    assert_eq!(settings.limits, limits::LimitsSettings::default());
    assert_eq!(
        *settings.forwarding,
        forwarding::ForwardingSettings::default()
    );
    assert_eq!(
        settings.request_log,
        request_log::RequestLogSettings::default()
    );
    assert_eq!(*settings.respond, respond::RespondSettings::default());
    assert!(settings.threads >= 1);
    let [route] = settings.routes.as_slice() else {
        panic!("one route takes everything")
    };
    assert_eq!(&*route.name, "*");
    assert_eq!(&*route.upstream, "app");
    assert_eq!(*route.cache, cache::CacheSettings::default());
    assert_eq!(
        route.conditional,
        conditional::ConditionalSettings::default()
    );
    assert_eq!(
        route.content_coding,
        content_coding::ContentCodingSettings::default()
    );
    assert_eq!(route.etag, etag::EtagSettings::default());
}

#[test]
fn all_problems_are_told_at_once() {
    insta::assert_snapshot!(problems(
        r#"
treads = 2
drain = 5

[limit]
idle = "75s"

[limits]
body = 0
idle = "75sec"
resets = 0

[cache]
max_bdy = "8MiB"
max_body = "10MB"
ttl = "30"
cookies = "ignored"
heuristic = { enabled = "yes", fraction = 2 }
min_size = "1KiB"

[[listen]]
adress = "127.0.0.1:80"

[[listen]]
address = "localhost:80"
mode = 0600

[upstream.app]
url = 3000

[[route]]
match = "get /x"
cache = { enabled = "off", tll = "1s" }

[content_coding]
codings = "br"
breach = "ballanced"

admin = false
"#
    ));
}

#[test]
fn what_is_well_formed_but_cannot_be_meant_is_told() {
    insta::assert_snapshot!(problems(
        r#"
[[listen]]
address = "127.0.0.1:8080"
mode = "0600"

[[listen]]
address = "127.0.0.1:8080"

[[listen]]
address = "0.0.0.0:9900"

[admin]
address = "0.0.0.0:9900"

[limits]
fields = { size = "1B" }

[upstream.one]
url = "http://127.0.0.1:1"
urls = ["http://127.0.0.1:2"]

[upstream.two]

[upstream.three]
urls = ["http://127.0.0.1:1", "http://127.0.0.1:1"]

[upstream."a b"]
url = "http://127.0.0.1:1"

[cache]
force_ttl = "1m"

[content_coding]
codings = []

[[route]]
match = "/v1/*"
upstream = "tow"
strip_prefix = "/v2"

[[route]]
match = "GET|POST /x/{id}"
upstream = "one"
cache = { memory = { size = "1MiB" }, force_ttl = "1h" }

[[route]]
match = "POST|PUT /x/{name}"
"#
    ));
}

#[test]
fn what_toml_itself_refuses_is_told() {
    insta::assert_snapshot!(problems(
        "[upstream.app]\nurl = http://127.0.0.1:3000\nconnect = '1s'\nconnect = '2s'\n\n[cache\nttl = '1x'\n"
    ));
}

#[test]
fn a_problem_in_a_flag_or_a_variable_says_so() {
    let overrides = Overrides {
        listen: vec!["8080".into()],
        profile: Some("fast".into()),
        ..Overrides::default()
    };
    let env = |name: &str| (name == "PILLION_UPSTREAM").then(|| "localhost:3000".to_owned());
    let problems = with_env("", &overrides, &env).expect_err("three problems");
    insta::assert_snapshot!(problems.to_string());
}

#[test]
fn nothing_to_forward_to_is_told_with_the_next_step() {
    insta::assert_snapshot!(problems(""));
    let awaits_upstream = true;
    let overrides = Overrides {
        awaits_upstream,
        ..Overrides::default()
    };
    let loaded = with_env("", &overrides, &|_| None).expect("it may still come");
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn a_terminal_is_safe_from_what_a_file_holds() {
    let told = problems("\"\\u001b[2J\" = 1\ndrain = \"\\u0007\"\n");
    assert!(
        !told.contains('\u{1b}') && !told.contains('\u{7}'),
        "{told:?}"
    );
}

#[test]
fn a_route_overrides_key_by_key() {
    let settings = settings(&format!(
        "{APP}
[cache]
max_body = '1MiB'
key = {{ drop = ['utm_*'], headers = ['Accept-Language'] }}
[[route]]
match = '/a/*'
cache = {{ ttl = '30s', key = {{ query = 'sort' }} }}
content_coding = {{ breach = 'strict' }}
"
    ));
    let route = &settings.routes[0];
    assert_eq!(route.cache.max_body, 1 << 20);
    assert_eq!(route.cache.ttl, Some(Duration::from_secs(30)));
    assert!(route.cache.key.sort_query);
    assert_eq!(route.cache.key.drop, ["utm_*"]);
    assert_eq!(route.cache.key.headers, ["accept-language"]);
    assert_eq!(route.content_coding.breach, Breach::Strict);
    assert_eq!(settings.routes[1].cache.ttl, None);
}

#[test]
fn the_most_specific_route_comes_first() {
    let written = [
        "/*",
        "/a/*",
        "/a/{x}",
        "/a/b",
        "GET /a/b",
        "POST /a/b",
        "HEAD /a/b",
        "/{x}/b",
        "*.example.com/*",
        "*.api.example.com/*",
        "example.com/*",
    ];
    let text: Vec<_> = written
        .iter()
        .map(|text| format!("[[route]]\nmatch = '{text}'\n"))
        .collect();
    assert_eq!(
        order(&text.concat()),
        [
            "example.com/*",
            "*.api.example.com/*",
            "*.example.com/*",
            "POST /a/b",
            "HEAD /a/b",
            "GET /a/b",
            "/a/b",
            "/a/{x}",
            "/a/*",
            "/{x}/b",
            "/*",
        ]
    );
    assert_eq!(order("[[route]]\nmatch = 'GET /*'\n"), ["GET /*", "*"]);
}

#[test]
fn requests_that_no_route_takes_need_somewhere_to_go() {
    let two = "[upstream.a]\nurl = 'http://a'\n[upstream.b]\nurl = 'http://b'\n";
    assert!(problems(two).contains("nowhere to go"));
    let rest = settings(&format!("{two}[[route]]\nmatch = '/*'\nupstream = 'b'\n"));
    assert_eq!(&*rest.routes[0].upstream, "b");
    let app = settings(&format!("{two}{APP}"));
    assert_eq!(&*app.routes[0].upstream, "app");
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let text = "profile = 'conservative'\n[[listen]]\naddress = '127.0.0.1:1'\n[admin]\n\
                address = '127.0.0.1:2'\ntoken_file = 'token'\n[upstream.app]\n\
                urls = ['http://file']\nfirst_byte = '7s'\n";
    let env = |name: &str| {
        let value = match name {
            "PILLION_LISTEN" => "127.0.0.1:3, [::]:4",
            "PILLION_ADMIN" => "127.0.0.1:5",
            "PILLION_UPSTREAM" => "http://environment",
            "PILLION_PROFILE" => "aggressive",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let addresses = |settings: &Settings| -> Vec<String> {
        settings
            .listen
            .iter()
            .map(|listen| listen.address.to_string())
            .collect()
    };
    let authority = |settings: &Settings| settings.upstreams["app"].endpoints[0].authority.clone();

    let environment = with_env(text, &Overrides::default(), &env)
        .expect("no problem")
        .settings;
    assert_eq!(addresses(&environment), ["127.0.0.1:3", "[::]:4"]);
    assert_eq!(authority(&environment), "environment");
    assert_eq!(environment.cache_memory, 256 << 20);
    assert_eq!(
        environment.upstreams["app"].first_byte,
        Duration::from_secs(7)
    );
    let admin = environment.admin.expect("it is on");
    assert_eq!(admin.address.to_string(), "127.0.0.1:5");
    assert_eq!(
        admin.token_file.as_deref(),
        Some(Path::new("/etc/pillion/token"))
    );

    let flags = Overrides {
        upstream: Some("http://flag".into()),
        child: Some("http://child".into()),
        listen: vec!["unix:here.sock".into()],
        admin: Some("off".into()),
        profile: Some("default".into()),
        ..Overrides::default()
    };
    let flags = with_env(text, &flags, &env).expect("no problem").settings;
    let expected = ListenAddress::Unix {
        path: "here.sock".into(),
        mode: 0o600,
    };
    assert_eq!(flags.listen[0].address, expected);
    assert_eq!(authority(&flags), "child");
    assert_eq!(flags.cache_memory, 64 << 20);
    assert_eq!(flags.admin, None);
}

#[test]
fn files_are_relative_to_the_file_that_names_them() {
    let settings = settings(
        "[[listen]]\naddress = 'unix:run/p.sock'\ntls = { certificate = 'c.pem', key = '/k.pem' }\n\
         [upstream.app]\nurl = 'unix:app.sock'\n[request_log]\npath = 'access.log'\n",
    );
    let listen = &settings.listen[0];
    assert_eq!(listen.address.to_string(), "unix:/etc/pillion/run/p.sock");
    let tls = listen.tls.as_ref().expect("it is written");
    assert_eq!(tls.certificate, Path::new("/etc/pillion/c.pem"));
    assert_eq!(tls.key, Path::new("/k.pem"));
    let unix = upstream::Transport::Unix("/etc/pillion/app.sock".into());
    assert_eq!(settings.upstreams["app"].endpoints[0].transport, unix);
    let log = request_log::LogTarget::File("/etc/pillion/access.log".into());
    assert_eq!(settings.request_log.target, log);
}

#[test]
fn variables_are_expanded_in_values() {
    let env = |name: &str| (name == "PORT").then(|| "4000".to_owned());
    let text = "[upstream.app]\nurl = 'http://${HOST:-app}:${PORT}'\n";
    let loaded = with_env(text, &Overrides::default(), &env).expect("no problem");
    let endpoint = &loaded.settings.upstreams["app"].endpoints[0];
    assert_eq!(endpoint.authority, "app:4000");
    let told = problems("[upstream.app]\nurl = 'http://${HOST}'\n");
    assert!(told.contains("the variable HOST is not set"), "{told}");
    assert!(
        told.ends_with("1 problem; nothing was started or changed."),
        "{told}"
    );
}

#[test]
fn what_needs_thought_is_warned_of() {
    let text = |more: &str| format!("{APP}{more}");
    let cases = [
        ("", vec![]),
        ("[cache]\ncookies = 'ignore'\n", vec!["cache.cookies"]),
        ("[cache]\nset_cookie = 'strip'\n", vec!["cache.set_cookie"]),
        ("[cache]\nmax_body = '65MiB'\n", vec!["cache.max_body"]),
        (
            "[content_coding]\nbreach = 'off'\n",
            vec!["content_coding.breach"],
        ),
        (
            "[forwarding]\ntrusted = ['::1', '0.0.0.0/0']\n",
            vec!["forwarding.trusted[1]"],
        ),
        (
            "[admin]\naddress = '127.0.0.1:9901'\n",
            vec!["admin.address"],
        ),
        ("[admin]\naddress = 'unix:admin.sock'\n", vec![]),
        (
            "[admin]\nenabled = false\naddress = '127.0.0.1:9901'\n",
            vec![],
        ),
        (
            "[respond]\npages = { 502 = '502.html' }\n",
            vec!["respond.pages.502"],
        ),
        (
            "[[route]]\nmatch = '/x'\ncache = { force_ttl = '1s', i_know_responses_are_public = true }\n",
            vec!["route[0].cache.force_ttl"],
        ),
    ];
    for (more, expected) in cases {
        assert_eq!(warnings(&text(more)), expected, "{more}");
    }
}

#[test]
fn the_admin_listener_is_not_open_to_the_network_without_a_token() {
    for address in [
        "0.0.0.0:9900",
        "[::]:9900",
        "10.0.0.1:9900",
        "systemd:admin",
    ] {
        let open = format!("{APP}[admin]\naddress = '{address}'\n");
        assert!(problems(&open).contains("there is no token"), "{address}");
        settings(&format!("{open}token_file = 'token'\n"));
    }
    let flag = Overrides {
        admin: Some("0.0.0.0:9900".into()),
        ..Overrides::default()
    };
    assert!(with_env(APP, &flag, &|_| None).is_err());
    let flag = Overrides {
        admin: Some("127.0.0.1:9901".into()),
        ..Overrides::default()
    };
    let warnings = with_env(APP, &flag, &|_| None).map(|loaded| loaded.warnings);
    assert_eq!(
        warnings,
        Ok(Vec::new()),
        "whoever types the address sees it"
    );
}

#[test]
fn force_ttl_needs_the_word_beside_it() {
    let text = |global: &str, route: &str| {
        format!("{APP}[cache]\n{global}\n[[route]]\nmatch = '/x'\n[route.cache]\n{route}\n")
    };
    let (ttl, word) = ("force_ttl = '1m'", "i_know_responses_are_public = true");
    assert!(problems(&text(ttl, "")).contains("cache.force_ttl"));
    assert!(problems(&text(word, ttl)).contains("route[0].cache.force_ttl"));
    let both = format!("{ttl}\n{word}");
    let minute = Some(Duration::from_secs(60));
    let forced = |text: &str| {
        let routes = settings(text).routes;
        routes
            .iter()
            .map(|route| route.cache.force_ttl)
            .collect::<Vec<_>>()
    };
    assert_eq!(forced(&text("", &both)), [minute, None]);
    assert_eq!(forced(&text(&both, "")), [minute, minute]);
    let taken_back = "i_know_responses_are_public = false";
    assert_eq!(forced(&text(&both, taken_back)), [None, minute]);
}

#[test]
fn a_rule_of_invalidation_must_be_able_to_do_something() {
    for (rule, expected) in [
        (
            "match = 'GET /x'\ntags = ['a']",
            Some("GET changes nothing"),
        ),
        (
            "match = 'QUERY|POST /x'\ntags = ['a']",
            Some("QUERY changes nothing"),
        ),
        ("match = '/x'", Some("makes nothing invalid")),
        (
            "match = '/x'\ntags = ['a{id}']",
            Some("no placeholder {id}"),
        ),
        (
            "match = '/{a}/{b}'\nprefix = ['/{c}']",
            Some("`match` has {a}, {b}"),
        ),
        ("match = '/x'\ntags = ['a*']", Some("compared whole")),
        (
            "match = '/x'\nprefix = ['/a/b/c/d/e']",
            Some("more than 4 segments"),
        ),
        (
            "match = '/x'\ntags = ['a']\nstatus = '4xx'",
            Some("no statuses of success"),
        ),
        (
            "match = '/x'\ntags = ['a']\nstatus = 200",
            Some("write \"200\""),
        ),
        ("tags = ['a']", Some("match")),
        (
            "match = 'POST|FROB a.test/{id}/*'\ntags = ['{id}']\nsoft = true",
            None,
        ),
    ] {
        let text = format!("[[invalidate]]\n{rule}\n{APP}");
        let found = with_env(&text, &Overrides::default(), &|_| None);
        match (found, expected) {
            (Ok(loaded), None) => {
                let routes = &loaded.settings.routes;
                assert!(routes.iter().all(|route| route.cache.invalidate.len() == 1));
            }
            (Err(problems), Some(expected)) => {
                assert!(
                    problems.to_string().contains(expected),
                    "{rule}\n{problems}"
                );
            }
            (found, _) => panic!("{rule}\n{found:?}"),
        }
    }
}

#[test]
fn profiles_move_defaults_and_written_keys_win() {
    let aggressive = settings(&format!(
        "profile = 'aggressive'\n{APP}[cache]\nmax_body = '2MiB'\n"
    ));
    assert_eq!(aggressive.cache_memory, 256 << 20);
    let cache = &aggressive.routes[0].cache;
    assert_eq!(cache.max_body, 2 << 20);
    assert_eq!(cache.stale_if_error, Some(Duration::from_secs(300)));
    assert_eq!(cache.client_directives, ClientDirectives::Ignore);
    assert_eq!(cache.cookies, Cookies::Respect);
    let conservative = settings(&format!("profile = 'conservative'\n{APP}"));
    let route = &conservative.routes[0];
    assert_eq!(route.content_coding.breach, Breach::Strict);
    assert!(!route.cache.heuristic.enabled && !route.etag.enabled);
    for profile in Profile::ALL {
        // Every key of a profile is a key of the file.
        settings(&format!("{}\n{APP}", profile.moves()));
    }
}

#[test]
fn what_applies_is_printed_with_its_origin() {
    let text = "profile = 'conservative'\nthreads = 2\n[[route]]\nmatch = 'GET /x'\n\
                cache.ttl = '30s'\n[upstream.app]\nconnect = '2s'\n";
    let overrides = Overrides {
        upstream: Some("http://127.0.0.1:3000".into()),
        ..Overrides::default()
    };
    let env = |name: &str| (name == "PILLION_ADMIN").then(|| "127.0.0.1:9901".to_owned());
    let loaded = with_env(text, &overrides, &env).expect("no problem");
    insta::assert_snapshot!(loaded.to_toml());
}

#[test]
fn what_is_printed_loads_to_the_same() {
    let mut texts: Vec<String> = examples().into_iter().map(|(_, text)| text).collect();
    texts.push(APP.to_owned());
    texts.push(uncommented(true));
    texts.push(format!(
        "{APP}[request_log]\npath = 'a$${{HOME}}$$${{b'\n\
         [[route]]\nmatch = '/x'\ncache.key.drop = ['$${{x']\n"
    ));
    for text in texts {
        let first = loaded(&text);
        let second = loaded(&first.to_toml());
        assert_eq!(first.hash(), second.hash());
        assert_eq!(
            format!("{:?}", first.settings),
            format!("{:?}", second.settings)
        );
    }
}

#[test]
fn the_hash_changes_with_the_configuration_only() {
    let hash = |text: &str| loaded(text).hash();
    let one = hash(&format!("threads = 1\n{APP}"));
    assert_eq!(
        one,
        hash(&format!(
            "threads = 1 # comment\n{APP}[cache]\nenabled = true\n"
        ))
    );
    assert_ne!(
        one,
        hash(&format!("threads = 1\n{APP}[cache]\nenabled = false\n"))
    );
}

fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples: Vec<_> = std::fs::read_dir(folder)
        .expect("the examples are there")
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            (path.display().to_string(), text)
        })
        .collect();
    examples.sort();
    examples
}

#[test]
fn every_example_loads() {
    let names: Vec<_> = examples().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for (name, text) in examples() {
        let loaded = with_env(&text, &Overrides::default(), &|_| None);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{name}\n{problems}"));
        let thought = |warning: &&Problem| !warning.message().starts_with("there is no file");
        assert_eq!(loaded.warnings.iter().find(thought), None, "{name}");
    }
}

const REFERENCE: &str = include_str!("../reference.toml");

/// The reference with its keys switched on; those that have no default only if asked for.
fn uncommented(with_routes_as_well: bool) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in REFERENCE.lines() {
        let key = line.strip_prefix('#').filter(|rest| {
            rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[')
        });
        let Some(key) = key else { continue };
        let is_example = key.ends_with("# example");
        let is_url = key.starts_with("url = \"http");
        // Of an example only what can stand beside everything else.
        let fits = ![
            "mode",
            "urls",
            "token_file",
            "tls",
            "nodes",
            "master",
            "password =",
            "sentinel_password",
        ]
        .iter()
        .any(|name| key.starts_with(name));
        if !is_example || is_url || (with_routes_as_well && fits) {
            lines.push(key);
        }
    }
    lines.join("\n")
}

#[test]
fn the_reference_shows_the_defaults() {
    loaded(&format!("{REFERENCE}\n{APP}"));
    let (reference, default) = (loaded(&uncommented(false)), loaded(APP));
    assert_eq!(
        reference
            .warnings
            .iter()
            .map(Problem::path)
            .collect::<Vec<_>>(),
        ["admin.address", "cache.redis"]
    );
    let values = |loaded: &Loaded| -> toml::Table { loaded.to_toml().parse().expect("TOML") };
    assert_eq!(values(&reference), values(&default));
}

#[test]
fn the_reference_has_every_key() {
    let keys: Vec<&str> = REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '['))
        .collect();
    let text = keys.join("\n");
    let report = Report::new("reference.toml", &text);
    let mut document = document::read(&text, &|_| None, &report);
    conform::conform(&mut document, &report);
    let (problems, _) = report.finish();
    assert_eq!(problems, [], "{}", Problems::new(problems.clone()));
    let mut missing = Vec::new();
    schema::visit(schema::root(), &mut Vec::new(), &mut |path, form| {
        let is_override = path.first().is_some_and(|top| top == "route") && path.len() > 2;
        if !is_override && !matches!(form, Form::Table { .. }) && !has(&document, path) {
            missing.push(path.join("."));
        }
    });
    assert_eq!(missing, Vec::<String>::new());
}

/// Whether `document` has the key of the schema's path: the first of a list, any of a map.
fn has(document: &Item, path: &[String]) -> bool {
    let mut key_path = KeyPath::default();
    for key in path {
        let key = if key == "NAME" { "app" } else { key };
        key_path.push(Step::Key(key.to_owned()));
        if matches!(key_path.find(document).map(|item| &item.value), Some(Value::List(list))
            if list.first().is_some_and(|item| item.table().is_some()))
            && path.last().is_some_and(|last| last != key)
        {
            key_path.push(Step::Index(0));
        }
    }
    key_path.find(document).is_some()
}

#[test]
fn the_schema_is_stable() {
    insta::assert_snapshot!(schema());
}

/// Puts `insertion` where `position` points, in characters.
fn mutated(text: &str, position: usize, removed: usize, insertion: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let start = position % characters.len().max(1);
    let end = (start + removed).min(characters.len());
    characters.splice(start..end, insertion.chars());
    characters.into_iter().collect()
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", lines in proptest::collection::vec("[a-z_]{1,9}(\\.[a-z]{1,5})? = ([0-9]{1,20}|'[^']*'|true|\\[.*\\]|\\{.*\\})", 0..6)) {
        for text in [text, lines.join("\n")] {
            if let Err(problems) = with_env(&text, &Overrides::default(), &|_| None) {
                prop_assert!(problems.iter().count() > 0);
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_change_to_the_reference_makes_it_panic(
        position in any::<usize>(),
        removed in 0usize..30,
        insertion in "(\\PC{0,8}|[\\[\\]{}='\"#.\\n0-9a-z_]{0,12})",
        overrides in any::<(Option<String>, Option<String>, Option<String>)>(),
    ) {
        let text = mutated(&uncommented(true), position, removed, &insertion);
        let (upstream, admin, profile) = overrides;
        let overrides = Overrides { upstream, admin, profile, ..Overrides::default() };
        for overrides in [Overrides::default(), overrides] {
            match with_env(&text, &overrides, &|_| None) {
                // What can be used can be shown, and loads again.
                Ok(loaded) => prop_assert_eq!(
                    with_env(&loaded.to_toml(), &Overrides::default(), &|_| None).map(|again| again.hash()),
                    Ok(loaded.hash())
                ),
                Err(problems) => prop_assert!(!problems.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn the_disk_tier_is_off_without_a_path_and_one_for_all_routes() {
    assert_eq!(settings(APP).disk, None);
    let on = settings(&format!("{APP}[cache.disk]\npath = 'kept'\n"));
    assert_eq!(
        on.disk,
        Some(disk::DiskSettings {
            path: "/etc/pillion/kept".into(),
            size: 1 << 30
        })
    );
    assert_eq!(
        warnings(&format!("{APP}[cache.disk]\nsize = '2GiB'\n")),
        ["cache.disk.size"]
    );
    for (text, complaint) in [
        (
            "[cache.disk]\npath = 'kept'\nsize = '15MiB'\n",
            "too little for a disk tier",
        ),
        (
            "[[route]]\nmatch = '/a'\ncache = { disk = { path = 'b' } }\n",
            "one for all routes",
        ),
        ("[cache.disk]\npaht = 'kept'\n", "path"),
    ] {
        let found = problems(&format!("{APP}{text}"));
        assert!(found.contains(complaint), "{found}");
    }
}
