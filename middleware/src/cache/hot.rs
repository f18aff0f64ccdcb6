//! Ready-made fields of what a core answers most.
//!
//! A stored response holds its fields in one piece of memory, of which an answer's map is made anew: each
//! name is hashed and each value looked through. To clone a map is less than half of that, and a map is
//! ten times the memory. So each core keeps maps of what it answered at least twice of late: a bounded
//! number, whatever is stored, whose values it counts references of alone. What such a map says of the
//! cache is written anew when it changes: mostly once a second.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{AGE, VARY};
use http::{HeaderMap, HeaderValue};

use crate::cache::replay::say;
use crate::cache::stored::StoredResponse;
use crate::facts::CacheStatus;
use crate::fields::cache_status::{self, CACHE_STATUS};
use crate::fields::decimal::Decimal;
use crate::fields::own::own_place;

/// The fields of an answer from `stored`, if it `has_vary` with the line that the content coding layer adds.
pub(crate) fn fields(
    stored: &Arc<StoredResponse>,
    age: Duration,
    status: &CacheStatus,
    has_vary: bool,
) -> HeaderMap {
    let age = age.as_secs();
    HOT.with_borrow_mut(|hot| hot.fields(stored, age, status, has_vary))
}

thread_local! {
    static HOT: RefCell<Hot> = const { RefCell::new(Hot(Vec::new())) };
}

/// Each stored response has one slot that may be its own.
struct Hot(Vec<Slot>);

#[derive(Default)]
struct Slot {
    /// Whose it is. It keeps the address from being another's, and nothing else of it alive.
    of: Weak<StoredResponse>,
    has_vary: bool,
    /// How often others may still ask for the slot in vain.
    stays: u8,
    ready: Option<Ready>,
}

struct Ready {
    fields: HeaderMap,
    /// What the places in `fields` say; `None` where there are not both.
    says: Option<(u64, CacheStatus)>,
}

impl Hot {
    fn fields(
        &mut self,
        stored: &Arc<StoredResponse>,
        age: u64,
        status: &CacheStatus,
        has_vary: bool,
    ) -> HeaderMap {
        if self.0.is_empty() {
            self.0.resize_with(SLOTS, Slot::default);
        }
        let slot = &mut self.0[place(stored)];
        if slot.of.as_ptr() == Arc::as_ptr(stored) && slot.has_vary == has_vary {
            slot.stays = STAYS;
            let ready = slot.ready.get_or_insert_with(|| {
                let mut fields = made(stored, has_vary);
                let has_places = say(&mut fields, age, status);
                let says = has_places.then_some((age, *status));
                let fields = match has_places {
                    true => fields,
                    false => made(stored, has_vary),
                };
                Ready { fields, says }
            });
            return ready.saying(age, status);
        }
        if slot.stays > 0 {
            slot.stays -= 1;
        } else if stored.fields.size() <= LONGEST {
            *slot = Slot {
                of: Arc::downgrade(stored),
                has_vary,
                stays: STAYS,
                ready: None,
            };
        }
        let mut fields = made(stored, has_vary);
        say(&mut fields, age, status);
        fields
    }
}

impl Ready {
    fn saying(&mut self, age: u64, status: &CacheStatus) -> HeaderMap {
        match &mut self.says {
            Some((said, of)) if *said == age && *of == *status => self.fields.clone(),
            Some(says) => {
                *says = (age, *status);
                let places = [
                    (AGE, Decimal::of(age).value()),
                    (CACHE_STATUS, cache_status::member(status)),
                ];
                for (name, value) in places {
                    if let Some(place) = own_place(&mut self.fields, &name) {
                        *place = value;
                    }
                }
                self.fields.clone()
            }
            None => {
                let mut fields = self.fields.clone();
                say(&mut fields, age, status);
                fields
            }
        }
    }
}

fn made(stored: &StoredResponse, has_vary: bool) -> HeaderMap {
    let vary = has_vary.then(|| (VARY, HeaderValue::from_static("accept-encoding")));
    stored.fields.map_with(vary)
}

