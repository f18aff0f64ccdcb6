//! What `explain` tells: the steps of a request's way, each with the rule, the field that decided
//! and the changes that would flip it. Every part tells its own steps.
//!
//! Nothing secret is told: of credentials, and of whatever a peer marked as sensitive, only that
//! they are there.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

/// One decision on a request's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Who decided.
    pub part: Part,
    /// The rule's name, as in `Cache-Status` and metrics; none where nothing stood in the way.
    pub rule: Option<&'static str>,
    /// What was decided, and by which source.
    pub sentence: Cow<'static, str>,
    /// The field that decided, if one did.
    pub field: Option<Field>,
    /// What would flip it.
    #[serde(flatten)]
    pub advice: Advice,
}

/// Where on its way a request is, in the order of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Bounds on what a client may send.
    Limits,
    /// Host, path and method choose a route.
    Routing,
    /// 304 and 206.
    Conditional,
    /// br, zstd, gzip.
    ContentCoding,
    /// What is stored, and whether it may be used.
    Cache,
    /// Who answers what is forwarded.
    Upstream,
    /// Whether the upstream's answer was stored.
    Storing,
}

/// Changes that would flip a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Each of them suffices; the shortest first.
    pub changes: Vec<Change>,
    /// Why nothing is to be changed, where there is no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_change: Option<&'static str>,
}

/// A change, as it is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Change {
    /// The operator writes it into the configuration.
    Config {
        /// Keys and their values as TOML writes them: `cache.set_cookie`, `"strip"`.
        keys: Vec<(&'static str, String)>,
        /// The lines to write, the route's match among them.
        toml: String,
    },
    /// The app answers with other fields.
    App {
        /// Fields in place of those of the same name.
        set: Vec<(String, String)>,
        /// Fields that it leaves out.
        remove: Vec<String>,
    },
    /// The client asks differently.
    Client {
        /// With this method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<&'static str>,
        /// Without content.
        without_content: bool,
        /// Without these fields.
        remove: Vec<String>,
    },
}

/// A field's line. Values that may be secrets are an ellipsis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value, or `…`.
    pub value: String,
}

impl Step {
    /// Something that was decided without a rule that stood in the way.
    pub fn said(part: Part, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self {
            part,
            rule: None,
            sentence: sentence.into(),
            field: None,
            advice: Advice::default(),
        }
    }
}

impl Advice {
    /// Nothing is to be changed, and why.
    pub fn none(why: &'static str) -> Self {
        Self {
            changes: Vec::new(),
            no_change: Some(why),
        }
    }

    /// Each of `changes` suffices.
    pub fn any(changes: impl IntoIterator<Item = Change>) -> Self {
        Self {
            changes: changes.into_iter().collect(),
            no_change: None,
        }
    }
}

impl Change {
    /// Keys of the route called `route`, each with its value as TOML writes it.
    pub fn config<const N: usize>(route: &str, keys: [(&'static str, String); N]) -> Self {
        Self::Config {
            toml: lines(route, &keys),
            keys: keys.to_vec(),
        }
    }

    /// The app sends this field, in place of others of its name.
    pub fn answer_with(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::App {
            set: vec![(name.into(), value.into())],
            remove: Vec::new(),
        }
    }

    /// The app leaves this field out.
    pub fn answer_without(name: impl Into<String>) -> Self {
        Self::App {
            set: Vec::new(),
            remove: vec![name.into()],
        }
    }

    /// The client asks with this method.
    pub fn ask_with_method(method: &'static str) -> Self {
        Self::Client {
            method: Some(method),
            without_content: false,
            remove: Vec::new(),
        }
    }

    /// The client leaves these fields out.
    pub fn ask_without<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Client {
            method: None,
            without_content: false,
            remove: names.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The client sends no content.
    pub fn ask_without_content() -> Self {
        Self::Client {
            method: None,
            without_content: true,
            remove: Vec::new(),
        }
    }
}

impl std::fmt::Display for Change {
    /// For people, on one line or, for more than a key of `[cache]`, on several.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config { toml, .. } => f.write_str(toml),
            Self::App { set, remove } => {
                let set = set.iter().map(|(name, value)| format!("{name}: {value}"));
                let remove = remove.iter().map(|name| format!("no {name}"));
                let said: Vec<_> = set.chain(remove).collect();
                write!(f, "let the app send {}", said.join(" and "))
            }
            Self::Client {
                method,
                without_content,
                remove,
            } => {
                let method = method.map(|method| format!("with {method}"));
                let content = without_content.then(|| "without content".to_owned());
                let remove =
                    (!remove.is_empty()).then(|| format!("without {}", remove.join(" and ")));
                let said: Vec<_> = [method, content, remove].into_iter().flatten().collect();
                write!(f, "ask {}", said.join(", "))
            }
        }
    }
}

impl Field {
    /// A line as it may be told.
    pub fn of(name: &HeaderName, value: &HeaderValue) -> Self {
        Self {
            name: name.to_string(),
            value: told(name, value).into_owned(),
        }
    }

