//! What the tiers below memory have for a request, for people.

use config::cache::CacheSettings;
use http::HeaderMap;

use crate::Request;
use crate::cache::decide::{Asked, Decision, decide};
use crate::cache::explain::{Would, said};
use crate::cache::key::KeyRules;
use crate::cache::shared::SharedCache;
use crate::cache::store::tiers::Level;
use crate::cache::wanted::Wanted;
use crate::explanation::{Part, Step};

impl SharedCache {
    /// What each tier below memory has for `request`, which memory cannot answer, in the order in which
    /// they are asked; and what would be done, if one of them has an answer. Nothing changes.
    pub fn explain_below<'a>(
        &'a self,
        request: &Request,
        settings: &'a CacheSettings,
    ) -> impl Future<Output = (Vec<Step>, Option<Would>)> + Send + use<'a> {
        let (rules, mut key) = (KeyRules::of(settings), Vec::new());
        rules.write_key(request, &mut key);
        // A request's content cannot be shared between threads, so it is not taken along.
        let (asked, fields) = (Asked::of(request, settings), request.headers().clone());
        async move {
            match asked {
                Ok(asked) => {
                    self.lies_below(&key, asked, &fields, settings, &rules)
                        .await
                }
                Err(_) => (Vec::new(), None),
            }
        }
    }

    async fn lies_below(
        &self,
        key: &[u8],
        mut asked: Asked,
        fields: &HeaderMap,
        settings: &CacheSettings,
        rules: &KeyRules,
    ) -> (Vec<Step>, Option<Would>) {
        let (mut steps, mut would) = (Vec::new(), None);
        let Some(tiers) = self.tiers() else {
            return (steps, would);
        };
        let wanted = Wanted {
            shared: self,
            key,
            hash: self.hasher().hash(key),
            fields,
        };
        for tier in tiers.all() {
            let place = match tier.level {
                Level::Disk => "on disk",
                Level::L2 => "in Redis",
            };
            let Ok((kept, now)) = wanted.read(tiers, tier).await else {
                steps.push(Step::said(
                    Part::Cache,
                    format!("Nothing that could be used lies {place}."),
                ));
                continue;
            };
            let found = kept.stored.found(kept.is_purged, &mut asked, fields, now);
            let decision = decide(&asked, found, settings, rules);
            let answers = matches!(decision, Decision::Serve | Decision::ServeStale { .. });
            let candidate = kept.candidate(now);
            let (age, ttl) = (candidate.age.as_secs(), candidate.ttl());
            let becomes = match answers {
                true => "It would answer, and come into memory",
                false => "The upstream would be asked about it",
            };
            steps.push(Step {
                rule: Some(tier.level.reason().name()),
                ..Step::said(
                    Part::Cache,
                    format!(
                        "A response of {} bytes lies {place}, {age} s old and fresh for {ttl} s. {becomes}.",
                        kept.stored.length()
                    ),
                )
            });
            if answers {
                would = Some(said(decision).0);
                break;
            }
        }
        (steps, would)
    }
}
