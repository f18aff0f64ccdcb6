//! Every metric there is: its name, type, labels and meaning; and the closed sets that count into them.

/// One metric: all series of one name.
#[derive(Debug)]
pub(super) struct Family {
    /// As a scrape shows it, `_total` included.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What a metric is, for documentation and for tests of the naming rules.
#[derive(Clone, Copy, Debug)]
pub struct Documented {
    /// As a scrape shows it, `_total` included.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// In the order of writing; empty where there is one series.
    pub labels: &'static [&'static str],
}

/// Declares the families, and [`FAMILIES`] with all of them in the order of writing.
macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            labels: &[$($label),*],
        };)*

        pub(super) static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    REQUESTS: Counter "pillion_http_requests_total" ["route", "method", "code", "outcome"]
        "Requests answered.";
    DURATION: Histogram "pillion_http_request_duration_seconds" ["route", "outcome"]
        "From a request's arrival until the last byte of its answer was handed to the connection.";
    RESPONSE_BYTES: Counter "pillion_http_response_bytes_total" ["route", "outcome"]
        "Bytes of response content handed to connections.";
    UPSTREAM_DURATION: Histogram "pillion_upstream_duration_seconds" ["route"]
        "From forwarding a request until the head of the upstream's answer.";
    OVERHEAD: Histogram "pillion_overhead_seconds" ["route"]
        "What Pillion itself added before the head of an answer: all time that the upstream did not take.";
    ERRORS: Counter "pillion_http_errors_total" ["error"]
        "Answers made by Pillion because something failed, by RFC 9209 error type.";
    IN_FLIGHT: Gauge "pillion_http_requests_in_flight" []
        "Requests that wait for an answer, or whose content is being sent; those answered on the spot never show.";
    ROUTE_OVERFLOW: Counter "pillion_route_label_overflow_total" []
        "Requests counted under route=\"other\" because the table of route names is full.";
    MALFORMED: Counter "pillion_malformed_requests_total" []
        "Requests refused because they are malformed, or because parsers could disagree about them.";
    PANICS: Counter "pillion_panics_total" []
        "Requests that ended in a panic of ours and were answered with 500.";
    CONNECTIONS: Gauge "pillion_connections" []
        "Client connections that are open.";
    CONNECTIONS_ACCEPTED: Counter "pillion_connections_accepted_total" []
        "Client connections accepted.";
    CONNECTIONS_WAITED: Counter "pillion_connections_waited_total" []
        "Client connections that had to wait for their turn because limits.connections were open.";
    CONNECTIONS_REFUSED: Counter "pillion_connections_refused_total" ["cause"]
        "Client connections closed before they carried a request.";
    CERTIFICATE_LOADS: Counter "pillion_certificate_loads_total" ["result"]
        "Changed certificates that were taken over, or refused while the old one stays.";
    TUNNELS: Gauge "pillion_tunnels" ["upstream"]
        "Upgraded connections (WebSocket and others) that are open.";
    TUNNELS_OPENED: Counter "pillion_tunnels_opened_total" ["upstream"]
        "Connections upgraded.";
    TUNNEL_BYTES: Counter "pillion_tunnel_bytes_total" ["dir"]
        "Bytes relayed through upgraded connections; in is from the client.";
    CACHE_LOOKUPS: Counter "pillion_cache_lookups_total" ["tier", "result", "reason"]
        "Requests that came as far as the cache, by what it did and the rule that decided.";
    CACHE_STORES: Counter "pillion_cache_stores_total" ["tier"]
        "Responses stored.";
    CACHE_BYTES: Gauge "pillion_cache_bytes" ["tier", "kind"]
        "What a tier of the cache may use (budget) and accounts for (accounted); beside memory, all that the process holds (resident).";
    CACHE_ENTRIES: Gauge "pillion_cache_entries" ["tier"]
        "Responses stored now.";
    CACHE_EVICTIONS: Counter "pillion_cache_evictions_total" ["cause"]
        "Stored responses that were removed.";
    TIER_READS: Counter "pillion_cache_tier_reads_total" ["tier", "result"]
        "Times that a tier below memory was asked, by what came of it.";
    TIER_READ_DURATION: Histogram "pillion_cache_tier_read_seconds" ["tier"]
        "From asking a tier below memory until it answered, or was not waited for any longer.";
    TIER_BYTES: Counter "pillion_cache_tier_bytes_total" ["tier", "dir"]
        "Bytes of records read from a tier below memory, and written to it.";
    TIER_DROPPED: Counter "pillion_cache_tier_dropped_total" ["tier"]
        "Responses not written to a tier below memory, because too many waited to be written.";
    DISK_ON: Gauge "pillion_cache_disk_on" []
        "Whether the disk tier is in use: 0 while it opens, and for good once its disk has failed.";
    DISK_FAILURES: Counter "pillion_cache_disk_failures_total" []
        "Times that the disk tier was switched off, since its directory could not be had or its disk failed.";
    DISK_LOST: Counter "pillion_cache_disk_lost_total" ["cause"]
        "Records that the disk tier did not keep, or no longer has.";
    DISK_READS_LOST: Counter "pillion_cache_disk_reads_lost_total" ["cause"]
        "Reads of the disk tier that were given up, so that a request was not held up.";
    DISK_PURGES: Counter "pillion_cache_disk_purges_total" []
        "Purges written to the journal of the disk tier.";
    CACHE_PURGES: Counter "pillion_cache_purges_total" []
        "Purges asked for by an operator.";
    CACHE_BACKGROUND: Counter "pillion_cache_background_validations_total" ["result"]
        "Validations that no client waited for: after a stale response was served, or before a fresh one gets stale.";
    CACHE_EARLY: Counter "pillion_cache_early_refreshes_total" []
        "Background validations begun while the stored response was still fresh.";
    CACHE_OUTAGE: Counter "pillion_cache_outage_total" ["result"]
        "Requests treated differently because Redis was away, by what was done: answered stale, let through within the limit, or answered with 503.";
    CACHE_LEASES: Counter "pillion_cache_leases_total" ["result"]
        "What came of asking for the right to fetch for all sidecars: fetched (won), answered with what another fetched (found), told not to wait (passed), waited for nothing (timeout), went without (skipped: no other sidecar; away: no Redis; failed), overtaken before writing (lost).";
    COLLAPSED: Counter "pillion_collapsed_total" []
        "Requests answered by another request's forwarding.";
    REPEATED: Counter "pillion_repeated_total" []
        "Hits that were answered as a request of the same bytes was less than a second before, without a way through HTTP.";
    WARM_UP: Counter "pillion_warm_up_requests_total" ["result"]
        "Requests made to warm the cache up; fresh ones cost the app nothing.";
    WARM_UP_WAITING: Gauge "pillion_warm_up_waiting" []
        "URLs that the running warm-up has still to ask for.";
    COMPRESS_BYTES: Counter "pillion_compress_bytes_total" ["coding", "dir"]
        "Content that went into our coders and came out of them.";
    CODED_COPIES: Counter "pillion_coded_copies_total" ["coding"]
        "Coded copies made of stored responses, to be used again.";
    CODED_REPLIES: Counter "pillion_coded_replies_total" ["coding"]
        "Answers coded on the fly, because no coded copy was at hand.";
    BREACH_GUARDED: Counter "pillion_compress_withheld_total" []
        "Answers left uncoded because coding them could leak a secret (BREACH).";
    ETAGS: Counter "pillion_etags_made_total" []
        "Entity tags made for responses that came without one.";
    NOT_MODIFIED: Counter "pillion_not_modified_total" ["by"]
        "304 answers, by who judged the precondition.";
    OBSERVED: Counter "pillion_observed_total" ["feature", "would"]
        "Answers that a feature with mode observe would have done something with.";
    OBSERVED_BYTES: Counter "pillion_observed_coding_bytes_total" ["dir"]
        "Content coded as a sample where content_coding observes, and what it became.";
    UPSTREAM_CONNECTIONS: Gauge "pillion_upstream_connections" ["upstream"]
        "Upstream connections that are open.";
    UPSTREAM_OPENED: Counter "pillion_upstream_connections_opened_total" ["upstream"]
        "Upstream connections opened.";
    UPSTREAM_CONNECT_FAILURES: Counter "pillion_upstream_connect_failures_total" ["upstream"]
        "Upstream connections that could not be opened.";
    UPSTREAM_REUSED: Counter "pillion_upstream_connections_reused_total" ["upstream"]
        "Requests that took an open upstream connection from the pool.";
    UPSTREAM_RETRIES: Counter "pillion_upstream_retries_total" ["upstream"]
        "Requests sent again.";
    UPSTREAM_WAITS: Counter "pillion_upstream_waits_total" ["upstream"]
        "Requests that waited for a connection, since their limit was reached.";
    UPSTREAM_FAILURES: Counter "pillion_upstream_failures_total" ["upstream", "error"]
        "Requests that the upstream failed, by RFC 9209 error type.";
    L2_STATE: Gauge "pillion_l2_state" ["state"]
        "1 for what is true of the Redis behind the cache: up, degraded (a part of a cluster), away, or unknown.";
    L2_OPERATIONS: Counter "pillion_l2_operations_total" ["operation", "result"]
        "What was asked of Redis, and how it went; what was not asked because Redis is away does not count.";
    L2_ERRORS: Counter "pillion_l2_errors_total" ["error"]
        "Operations, connections and probes of Redis that failed, by kind.";
    L2_DURATION: Histogram "pillion_l2_duration_seconds" ["operation"]
        "From asking Redis until its answer, or the end of the wait; for writes, of a whole pipeline.";
    L2_QUEUE: Gauge "pillion_l2_queue_bytes" []
        "Bytes of records that wait to be written to Redis.";
    L2_DROPPED: Counter "pillion_l2_writes_dropped_total" ["cause"]
        "Records not written to Redis: the queue was full, Redis was away, or they are longer than max_record.";
    BUS_HEARD: Counter "pillion_bus_heard_total" ["what"]
        "Purges of other instances that were heard, messages that could not be read, and gaps after which everything stored is validated.";
    BUS_LAG: Gauge "pillion_bus_lag_seconds" []
        "For how long this instance may have missed purges of others; 0 when it has heard all.";
    BUS_WAITING: Gauge "pillion_bus_waiting" []
        "Purges that other instances have not been told of yet.";
    BUS_INSTANCES: Gauge "pillion_bus_instances" []
        "Instances that share the Redis and are alive, this one included; 0 while that is not known.";
    LOG_LOST: Counter "pillion_request_log_lines_lost_total" []
        "Access lines not written: the writer was behind, or the file failed.";
    BUILD_INFO: Gauge "pillion_build_info" ["version"]
        "Always 1; the labels say what runs.";
    CONFIG_HASH: Gauge "pillion_config_hash" []
        "A hash of the running configuration: equal where the configuration is equal.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "Processor time used, user and system.";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" []
        "Resident memory.";
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" []
        "Virtual memory.";
    PROCESS_FDS: Gauge "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "How many file descriptors may be open.";
    PROCESS_THREADS: Gauge "process_threads" []
        "Threads.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the process started, since the Unix epoch.";
}