    /// The first line of `name` in `fields`.
    pub fn first(fields: &HeaderMap, name: &HeaderName) -> Option<Self> {
        Some(Self::of(name, fields.get(name)?))
    }
}

/// A field's value as it may be told: an ellipsis where it may be a secret, and never long.
pub fn told<'a>(name: &HeaderName, value: &'a HeaderValue) -> Cow<'a, str> {
    if value.is_sensitive() || may_be_secret(name) {
        return Cow::Borrowed(HIDDEN);
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => {
            let start = text.get(..end).unwrap_or_default();
            Cow::Owned(format!("{start}{HIDDEN}"))
        }
    }
}

/// Whether values of the field `name` may be credentials. Of names that nobody has registered, those
/// whose words say so.
pub fn may_be_secret(name: &HeaderName) -> bool {
    const SECRETS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];
    const WORDS: [&str; 10] = [
        "auth",
        "token",
        "key",
        "secret",
        "session",
        "csrf",
        "xsrf",
        "passw",
        "jwt",
        "credential",
    ];
    SECRETS.contains(name) || WORDS.iter().any(|word| name.as_str().contains(word))
}

/// `key = value` for each, where it belongs: in the route's table, or in the table for all.
fn lines(route: &str, keys: &[(&'static str, String)]) -> String {
    // The cache's memory is one for all routes.
    let is_for_all = |key: &str| route == DEFAULT_ROUTE || key.starts_with("cache.memory.");
    let (mut everywhere, mut here) = (Table::default(), Table::default());
    for (key, value) in keys {
        let table = if is_for_all(key) {
            &mut everywhere
        } else {
            &mut here
        };
        table.set(key, value);
    }
    let tables = everywhere.0.iter().map(|(name, item)| {
        let Item::Table(table) = item else {
            return format!("{name} = {item}");
        };
        let keys = table
            .0
            .iter()
            .map(|(name, item)| format!("{name} = {item}"));
        format!("[{name}]\n{}", keys.collect::<Vec<_>>().join("\n"))
    });
    let route = (!here.0.is_empty()).then(|| {
        let keys = here.0.iter().map(|(name, item)| format!("{name} = {item}"));
        let keys = keys.collect::<Vec<_>>().join("\n");
        format!("[[route]]\nmatch = {}\n{keys}", toml_text(route))
    });
    let all: Vec<_> = tables.chain(route).collect();
    all.join("\n")
}

/// Keys in their order.
#[derive(Default)]
struct Table(Vec<(String, Item)>);

enum Item {
    Value(String),
    Table(Table),
}

impl Table {
    /// Sets what `key` names, dots between the names of tables.
    fn set(&mut self, key: &str, value: &str) {
        let (name, rest) = match key.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (key, None),
        };
        let Some(rest) = rest else {
            let item = Item::Value(value.to_owned());
            return self.0.push((name.to_owned(), item));
        };
        if let Some((_, Item::Table(table))) = self.0.iter_mut().find(|(known, _)| known == name) {
            return table.set(rest, value);
        }
        let mut table = Self::default();
        table.set(rest, value);
        self.0.push((name.to_owned(), Item::Table(table)));
    }
}

impl std::fmt::Display for Item {
    /// In one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => f.write_str(value),
            Self::Table(Table(items)) => {
                let items: Vec<_> = items
                    .iter()
                    .map(|(name, item)| format!("{name} = {item}"))
                    .collect();
                write!(f, "{{ {} }}", items.join(", "))
            }
        }
    }
}

