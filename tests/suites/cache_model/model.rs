//! The reference: what RFC 9111, and what we promise beyond it, lets a client be answered with.
//!
//! Deliberately simple: it keeps everything that ever happened and searches it anew for each answer.
//! It knows what fields mean from the script that wrote them, and shares no code with the rules.

use std::collections::BTreeMap;

use super::history::{
    Age, Ask, Class, Directive, FLAVOURS, LANGUAGES, Name, Nominated, Purged, Tag, Word,
};
use super::log::{Changed, Exchange, Head, Log, Moment, Outcome, is_one};

/// A stored response as it may be: an answer, and the 304s that have changed its fields.
#[derive(Clone, Debug)]
pub(super) struct Edition {
    /// The exchange that brought the content.
    pub(super) base: usize,
    /// The 304s about it, in their order.
    pub(super) updates: Vec<usize>,
    pub(super) head: Head,
    /// What purges could hit it by after each of its exchanges: tags, and what its queries were to it.
    belonged: Vec<(Vec<usize>, Option<usize>)>,
    requested: i64,
    pub(super) received: Moment,
}

impl Edition {
    /// The exchange that its freshness counts from.
    pub(super) fn last(&self) -> usize {
        self.updates.last().copied().unwrap_or(self.base)
    }

    fn exchanges(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.base).chain(self.updates.iter().copied())
    }
}

/// Why an answer from what is stored is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Permit {
    Fresh,
    Heuristic,
    WhileRevalidating,
    MaxStale,
    IfError,
    /// The upstream has just said so, to this very request.
    Confirmed,
}

/// Who asks, and when the answer's head was there.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) number: usize,
    pub(super) ask: &'a Ask,
    pub(super) started: Moment,
    pub(super) now: Moment,
}

impl Log {
    /// All stored responses that there may have been by `now`.
    pub(super) fn editions(&self, now: Moment) -> impl Iterator<Item = &Edition> {
        let all = self.editions.iter();
        all.filter(move |edition| edition.received < now)
    }

    /// Adds what may be stored now that exchange `number` has ended.
    pub(super) fn note(&mut self, number: usize) {
        let exchange = &self.exchanges[number];
        let requested = exchange.started.at;
        if let Some((received, head, _)) = self.answer_of(number) {
            let edition = Edition {
                base: number,
                updates: Vec::new(),
                belonged: vec![head.belongs_to()],
                head: self.kept(head.clone()),
                requested,
                received,
            };
            self.editions.push(edition);
            return;
        }
        let Some((received, Outcome::Confirmed { base, head })) = &exchange.end else {
            return;
        };
        let is_kept = |edition: &&Edition| {
            edition.base == *base
                && self.may_be_stored(edition).is_ok()
                && self.may_be_shared(edition).is_ok()
        };
        let updated = self.editions.iter().filter(is_kept).map(|edition| {
            let head = self.kept(edition.head.updated(head));
            let belongs_to = head.belongs_to();
            Edition {
                updates: edition.updates.iter().copied().chain([number]).collect(),
                belonged: edition
                    .belonged
                    .iter()
                    .cloned()
                    .chain([belongs_to])
                    .collect(),
                head,
                requested,
                received: *received,
                ..edition.clone()
            }
        });
        let mut new: Vec<Edition> = Vec::new();
        for edition in updated {
            // Those that differ in their past alone, and not in whose it was, are one.
            let is_same = |one: &Edition| one.head == edition.head && self.is_alike(one, &edition);
            if !new.iter().any(is_same) {
                new.push(edition);
            }
        }
        self.editions.extend(new);
    }

    /// A head without the Set-Cookie that is left out of what is stored.
    fn kept(&self, mut head: Head) -> Head {
        let says = |directive| head.directives().contains(&directive);
        let is_named = says(Directive::PrivateCookie) || says(Directive::NoCacheOfCookie);
        if is_named || self.rules.strips {
            head.set_cookie = None;
        }
        head
    }

    fn is_alike(&self, one: &Edition, other: &Edition) -> bool {
        let credentials = |edition: &Edition| {
            (
                edition
                    .exchanges()
                    .any(|number| self.had(number, "authorization")),
                edition.exchanges().any(|number| self.had(number, "cookie")),
                edition.exchanges().any(|number| self.forbade(number)),
            )
        };
        // Where what it belongs to has changed, purges between count.
        let is_constant = |edition: &Edition| {
            let mut all = edition.belonged.iter();
            all.all(|names| *names == edition.belonged[0])
        };
        credentials(one) == credentials(other) && is_constant(one) && is_constant(other)
    }

