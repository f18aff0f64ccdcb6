//! Where leases are kept: Redis, or in the simulation a few keys in memory that behave like it.

use std::time::Duration;

use redis::{Cmd, Value};

#[cfg(test)]
use super::testing::TestDesk;
use crate::cache::store::redis::{Failure, LuaScript, RedisTier};

/// See the module. An enum rather than a trait object, so that asking takes no box.
#[derive(Clone, Debug)]
pub(super) enum Desk {
    Redis(RedisTier),
    #[cfg(test)]
    Test(TestDesk),
}

impl Desk {
    /// What the record called `name` lies under.
    pub(super) fn record(&self, name: &str) -> String {
        match self {
            Self::Redis(redis) => redis.names().record(name),
            #[cfg(test)]
            Self::Test(_) => TestDesk::record(name),
        }
    }

    /// Whether a record of so many bytes is too long.
    pub(super) fn refuses(&self, length: usize) -> bool {
        match self {
            Self::Redis(redis) => redis.refuses(length),
            #[cfg(test)]
            Self::Test(_) => false,
        }
    }

    /// For what somebody waits for.
    pub(super) fn deadline(&self) -> Duration {
        match self {
            Self::Redis(redis) => redis.deadline(),
            #[cfg(test)]
            Self::Test(_) => Duration::MAX,
        }
    }

    pub(super) async fn command(
        &self,
        key: &[u8],
        command: &Cmd,
        deadline: Duration,
    ) -> Result<Value, Failure> {
        match self {
            Self::Redis(redis) => redis.command(key, command, deadline).await,
            #[cfg(test)]
            Self::Test(desk) => Ok(desk.command(command).await),
        }
    }

    pub(super) async fn script(
        &self,
        script: &LuaScript,
        keys: &[&[u8]],
        arguments: &[&[u8]],
        deadline: Duration,
    ) -> Result<Value, Failure> {
        match self {
            Self::Redis(redis) => redis.script(script, keys, arguments, deadline).await,
            #[cfg(test)]
            Self::Test(desk) => Ok(desk.script(script, keys, arguments).await),
        }
    }
}
