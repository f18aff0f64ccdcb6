//! What Redis does as one: telling, and the heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;

use crate::cache::bus::LIFE;
use crate::cache::bus::element::{Entry, Kind};
use crate::cache::bus::outbox::Parcel;
use crate::cache::bus::reader::place_of;
use crate::cache::place::Place;
use crate::cache::store::redis::{Failure, FailureKind, LuaScript, RedisTier};

/// The keys that all instances share; in a cluster they are in one slot.
pub(crate) struct Scripts {
    redis: RedisTier,
    instance: u64,
    /// The Stream.
    pub(crate) bus: String,
    /// Of the Stream, of the latest id in it, of its latest element's link, of the mark that it has begun,
    /// of instances by when they were last heard of, and of what each has applied.
    keys: [String; 6],
    tell: LuaScript,
    beat: LuaScript,
}

/// What a heartbeat brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Id and name of the latest element.
    pub(crate) tail: String,
    /// All that are alive, this one included: what they have applied, and what they are called.
    pub(crate) alive: BTreeMap<u64, Alive>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alive {
    pub(crate) applied: Place,
    pub(crate) name: String,
}

impl Scripts {
    pub(crate) fn new(redis: RedisTier, instance: u64) -> Self {
        let names = redis.names();
        let keys = ["bus", "latest", "tail", "begun", "alive", "applied"];
        let keys = keys.map(|name| names.shared(name));
        Self {
            bus: keys[0].clone(),
            keys,
            instance,
            tell: LuaScript::new(TELL),
            beat: LuaScript::new(BEAT),
            redis,
        }
    }

    /// Tells of all `parcels`, in their order, and after `least`.
    pub(crate) async fn tell(&self, parcels: &[Parcel], least: Place) -> Result<(), Failure> {
        let longest = parcels.iter().map(|parcel| parcel.entry.len()).max();
        let names: Vec<String> = parcels
            .iter()
            .map(|parcel| format!("{:x}.{}", self.instance, parcel.ticket))
            .collect();
        let each = parcels.iter().zip(&names);
        let each = each.flat_map(|(parcel, name)| [name.as_bytes(), parcel.entry.as_slice()]);
        self.run(
            &self.tell,
            least,
            longest.unwrap_or_default(),
            each.collect(),
        )
        .await
        .map(drop)
    }

    /// Says that this instance is alive and has applied all up to `applied`.
    pub(crate) async fn beat(&self, name: &str, applied: Place) -> Result<Beat, Failure> {
        let instance = format!("{:016x}", self.instance);
        let state = format!("{} {name}", applied.number());
        let life = LIFE.as_millis().to_string();
        let arguments = vec![instance.as_bytes(), state.as_bytes(), life.as_bytes()];
        let answer = self.run(&self.beat, applied.next(), 0, arguments).await?;
        let Value::Array(answer) = answer else {
            return Err(strange());
        };
        let [tail, alive] = answer.as_slice() else {
            return Err(strange());
        };
        Ok(Beat {
            tail: text(tail).ok_or_else(strange)?.to_owned(),
            alive: read_alive(alive).ok_or_else(strange)?,
        })
    }

    /// Says that this instance is no more.
    pub(crate) async fn leave(&self) -> Result<(), Failure> {
        let instance = format!("{:016x}", self.instance);
        for (command, key) in [("ZREM", &self.keys[4]), ("HDEL", &self.keys[5])] {
            let mut command = redis::cmd(command);
            command.arg(key).arg(&instance);
            let deadline = DEADLINE;
            self.redis
                .command(key.as_bytes(), &command, deadline)
                .await?;
        }
        Ok(())
    }

    async fn run(
        &self,
        script: &LuaScript,
        least: Place,
        longest: usize,
        more: Vec<&[u8]>,
    ) -> Result<Value, Failure> {
        let keys: Vec<&[u8]> = self.keys.iter().map(String::as_bytes).collect();
        let start = Entry {
            instance: self.instance,
            ticket: 0,
            kind: Kind::Start,
        };
        let name = format!("{:x}.start", self.instance);
        let (start, least) = (start.write(), least.id());
        let most = (BYTES_RETAINED / longest.max(1)).clamp(LEAST_RETAINED, MOST_RETAINED);
        let most = most.to_string();
        let mut arguments: Vec<&[u8]> =
            vec![name.as_bytes(), &start, least.as_bytes(), most.as_bytes()];
        arguments.extend(more);
        self.redis.script(script, &keys, &arguments, DEADLINE).await
    }
}

