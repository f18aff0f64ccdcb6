//! Whether an answer is one that the model permits: where it came from, and every part of it.

use http::HeaderMap;

use super::history::{COOKIES, FLAVOURS, LANGUAGES, Method, USERS, Word};
use super::log::{Answer, Exchange, Got, Log, Moment, Outcome, content};
use super::model::{Asker, Edition, Permit};
use super::upstream::{date, number_of, opaque};

/// What an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What the upstream said to this request.
    Forwarded,
    /// From the store, or shared with another request; the exchange that brought the content.
    Reused(Permit, usize),
    Failed,
}

impl Log {
    pub(super) fn asker(&self, number: usize, now: Moment) -> Asker<'_> {
        let asked = &self.asked[number];
        Asker {
            number,
            ask: &asked.ask,
            started: asked.started,
            now,
        }
    }

    /// The requests that reached the upstream for a client's one.
    pub(super) fn own(&self, asked: usize) -> impl Iterator<Item = (usize, &Exchange)> {
        let all = self.exchanges.iter().enumerate();
        all.filter(move |(_, exchange)| exchange.asked == asked)
    }

    /// Judges `answer`.
    pub(super) fn verify(&self, answer: &Answer) -> Result<Verdict, String> {
        let asker = self.asker(answer.asked, answer.head_at);
        let own: Vec<_> = self.own(answer.asked).collect();
        // Twice only where a 304 did not say which of several tags it means.
        let may_ask_again = |exchange: &Exchange| match &exchange.end {
            Some((_, Outcome::Confirmed { head, .. })) => {
                head.tag.is_none() && exchange.fields.contains_key("if-none-match")
            }
            _ => false,
        };
        if own.len() > 2 || own.len() == 2 && !may_ask_again(own[0].1) {
            return Err("the upstream saw the request twice".into());
        }
        let own = own.last().copied();
        let verdict = match &answer.got {
            Got::Error { only_if_cached } => self.verify_error(asker, own, *only_if_cached)?,
            Got::Response {
                status,
                fields,
                content,
            } => self.verify_response(asker, own, *status, fields, content)?,
        };
        if let Some((number, _)) = own {
            // What is asked beside a hit is asked in the background.
            let is_hit = matches!(&answer.got, Got::Response { fields, .. }
                if text(fields, "cache-status").is_some_and(|text| text.starts_with("pillion; hit")));
            let served = match verdict {
                Verdict::Reused(_, serial) if is_hit => Some(serial),
                _ => None,
            };
            self.verify_request(asker, number, served)?;
        }
        Ok(verdict)
    }

    fn verify_error(
        &self,
        asker: Asker<'_>,
        own: Option<(usize, &Exchange)>,
        only_if_cached: bool,
    ) -> Result<Verdict, String> {
        if only_if_cached {
            let wanted = !self.rules.deaf && asker.ask.words.contains(&Word::OnlyIfCached);
            return match wanted {
                true => Ok(Verdict::Failed),
                false => Err("504 without only-if-cached".into()),
            };
        }
        let is_shared = || {
            let mut all = self.exchanges.iter();
            all.any(|exchange| {
                let end = exchange.end.as_ref();
                exchange.is_broken()
                    && self.ask_of(exchange).url == asker.ask.url
                    && end.is_some_and(|(at, _)| *at > asker.started)
            })
        };
        let is_right = match own {
            Some((_, exchange)) => exchange.is_broken(),
            None => asker.ask.method.is_safe() && is_shared(),
        };
        match is_right {
            true => Ok(Verdict::Failed),
            false => Err("an error that the upstream did not make".into()),
        }
    }

    fn verify_response(
        &self,
        asker: Asker<'_>,
        own: Option<(usize, &Exchange)>,
        status: u16,
        fields: &HeaderMap,
        body: &Result<String, String>,
    ) -> Result<Verdict, String> {
        for name in [
            "x-serial",
            "x-update",
            "age",
            "etag",
            "date",
            "expires",
            "cache-status",
        ] {
            if fields.get_all(name).iter().count() > 1 {
                return Err(format!("{name} on several lines"));
            }
        }
        if fields.contains_key("surrogate-key") {
            return Err("tags that are for the cache alone".into());
        }
        let update = number_of(fields, "x-update");
        let Some(serial) = number_of(fields, "x-serial") else {
            return match own {
                Some((number, _)) if matches!(status, 200 | 304) && update == Some(number) => {
                    verify_none(body, "an answer without content")?;
                    Ok(Verdict::Forwarded)
                }
                _ => Err(format!("a {status} from nowhere")),
            };
        };
        if let Some((number, exchange)) = own
            && number == serial
        {
            let Some((_, Outcome::Answer { head, is_whole })) = &exchange.end else {
                return Err("an answer before it was given".into());
            };
            let cookie = head.set_cookie.as_deref().filter(|_| !self.rules.strips);
            let got = text(fields, "set-cookie");
            // What strips may, and where nothing is stored need not.
            if got != cookie && got != head.set_cookie.as_deref() {
                return Err("another Set-Cookie than the upstream's".into());
            }
            self.verify_content(asker, serial, head.status, *is_whole, status, fields, body)?;
            return Ok(Verdict::Forwarded);
        }
        let (_, head, is_whole) = self.answer_of(serial).ok_or("no answer for GET")?;
        // One that came with a 304 to this very request is this client's.
        let own_cookie = own.and_then(|(_, exchange)| match &exchange.end {
            Some((_, Outcome::Confirmed { head, .. })) => head.set_cookie.as_deref(),
            _ => None,
        });
        let cookie = text(fields, "set-cookie");
        if cookie.is_some() && cookie != own_cookie {
            return Err("somebody else's Set-Cookie".into());
        }
        let status_of = head.status;
        let permit = self.verify_reuse(asker, serial, update, status, fields)?;
        self.verify_content(asker, serial, status_of, is_whole, status, fields, body)?;
        Ok(Verdict::Reused(permit, serial))
    }

    /// Finds a stored response that the fields are of and that may be used.
    fn verify_reuse(
        &self,
        asker: Asker<'_>,
        serial: usize,
        update: Option<usize>,
        status: u16,
        fields: &HeaderMap,
    ) -> Result<Permit, String> {
        let mut against =
            format!("no stored response {serial} with update {update:?} has such fields");
        for edition in self.editions(asker.now) {
            if edition.base != serial || edition.updates.last().copied() != update {
                continue;
            }
            if let Err(reason) = self.verify_fields(edition, asker, status, fields) {
                against = format!("{serial}, {:?}: {reason}", edition.updates);
                continue;
            }
            match self.permits(edition, asker) {
                Ok(permit) => return Ok(permit),
                Err(reason) => against = format!("{serial}, {:?}: {reason}", edition.updates),
            }
        }
        Err(against)
    }

    /// Whether the answer has the fields of `edition`.
    fn verify_fields(
        &self,
        edition: &Edition,
        asker: Asker<'_>,
        status: u16,
        fields: &HeaderMap,
    ) -> Result<(), String> {
        let head = &edition.head;
        let control = head
            .control
            .as_ref()
            .map(|field| field.text.replace('\n', ", "));
        let is_416 = status == 416;
        same(
            "cache-control",
            control.as_deref().filter(|_| !is_416),
            joined(fields, "cache-control")
                .as_deref()
                .filter(|_| !is_416),
        )?;
        let expected = [
            (
                "cdn-cache-control",
                head.targeted.as_ref().map(|field| &*field.text),
            ),
            ("expires", head.expires.as_ref().map(|field| &*field.text)),
        ];
        for (name, expected) in expected.into_iter().filter(|_| !is_416) {
            same(name, expected, text(fields, name))?;
        }
        let last = &self.exchanges[edition.last()];
        let received = date(edition.received.at.div_euclid(1_000) * 1_000);
        let expected = head.date.as_ref().map_or(&*received, |field| &*field.text);
        // What was confirmed and may not be stored is as the upstream would have sent it.
        let is_confirmed = !edition.updates.is_empty() && last.asked == asker.number;
        if !is_confirmed || fields.contains_key("date") {
            same("date", Some(expected), text(fields, "date"))?;
        }
        if status != 304 && !is_416 {
            same(
                "last-modified",
                head.modified.as_ref().map(|field| &*field.text),
                text(fields, "last-modified"),
            )?;
        }
        match (&head.tag, text(fields, "etag")) {
            (Some(tag), got) if !is_416 => same("etag", Some(&*tag.text), got)?,
            (None, Some(got)) if !self.rules.tags || !opaque(got).starts_with("\"~") => {
                return Err(format!("etag: {got} from nowhere"));
            }
            _ => {}
        }
        if let Some(vary) = &head.vary {
            let got = joined(fields, "vary").unwrap_or_default();
            if !got.starts_with(&*vary.text) {
                return Err(format!("vary: {got}"));
            }
        }
        if is_416 {
            return Ok(());
        }
        let age = text(fields, "age").and_then(|age| age.parse::<i64>().ok());
        let expected = edition.age(asker.now.at).div_euclid(1_000);
        match age {
            Some(age) if age == expected => Ok(()),
            _ if is_confirmed => {
                let told = head.age.as_ref().map(|age| &*age.text);
                same("age", told, text(fields, "age"))
            }
            age => Err(format!("age: {age:?} in place of {expected}")),
        }
    }

    /// The content, or what stands for it, given that it is of exchange `serial`.
    #[expect(clippy::too_many_arguments, reason = "all that there is to an answer")]
    fn verify_content(
        &self,
        asker: Asker<'_>,
        serial: usize,
        stored: u16,
        is_whole: bool,
        status: u16,
        fields: &HeaderMap,
        body: &Result<String, String>,
    ) -> Result<(), String> {
        let whole = content(serial, stored);
        if status == 304 {
            if stored != 200 {
                return Err(format!("304 in place of {stored}"));
            }
            verify_none(body, "a 304")?;
            return self.verify_held_back(asker, serial, fields);
        }
        if asker.ask.method == Method::Head {
            verify_none(body, "an answer to HEAD")?;
            return match status == stored {
                true => Ok(()),
                false => Err(format!("{status} in place of {stored}")),
            };
        }
        let length = whole.len() as u64;
        let expected = match (status, asker.ask.range) {
            _ if status == stored => whole,
            (206, Some((first, last))) if stored == 200 && first < length => {
                let last = last.unwrap_or(u64::MAX).min(length - 1);
                let told = text(fields, "content-range");
                same(
                    "content-range",
                    Some(&*format!("bytes {first}-{last}/{length}")),
                    told,
                )?;
                let span = first as usize..=last as usize;
                whole.get(span).expect("a part of it").to_owned()
            }
            (416, Some((first, _))) if stored == 200 && first >= length => {
                same(
                    "content-range",
                    Some(&*format!("bytes */{length}")),
                    text(fields, "content-range"),
                )?;
                String::new()
            }
            _ => return Err(format!("{status} in place of {stored}")),
        };
        match body {
            Ok(got) if *got == expected => match is_whole || status != stored {
                true => Ok(()),
                false => Err("content that broke off is told to be whole".into()),
            },
            Ok(got) => Err(format!("content {got:?} in place of {expected:?}")),
            Err(begun) if is_whole => Err(format!("content breaks off after {begun:?}")),
            Err(begun) => match expected.starts_with(begun.as_str()) {
                true => Ok(()),
                false => Err(format!("content begins {begun:?} in place of {expected:?}")),
            },
        }
    }

    /// Whether the client has what the 304 stands for (RFC 9110 §13.2.2).
    fn verify_held_back(
        &self,
        asker: Asker<'_>,
        serial: usize,
        fields: &HeaderMap,
    ) -> Result<(), String> {
        let asked = &self.asked[asker.number];
        let tag = text(fields, "etag");
        if let Some(condition) = &asked.none_match {
            let mut members = condition.split(',').map(str::trim);
            return match members
                .any(|member| member == "*" || tag.is_some_and(|tag| opaque(tag) == opaque(member)))
            {
                true => Ok(()),
                false => Err(format!("304 with {tag:?} to If-None-Match: {condition}")),
            };
        }
        let since = asked
            .modified_since
            .ok_or("304 to a request without a condition")?;
        let is_old = |modified: i64| modified <= since;
        let mut heads = self
            .editions(asker.now)
            .filter(|edition| edition.base == serial);
        let own = &self.exchanges[serial].end;
        let own = match own {
            Some((_, Outcome::Answer { head, .. })) => head.modified.as_ref(),
            _ => None,
        };
        let is_right = own.is_some_and(|modified| is_old(modified.means))
            || heads.any(|edition| {
                edition
                    .head
                    .modified
                    .as_ref()
                    .is_some_and(|modified| is_old(modified.means))
            });
        match is_right {
            true => Ok(()),
            false => Err("304 for what was modified since".into()),
        }
    }

    /// What the upstream saw of a client's request; of a validation, where that was served meanwhile.
    fn verify_request(
        &self,
        asker: Asker<'_>,
        number: usize,
        served: Option<usize>,
    ) -> Result<(), String> {
        let exchange = &self.exchanges[number];
        let ask = asker.ask;
        let get = |name: &str| text(&exchange.fields, name);
        if let Some(serial) = served {
            if get("cookie").is_some() || get("range").is_some() {
                return Err("a client's own fields go with a validation in the background".into());
            }
            let exchange_started = exchange.started;
            let was_authorized = self.exchanges.iter().enumerate().any(|(other, exchange)| {
                let is_about = match &exchange.end {
                    Some((_, Outcome::Confirmed { base, .. })) => *base == serial,
                    _ => other == serial,
                };
                is_about
                    && exchange.started < exchange_started
                    && exchange.fields.contains_key("authorization")
            });
            if get("authorization").is_some() && !was_authorized {
                return Err("a client's credentials go with a validation in the background".into());
            }
            if exchange.method != "GET" {
                return Err("a validation in the background that is no GET".into());
            }
        } else {
            if exchange.method != ask.method.name() {
                return Err(format!(
                    "{} was made of {}",
                    exchange.method,
                    ask.method.name()
                ));
            }
            let user = ask.authorization.map(|user| USERS[user]);
            same("authorization", user, get("authorization"))?;
            let cookie = ask.cookie.map(|cookie| COOKIES[cookie]);
            same("cookie", cookie, get("cookie"))?;
        }
        let language = ask.language.map(|index| LANGUAGES[index].0.trim());
        same("accept-language", language, get("accept-language"))?;
        let flavour = ask.flavour.map(|index| FLAVOURS[index].0);
        same("x-flavour", flavour, get("x-flavour"))?;
        let asked = &self.asked[asker.number];
        if let Some(condition) = get("if-none-match")
            && asked.none_match.as_deref() != Some(condition)
        {
            let of_another = |member: &str| {
                // What a 304 has made the answer for this query as well.
                let mut editions = self.editions(asker.now);
                editions.any(|edition| {
                    let tag = edition.head.tag.as_ref();
                    self.is_about(edition, ask.url) && tag.is_some_and(|tag| tag.text == member)
                })
            };
            let is_known = |member: &str| {
                of_another(member)
                    || self.exchanges.iter().any(|other| {
                        let head = match &other.end {
                            Some((
                                _,
                                Outcome::Answer { head, .. } | Outcome::Confirmed { head, .. },
                            )) => head,
                            _ => return false,
                        };
                        let tag = head.tag.as_ref();
                        head.makes_one(self.ask_of(other).url, ask.url)
                            && tag.is_some_and(|tag| tag.text == member)
                    })
            };
            let is_made = |member| self.rules.tags && opaque(member).starts_with("\"~");
            let mut members = condition.split(", ");
            if !members.all(|member| is_known(member) || is_made(member)) {
                return Err(format!("a condition {condition} from nowhere"));
            }
        }
        Ok(())
    }
}

fn verify_none(body: &Result<String, String>, what: &str) -> Result<(), String> {
    match body {
        Ok(body) if body.is_empty() => Ok(()),
        other => Err(format!("{what} has content: {other:?}")),
    }
}

fn same(name: &str, expected: Option<&str>, got: Option<&str>) -> Result<(), String> {
    match expected == got {
        true => Ok(()),
        false => Err(format!("{name}: {got:?} in place of {expected:?}")),
    }
}

fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

fn joined(fields: &HeaderMap, name: &str) -> Option<String> {
    let lines = fields.get_all(name).iter();
    let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
