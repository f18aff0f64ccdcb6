//! What happened: every request that a client or the upstream saw, in one order.

use http::HeaderMap;

use super::history::{Age, Ask, Directive, History, Nominated, Purged, Rules, SEARCHES, Tag};
use super::model::Edition;

/// A place in the order of events, and the time then, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) order: u64,
    pub(super) at: i64,
}

/// Everything about one history.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) rules: Rules,
    pub(super) now: Moment,
    pub(super) asked: Vec<Asked>,
    pub(super) exchanges: Vec<Exchange>,
    /// What may be stored, all that ever was.
    pub(super) editions: Vec<Edition>,
    /// Unsafe requests that worked, and purges.
    pub(super) changes: Vec<Change>,
}

/// A client's request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) started: Moment,
    /// Its conditions, as they were sent.
    pub(super) none_match: Option<String>,
    pub(super) modified_since: Option<i64>,
}

/// A request that reached the upstream.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The client's request that it was made for.
    pub(super) asked: usize,
    pub(super) method: String,
    pub(super) fields: HeaderMap,
    pub(super) started: Moment,
    /// When its head left the upstream, and what it was.
    pub(super) end: Option<(Moment, Outcome)>,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// An answer; `is_whole` if all its content comes, sooner or later.
    Answer {
        head: Head,
        is_whole: bool,
    },
    /// A 304 that confirms the answer of this exchange.
    Confirmed {
        base: usize,
        head: Head,
    },
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) moment: Moment,
    pub(super) kind: Changed,
    /// The exchange that made it, if one did.
    pub(super) by: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Purge(Purged),
    /// By an unsafe request.
    Url(usize),
}

/// A field: what it means and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field<T> {
    pub(super) means: T,
    pub(super) text: String,
}

/// The head of an answer. Times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) control: Option<Field<Vec<Directive>>>,
    pub(super) targeted: Option<Field<Option<Vec<Directive>>>>,
    pub(super) expires: Option<Field<Option<i64>>>,
    pub(super) date: Option<Field<Option<i64>>>,
    pub(super) age: Option<Field<Age>>,
    pub(super) vary: Option<Field<Vec<Nominated>>>,
    pub(super) tag: Option<Field<Tag>>,
    pub(super) modified: Option<Field<i64>>,
    pub(super) set_cookie: Option<String>,
    pub(super) location: Option<(bool, usize)>,
    /// `Content-Language`, a place in [`TONGUES`](super::history::TONGUES).
    pub(super) language: Option<usize>,
    /// `Surrogate-Key`, places in [`NAMES`](super::history::NAMES).
    pub(super) names: Option<Vec<usize>>,
    /// `No-Vary-Search`, a place in [`SEARCHES`].
    pub(super) search: Option<usize>,
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asked: usize,
    /// When its head came.
    pub(super) head_at: Moment,
    pub(super) got: Got,
}

#[derive(Debug)]
pub(super) enum Got {
    Response {
        status: u16,
        fields: HeaderMap,
        /// `Err` if it broke off.
        content: Result<String, String>,
    },
    Error {
        only_if_cached: bool,
    },
}

impl Log {
    pub(super) fn new(history: &History, at: i64) -> Self {
        Self {
            rules: history.rules,
            now: Moment { order: 0, at },
            asked: Vec::new(),
            exchanges: Vec::new(),
            editions: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The next moment.
    pub(super) fn tick(&mut self) -> Moment {
        self.now.order += 1;
        self.now
    }

    /// Notes how exchange `number` has ended.
    pub(super) fn end(&mut self, number: usize, moment: Moment, outcome: Outcome) {
        self.exchanges[number].end = Some((moment, outcome));
        self.note(number);
    }

    /// See [`Exchange::answer`].
    pub(super) fn answer_of(&self, number: usize) -> Option<(Moment, &Head, bool)> {
        let exchange = self.exchanges.get(number)?;
        exchange.answer(self.ask_of(exchange))
    }

    pub(super) fn ask_of(&self, exchange: &Exchange) -> &Ask {
        &self.asked[exchange.asked].ask
    }
}

/// The content of the answer of exchange `number`: no two are alike.
pub(super) fn content(number: usize, status: u16) -> String {
    match status {
        204 => String::new(),
        _ => format!("<{number:04}>").repeat(1 + number % 3),
    }
}

impl Head {
    /// Whether what is the answer for one URL is that for the other as well.
    pub(super) fn makes_one(&self, url: usize, other: usize) -> bool {
        is_one(self.search, url, other)
    }
}

/// Whether two URLs are one to an answer that says `search`, a place in [`SEARCHES`].
pub(super) fn is_one(search: Option<usize>, url: usize, other: usize) -> bool {
    let is_like = |search: usize| SEARCHES[search].1[url] == SEARCHES[search].1[other];
    url == other || search.is_some_and(is_like)
}

impl Exchange {
    /// Its answer, if it is one that a GET may be answered with: to a GET, or to a POST that says that
    /// it is what its URL has (RFC 9110 §9.3.3).
    pub(super) fn answer(&self, ask: &Ask) -> Option<(Moment, &Head, bool)> {
        let Some((at, Outcome::Answer { head, is_whole })) = &self.end else {
            return None;
        };
        let is_for_get = match &*self.method {
            "GET" => true,
            "POST" => {
                let names_itself = head.location == Some((false, ask.url));
                names_itself && head.has_explicit_lifetime() && (200..300).contains(&head.status)
            }
            _ => false,
        };
        is_for_get.then_some((*at, head, *is_whole))
    }

    /// Whether no answer came of it, or none to its end: where a tag is made of all content, the one is
    /// the other.
    pub(super) fn is_broken(&self) -> bool {
        matches!(
            self.end,
            Some((
                _,
                Outcome::Failed
                    | Outcome::Answer {
                        is_whole: false,
                        ..
                    }
            ))
        )
    }

    pub(super) fn has_failed(&self) -> bool {
        self.is_broken()
            || matches!(&self.end, Some((_, Outcome::Answer { head, .. })) if head.status >= 500)
    }
}