/// A family, and the values of its labels.
pub(super) type Place = (&'static Family, &'static [(&'static str, &'static str)]);

/// Declares a closed set, each member with its place in the catalogue.
macro_rules! closed_set {
    (
        $(#[$doc:meta])* $set:ident
        $($(#[$member_doc:meta])* $member:ident => $family:ident $($label:literal = $value:literal),*;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $set { $($(#[$member_doc])* $member,)* }

        impl $set {
            /// All of them, in order of their discriminants.
            pub(super) const ALL: &'static [Self] = &[$(Self::$member),*];

            pub(super) fn place(self) -> Place {
                match self { $(Self::$member => (&$family, &[$(($label, $value)),*]),)* }
            }
        }
    };
}

closed_set! {
    /// What happens now and then; counted by [`super::Metrics::count`] and [`super::Metrics::add`].
    Event
    /// A client connected.
    ConnectionAccepted => CONNECTIONS_ACCEPTED;
    /// A connection was over `limits.connections`, and waits.
    ConnectionOverLimit => CONNECTIONS_WAITED;
    /// A TLS handshake failed, or took too long.
    ConnectionTlsFailed => CONNECTIONS_REFUSED "cause" = "tls";
    /// A PROXY protocol header was missing or wrong.
    ConnectionProxyHeader => CONNECTIONS_REFUSED "cause" = "proxy_protocol";
    /// A connection's first header section took too long.
    ConnectionSlow => CONNECTIONS_REFUSED "cause" = "slow";
    /// A connection broke, or ended, within the bytes that tell HTTP/1 from HTTP/2.
    ConnectionBroken => CONNECTIONS_REFUSED "cause" = "broken";
    /// A changed certificate is in use.
    CertificateLoaded => CERTIFICATE_LOADS "result" = "ok";
    /// A changed certificate cannot be used; the old one stays.
    CertificateRefused => CERTIFICATE_LOADS "result" = "failed";
    /// A request was refused as malformed.
    RequestMalformed => MALFORMED;
    /// A route name did not fit into the table of names.
    RouteOverflow => ROUTE_OVERFLOW;
    /// A panic was caught.
    Panic => PANICS;
    /// Bytes from the client went through a tunnel.
    TunnelBytesIn => TUNNEL_BYTES "dir" = "in";
    /// Bytes to the client went through a tunnel.
    TunnelBytesOut => TUNNEL_BYTES "dir" = "out";
    /// A response was stored in memory.
    CacheStored => CACHE_STORES "tier" = "memory";
    /// disk: It answered a request.
    FromDiskHit => TIER_READS "tier" = "disk", "result" = "hit";
    /// disk: It was stale, so the upstream was asked about it.
    FromDiskValidated => TIER_READS "tier" = "disk", "result" = "validated";
    /// disk: Memory had as good.
    FromDiskKnown => TIER_READS "tier" = "disk", "result" = "known";
    /// disk: Nothing was there.
    FromDiskMiss => TIER_READS "tier" = "disk", "result" = "miss";
    /// disk: It was purged since.
    FromDiskPurged => TIER_READS "tier" = "disk", "result" = "purged";
    /// disk: No record that can be used.
    FromDiskUnreadable => TIER_READS "tier" = "disk", "result" = "unreadable";
    /// disk: A purge had not been heard of in time.
    FromDiskBehind => TIER_READS "tier" = "disk", "result" = "behind";
    /// disk: Known to be away, and not asked.
    FromDiskAway => TIER_READS "tier" = "disk", "result" = "away";
    /// disk: No answer in time.
    FromDiskLate => TIER_READS "tier" = "disk", "result" = "late";
    /// disk: An error.
    FromDiskFailed => TIER_READS "tier" = "disk", "result" = "failed";
    /// Bytes read from disk.
    DiskBytesRead => TIER_BYTES "tier" = "disk", "dir" = "read";
    /// Bytes written to disk.
    DiskBytesWritten => TIER_BYTES "tier" = "disk", "dir" = "written";
    /// A record was not written to disk, since too many waited.
    DiskDropped => TIER_DROPPED "tier" = "disk";
    /// l2: It answered a request.
    FromL2Hit => TIER_READS "tier" = "l2", "result" = "hit";
    /// l2: It was stale, so the upstream was asked about it.
    FromL2Validated => TIER_READS "tier" = "l2", "result" = "validated";
    /// l2: Memory had as good.
    FromL2Known => TIER_READS "tier" = "l2", "result" = "known";
    /// l2: Nothing was there.
    FromL2Miss => TIER_READS "tier" = "l2", "result" = "miss";
    /// l2: It was purged since.
    FromL2Purged => TIER_READS "tier" = "l2", "result" = "purged";
    /// l2: No record that can be used.
    FromL2Unreadable => TIER_READS "tier" = "l2", "result" = "unreadable";
    /// l2: A purge had not been heard of in time.
    FromL2Behind => TIER_READS "tier" = "l2", "result" = "behind";
    /// l2: Known to be away, and not asked.
    FromL2Away => TIER_READS "tier" = "l2", "result" = "away";
    /// l2: No answer in time.
    FromL2Late => TIER_READS "tier" = "l2", "result" = "late";
    /// l2: An error.
    FromL2Failed => TIER_READS "tier" = "l2", "result" = "failed";
    /// Bytes read from l2.
    L2BytesRead => TIER_BYTES "tier" = "l2", "dir" = "read";
    /// Bytes written to l2.
    L2BytesWritten => TIER_BYTES "tier" = "l2", "dir" = "written";
    /// A record was handed to Redis.
    L2Stored => CACHE_STORES "tier" = "l2";
    /// A record was not written to l2, since too many waited.
    L2Dropped => TIER_DROPPED "tier" = "l2";
    /// A record was written to disk.
    DiskStored => CACHE_STORES "tier" = "disk";
    /// The disk tier went off.
    DiskFailed => DISK_FAILURES;
    /// Too much was waiting to be written.
    DiskQueueFull => DISK_LOST "cause" = "queue";
    /// A record is longer than the parts of the file.
    DiskTooLong => DISK_LOST "cause" = "length";
    /// Its place was needed for newer ones.
    DiskOverwritten => DISK_LOST "cause" = "size";
    /// What was read is not what was written.
    DiskDamaged => DISK_LOST "cause" = "damage";
    /// Too many reads were waiting.
    DiskReadsFull => DISK_READS_LOST "cause" = "queue";
    /// A read took too long.
    DiskReadLate => DISK_READS_LOST "cause" = "late";
    /// A purge was written down.
    DiskPurges => DISK_PURGES;
    /// Room was needed.
    EvictedForSpace => CACHE_EVICTIONS "cause" = "size";
    /// A newer response took its place.
    EvictedReplaced => CACHE_EVICTIONS "cause" = "replaced";
    /// Purged by an operator, or invalidated by an unsafe method.
    EvictedPurged => CACHE_EVICTIONS "cause" = "purged";
    /// An operator asked for a purge.
    Purge => CACHE_PURGES;
    /// A validation in the background freshened or replaced what was stored.
    BackgroundValidated => CACHE_BACKGROUND "result" = "ok";
    /// A validation in the background failed; the stale response stays.
    BackgroundFailed => CACHE_BACKGROUND "result" = "failed";
    /// A validation in the background began before its time.
    EarlyRefresh => CACHE_EARLY;
    /// Redis is away: a stale response was served.
    OutageStale => CACHE_OUTAGE "result" = "stale";
    /// Redis is away: a request was forwarded within the limit.
    OutageLimited => CACHE_OUTAGE "result" = "limited";
    /// Redis is away: a request over the limit was answered with 503.
    OutageShed => CACHE_OUTAGE "result" = "shed";
    /// A lease was taken.
    LeaseWon => CACHE_LEASES "result" = "won";
    /// One who waited has found what another sidecar fetched.
    LeaseFound => CACHE_LEASES "result" = "found";
    /// A marker said that waiting is in vain.
    LeasePassed => CACHE_LEASES "result" = "passed";
    /// The wait was too long.
    LeaseWaitedInVain => CACHE_LEASES "result" = "timeout";
    /// There is no other sidecar.
    LeaseSkipped => CACHE_LEASES "result" = "skipped";
    /// Redis is away.
    LeaseRedisAway => CACHE_LEASES "result" = "away";
    /// Redis did not answer in time, or refused.
    LeaseFailed => CACHE_LEASES "result" = "failed";
    /// Somebody else had the lease when the answer was to be written.
    LeaseLost => CACHE_LEASES "result" = "lost";
    /// Another instance's purge was heard.
    PurgeHeard => BUS_HEARD "what" = "purge";
    /// What another instance told could not be read.
    PurgeUnreadable => BUS_HEARD "what" = "unreadable";
    /// Something that was told was not heard.
    PurgeGap => BUS_HEARD "what" = "gap";
    /// A request was answered by another request's forwarding.
    Collapsed => COLLAPSED;
    /// An answer was said again as it was written.
    Repeated => REPEATED;
    /// A warm-up's answer was stored, or what was stored was confirmed.
    WarmedStored => WARM_UP "result" = "stored";
    /// A warm-up asked for what was stored already, or fetched by somebody else just then.
    WarmedFresh => WARM_UP "result" = "fresh";
    /// A warm-up's answer may not be stored.
    WarmedPassed => WARM_UP "result" = "not_stored";
    /// A warm-up's request failed.
    WarmedFailed => WARM_UP "result" = "failed";
    /// Bytes given to the Brotli coder.
    BrotliIn => COMPRESS_BYTES "coding" = "br", "dir" = "in";
    /// Bytes that the Brotli coder made.
    BrotliOut => COMPRESS_BYTES "coding" = "br", "dir" = "out";
    /// Bytes given to the Zstandard coder.
    ZstdIn => COMPRESS_BYTES "coding" = "zstd", "dir" = "in";
    /// Bytes that the Zstandard coder made.
    ZstdOut => COMPRESS_BYTES "coding" = "zstd", "dir" = "out";
    /// Bytes given to the gzip coder.
    GzipIn => COMPRESS_BYTES "coding" = "gzip", "dir" = "in";
    /// Bytes that the gzip coder made.
    GzipOut => COMPRESS_BYTES "coding" = "gzip", "dir" = "out";
    /// A Brotli copy of a stored response was made.
    BrotliCopy => CODED_COPIES "coding" = "br";
    /// A Zstandard copy of a stored response was made.
    ZstdCopy => CODED_COPIES "coding" = "zstd";
    /// A gzip copy of a stored response was made.
    GzipCopy => CODED_COPIES "coding" = "gzip";
    /// An answer was coded with Brotli on the fly.
    BrotliReply => CODED_REPLIES "coding" = "br";
    /// An answer was coded with Zstandard on the fly.
    ZstdReply => CODED_REPLIES "coding" = "zstd";
    /// An answer was coded with gzip on the fly.
    GzipReply => CODED_REPLIES "coding" = "gzip";
    /// The BREACH policy kept an answer uncoded.
    BreachGuarded => BREACH_GUARDED;
    /// An entity tag was made.
    EtagMade => ETAGS;
    /// A 304 was decided here.
    NotModifiedHere => NOT_MODIFIED "by" = "pillion";
    /// A 304 came from the upstream and was passed on.
    NotModifiedUpstream => NOT_MODIFIED "by" = "upstream";
    /// The cache observes; it would have answered.
    ObservedHit => OBSERVED "feature" = "cache", "would" = "hit";
    /// It would have answered with what is stale.
    ObservedStale => OBSERVED "feature" = "cache", "would" = "hit-stale";
    /// It would have asked whether what it has still holds.
    ObservedValidate => OBSERVED "feature" = "cache", "would" = "validate";
    /// It would have forwarded the request, and stored the answer.
    ObservedStore => OBSERVED "feature" = "cache", "would" = "store";
    /// It would have forwarded the request, and not stored the answer.
    ObservedPass => OBSERVED "feature" = "cache", "would" = "pass";
    /// What it would have done is not known, since not all keys are followed.
    ObservedUnknown => OBSERVED "feature" = "cache", "would" = "unknown";
    /// A 304 would have been given.
    ObservedNotModified => OBSERVED "feature" = "conditional", "would" = "not-modified";
    /// A 206 would have been given.
    ObservedPartial => OBSERVED "feature" = "conditional", "would" = "partial";
    /// A 416 would have been given.
    ObservedUnsatisfiable => OBSERVED "feature" = "conditional", "would" = "unsatisfiable";
    /// Content would have been coded with Brotli.
    ObservedBrotli => OBSERVED "feature" = "content_coding", "would" = "br";
    /// Content would have been coded with Zstandard.
    ObservedZstd => OBSERVED "feature" = "content_coding", "would" = "zstd";
    /// Content would have been coded with gzip.
    ObservedGzip => OBSERVED "feature" = "content_coding", "would" = "gzip";
    /// Content that the upstream coded would have been decoded.
    ObservedDecode => OBSERVED "feature" = "content_coding", "would" = "decode";
    /// Content would have gone uncoded because of the BREACH policy.
    ObservedWithhold => OBSERVED "feature" = "content_coding", "would" = "withhold";
    /// A tag would have been made.
    ObservedTag => OBSERVED "feature" = "etag", "would" = "tag";
    /// And this client would have come back with it.
    ObservedMatch => OBSERVED "feature" = "etag", "would" = "match";
    /// Bytes of content coded as a sample.
    ObservedCodingIn => OBSERVED_BYTES "dir" = "in";
    /// What they became.
    ObservedCodingOut => OBSERVED_BYTES "dir" = "out";
    /// An access line was not written.
    LogLineLost => LOG_LOST;
}

closed_set! {
    /// What goes up and down; held by [`super::Metrics::raise`].
    Level
    /// Client connections that are open.
    Connections => CONNECTIONS;
}

closed_set! {
    /// What is asked for at each scrape; see [`super::Metrics::observe`].
    Sampled
    /// Bytes that the memory tier may use.
    CacheBudget => CACHE_BYTES "tier" = "memory", "kind" = "budget";
    /// Bytes that the memory tier accounts for.
    CacheAccounted => CACHE_BYTES "tier" = "memory", "kind" = "accounted";
    /// Resident memory of the whole process, beside the two.
    CacheResident => CACHE_BYTES "tier" = "memory", "kind" = "resident";
    /// Responses in the memory tier.
    CacheEntries => CACHE_ENTRIES "tier" = "memory";
    /// Seconds for which purges of other instances may have been missed.
    BusLag => BUS_LAG;
    /// Purges that others have not been told of.
    BusWaiting => BUS_WAITING;
    /// Instances that are alive.
    BusInstances => BUS_INSTANCES;
    /// 1 while the disk tier is in use.
    DiskOn => DISK_ON;
    /// Bytes that the files of the disk tier may have.
    DiskBudget => CACHE_BYTES "tier" = "disk", "kind" = "budget";
    /// Bytes that its records have there.
    DiskAccounted => CACHE_BYTES "tier" = "disk", "kind" = "accounted";
    /// Records in it.
    DiskEntries => CACHE_ENTRIES "tier" = "disk";
    /// URLs that a warm-up has still to ask for.
    WarmUpWaiting => WARM_UP_WAITING;
}