fn read_alive(answer: &Value) -> Option<BTreeMap<u64, Alive>> {
    let Value::Array(pairs) = answer else {
        return None;
    };
    let each = pairs.chunks_exact(2).filter_map(|pair| {
        let [instance, state] = pair else {
            return None;
        };
        let (applied, name) = text(state)?.split_once(' ')?;
        let alive = Alive {
            applied: Place::of_number(applied.parse().ok()?),
            name: name
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_NAME)
                .collect(),
        };
        Some((u64::from_str_radix(text(instance)?, 16).ok()?, alive))
    });
    Some(each.take(MOST_INSTANCES).collect())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Nil => Some(""),
        _ => None,
    }
}

fn strange() -> Failure {
    Failure::new(
        FailureKind::Refused,
        "the heartbeat brought back what no script of ours returns",
    )
}

impl Beat {
    /// The place of the latest element.
    pub(crate) fn latest(&self) -> Option<Place> {
        place_of(&self.tail)
    }
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

/// Both scripts begin so: `add`, and a first element where the bus has not begun. Ids are the time of
/// Redis, and never less than `ARGV[3]`, which is after all that the caller has heard: so what is told
/// from now on is after it even if Redis has lost some of that, or its clock was set back.
macro_rules! script {
    ($rest:literal) => {
        concat!(
            r"
local tail = redis.call('GET', KEYS[3]) or ''
local function is_less(one, other)
  local ms, count = string.match(one, '^(%d+)%-(%d+)')
  local ms2, count2 = string.match(other, '^(%d+)%-(%d+)')
  if not ms then return true end
  ms, ms2 = tonumber(ms), tonumber(ms2)
  return ms < ms2 or (ms == ms2 and tonumber(count) < tonumber(count2))
end
local function add(name, entry, least)
  local id = '*'
  if least then
    local now = redis.call('TIME')
    local now_id = now[1] .. string.format('%03d', math.floor(now[2] / 1000)) .. '-0'
    if is_less(tail, least) and is_less(now_id, least) then id = least end
  end
  local function try(id)
    return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], id, 'p', tail, 'n', name, 'e', entry)
  end
  local at = try(id)
  if type(at) == 'table' and id ~= '*' then at = try('*') end
  if type(at) == 'table' then error(at) end
  tail = at .. ' ' .. name
  redis.call('SET', KEYS[2], at)
  redis.call('SET', KEYS[3], tail)
end
if not redis.call('GET', KEYS[4]) then
  redis.call('SET', KEYS[4], '1')
  tail = ''
  add(ARGV[1], ARGV[2], ARGV[3])
end
",
            $rest
        )
    };
}

const TELL: &str = script!(
    r"
for i = 5, #ARGV, 2 do add(ARGV[i], ARGV[i + 1], ARGV[3]) end
return tail
"
);

const BEAT: &str = script!(
    r"
if tail ~= '' and not redis.call('GET', KEYS[2]) then
  redis.call('SET', KEYS[2], string.match(tail, '^[^ ]+'))
end
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local life = tonumber(ARGV[7])
redis.call('ZADD', KEYS[5], now, ARGV[5])
redis.call('HSET', KEYS[6], ARGV[5], ARGV[6])
for _, range in ipairs({{'-inf', now - life}, {now + life, '+inf'}}) do
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], range[1], range[2], 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[5], gone)
    redis.call('HDEL', KEYS[6], gone)
  end
end
return {tail, redis.call('HGETALL', KEYS[6])}
"
);

/// For Redis to do one of these.
const DEADLINE: Duration = Duration::from_millis(500);
/// Elements that the Stream keeps, about: purges that an instance may miss and catch up with.
const MOST_RETAINED: usize = 1 << 16;
const LEAST_RETAINED: usize = 128;
/// What elements as long as the one that is added may take, about.
const BYTES_RETAINED: usize = 16 << 20;
/// Of what an instance is called, in characters.
const LONGEST_NAME: usize = 100;
/// Instances that are told apart.
const MOST_INSTANCES: usize = 1000;
