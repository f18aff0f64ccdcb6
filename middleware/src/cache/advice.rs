//! For each [`Reason`]: the field that decided, and the shortest changes that would flip it.

use std::time::Duration;

use config::cache::CacheSettings;
use config::tags::TagSettings;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, PRAGMA, RANGE, SET_COOKIE, UPGRADE, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::cache::decide::{Candidate, overriding};
use crate::cache::freshness::{Source, received_age};
use crate::cache::key::KeyRules;
use crate::cache::reason::Reason;
use crate::cache::storable::is_about_one_request;
use crate::explanation::{Advice, Change, Field, toml_text};
use crate::fields::{surrogate_control, tags, targeted};

/// What is known of the decision that advice is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    /// The route's name.
    pub(crate) route: &'a str,
    pub(crate) settings: &'a CacheSettings,
    pub(crate) rules: &'a KeyRules,
    /// What the whole cache may use, in bytes.
    pub(crate) memory: u64,
    pub(crate) request: &'a HeaderMap,
    /// The upstream's answer, where one came.
    pub(crate) answer: Option<Head<'a>>,
    /// What is stored, where it was found.
    pub(crate) stored: Option<(Candidate, &'a HeaderMap)>,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) status: StatusCode,
    pub(crate) fields: &'a HeaderMap,
    /// Length of its content in bytes, as far as it came.
    pub(crate) length: Option<u64>,
}

impl<'a> Head<'a> {
    /// With content of unknown length.
    pub(crate) fn new(status: StatusCode, fields: &'a HeaderMap) -> Self {
        Self {
            status,
            fields,
            length: None,
        }
    }
}