/// A basic string of TOML.
pub fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// What stands for a value that is not told.
pub const HIDDEN: &str = "…";
/// Characters of a value that are told.
const LONGEST: usize = 200;
/// How the route is called that takes what no other does.
const DEFAULT_ROUTE: &str = "*";

#[cfg(test)]
mod tests {
    use http::header::VARY;

    use super::*;

    #[test]
    fn keys_are_written_where_they_belong() {
        let toml = |route: &str, key, value: &str| {
            let Change::Config { toml, .. } = Change::config(route, [(key, value.to_owned())])
            else {
                panic!("it is configuration");
            };
            let text = format!("{toml}\n[upstream.app]\nurl = 'http://127.0.0.1:3000'\n");
            config::load_text(&text, None, &config::Overrides::default(), &|_| None)
                .unwrap_or_else(|problems| panic!("{problems}"));
            toml
        };
        for (route, key, value, expected) in [
            ("*", "cache.ttl", "\"60s\"", "[cache]\nttl = \"60s\""),
            (
                "*",
                "cache.collapse.wait",
                "\"4s\"",
                "[cache]\ncollapse = { wait = \"4s\" }",
            ),
            (
                "GET /a/*",
                "cache.key.headers",
                "[\"x\"]",
                "[[route]]\nmatch = \"GET /a/*\"\ncache = { key = { headers = [\"x\"] } }",
            ),
            (
                "/a",
                "cache.memory.size",
                "\"1GiB\"",
                "[cache]\nmemory = { size = \"1GiB\" }",
            ),
        ] {
            assert_eq!(toml(route, key, value), expected);
        }
        let both = [
            ("cache.tags.count", "512".to_owned()),
            ("cache.tags.size", "\"1MiB\"".to_owned()),
            ("cache.memory.size", "\"1GiB\"".to_owned()),
        ];
        for (route, expected) in [
            (
                "*",
                "[cache]\ntags = { count = 512, size = \"1MiB\" }\nmemory = { size = \"1GiB\" }",
            ),
            (
                "/a",
                "[cache]\nmemory = { size = \"1GiB\" }\n[[route]]\nmatch = \"/a\"\n\
                 cache = { tags = { count = 512, size = \"1MiB\" } }",
            ),
        ] {
            let Change::Config { toml, .. } = Change::config(route, both.clone()) else {
                panic!("it is configuration");
            };
            assert_eq!(toml, expected);
        }
        assert_eq!(toml_text("a\"\\\n"), "\"a\\\"\\\\\\u000A\"");
    }

    #[test]
    fn what_may_be_a_secret_is_not_told() {
        for (name, expected) in [
            ("authorization", HIDDEN),
            ("cookie", HIDDEN),
            ("set-cookie", HIDDEN),
            ("proxy-authorization", HIDDEN),
            ("x-api-key", HIDDEN),
            ("x-csrf-token", HIDDEN),
            ("x-session-id", HIDDEN),
            ("accept-language", "value"),
            ("cache-control", "value"),
            ("x-tenant", "value"),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!(told(&name, &HeaderValue::from_static("value")), expected);
        }
        let mut marked = HeaderValue::from_static("value");
        marked.set_sensitive(true);
        assert_eq!(told(&VARY, &marked), HIDDEN);
        let long = HeaderValue::try_from("ä".repeat(300)).unwrap();
        assert_eq!(told(&VARY, &long).chars().count(), LONGEST + 1);
    }

    #[test]
    fn changes_are_sentences_of_order() {
        let both = Change::App {
            set: vec![("Vary".to_owned(), "accept".to_owned())],
            remove: vec!["Set-Cookie".to_owned()],
        };
        for (change, expected) in [
            (both, "let the app send Vary: accept and no Set-Cookie"),
            (Change::ask_with_method("GET"), "ask with GET"),
            (Change::ask_without(["Range"]), "ask without Range"),
            (Change::ask_without_content(), "ask without content"),
        ] {
            assert_eq!(change.to_string(), expected);
        }
    }
}
