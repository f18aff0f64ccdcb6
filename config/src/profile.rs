//! `profile`: where the defaults stand. A written key wins over both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Entry, Item, Origin, Value, read};
use crate::problem::Report;

/// Moves the defaults as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What the RFCs allow, and no more memory than a sidecar should take.
    #[default]
    Default,
    /// More memory, longer reuse, stale answers where the upstream is slow or down.
    Aggressive,
    /// Less memory, nothing invented: no heuristic lifetimes, no made tags, no coding beside secrets.
    Conservative,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::Aggressive, Self::Conservative];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Aggressive => "aggressive",
            Self::Conservative => "conservative",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The defaults it moves, as TOML.
    pub fn moves(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Aggressive => AGGRESSIVE,
            Self::Conservative => CONSERVATIVE,
        }
    }

    /// The tree of what it moves.
    pub(crate) fn tree(self) -> Item {
        let report = Report::new(self.name(), self.moves());
        let mut tree = read(self.moves(), &|_| None, &report);
        mark(&mut tree, self);
        tree
    }
}

/// Nothing of a profile is in the file.
fn mark(item: &mut Item, profile: Profile) {
    item.origin = Origin::Profile(profile);
    match &mut item.value {
        Value::Table(table) => {
            for Entry { key, item } in table.values_mut() {
                *key = Origin::Profile(profile);
                mark(item, profile);
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| mark(item, profile)),
        _ => {}
    }
}

const AGGRESSIVE: &str = r#"
[cache]
max_body = "32MiB"
memory = { size = "256MiB" }
# Still only for answers with `Last-Modified` and without credentials.
heuristic = { fraction = 0.2, max = "1d" }
# RFC 5861 windows for answers that name none: a stale page while a new one is fetched or cannot be.
stale_while_revalidate = "30s"
stale_if_error = "5m"
# A visitor's reload button does not reach the app while the answer is fresh.
client_directives = "ignore"
range_fill_max = "8MiB"

[etag]
max_body = "4MiB"
"#;

const CONSERVATIVE: &str = r#"
[cache]
max_body = "1MiB"
memory = { size = "32MiB" }
# Nothing is reused without the app's explicit word.
heuristic = { enabled = false }
# The app is asked only when somebody waits for it.
early_refresh = { enabled = false }
# A range is the app's to answer until it sent the whole.
range_fill_max = "0B"
query_max_body = "0B"
offer_variants = false
no_vary_search = false

[content_coding]
# Answers to credentials are never coded: the only full cure for BREACH.
breach = "strict"

[etag]
# No answer is held back for a tag.
enabled = false
"#;