    fn asked_for(&self, exchange: usize) -> &Ask {
        self.ask_of(&self.exchanges[exchange])
    }

    /// Whether the upstream's request had a field; one that is made in the background has no client's.
    fn had(&self, exchange: usize, name: &str) -> bool {
        self.exchanges[exchange].fields.contains_key(name)
    }

    /// Whether the request said no-store.
    fn forbade(&self, exchange: usize) -> bool {
        self.had(exchange, "cache-control") && self.says(self.asked_for(exchange), Word::NoStore)
    }

    /// Whether a client's word counts and is there.
    fn says(&self, ask: &Ask, word: Word) -> bool {
        !self.rules.deaf && ask.words.contains(&word)
    }

    /// Whether `edition` may answer `asker` from the store, or what stands against it.
    pub(super) fn permits(
        &self,
        edition: &Edition,
        asker: Asker<'_>,
    ) -> Result<Permit, &'static str> {
        self.is_of_target(edition, asker)?;
        if self.is_confirmed(edition, asker) {
            // Whatever the 304 says: what it is about was rightly kept.
            return Ok(Permit::Confirmed);
        }
        self.may_be_stored(edition)?;
        self.may_be_shared(edition)?;
        self.is_selected(edition, asker)?;
        self.is_valid(edition, asker)?;
        self.is_wanted(edition, asker)?;
        self.is_fresh_enough(edition, asker)
    }

    fn is_of_target(&self, edition: &Edition, asker: Asker<'_>) -> Result<(), &'static str> {
        if !asker.ask.method.is_safe() {
            return Err("an unsafe request is answered by the upstream alone");
        }
        match self.is_about(edition, asker.ask.url) {
            true => Ok(()),
            false => Err("it is the answer for another URL"),
        }
    }

    /// Whether it is the answer for `url`: that of whoever asked for it last, or a query that is as good.
    pub(super) fn is_about(&self, edition: &Edition, url: usize) -> bool {
        let last = self.asked_for(edition.last()).url;
        edition.head.makes_one(last, url)
    }

    /// RFC 9111 §3, and RFC 6585.
    fn may_be_stored(&self, edition: &Edition) -> Result<(), &'static str> {
        if edition.exchanges().any(|number| self.forbade(number)) {
            return Err("a request that brought it said no-store");
        }
        let status = edition.head.status;
        if matches!(status, 206 | 304 | 428 | 429 | 431 | 511) || status < 200 {
            return Err("its status is not to be stored");
        }
        let says = |directive| edition.head.directives().contains(&directive);
        let is_understood = !matches!(status, 299 | 599);
        if says(Directive::MustUnderstand) && !is_understood {
            return Err("its status is not understood");
        }
        if says(Directive::NoStore) && !says(Directive::MustUnderstand) {
            return Err("it says no-store");
        }
        if says(Directive::Private) {
            return Err("it is private");
        }
        if edition.head.set_cookie.is_some() {
            return Err("it sets a cookie");
        }
        Ok(())
    }

    /// RFC 9111 §3.5, and likewise for `Cookie`.
    fn may_be_shared(&self, edition: &Edition) -> Result<(), &'static str> {
        let head = &edition.head;
        let directives = head.directives();
        let is_public = directives
            .iter()
            .any(|directive| matches!(directive, Directive::Public | Directive::SMaxage(_)));
        let mut all = edition.exchanges();
        let authorized = all.any(|number| self.had(number, "authorization"));
        if authorized && !is_public && !directives.contains(&Directive::MustRevalidate) {
            return Err("it answers a request with Authorization");
        }
        // What the upstream has told somebody without cookies is nobody's own.
        let cookie = self.had(edition.last(), "cookie") && !self.rules.ignores_cookies;
        if cookie && !is_public && !head.is_targeted() {
            return Err("it answers a request with Cookie");
        }
        Ok(())
    }

    /// RFC 9111 §4.1.
    fn is_selected(&self, edition: &Edition, asker: Asker<'_>) -> Result<(), &'static str> {
        let vary = edition.head.vary.as_ref();
        let nominated = vary.map_or(&[][..], |vary| &vary.means);
        if nominated.contains(&Nominated::Star) {
            return Err("it varies by everything");
        }
        // Those that brought it, and whoever was told by a 304 that it is theirs.
        let is_same = |number: usize| {
            let other = self.asked_for(number);
            nominated.iter().all(|one| match one {
                Nominated::Language => {
                    let is_first_choice = edition.head.language.is_some()
                        && edition.head.language == first_choice(asker.ask);
                    language(asker.ask) == language(other) || is_first_choice
                }
                Nominated::Flavour => flavour(asker.ask) == flavour(other),
                Nominated::Cookie => {
                    let theirs = other.cookie.filter(|_| self.had(number, "cookie"));
                    self.rules.ignores_cookies || asker.ask.cookie == theirs
                }
                Nominated::Encoding | Nominated::Star => true,
            })
        };
        match is_same(edition.base) || is_same(edition.last()) {
            true => Ok(()),
            false => Err("it is another variant"),
        }
    }

    fn is_confirmed(&self, edition: &Edition, asker: Asker<'_>) -> bool {
        let exchange = &self.exchanges[edition.last()];
        !edition.updates.is_empty()
            && exchange.asked == asker.number
            && exchange.end.as_ref().is_some_and(|(at, _)| *at < asker.now)
    }

    /// RFC 9111 §4.4, and purges: nothing from before is used for what was asked after.
    fn is_valid(&self, edition: &Edition, asker: Asker<'_>) -> Result<(), &'static str> {
        let (base, last) = (edition.base, edition.last());
        for change in &self.changes {
            // An answer that is kept itself is no older than what its request changed.
            if change.moment > asker.started || change.by == Some(base) {
                continue;
            }
            let is_older = |number: usize| self.exchanges[number].started < change.moment;
            match change.kind {
                Changed::Url(changed)
                    if self.is_hit(edition, changed, change.moment) && is_older(last) =>
                {
                    return Err("an unsafe request has invalidated it");
                }
                Changed::Purge(Purged::All) if is_older(base) => return Err("it was purged"),
                Changed::Purge(Purged::Hard(purged))
                    if self.is_hit(edition, purged, change.moment) && is_older(base) =>
                {
                    return Err("it was purged");
                }
                Changed::Purge(Purged::Named(name, false))
                    if is_older(base) && self.is_named(edition, name, change.moment) =>
                {
                    return Err("it was purged by a name");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether `edition` had `name` at `moment`, or was just being asked for and got it then.
    fn is_named(&self, edition: &Edition, name: Name, moment: Moment) -> bool {
        match (name.urls(), name) {
            (Some(urls), _) => urls.iter().any(|url| self.is_hit(edition, *url, moment)),
            (None, Name::Tag(tag)) => {
                let mut stages = self.stages(edition, moment);
                stages.any(|(_, (names, _))| names.contains(&tag))
            }
            (None, _) => unreachable!("only tags are for the answers to say"),
        }
    }

    /// Whether a purge of `url` at `moment` hit `edition`: it was the answer for it then.
    fn is_hit(&self, edition: &Edition, url: usize, moment: Moment) -> bool {
        self.stages(edition, moment)
            .any(|(number, (_, search))| is_one(*search, self.asked_for(number).url, url))
    }

    /// What `edition` was at `moment`, or was just being asked about and became then.
    fn stages<'a>(
        &'a self,
        edition: &'a Edition,
        moment: Moment,
    ) -> impl Iterator<Item = (usize, &'a (Vec<usize>, Option<usize>))> {
        let received = move |number: &usize| {
            let end = self.exchanges[*number].end.as_ref();
            end.is_some_and(|(at, _)| *at < moment)
        };
        let all = edition.exchanges().zip(&edition.belonged);
        all.enumerate().filter_map(move |(index, stage)| {
            let is_over = edition
                .exchanges()
                .skip(index + 1)
                .any(|later| received(&later));
            (self.exchanges[stage.0].started < moment && !is_over).then_some(stage)
        })
    }

    /// What the client's own words rule out (RFC 9111 §5.2.1).
    fn is_wanted(&self, edition: &Edition, asker: Asker<'_>) -> Result<(), &'static str> {
        let ask = asker.ask;
        let says = |word| self.says(ask, word);
        if says(Word::NoCache) || ask.pragma && ask.words.is_empty() && !self.rules.deaf {
            return Err("the client says no-cache");
        }
        match edition.head.directives().contains(&Directive::NoCache) {
            true => Err("it is to be validated each time"),
            false => Ok(()),
        }
    }

    fn is_fresh_enough(&self, edition: &Edition, asker: Asker<'_>) -> Result<Permit, &'static str> {
        let (lifetime, is_heuristic) = self.lifetime(edition).ok_or("it has no lifetime")?;
        if is_heuristic && self.has_credentials(asker.ask) {
            return Err("its lifetime is a guess, and the request has credentials");
        }
        let age = edition.age(asker.now.at);
        let is_purged = self.is_softly_purged(edition, asker);
        let head = &edition.head;
        let says = |directive| head.directives().contains(&directive);
        let is_fresh = lifetime > age && !is_purged;
        let staleness = (age - lifetime).max(0);
        let within = |window: i64| window > 0 && staleness <= window * 1_000;

        let must_revalidate = says(Directive::MustRevalidate) || says(Directive::ProxyRevalidate);
        let shared = head.seconds(|one| match one {
            Directive::SMaxage(seconds) => Some(seconds),
            _ => None,
        });
        let window = |upstream: Option<i64>, others: Option<i64>| match must_revalidate {
            true => 0,
            false => upstream
                .or(others.filter(|_| shared.is_none()))
                .unwrap_or(0),
        };

        // That client asks the upstream; if that fails, what others brought may stand in.
        let refuses = self.says(asker.ask, Word::NoStore);
        let mut against = refuses.then_some("the client says no-store");
        let most = self.word(asker.ask, |word| match word {
            Word::MaxAge(seconds) => Some(seconds),
            _ => None,
        });
        let is_reload = most == Some(0) && says(Directive::Immutable) && is_fresh;
        if most.is_some_and(|most| age > most * 1_000) && !is_reload {
            against = Some("it is older than the client's max-age");
        }
        let least = self.word(asker.ask, |word| match word {
            Word::MinFresh(seconds) => Some(seconds),
            _ => None,
        });
        if least.is_some_and(|least| lifetime - age < least * 1_000) {
            against = Some("it is not fresh for as long as the client wants");
        }
        if is_fresh && against.is_none() {
            return Ok(if is_heuristic {
                Permit::Heuristic
            } else {
                Permit::Fresh
            });
        }

        let while_revalidating = head.seconds(|one| match one {
            Directive::WhileRevalidating(seconds) => Some(Some(seconds)),
            _ => None,
        });
        let on_update = window(while_revalidating, self.rules.windows.then_some(30));
        if within(on_update) && against.is_none() {
            return Ok(Permit::WhileRevalidating);
        }
        let accepted = self.word(asker.ask, |word| match word {
            Word::MaxStale(seconds) => Some(seconds.unwrap_or(i64::MAX / 2_000)),
            _ => None,
        });
        let may_be_stale = !must_revalidate && shared.is_none() && !is_purged;
        if may_be_stale && accepted.is_some_and(within) && against.is_none() {
            return Ok(Permit::MaxStale);
        }

        let on_error = head.seconds(|one| match one {
            Directive::IfError(seconds) => Some(Some(seconds)),
            _ => None,
        });
        let asked_on_error = self.word(asker.ask, |word| match word {
            Word::StaleIfError(seconds) => Some(seconds),
            _ => None,
        });
        let operators = self.rules.windows.then_some(60);
        if self.has_failed(asker) && within(window(on_error, operators.max(asked_on_error))) {
            return Ok(Permit::IfError);
        }

        Err(against.unwrap_or(if is_purged {
            "it was purged softly"
        } else {
            "it is stale"
        }))
    }

    /// RFC 9111 §4.2.1, §4.2.2, in milliseconds; and whether it is a guess.
    fn lifetime(&self, edition: &Edition) -> Option<(i64, bool)> {
        let head = &edition.head;
        let shared = head.seconds(|one| match one {
            Directive::SMaxage(seconds) => Some(seconds),
            _ => None,
        });
        let own = head.seconds(|one| match one {
            Directive::MaxAge(seconds) => Some(seconds),
            _ => None,
        });
        if let Some(seconds) = shared.or(own) {
            return Some((seconds.min(MOST) * 1_000, false));
        }
        let date = head.date.as_ref().and_then(|date| date.means);
        let date = date.unwrap_or(edition.received.at);
        if let Some(expires) = &head.expires
            && !head.is_targeted()
        {
            let lifetime = expires.means.map_or(0, |expires| expires - date);
            return Some((lifetime.max(0), false));
        }
        let is_plain = matches!(
            head.status,
            200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
        );
        if self.rules.ttl && is_plain {
            return Some((20_000, false));
        }
        let mut all = edition.exchanges();
        let is_anonymous = !all.any(|number| self.had(number, "authorization"))
            && (self.rules.ignores_cookies || !self.had(edition.last(), "cookie"));
        let is_public = head.directives().contains(&Directive::Public);
        let modified = head.modified.as_ref().filter(|_| is_anonymous);
        if let Some(modified) = modified
            && (is_plain || is_public)
        {
            let tenth = (date - modified.means).max(0) / 10;
            return Some((tenth.min(3_600_000), true));
        }
        head.directives()
            .contains(&Directive::NoCache)
            .then_some((0, false))
    }

    fn has_credentials(&self, ask: &Ask) -> bool {
        ask.authorization.is_some() || ask.cookie.is_some() && !self.rules.ignores_cookies
    }

    fn is_softly_purged(&self, edition: &Edition, asker: Asker<'_>) -> bool {
        let started = self.exchanges[edition.last()].started;
        self.changes.iter().any(|change| {
            let is_soft = match change.kind {
                Changed::Purge(Purged::Soft(purged)) => self.is_hit(edition, purged, change.moment),
                Changed::Purge(Purged::Named(name, true)) => {
                    self.is_named(edition, name, change.moment)
                }
                _ => false,
            };
            is_soft && change.moment < asker.started && started < change.moment
        })
    }

    /// Whether the upstream failed while the client waited, at its own request or one for the same.
    fn has_failed(&self, asker: Asker<'_>) -> bool {
        let concerns = |exchange: &Exchange| {
            let end = exchange.end.as_ref();
            let is_while = end.is_some_and(|(at, _)| asker.started < *at && *at < asker.now);
            is_while && self.ask_of(exchange).url == asker.ask.url
        };
        let mut exchanges = self.exchanges.iter();
        exchanges.any(|exchange| exchange.has_failed() && concerns(exchange))
    }

    /// The least of what the client says with a number.
    fn word(&self, ask: &Ask, number: impl Fn(Word) -> Option<i64>) -> Option<i64> {
        let words = ask.words.iter().filter(|_| !self.rules.deaf);
        words.filter_map(|word| number(*word)).min()
    }

    /// How a request would best be answered from the store, if it may be.
    pub(super) fn best(&self, asker: Asker<'_>) -> Option<Permit> {
        let whole = self
            .editions(asker.now)
            .filter(|edition| self.is_whole(edition));
        let permits = whole.filter_map(|edition| self.permits(edition, asker).ok());
        permits.min()
    }

    /// Whether something is stored by which a request may be made conditional.
    pub(super) fn has_validator(&self, asker: Asker<'_>) -> bool {
        let mut whole = self
            .editions(asker.now)
            .filter(|edition| self.is_whole(edition));
        whole.any(|edition| {
            let head = &edition.head;
            (head.tag.is_some() || head.modified.is_some())
                && self.is_of_target(edition, asker).is_ok()
                && self.may_be_stored(edition).is_ok()
                && self.may_be_shared(edition).is_ok()
                && self.is_selected(edition, asker).is_ok()
                && self.is_valid(edition, asker).is_ok()
                && self.lifetime(edition).is_some()
        })
    }

    fn is_whole(&self, edition: &Edition) -> bool {
        let answer = self.answer_of(edition.base);
        answer.is_some_and(|(_, _, is_whole)| is_whole)
    }

    /// Whether a request could have shared the answer to another one that was under way.
    pub(super) fn could_follow(&self, asker: Asker<'_>) -> bool {
        let wants_news = asker
            .ask
            .words
            .iter()
            .any(|word| matches!(word, Word::NoStore | Word::NoCache | Word::MaxAge(_)));
        if wants_news
            || asker.ask.pragma
            || asker.ask.range.is_some()
            || !asker.ask.method.is_safe()
        {
            return false;
        }
        self.editions(asker.now).any(|edition| {
            let exchange = &self.exchanges[edition.base];
            let leader = self.ask_of(exchange);
            let is_under_way = exchange.started < asker.started && asker.started < edition.received;
            edition.updates.is_empty()
                && leader.url == asker.ask.url
                && is_under_way
                && !exchange.fields.contains_key("range")
                && leader.words.is_empty()
                && !leader.pragma
                && leader.authorization == asker.ask.authorization
                && self.is_whole(edition)
                && self.permits(edition, asker) == Ok(Permit::Fresh)
        })
    }
}

impl Edition {
    /// The current age (RFC 9111 §4.2.3), in milliseconds.
    pub(super) fn age(&self, now: i64) -> i64 {
        let date = self.head.date.as_ref().and_then(|date| date.means);
        let apparent = date.map_or(0, |date| (self.received.at - date).max(0));
        let told = match self.head.age.as_ref().map(|age| age.means) {
            Some(Age::Seconds(seconds) | Age::First(seconds)) => seconds.min(MOST) * 1_000,
            Some(Age::Unreadable) | None => 0,
        };
        let corrected = told + (self.received.at - self.requested);
        apparent.max(corrected).min(MOST * 1_000) + (now - self.received.at)
    }
}

impl Head {
    fn belongs_to(&self) -> (Vec<usize>, Option<usize>) {
        (self.names.clone().unwrap_or_default(), self.search)
    }

    pub(super) fn has_explicit_lifetime(&self) -> bool {
        let says = self
            .directives()
            .iter()
            .any(|directive| matches!(directive, Directive::MaxAge(_) | Directive::SMaxage(_)));
        says || self.expires.is_some() && !self.is_targeted()
    }

    pub(super) fn is_targeted(&self) -> bool {
        self.targeted
            .as_ref()
            .is_some_and(|field| field.means.is_some())
    }

    /// What counts: the word for caches like this one, or the one for all (RFC 9213 §2.2).
    pub(super) fn directives(&self) -> &[Directive] {
        let targeted = self
            .targeted
            .as_ref()
            .and_then(|field| field.means.as_deref());
        let general = self.control.as_ref().map(|field| &*field.means);
        targeted.or(general).unwrap_or_default()
    }

    /// The least number of those that `number` picks; one that is no number is zero.
    fn seconds(&self, number: impl Fn(Directive) -> Option<Option<i64>>) -> Option<i64> {
        let numbers = self.directives().iter().filter_map(|one| number(*one));
        numbers.map(|seconds| seconds.unwrap_or(0)).min()
    }

    /// With the fields of a 304 (RFC 9111 §3.2): each replaces its namesake; age and date start anew.
    fn updated(&self, by: &Self) -> Self {
        let is_weak = |tag: &Option<super::log::Field<Tag>>| {
            tag.as_ref().is_some_and(|tag| tag.means == Tag::Weak)
        };
        let tag = match is_weak(&self.tag) {
            true => self.tag.clone(),
            false => by.tag.clone().or_else(|| self.tag.clone()),
        };
        Self {
            status: self.status,
            control: by.control.clone().or_else(|| self.control.clone()),
            targeted: by.targeted.clone().or_else(|| self.targeted.clone()),
            expires: by.expires.clone().or_else(|| self.expires.clone()),
            vary: by.vary.clone().or_else(|| self.vary.clone()),
            modified: by.modified.clone().or_else(|| self.modified.clone()),
            set_cookie: by.set_cookie.clone().or_else(|| self.set_cookie.clone()),
            date: by.date.clone(),
            age: by.age.clone(),
            tag,
            location: self.location,
            language: by.language.or(self.language),
            names: by.names.clone().or_else(|| self.names.clone()),
            search: by.search.or(self.search),
        }
    }
}

fn language(ask: &Ask) -> Option<u8> {
    ask.language.map(|index| LANGUAGES[index].1)
}

/// The language that the client likes best.
fn first_choice(ask: &Ask) -> Option<usize> {
    ask.language.map(|index| LANGUAGES[index].2)
}

fn flavour(ask: &Ask) -> Option<u8> {
    ask.flavour.map(|index| FLAVOURS[index].1)
}

/// Numbers of seconds end here (RFC 9111 §1.2.2).
const MOST: i64 = 1 << 31;

/// What was reused, of what could have been, by class and kind.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<(Class, &'static str), (u64, u64)>);

impl Tally {
    pub(super) fn count(&mut self, class: Class, kind: &'static str, was: bool) {
        let (could, did) = self.0.entry((class, kind)).or_default();
        *could += 1;
        *did += u64::from(was);
    }

    /// Class, kind, how often it could be and how often it was.
    pub(super) fn all(&self) -> impl Iterator<Item = (Class, &'static str, u64, u64)> {
        let all = self.0.iter();
        all.map(|((class, kind), (could, did))| (*class, *kind, *could, *did))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (key, (could, did)) in &other.0 {
            let sum = self.0.entry(*key).or_default();
            sum.0 += could;
            sum.1 += did;
        }
    }
}