/// Addresses differ in their middle bits, so these are spread over the upper ones.
fn place(stored: &Arc<StoredResponse>) -> usize {
    let address = Arc::as_ptr(stored) as usize as u64;
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SLOTS.ilog2())) as usize
}

/// Slots of a core; some 1.5 KiB each.
const SLOTS: usize = 256;
/// See [`Slot::stays`].
const STAYS: u8 = 3;
/// Bytes of fields that are worth a slot.
const LONGEST: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;
    use crate::clock::Clock;
    use crate::facts::CacheOutcome;

    fn stored(value: &str) -> Arc<StoredResponse> {
        stored_with(&[("x-a", value), ("content-type", "text/plain")])
    }

    fn stored_with(lines: &[(&'static str, &str)]) -> Arc<StoredResponse> {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let now = Clock::system().now();
        Arc::new(StoredResponse::fixed(
            StatusCode::OK,
            fields,
            Bytes::new(),
            now,
        ))
    }

    fn ready(hot: &Hot) -> usize {
        hot.0.iter().filter(|slot| slot.ready.is_some()).count()
    }

    fn empty() -> Hot {
        Hot(Vec::new())
    }

    const HIT: CacheStatus = CacheStatus {
        outcome: CacheOutcome::Hit,
        fwd_status: None,
        stored: false,
        collapsed: false,
        ttl: Some(60),
        reason: None,
    };

    #[test]
    fn a_map_is_kept_from_the_second_time_on_and_is_the_same() {
        let (mut hot, stored) = (empty(), stored("1"));
        for (time, kept) in [0, 1, 1, 1].into_iter().enumerate() {
            let mut expected = stored.fields.map();
            say(&mut expected, 7, &HIT);
            assert_eq!(hot.fields(&stored, 7, &HIT, false), expected, "{time}");
            assert_eq!(ready(&hot), kept, "{time}");
        }
        let with = hot.fields(&stored, 7, &HIT, true);
        assert_eq!(with[VARY], "accept-encoding");
        assert!(!hot.fields(&stored, 7, &HIT, false).contains_key(VARY));
    }

    #[test]
    fn age_and_status_are_those_of_each_answer() {
        let upstream_says = [("cache-status", "origin; hit"), ("x-a", "1")];
        for lines in [&upstream_says[1..], &upstream_says[..]] {
            let (mut hot, stored) = (empty(), stored_with(lines));
            for (age, ttl) in [(1, 9), (1, 9), (1, 9), (2, 8), (2, 8), (2, 7), (9, 1)] {
                let status = CacheStatus {
                    ttl: Some(ttl),
                    ..HIT
                };
                let fields = hot.fields(&stored, age, &status, false);
                assert_eq!(fields[AGE], age.to_string());
                let said: Vec<_> = fields.get_all(CACHE_STATUS).iter().collect();
                assert_eq!(said.len(), lines.len());
                assert_eq!(said[lines.len() - 1], &format!("pillion; hit; ttl={ttl}"));
            }
        }
    }

    #[test]
    fn nobody_gets_the_fields_of_another() {
        let mut hot = empty();
        for round in 0..2000 {
            let value = round.to_string();
            let stored = stored(&value);
            for _ in 0..3 {
                assert_eq!(hot.fields(&stored, 0, &HIT, false)["x-a"], *value);
            }
            drop(stored);
        }
        assert!(ready(&hot) <= SLOTS);
    }

    #[test]
    fn what_is_asked_for_once_drives_out_nothing_that_is_asked_for_often() {
        let (mut hot, often) = (empty(), stored("often"));
        let once: Vec<_> = (0..2000).map(|index| stored(&index.to_string())).collect();
        hot.fields(&often, 0, &HIT, false);
        hot.fields(&often, 0, &HIT, false);
        for some in once.chunks(100) {
            for stored in some {
                hot.fields(stored, 0, &HIT, false);
            }
            let slot = &hot.0[place(&often)];
            assert_eq!(slot.of.as_ptr(), Arc::as_ptr(&often));
            hot.fields(&often, 0, &HIT, false);
        }
    }
}
