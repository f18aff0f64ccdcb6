//! What keys are called in Redis. Nobody else makes one up.

use config::redis::RedisSettings;

use crate::cache::store::tier::RecordKey;
use crate::facts::{halves, hex};

/// The names of one cache's keys.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
    /// Where records of this epoch and this record format are.
    records: String,
}

impl Names {
    /// For records whose form has the number `format`.
    pub(super) fn new(settings: &RedisSettings, format: u8) -> Self {
        let RedisSettings { prefix, epoch, .. } = settings;
        Self {
            prefix: prefix.clone(),
            records: format!("{prefix}r:{epoch}.{format}:"),
        }
    }

    /// Of the record called `name`. What has this name and a suffix is in the same slot of a cluster.
    pub(crate) fn record(&self, name: &str) -> String {
        [&self.records, "{", name, "}"].concat()
    }

    /// Of the record that every tier knows by `key`.
    pub(crate) fn record_of(&self, key: RecordKey) -> String {
        let (high, low) = halves(u128::from_be_bytes(key.0));
        let digits = [hex(high), hex(low)];
        let digits = str::from_utf8(digits.as_flattened());
        self.record(digits.expect("digits are text"))
    }

    /// Of something that all instances have in common. All such keys are in one slot of a cluster.
    pub(crate) fn shared(&self, name: &str) -> String {
        format!("{{{}}}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::super::slots::slot_of;
    use super::*;

    fn settings() -> RedisSettings {
        super::super::tests::settings("url = \"unix:///r\"\nepoch = 3")
    }

    #[test]
    fn what_belongs_together_is_in_one_slot() {
        let names = Names::new(&settings(), 1);
        assert_eq!(names.record("00ff"), "pillion:r:3.1:{00ff}");
        let key = RecordKey([0x0f; 16]);
        assert_eq!(names.record_of(key), names.record(&key.to_string()));
        assert_eq!(names.shared("bus"), "{pillion:}bus");
        let slot = |key: String| slot_of(key.as_bytes());
        let record = names.record("00ff");
        assert_eq!(slot(format!("{record}:l")), slot(record));
        assert_eq!(slot(names.shared("bus")), slot(names.shared("latest")));
        assert_ne!(slot(names.record("00ff")), slot(names.record("00fe")));
    }

    #[test]
    fn another_epoch_or_form_is_another_key() {
        let mut other = settings();
        other.epoch = 4;
        let name = |settings, format| Names::new(settings, format).record("00ff");
        let all = [name(&settings(), 1), name(&settings(), 2), name(&other, 1)];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
    }
}
