//! What would be coded, where that is only observed.

use std::sync::atomic::Ordering;

use crate::content_coding::Coding;
use crate::content_coding::coder::{Coder, content};
use crate::content_coding::encode::{self, Effort};
use crate::content_coding::negotiate::{self, Decision, Uncoded};
use crate::content_coding::reading::Asked;
use crate::metrics::Event;
use crate::{Response, facts};

impl Coder {
    /// Tells what the rules decide about `response`, which stays as it is.
    pub(super) fn observe(&self, asked: &Asked, response: &mut Response) {
        let decision = negotiate::decide(&self.settings, asked, content(response, asked));
        let would = match decision {
            Decision::Code { best, .. } => {
                let coding = best.on_the_fly();
                if !asked.is_head {
                    self.sample(coding, response);
                }
                match coding {
                    Coding::Br => Event::ObservedBrotli,
                    Coding::Zstd => Event::ObservedZstd,
                    Coding::Gzip => Event::ObservedGzip,
                }
            }
            Decision::Decode(_) => Event::ObservedDecode,
            Decision::Leave(Uncoded::Breach(_)) => Event::ObservedWithhold,
            Decision::Leave(_) => return,
        };
        facts::of_response(response).observed.content_coding = Some(would);
    }

    /// Codes a few contents that are at hand and short, to tell by how much they would shrink.
    fn sample(&self, coding: Coding, response: &Response) {
        let body = response.body();
        let Some(content) = body.as_whole().filter(|content| content.len() <= LONGEST) else {
            return;
        };
        let count = self.tools.observed.fetch_add(1, Ordering::Relaxed);
        if !count.is_multiple_of(EVERY) {
            return;
        }
        let coded = encode::whole(std::slice::from_ref(content), coding, Effort::Quick);
        let length = content.len() as u64;
        let metrics = &self.tools.metrics;
        metrics.add(Event::ObservedCodingIn, length);
        metrics.add(
            Event::ObservedCodingOut,
            coded.map_or(length, |coded| coded.len() as u64),
        );
    }
}

/// Of so many contents one is coded as a sample.
const EVERY: u64 = 64;
/// Longer content is not, since it would hold up other requests.
const LONGEST: usize = 64 << 10;
