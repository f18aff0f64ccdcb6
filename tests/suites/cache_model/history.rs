//! What may happen: clients ask, the upstream answers by a script, time passes, somebody purges.

use std::fmt;

use super::choices::{Choices, STEP};

/// One history, by what it puts to the test most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// Anonymous requests, explicit lifetimes.
    Plain,
    /// Short lifetimes, validators, 304s.
    Validation,
    /// Windows of RFC 5861 and failures.
    Stale,
    /// `Vary`.
    Variants,
    /// `Cookie`, `Authorization`, `Set-Cookie`.
    Credentials,
    /// Requests at the same time.
    Together,
    /// Tags, and purges by them, by prefixes and by patterns.
    Purges,
    /// `No-Vary-Search`.
    Searches,
    /// Everything.
    Wild,
}

impl Class {
    pub(super) const ALL: [Self; 9] = [
        Self::Plain,
        Self::Validation,
        Self::Stale,
        Self::Variants,
        Self::Credentials,
        Self::Together,
        Self::Purges,
        Self::Searches,
        Self::Wild,
    ];

    fn odds(self) -> Odds {
        let none = Odds {
            tick: 25,
            ..Odds::default()
        };
        match self {
            Self::Plain => Odds {
                head: 10,
                conditions: 10,
                ranges: 10,
                tag: 50,
                changes: 10,
                purges: 4,
                ..none
            },
            Self::Validation => Odds {
                tick: 40,
                conditions: 25,
                tag: 85,
                confirms: 70,
                directives: 12,
                words: 15,
                head: 5,
                purges: 4,
                ..none
            },
            Self::Stale => Odds {
                tick: 40,
                windows: 70,
                failures: 30,
                tag: 50,
                confirms: 40,
                directives: 10,
                words: 20,
                purges: 6,
                ..none
            },
            Self::Variants => Odds {
                vary: 75,
                tag: 40,
                confirms: 40,
                languages: 75,
                conditions: 10,
                ..none
            },
            Self::Credentials => Odds {
                credentials: 45,
                directives: 25,
                vary: 5,
                tag: 40,
                confirms: 40,
                changes: 5,
                held: 10,
                ..none
            },
            Self::Together => Odds {
                tick: 12,
                held: 60,
                failures: 12,
                windows: 20,
                directives: 10,
                credentials: 10,
                vary: 10,
                languages: 20,
                changes: 8,
                purges: 6,
                tag: 40,
                confirms: 40,
                words: 5,
                head: 5,
                ..none
            },
            Self::Purges => Odds {
                tick: 20,
                purges: 25,
                names: 70,
                held: 25,
                tag: 60,
                confirms: 60,
                windows: 15,
                failures: 5,
                words: 5,
                head: 5,
                changes: 4,
                vary: 10,
                languages: 15,
                ..none
            },
            Self::Searches => Odds {
                searches: 80,
                purges: 10,
                names: 15,
                held: 15,
                tag: 50,
                confirms: 50,
                changes: 8,
                words: 5,
                head: 5,
                conditions: 8,
                vary: 6,
                languages: 10,
                ..none
            },
            Self::Wild => Odds {
                tick: 30,
                head: 8,
                changes: 8,
                conditions: 20,
                ranges: 8,
                vary: 20,
                languages: 30,
                credentials: 15,
                directives: 20,
                words: 25,
                windows: 25,
                failures: 15,
                tag: 60,
                confirms: 50,
                held: 20,
                purges: 8,
                names: 30,
                searches: 15,
                odd: 25,
            },
        }
    }
}

/// How often things happen, in a hundred.
#[derive(Clone, Copy, Default)]
struct Odds {
    tick: u8,
    purges: u8,
    /// The upstream's `Surrogate-Key` and its like.
    names: u8,
    /// The upstream's `No-Vary-Search`, and queries that differ in what it names.
    searches: u8,
    head: u8,
    /// Unsafe methods.
    changes: u8,
    /// `If-None-Match`, `If-Modified-Since`.
    conditions: u8,
    ranges: u8,
    languages: u8,
    credentials: u8,
    /// The client's `Cache-Control` and `Pragma`.
    words: u8,
    held: u8,
    /// The upstream's `Vary`.
    vary: u8,
    /// What restricts reuse, or widens it.
    directives: u8,
    windows: u8,
    failures: u8,
    tag: u8,
    confirms: u8,
    /// Values that are wrong, or come from odd clocks; unusual statuses.
    odd: u8,
}

