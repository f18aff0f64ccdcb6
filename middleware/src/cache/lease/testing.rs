//! Leases in the test's own memory, beside the records of a [`TestTier`]: what the scripts do, and nothing else
//! of Redis. Each takes effect as one, some time after it was asked for, and is answered some time after that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use redis::{Arg, Cmd, Value};
use tokio::runtime::Handle;

use super::desk::Desk;
use super::scripts::{GIVE_BACK, MARK, RENEW, TAKE, WRITE};
use super::{Leases, WON, WRITTEN};
use crate::cache::store::redis::LuaScript;
use crate::cache::store::tier::RecordKey;
use crate::cache::store::tier::testing::TestTier;
use crate::metrics::Metrics;

/// See the module. A handle: sidecars that have clones of it share what is there.
#[derive(Clone, Debug)]
pub(crate) struct TestDesk {
    tier: TestTier,
    /// Leases and marks, by their keys.
    values: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl TestDesk {
    pub(crate) fn beside(tier: &TestTier) -> Self {
        let (tier, values) = (tier.clone(), Arc::default());
        Self { tier, values }
    }

    /// The leases of one sidecar.
    pub(crate) fn leases(&self, metrics: &Metrics) -> Leases {
        let settings = config::lease::LeaseSettings::default();
        let desk = Desk::Test(self.clone());
        Leases::at(desk, settings, Handle::current(), metrics)
    }

    /// The time of one of the leases and marks is up: its sidecar is late, or is no more.
    pub(crate) fn expire(&self, which: usize) {
        let mut values = self.values();
        if let Some(key) = values.keys().nth(which % values.len().max(1)).cloned() {
            values.remove(&key);
        }
    }

    pub(super) fn record(name: &str) -> String {
        format!("r:{name}")
    }

    pub(super) async fn command(&self, command: &Cmd) -> Value {
        let words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => word.to_vec(),
            _ => panic!("no command of leases has a cursor"),
        });
        let words: Vec<Vec<u8>> = words.collect();
        self.tier.pass().await;
        let answer = match &words[..] {
            [name, keys @ ..] if name == b"MGET" => {
                let values = self.values();
                let value = |key: &Vec<u8>| bulk(values.get(key));
                Value::Array(keys.iter().map(value).collect())
            }
            [name, key, record, ..] if name == b"SET" => {
                self.tier.store(name_of(key), record);
                Value::Okay
            }
            _ => panic!("no command of leases: {words:?}"),
        };
        self.tier.pass().await;
        answer
    }

    pub(super) async fn script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Value {
        self.tier.pass().await;
        let answer = self.run(script, keys, arguments);
        self.tier.pass().await;
        answer
    }

    fn run(&self, script: &LuaScript, keys: &[&[u8]], arguments: &[&[u8]]) -> Value {
        let is = |other: &LuaScript| std::ptr::eq(script, other);
        let mut values = self.values();
        let (lease, token) = (keys[0].to_vec(), arguments[0].to_vec());
        let holds = values.get(&lease) == Some(&token);
        let done = if is(&TAKE) {
            if let Some(mark) = values.get(keys[1]) {
                return Value::Int(if mark == b"2" { 4 } else { 2 });
            }
            if let Some(holder) = values.get(&lease) {
                return bulk(Some(holder));
            }
            if arguments[2] == b"1" && self.tier.has(name_of(keys[2])) {
                return Value::Int(WRITTEN);
            }
            values.insert(lease, token);
            return Value::Int(WON);
        } else if is(&RENEW) {
            holds
        } else if is(&WRITE) {
            if holds {
                self.tier.store(name_of(keys[1]), arguments[1]);
                values.remove(&lease);
            }
            holds
        } else if is(&MARK) {
            values.insert(keys[1].to_vec(), arguments[2].to_vec());
            if holds {
                values.remove(&lease);
            }
            true
        } else if is(&GIVE_BACK) {
            holds && values.remove(&lease).is_some()
        } else {
            panic!("no script of leases");
        };
        Value::Int(done.into())
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.values.lock().unwrap()
    }
}

fn bulk(value: Option<&Vec<u8>>) -> Value {
    value.map_or(Value::Nil, |value| Value::BulkString(value.clone()))
}

/// The name of the record that lies under `key`.
fn name_of(key: &[u8]) -> RecordKey {
    let hex = key
        .strip_prefix(b"r:")
        .and_then(|hex| std::str::from_utf8(hex).ok());
    let number = u128::from_str_radix(hex.expect("a record's key"), 16);
    RecordKey(number.expect("hexadecimal digits").to_be_bytes())
}
