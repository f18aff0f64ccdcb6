//! Numbers about the cache.

/// Numbers about the cache, for metrics and the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Keys with something stored.
    pub entries: u64,
    /// Bytes of memory they hold, all overhead counted.
    pub bytes: u64,
    /// What they may hold.
    pub budget: u64,
    /// Bytes of content that is being received and may be stored.
    pub filling: u64,
    /// Requests in flight that others may follow.
    pub flights: u64,
    /// Responses stored so far, freshened ones included.
    pub stored: u64,
    /// Entries that left for want of room so far.
    pub evicted: u64,
    /// Entries removed by purges and invalidation so far.
    pub purged: u64,
    /// Answers shared with another request's forwarding so far.
    pub collapsed: u64,
    /// Background validations so far.
    pub validated_in_background: u64,
}
