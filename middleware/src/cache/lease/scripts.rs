//! What Redis does in one step.

use std::sync::LazyLock;

use crate::cache::store::redis::LuaScript;

/// Lease, marker and record; token, milliseconds, and whether a record is news. One step, so that
/// nobody writes and gives back between a miss and this.
pub(super) static TAKE: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::new(
        "local mark = redis.call('GET', KEYS[2]) \
         if mark == '2' then return 4 end \
         if mark then return 2 end \
         local holder = redis.call('GET', KEYS[1]) \
         if holder then return holder end \
         if ARGV[3] == '1' and redis.call('EXISTS', KEYS[3]) == 1 then return 3 end \
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
         return 1",
    )
});

/// Lease; token and milliseconds.
pub(super) static RENEW: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] \
         then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
         return 0",
    )
});

/// Lease and record; token, content and milliseconds.
pub(super) static WRITE: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) \
         redis.call('DEL', KEYS[1]) \
         return 1",
    )
});

/// Lease and marker; token, milliseconds and what the marker says. The marker is true whoever has the lease by now.
pub(super) static MARK: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::new(
        "redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2]) \
         if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end \
         return 1",
    )
});

/// Lease; token.
pub(super) static GIVE_BACK: LazyLock<LuaScript> = LazyLock::new(|| {
    LuaScript::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end \
         return 0",
    )
});