impl Odds {
    /// How many of [`URLS`] are asked for.
    fn urls(self) -> usize {
        match self.searches {
            0 => FEW,
            _ => URLS.len(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) class: Class,
    pub(super) rules: Rules,
    pub(super) steps: Vec<Step>,
}

/// What the operator has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    /// `stale_while_revalidate` and `stale_if_error`.
    pub(super) windows: bool,
    /// `client_directives = "ignore"`.
    pub(super) deaf: bool,
    /// `set_cookie = "strip"`.
    pub(super) strips: bool,
    /// `cookies = "ignore"`.
    pub(super) ignores_cookies: bool,
    /// `ttl`.
    pub(super) ttl: bool,
    /// The layer that makes entity tags.
    pub(super) tags: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Ask(Box<Ask>),
    /// One answer that was held back goes on: its head, or the rest of its content.
    Release(usize),
    /// One client that waits goes away.
    Leave(usize),
    /// Milliseconds pass.
    Tick(i64),
    Purge(Purged),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purged {
    Hard(usize),
    Soft(usize),
    All,
    /// By a name that many have; `true` is soft.
    Named(Name, bool),
}

/// What many may have: places in [`NAMES`], [`PREFIXES`] and [`PATTERNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Tag(usize),
    Prefix(usize),
    Pattern(usize),
}

impl Name {
    /// The URLs that it is about by themselves; none where that is for the answers to say.
    pub(super) fn urls(self) -> Option<&'static [usize]> {
        match self {
            Self::Tag(_) => None,
            Self::Prefix(index) => Some(PREFIXES[index].1),
            Self::Pattern(index) => Some(PATTERNS[index].1),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    pub(super) fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A request, and what the upstream makes of it if it comes that far.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) url: usize,
    pub(super) method: Method,
    pub(super) authorization: Option<usize>,
    pub(super) cookie: Option<usize>,
    pub(super) words: Vec<Word>,
    pub(super) pragma: bool,
    pub(super) none_match: Option<NoneMatch>,
    pub(super) modified_since: Option<Since>,
    pub(super) range: Option<(u64, Option<u64>)>,
    /// Places in [`LANGUAGES`] and [`FLAVOURS`].
    pub(super) language: Option<usize>,
    pub(super) flavour: Option<usize>,
    /// Whether the upstream waits before it answers.
    pub(super) held: bool,
    pub(super) reply: Reply,
}

/// What a client's `Cache-Control` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    NoCache,
    NoStore,
    OnlyIfCached,
    MaxAge(i64),
    MinFresh(i64),
    MaxStale(Option<i64>),
    StaleIfError(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoneMatch {
    /// The tag of the last answer for the URL, if there was one.
    Last,
    Unknown,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// `Last-Modified` of the last answer for the URL.
    Last,
    LongAgo,
    Now,
}

/// What the upstream does with a request.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) kind: Kind,
    pub(super) status: u16,
    pub(super) directives: Vec<Directive>,
    /// `CDN-Cache-Control`; `None` within is one that is malformed.
    pub(super) targeted: Option<Option<Vec<Directive>>>,
    /// How directives are written.
    pub(super) noise: u8,
    /// Seconds after the answer.
    pub(super) expires: Option<Option<i64>>,
    pub(super) date: Option<Option<i64>>,
    pub(super) age: Option<Age>,
    pub(super) vary: Vec<Nominated>,
    pub(super) tag: Option<Tag>,
    /// Seconds before the answer.
    pub(super) modified: Option<i64>,
    pub(super) set_cookie: bool,
    /// The URL that `Location` or `Content-Location` of an unsafe request's answer names.
    pub(super) location: Option<(bool, usize)>,
    /// `Content-Language`, a place in [`TONGUES`].
    pub(super) language: Option<usize>,
    /// What it says it belongs to, places in [`NAMES`].
    pub(super) names: Option<Vec<usize>>,
    /// `No-Vary-Search`, a place in [`SEARCHES`].
    pub(super) search: Option<usize>,
    pub(super) body: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Answer,
    /// 304 if the request's condition names something that it once answered, else an answer.
    Confirm,
    /// No answer at all.
    Fail(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// `None`: no number.
    MaxAge(Option<i64>),
    SMaxage(Option<i64>),
    NoStore,
    NoCache,
    NoCacheOfCookie,
    Private,
    PrivateCookie,
    Public,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    Immutable,
    WhileRevalidating(i64),
    IfError(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Seconds(i64),
    /// The first of two.
    First(i64),
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nominated {
    Language,
    Flavour,
    Cookie,
    Encoding,
    Star,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Strong,
    Weak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Whole,
    /// In pieces, with or without a declared length.
    Pieces(bool),
    /// The rest comes when it is released.
    Late,
    /// Breaks off.
    Broken,
}

pub(super) const URLS: [&str; 7] = [
    "/a",
    "/a?q=1",
    "/b",
    "/a?q=1&u=x",
    "/a?u=y&q=1",
    "/a?q=2&u=x",
    "/a?u=x&q=1",
];
/// Those that are asked for where no query is like another.
const FEW: usize = 3;
/// What `No-Vary-Search` may say, and which of [`URLS`] it then makes one: those of equal numbers.
pub(super) const SEARCHES: [(&str, [u8; URLS.len()]); 6] = [
    ("params=(\"u\")", [0, 1, 2, 1, 1, 3, 1]),
    ("key-order", [0, 1, 2, 3, 4, 5, 3]),
    ("params", [0, 0, 2, 0, 0, 0, 0]),
    ("params, except=(\"q\")", [0, 1, 2, 1, 1, 3, 1]),
    ("params=(\"u\" \"q\")", [0, 0, 2, 0, 0, 0, 0]),
    // Malformed.
    ("params=(\"u\"), except=(\"q\")", [0, 1, 2, 3, 4, 5, 6]),
];
/// One begins another, and one is another in capitals.
pub(super) const NAMES: [&str; 4] = ["page", "page:1", "PAGE", "all"];
/// Of paths, and the places in [`URLS`] of what lies there.
pub(super) const PREFIXES: [(&str, &[usize]); 4] =
    [("/a", &IN_A), ("/b", &[2]), ("/", &ALL), ("/a/b", &[])];
const IN_A: [usize; 6] = [0, 1, 3, 4, 5, 6];
const ALL: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];
/// Behind a host, and the same.
pub(super) const PATTERNS: [(&str, &[usize]); 5] = [
    ("/a", &[0]),
    ("/a*", &IN_A),
    ("*q=1", &[1, 4, 6]),
    ("/*", &ALL),
    ("/c*", &[]),
];
/// What clients write, what they mean by it, and which of [`TONGUES`] they like best.
pub(super) const LANGUAGES: [(&str, u8, usize); 6] = [
    ("de", 0, 0),
    ("fr", 1, 1),
    ("DE", 0, 0),
    ("de, en;q=0.5", 2, 0),
    ("de,en;q=0.5 ", 2, 0),
    ("en;q=0.50, de", 2, 0),
];
pub(super) const TONGUES: [&str; 2] = ["de", "fr"];
pub(super) const FLAVOURS: [(&str, u8); 3] = [("sweet", 0), ("sour", 1), ("Sour", 2)];
pub(super) const USERS: [&str; 2] = ["Bearer one", "Bearer two"];
pub(super) const COOKIES: [&str; 2] = ["session=1", "session=2"];
const LIFETIMES: [i64; 9] = [10, 1, 5, 30, 60, 3600, 0, 2, 99_999_999_999];
const SECONDS: [i64; 6] = [5, 0, 1, 10, 30, 60];
const STATUSES: [u16; 14] = [
    404, 301, 410, 302, 203, 204, 299, 599, 429, 500, 503, 307, 403, 421,
];

impl History {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let (first, steps) = bytes.split_at(STEP.min(bytes.len()));
        let mut choices = Choices::of(first);
        let class = choices.one_of(&Class::ALL);
        let rules = Rules {
            windows: choices.chance(12),
            deaf: choices.chance(8),
            strips: choices.chance(8),
            ignores_cookies: choices.chance(8),
            ttl: choices.chance(6),
            tags: choices.chance(50),
        };
        let odds = class.odds();
        let step = |bytes| Step::of(&mut Choices::of(bytes), odds, rules);
        Self {
            class,
            rules,
            steps: steps.chunks(STEP).map(step).collect(),
        }
    }
}

impl Step {
    fn of(choices: &mut Choices<'_>, odds: Odds, rules: Rules) -> Self {
        let tick = choices.maybe(odds.tick, |choices| {
            choices.one_of(&[1_000, 5_000, 10_000, 30_000, 500, 2_000, 60_000, 9_000])
        });
        let release = choices.maybe(odds.held / 2, |choices| choices.below(4));
        let leave = choices.maybe(odds.held / 6, |choices| choices.below(4));
        let purge = choices.maybe(odds.purges, |choices| match choices.below(8) {
            0 => Purged::All,
            kind @ 4..8 if odds.names > 0 => {
                let soft = choices.below(2) == 1;
                let name = match kind {
                    4 | 5 => Name::Tag(choices.below(NAMES.len())),
                    6 => Name::Prefix(choices.below(PREFIXES.len())),
                    _ => Name::Pattern(choices.below(PATTERNS.len())),
                };
                Purged::Named(name, soft)
            }
            kind if kind % 2 == 0 => Purged::Hard(choices.below(odds.urls())),
            _ => Purged::Soft(choices.below(odds.urls())),
        });
        match (tick, release, leave, purge) {
            (Some(tick), ..) => Self::Tick(tick),
            (_, Some(which), ..) => Self::Release(which),
            (_, _, Some(which), _) => Self::Leave(which),
            (.., Some(purged)) => Self::Purge(purged),
            _ => Self::Ask(Box::new(Ask::of(choices, odds, rules))),
        }
    }
}

impl Ask {
    fn of(choices: &mut Choices<'_>, odds: Odds, rules: Rules) -> Self {
        let often = if odds.searches > 50 { 80 } else { 35 };
        let url = choices.maybe(often, |choices| choices.below(odds.urls()));
        let head = choices.chance(odds.head);
        let change = choices.maybe(odds.changes, |choices| {
            choices.one_of(&[Method::Post, Method::Put, Method::Delete])
        });
        let method = change.unwrap_or(if head { Method::Head } else { Method::Get });
        let mut words = Vec::new();
        let said = choices.maybe(odds.words, |choices| {
            let seconds = choices.one_of(&SECONDS);
            match choices.below(8) {
                0 => Word::NoCache,
                1 => Word::NoStore,
                2 => Word::MaxAge(seconds),
                3 => Word::MinFresh(seconds),
                4 => Word::MaxStale(Some(seconds)),
                5 => Word::MaxStale(None),
                6 => Word::OnlyIfCached,
                _ => Word::StaleIfError(seconds),
            }
        });
        words.extend(said);
        words.extend(choices.maybe(odds.words / 3, |choices| {
            Word::MaxAge(choices.one_of(&SECONDS))
        }));
        let held = choices.chance(odds.held);
        Self {
            url: url.unwrap_or_default(),
            method,
            authorization: choices.maybe(odds.credentials / 2, |choices| choices.below(2)),
            cookie: choices.maybe(odds.credentials, |choices| choices.below(2)),
            words,
            pragma: choices.chance(odds.words / 4),
            none_match: choices.maybe(odds.conditions, |choices| {
                choices.one_of(&[
                    NoneMatch::Last,
                    NoneMatch::Last,
                    NoneMatch::Unknown,
                    NoneMatch::Any,
                ])
            }),
            modified_since: choices.maybe(odds.conditions / 2, |choices| {
                choices.one_of(&[Since::Last, Since::LongAgo, Since::Now])
            }),
            range: choices.maybe(odds.ranges, |choices| {
                let first = choices.one_of(&[0, 3, 9, 100]);
                (first, choices.one_of(&[None, Some(first), Some(first + 4)]))
            }),
            language: choices.maybe(odds.languages, |choices| choices.below(LANGUAGES.len())),
            flavour: choices.maybe(odds.languages / 2, |choices| choices.below(FLAVOURS.len())),
            held,
            reply: Reply::of(choices, odds, held && !rules.tags),
        }
    }
}

impl Reply {
    fn of(choices: &mut Choices<'_>, odds: Odds, may_be_late: bool) -> Self {
        let failure = choices.maybe(odds.failures, |choices| choices.below(6));
        let confirms = choices.chance(odds.confirms);
        let odd_status = choices.maybe(odds.odd.max(8), |choices| choices.one_of(&STATUSES));
        let (kind, status) = match failure {
            Some(kind @ 0..4) => (Kind::Fail(kind), 200),
            Some(4) => (Kind::Answer, 500),
            Some(_) => (Kind::Answer, 503),
            None if confirms => (Kind::Confirm, odd_status.unwrap_or(200)),
            None => (Kind::Answer, odd_status.unwrap_or(200)),
        };
        let said = directives(choices, odds);
        let targeted = choices.maybe(odds.odd / 2, |choices| {
            let is_readable = choices.chance(75);
            let mut directives = directives(choices, odds);
            directives.retain(|directive| is_plain(*directive));
            is_readable.then_some(directives)
        });
        let content = choices.maybe(40, |choices| match choices.below(8) {
            0 | 1 => Content::Pieces(true),
            2 | 3 => Content::Pieces(false),
            4 => Content::Broken,
            _ if may_be_late => Content::Late,
            _ => Content::Whole,
        });
        Self {
            kind,
            status,
            directives: said,
            targeted: targeted.filter(|said| said.as_ref().is_none_or(|said| !said.is_empty())),
            noise: choices.byte(),
            expires: choices.maybe(odds.odd / 2 + 4, |choices| {
                choices.one_of(&[Some(10), Some(-10), Some(0), None, Some(60)])
            }),
            date: choices.maybe(90, |choices| {
                let skewed = choices.maybe(odds.odd, |choices| {
                    choices.one_of(&[Some(-5), Some(5), Some(-3600), None])
                });
                skewed.unwrap_or(Some(0))
            }),
            age: choices.maybe(odds.odd / 2 + 4, |choices| {
                choices.one_of(&[
                    Age::Seconds(3),
                    Age::Seconds(0),
                    Age::Seconds(10),
                    Age::First(5),
                    Age::Unreadable,
                    Age::Seconds(99_999_999_999),
                ])
            }),
            vary: {
                let nominated = choices.maybe(odds.vary, |choices| {
                    choices.one_of(&[
                        &[Nominated::Language][..],
                        &[Nominated::Flavour],
                        &[Nominated::Language, Nominated::Flavour],
                        &[Nominated::Encoding],
                        &[Nominated::Language],
                        &[Nominated::Flavour, Nominated::Star],
                        &[Nominated::Cookie],
                    ])
                });
                nominated.unwrap_or_default().to_vec()
            },
            tag: choices.maybe(odds.tag, |choices| {
                choices.one_of(&[Tag::Strong, Tag::Strong, Tag::Weak])
            }),
            modified: choices.maybe(odds.tag / 3, |choices| {
                choices.one_of(&[100, 1_000, 864_000])
            }),
            set_cookie: choices.chance(odds.credentials / 2),
            location: choices.maybe(odds.changes * 3, |choices| {
                (choices.below(2) == 0, choices.below(odds.urls()))
            }),
            language: choices.maybe(odds.vary / 4, |choices| choices.below(TONGUES.len())),
            names: choices.maybe(odds.names, |choices| {
                let all = [&[0][..], &[1], &[0, 3], &[2], &[3], &[0, 1, 2], &[]];
                choices.one_of(&all).to_vec()
            }),
            search: choices.maybe(odds.searches, |choices| choices.below(SEARCHES.len())),
            body: content.unwrap_or(Content::Whole),
        }
    }
}

fn directives(choices: &mut Choices<'_>, odds: Odds) -> Vec<Directive> {
    let mut all = Vec::new();
    let lifetime = |choices: &mut Choices<'_>| Some(choices.one_of(&LIFETIMES));
    // A shorter list, so that time passes beyond most of them.
    let has_lifetime = choices.maybe(80, lifetime);
    all.extend(has_lifetime.map(Directive::MaxAge));
    let shared = choices.maybe(odds.directives / 2, lifetime);
    all.extend(shared.map(Directive::SMaxage));
    let window = |choices: &mut Choices<'_>| choices.one_of(&[5, 30, 60, 0]);
    let window_one = choices.maybe(odds.windows, window);
    all.extend(window_one.map(Directive::WhileRevalidating));
    let window_two = choices.maybe(odds.windows, window);
    all.extend(window_two.map(Directive::IfError));
    for directive in [
        Directive::Public,
        Directive::NoCache,
        Directive::NoStore,
        Directive::Private,
        Directive::MustRevalidate,
    ] {
        if choices.chance(odds.directives / 2) {
            all.push(directive);
        }
    }
    let rare = choices.maybe(odds.directives, |choices| {
        choices.one_of(&[
            Directive::MaxAge(None),
            Directive::SMaxage(None),
            Directive::NoCacheOfCookie,
            Directive::PrivateCookie,
            Directive::ProxyRevalidate,
            Directive::MustUnderstand,
            Directive::Immutable,
            Directive::MaxAge(Some(5)),
        ])
    });
    all.extend(rare);
    all
}

/// What can be written as a member of a dictionary.
fn is_plain(directive: Directive) -> bool {
    !matches!(
        directive,
        Directive::MaxAge(None)
            | Directive::SMaxage(None)
            | Directive::NoCacheOfCookie
            | Directive::PrivateCookie
    )
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, {:?}", self.class, self.rules)?;
        for (number, step) in self.steps.iter().enumerate() {
            match step {
                Step::Ask(ask) => writeln!(f, "{number:3} {ask}")?,
                other => writeln!(f, "{number:3} {other:?}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.name(), URLS[self.url])?;
        if let Some(user) = self.authorization {
            write!(f, ", {}", USERS[user])?;
        }
        if let Some(cookie) = self.cookie {
            write!(f, ", {}", COOKIES[cookie])?;
        }
        if !self.words.is_empty() {
            write!(f, ", {:?}", self.words)?;
        }
        if self.pragma {
            write!(f, ", pragma")?;
        }
        if let Some(condition) = self.none_match {
            write!(f, ", if-none-match {condition:?}")?;
        }
        if let Some(condition) = self.modified_since {
            write!(f, ", if-modified-since {condition:?}")?;
        }
        if let Some(range) = self.range {
            write!(f, ", range {range:?}")?;
        }
        if let Some(language) = self.language {
            write!(f, ", language {:?}", LANGUAGES[language].0)?;
        }
        if let Some(flavour) = self.flavour {
            write!(f, ", flavour {:?}", FLAVOURS[flavour].0)?;
        }
        write!(f, " -> {}", self.reply)?;
        if self.held {
            write!(f, ", held back")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Fail(kind) => return write!(f, "failure {kind}"),
            Kind::Confirm => write!(f, "304 or {}", self.status)?,
            Kind::Answer => write!(f, "{}", self.status)?,
        }
        write!(f, " {:?}", self.directives)?;
        if let Some(targeted) = &self.targeted {
            write!(f, ", for CDNs {targeted:?}")?;
        }
        if let Some(expires) = self.expires {
            write!(f, ", expires {expires:?}")?;
        }
        if self.date != Some(Some(0)) {
            write!(f, ", date {:?}", self.date)?;
        }
        if let Some(age) = self.age {
            write!(f, ", age {age:?}")?;
        }
        if !self.vary.is_empty() {
            write!(f, ", vary {:?}", self.vary)?;
        }
        if let Some(tag) = self.tag {
            write!(f, ", {tag:?} tag")?;
        }
        if let Some(modified) = self.modified {
            write!(f, ", modified {modified} s ago")?;
        }
        if self.set_cookie {
            write!(f, ", set-cookie")?;
        }
        if let Some((location, url)) = self.location {
            let name = if location {
                "location"
            } else {
                "content-location"
            };
            write!(f, ", {name} {}", URLS[url])?;
        }
        if let Some(language) = self.language {
            write!(f, ", in {}", TONGUES[language])?;
        }
        if let Some(names) = &self.names {
            let names: Vec<_> = names.iter().map(|name| NAMES[*name]).collect();
            write!(f, ", tagged {names:?}")?;
        }
        if let Some(search) = self.search {
            write!(f, ", no-vary-search {:?}", SEARCHES[search].0)?;
        }
        if self.body != Content::Whole {
            write!(f, ", {:?}", self.body)?;
        }
        Ok(())
    }
}