impl Case<'_> {
    /// The field that decided, where one did.
    pub(crate) fn field(&self, reason: Reason) -> Option<Field> {
        use Reason as R;
        let asked = |name: HeaderName| Field::first(self.request, &name);
        let told = |name: HeaderName| Field::first(self.fields()?, &name);
        match reason {
            R::Disabled | R::Method | R::NothingStored | R::SoftPurged | R::CollapseTimeout => None,
            R::Outage | R::Shed => None,
            R::FillMemory | R::Purged | R::Overtaken | R::UpstreamFailed => None,
            R::RequestBody | R::QueryContent => asked(CONTENT_LENGTH),
            R::ContentLanguage => told(CONTENT_LANGUAGE),
            R::L2 | R::Disk => None,
            R::NoVarySearch => told(HeaderName::from_static("no-vary-search")),
            R::Upgrade => asked(UPGRADE),
            R::Precondition => asked(IF_MATCH).or_else(|| asked(IF_UNMODIFIED_SINCE)),
            R::Override => asked(overriding(self.request, self.rules)?.clone()),
            R::Range | R::PartialContent => told(CONTENT_RANGE).or_else(|| asked(RANGE)),
            R::OtherParts => asked(RANGE),
            R::Head => None,
            R::ClientNoStore | R::ClientMaxAge | R::ClientMinFresh | R::ClientMaxStale => {
                asked(CACHE_CONTROL)
            }
            R::ClientNoCache => asked(CACHE_CONTROL).or_else(|| asked(PRAGMA)),
            R::OnlyIfCached => asked(CACHE_CONTROL),
            R::HeuristicCredentials => asked(AUTHORIZATION).or_else(|| asked(COOKIE)),
            R::VaryMismatch | R::VaryStar | R::VaryPersonal | R::VaryTooMany => told(VARY),
            R::Stale | R::NoCache | R::StaleWhileRevalidate | R::StaleIfError | R::EarlyRefresh => {
                told(self.control())
            }
            R::NoStore | R::Private | R::NoLifetime | R::Status => told(self.control()),
            R::SetCookie => told(SET_COOKIE),
            R::Authorization => asked(AUTHORIZATION),
            R::Cookie => asked(COOKIE),
            R::AlreadyStale => told(AGE).or_else(|| told(self.control())),
            R::TooLarge | R::Incomplete => told(CONTENT_LENGTH),
            R::TooManyTags => {
                let mut names = tags::Source::ALL.iter().map(|source| source.field());
                names.find_map(told)
            }
            R::LiveStream => told(CONTENT_TYPE),
            R::HeadDiffers => told(ETAG).or_else(|| told(LAST_MODIFIED)),
            R::NotModified => asked(IF_NONE_MATCH).or_else(|| asked(IF_MODIFIED_SINCE)),
            R::OtherTag => told(ETAG),
        }
    }

    /// The changes that flip it, each by itself; or why there is none.
    pub(crate) fn advice(&self, reason: Reason) -> Advice {
        use Reason as R;
        match reason {
            R::Disabled if self.settings.is_observed() => {
                self.config("cache.mode", "\"apply\"".to_owned())
            }
            R::Disabled => self.config("cache.enabled", "true".to_owned()),
            R::Method | R::Head => Advice::any([Change::ask_with_method("GET")]),
            R::RequestBody => Advice::any([Change::ask_without_content()]),
            R::QueryContent => self.on_query(),
            R::Upgrade => Advice::any([Change::ask_without(["Upgrade"])]),
            R::Precondition => {
                Advice::any([Change::ask_without(["If-Match", "If-Unmodified-Since"])])
            }
            R::Override => self.on_override(),
            R::Range | R::PartialContent => Advice::any([Change::ask_without(["Range"])]),
            R::ClientNoStore | R::ClientNoCache | R::ClientMaxAge | R::ClientMinFresh => {
                Advice::any([
                    self.key("cache.client_directives", toml_text("ignore")),
                    Change::ask_without(["Cache-Control", "Pragma"]),
                ])
            }
            R::OnlyIfCached => Advice::any([
                Change::ask_without(["Cache-Control"]),
                self.key("cache.client_directives", toml_text("ignore")),
            ]),
            R::OtherParts => Advice::none(
                "What is asked for is fetched, and added to the parts that are stored.",
            ),
            R::NothingStored => Advice::none(
                "Whether the answer to this request is stored decides about the next one.",
            ),
            R::VaryMismatch | R::VaryStar | R::VaryTooMany => {
                Advice::any([Change::answer_without("Vary")])
            }
            R::VaryPersonal => self.on_personal_vary(),
            R::ContentLanguage => Advice::any([Change::answer_without("Content-Language")]),
            R::L2 | R::Disk => Advice::none(
                "It was answered from what is stored; the next one is answered from memory.",
            ),
            R::NoVarySearch => Advice::any([
                self.key("cache.no_vary_search", "false".to_owned()),
                Change::answer_without("No-Vary-Search"),
            ]),
            R::HeadDiffers => self.on_head(),
            R::Overtaken => Advice::none(
                "What took its place came later, so it is what the next request finds.",
            ),
            R::Stale => self.on_stale(),
            R::NoCache => Advice::any([self.fresh("", self.age())]),
            R::HeuristicCredentials => Advice::any([
                self.fresh("public, ", self.age()),
                self.key("cache.ttl", seconds(longer_than(self.age()))),
            ]),
            R::SoftPurged => Advice::none(
                "An operator marked it as stale; the upstream's answer to this request replaces it.",
            ),
            R::StaleWhileRevalidate => self.on_window("cache.stale_while_revalidate"),
            R::StaleIfError => self.on_window("cache.stale_if_error"),
            R::EarlyRefresh => self.config("cache.early_refresh.enabled", "false".to_owned()),
            R::Outage => self.config("cache.on_outage", toml_text("bypass")),
            R::Shed => {
                let more = self.settings.outage.concurrency.saturating_mul(2);
                Advice::any([
                    self.key("cache.outage.concurrency", more.to_string()),
                    self.key("cache.on_outage", toml_text("bypass")),
                ])
            }
            R::ClientMaxStale => Advice::any([
                self.key("cache.client_directives", toml_text("ignore")),
                Change::ask_without(["Cache-Control"]),
            ]),
            R::CollapseTimeout => {
                let longer = self.settings.collapse_wait.as_secs().max(1) * 2;
                self.config("cache.collapse.wait", seconds(longer))
            }
            R::NoStore | R::AlreadyStale => Advice::any([self.fresh("", self.received_age())]),
            R::NoLifetime => Advice::any([
                self.fresh("", self.received_age()),
                self.key("cache.ttl", seconds(longer_than(self.received_age()))),
            ]),
            R::Private | R::Authorization => {
                Advice::any([self.fresh("public, ", self.received_age())])
            }
            R::SetCookie => Advice::any([
                Change::answer_without("Set-Cookie"),
                self.key("cache.set_cookie", toml_text("strip")),
            ]),
            R::Cookie => Advice::any([
                self.fresh("public, ", self.received_age()),
                self.key("cache.cookies", toml_text("ignore")),
            ]),
            R::Status => self.on_status(),
            R::TooLarge => self.on_length(),
            R::TooManyTags => self.on_tags(),
            R::FillMemory => self.config("cache.memory.size", size(self.memory.saturating_mul(2))),
            R::LiveStream => {
                Advice::none("What has no end is never whole, so it cannot be stored.")
            }
            R::Purged => Advice::none("The next answer is stored, unless it is purged as well."),
            R::Incomplete => Advice::none(
                "The upstream's content broke off; its own log says why. What is not whole is never stored.",
            ),
            R::UpstreamFailed => Advice::none(
                "The upstream has to answer; Proxy-Status and the request log name its failure.",
            ),
            R::NotModified => {
                Advice::any([Change::ask_without(["If-None-Match", "If-Modified-Since"])])
            }
            R::OtherTag => self.on_other_tag(),
        }
    }

    fn key(&self, key: &'static str, value: String) -> Change {
        Change::config(self.route, [(key, value)])
    }

    fn config(&self, key: &'static str, value: String) -> Advice {
        Advice::any([self.key(key, value)])
    }

    fn fields(&self) -> Option<&HeaderMap> {
        let stored = self.stored.map(|(_, fields)| fields);
        self.answer.map(|answer| answer.fields).or(stored)
    }

    /// The field that the app speaks to us by: the targeted one where it does (RFC 9213 §2.2).
    fn control(&self) -> HeaderName {
        let targeted = &self.settings.targeted;
        let surrogate = targeted.surrogate_control.then_some("surrogate-control");
        let names = targeted.fields.iter().map(String::as_str).chain(surrogate);
        let said = |name: &&str| {
            self.fields().is_some_and(|fields| match *name {
                "surrogate-control" => surrogate_control::of(fields).is_some(),
                name => targeted::of(fields, [name]).is_some(),
            })
        };
        let mut names = names.filter(said);
        let name = names.next().and_then(|name| name.parse().ok());
        name.unwrap_or(CACHE_CONTROL)
    }

    /// The app's own word for a lifetime longer than `age`.
    fn fresh(&self, also: &str, age: Duration) -> Change {
        let lifetime = longer_than(age);
        Change::answer_with(title(&self.control()), format!("{also}max-age={lifetime}"))
    }

    /// The current age of what is stored.
    fn age(&self) -> Duration {
        self.stored.map_or(Duration::ZERO, |(stored, _)| stored.age)
    }

    /// The age that the upstream's answer came with.
    fn received_age(&self) -> Duration {
        self.answer
            .map_or(Duration::ZERO, |answer| received_age(answer.fields))
    }

    fn on_override(&self) -> Advice {
        let name = overriding(self.request, self.rules);
        let name = name.map_or("x-original-url", HeaderName::as_str);
        Advice::any([
            Change::ask_without([name]),
            self.key("cache.key.headers", self.headers_with(name)),
        ])
    }

    /// `cache.key.headers` as they are, and one more.
    fn headers_with(&self, name: &str) -> String {
        let names = self.settings.key.headers.iter().map(String::as_str);
        let names: Vec<_> = names.chain([name]).map(toml_text).collect();
        format!("[{}]", names.join(", "))
    }

    fn on_personal_vary(&self) -> Advice {
        let named = self.fields().and_then(|fields| fields.get(VARY));
        let named = named.map(|vary| vary.as_bytes().to_ascii_lowercase());
        let names = |name: &[u8]| {
            let members = named
                .iter()
                .flat_map(|vary| vary.split(|byte| *byte == b','));
            members.map(<[u8]>::trim_ascii).any(|member| member == name)
        };
        let mut changes = vec![Change::answer_without("Vary")];
        // One copy for each browser there is, but that is the operator's to weigh. Credentials in the
        // key would be a copy for each user: no advice.
        if !names(b"cookie") && !names(b"authorization") {
            let headers = self.headers_with(USER_AGENT.as_str());
            changes.push(self.key("cache.key.headers", headers));
        } else if names(b"cookie") && !names(b"user-agent") && !names(b"authorization") {
            changes.push(self.key("cache.cookies", toml_text("ignore")));
        }
        Advice::any(changes)
    }

    /// Longer by whoever gave the lifetime.
    fn on_stale(&self) -> Advice {
        let lifetime = longer_than(self.age());
        let by_app = self.fresh("", self.age());
        match self.stored.map(|(stored, _)| stored.terms) {
            Some(terms) if terms.source == Source::ForceTtl => {
                self.config("cache.force_ttl", seconds(lifetime))
            }
            Some(terms) if terms.source == Source::RouteTtl => {
                Advice::any([self.key("cache.ttl", seconds(lifetime)), by_app])
            }
            Some(terms) => {
                // The operator's window counts where the upstream forbids none and gives none.
                let is_open = !(terms.must_revalidate || terms.s_maxage)
                    && terms.stale_while_revalidate.is_none();
                let window = self.key("cache.stale_while_revalidate", seconds(lifetime));
                Advice::any([by_app].into_iter().chain(is_open.then_some(window)))
            }
            None => Advice::any([by_app]),
        }
    }

    /// Out of the window that `key` opens, where the upstream opened none.
    fn on_window(&self, key: &'static str) -> Advice {
        let Some((stored, _)) = self.stored else {
            return self.config(key, toml_text("none"));
        };
        let terms = stored.terms;
        let (upstream, directive) = match key {
            "cache.stale_if_error" => (terms.stale_if_error, "stale-if-error"),
            _ => (terms.stale_while_revalidate, "stale-while-revalidate"),
        };
        let lifetime = terms.lifetime.as_secs();
        let shut = Change::answer_with(
            title(&self.control()),
            format!("max-age={lifetime}, {directive}=0"),
        );
        let by_operator = upstream.is_none().then(|| self.key(key, toml_text("none")));
        Advice::any(by_operator.into_iter().chain([shut]))
    }

    fn on_status(&self) -> Advice {
        match self.answer.map(|answer| answer.status) {
            Some(status) if is_about_one_request(status) || status.is_informational() => {
                Advice::none("This status tells of one request, so its answer is for nobody else.")
            }
            _ => Advice::any([self.fresh("", self.received_age())]),
        }
    }

    fn on_length(&self) -> Advice {
        let length = self.answer.and_then(|answer| answer.length).unwrap_or(0);
        let least = length.max(self.settings.max_body.saturating_add(1));
        let body = ("cache.max_body", size(least));
        // One response may take half of the cache.
        if power_of_two(least) > self.memory / 2 {
            let memory = size(power_of_two(least).saturating_mul(2));
            return Advice::any([Change::config(
                self.route,
                [body, ("cache.memory.size", memory)],
            )]);
        }
        Advice::any([Change::config(self.route, [body])])
    }

    /// Twice of what is allowed is a guess, unless the answer is there to be counted.
    fn on_tags(&self) -> Advice {
        let fields = self.fields();
        let (mut count, mut bytes) = (0, 0);
        for source in tags::Source::ALL {
            let line = fields.and_then(|fields| fields.get(source.field())?.to_str().ok());
            let mut numbers = line
                .into_iter()
                .flat_map(|line| line.split(' '))
                .filter_map(|word| word.parse::<usize>().ok());
            count += numbers.next().unwrap_or(0);
            bytes += numbers.next().unwrap_or(0);
        }
        let TagSettings {
            count: most, size, ..
        } = self.settings.tags;
        if count == 0 {
            (count, bytes) = (most * 2, size * 2);
        }
        let bytes = u64::try_from(bytes.max(size)).unwrap_or(u64::MAX);
        let more = Change::config(
            self.route,
            [
                ("cache.tags.count", count.max(most).to_string()),
                ("cache.tags.size", self::size(bytes)),
            ],
        );
        let names = tags::Source::ALL.iter().map(|source| source.field());
        let names = names.filter(|name| fields.is_none_or(|fields| fields.contains_key(name)));
        let without = Change::App {
            set: Vec::new(),
            remove: names.map(|name| name.to_string()).collect(),
        };
        // No more than this can be allowed.
        let more = (count <= MOST_TAGS).then_some(more);
        Advice::any(more.into_iter().chain([without]))
    }

    /// Content that can be part of the key; what comes slowly is still none.
    fn on_query(&self) -> Advice {
        let length = self.request.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let least = length
            .unwrap_or(0)
            .max(self.settings.query_max_body.saturating_add(1));
        self.config("cache.query_max_body", size(least))
    }

    /// What the answer to HEAD has to say to be about what is stored.
    fn on_head(&self) -> Advice {
        let stored = self.stored.map(|(_, fields)| fields);
        let line = |name: &HeaderName| {
            let value = stored?.get(name)?.to_str().ok()?;
            // A tag that was made here is none that the app knows.
            (!value.contains("\"~")).then(|| (title(name), value.to_owned()))
        };
        let names = [ETAG, LAST_MODIFIED, CONTENT_LENGTH];
        let set: Vec<_> = names.iter().filter_map(line).collect();
        let is_set = |name: &HeaderName| set.iter().any(|(set, _)| *set == title(name));
        let others = names.iter().filter(|name| !is_set(name)).map(title);
        Advice::any([Change::App {
            remove: others.collect(),
            set,
        }])
    }

    fn on_other_tag(&self) -> Advice {
        let tag = self.stored.and_then(|(_, fields)| fields.get(ETAG));
        match tag.map(|tag| String::from_utf8_lossy(tag.as_bytes()).into_owned()) {
            Some(tag) => Advice::any([Change::answer_with("ETag", tag)]),
            // What it was is gone from the store.
            None => Advice::any([Change::answer_without("ETag")]),
        }
    }
}

