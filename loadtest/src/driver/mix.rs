//! Which request comes next: by weight, by the popularity of keys, or as it was recorded.

use std::sync::Arc;

use bytes::Bytes;

use super::chance::{Chance, Zipf};
use crate::ask::Question;
use crate::scenario::{Keys, Kind, Scenario};

/// Draws the requests of a scenario; the same seed draws the same.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    kinds: Arc<[Drawn]>,
    chance: Chance,
    weights: u64,
    /// The place in a recorded log.
    place: Option<usize>,
}

/// A kind, with what it is drawn by.
#[derive(Debug)]
struct Drawn {
    kind: Kind,
    headers: Vec<(String, String)>,
    keys: Option<(Keys, Zipf)>,
}

/// A request that was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    pub(crate) question: Question,
    /// The same for requests of the same kind and key: what an entity tag is kept for.
    pub(crate) identity: (usize, u32),
}

impl Mix {
    /// The mix of a scenario.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let drawn = |kind: &Kind| Drawn {
            kind: kind.clone(),
            headers: scenario
                .headers
                .iter()
                .chain(&kind.headers)
                .cloned()
                .collect(),
            keys: kind
                .keys
                .map(|keys| (keys, Zipf::new(keys.count, keys.zipf))),
        };
        Self {
            kinds: scenario.requests.iter().map(drawn).collect(),
            chance: Chance::new(seed),
            weights: scenario
                .requests
                .iter()
                .map(|kind| u64::from(kind.weight))
                .sum(),
            place: scenario.in_order.then_some(0),
        }
    }

    /// The same mix, drawn with other luck; a recorded log goes on at another place.
    pub(crate) fn again(&self, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let place = self
            .place
            .map(|_| chance.below(self.kinds.len() as u64) as usize);
        Self {
            kinds: self.kinds.clone(),
            chance,
            weights: self.weights,
            place,
        }
    }

    /// Draws one.
    pub(crate) fn next(&mut self) -> Next {
        let index = self.index();
        let drawn = self
            .kinds
            .get(index)
            .expect("the index is drawn among the kinds");
        let key = drawn
            .keys
            .as_ref()
            .map_or(0, |(_, zipf)| zipf.draw(&mut self.chance));
        let mut path = drawn.kind.path.clone();
        let mut content = drawn.kind.body.clone().unwrap_or_default();
        if drawn.keys.is_some() {
            let key = key.to_string();
            path = path.replace("{key}", &key);
            content = filled(content, &key);
        }
        Next {
            question: Question {
                method: drawn.kind.method.clone(),
                path,
                headers: drawn.headers.clone(),
                content,
            },
            identity: (index, key),
        }
    }

    fn index(&mut self) -> usize {
        if let Some(place) = &mut self.place {
            let index = *place;
            *place = (index + 1) % self.kinds.len();
            return index;
        }
        let mut drawn = self.chance.below(self.weights);
        for (index, one) in self.kinds.iter().enumerate() {
            match drawn.checked_sub(one.kind.weight.into()) {
                Some(left) => drawn = left,
                None => return index,
            }
        }
        0
    }
}

fn filled(content: Bytes, key: &str) -> Bytes {
    match std::str::from_utf8(&content) {
        Ok(text) if text.contains("{key}") => text.replace("{key}", key).into(),
        _ => content,
    }
}