/// What `cache.tags.count` takes.
const MOST_TAGS: usize = 4096;

/// A name as it is mostly written.
fn title(name: &HeaderName) -> String {
    let parts = name.as_str().split('-').map(|part| match part {
        "cdn" => "CDN".to_owned(),
        "etag" => "ETag".to_owned(),
        part => part
            .chars()
            .take(1)
            .flat_map(char::to_uppercase)
            .chain(part.chars().skip(1))
            .collect(),
    });
    parts.collect::<Vec<String>>().join("-")
}

/// Seconds that people write, more than `age`.
fn longer_than(age: Duration) -> u64 {
    let age = age.as_secs();
    let usual = [60, 600, 3600, 86_400, 604_800, 31_536_000];
    let longer = usual.into_iter().find(|seconds| *seconds > age);
    longer.unwrap_or_else(|| age.saturating_mul(2))
}

fn seconds(seconds: u64) -> String {
    toml_text(&format!("{seconds}s"))
}

/// At least `bytes`, in the largest unit that writes it whole.
fn size(bytes: u64) -> String {
    let bytes = power_of_two(bytes);
    let (number, unit) = match bytes {
        bytes if bytes >= 1 << 30 => (bytes >> 30, "GiB"),
        bytes if bytes >= 1 << 20 => (bytes >> 20, "MiB"),
        bytes if bytes >= 1 << 10 => (bytes >> 10, "KiB"),
        bytes => (bytes, "B"),
    };
    toml_text(&format!("{number}{unit}"))
}

/// A length is a peer's word, and may be any.
fn power_of_two(bytes: u64) -> u64 {
    bytes.checked_next_power_of_two().unwrap_or(1 << 63)
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
