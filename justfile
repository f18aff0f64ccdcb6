# Names for what is done often. `just check` is the gate of a merge, and needs nothing but Rust.

# What there is
default:
    @just --list --unsorted

# Everything that must pass: formatting, lints, build, all tests
check:
    ./tests/run

# Pillion in front of a command: just run npm start
run *CMD:
    cargo run --release -- run -- {{CMD}}

# The release build guided by a profile of itself at work: target/pgo/pillion (needs oha and rustup)
pgo *FLAGS="":
    packaging/pgo {{FLAGS}}

# One suite, or one test, by a part of its name
test NAME:
    cargo test --workspace {{NAME}}

# Formatting and lints, without the tests
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation, links checked
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, advisories, duplicates, sources of what we depend on (needs cargo-deny)
deny:
    cargo deny check

# Pillion beside nginx and HAProxy on one scenario of the load tester
compare SCENARIO="hit" *FLAGS="":
    cargo build --release --package proxy --package loadtest
    target/release/pillion loadtest --app synthetic --scenario {{SCENARIO}} --against nginx,haproxy --pin {{FLAGS}}

# What parts of the way cost: parts, scale, flood (its head says what each takes). Built as tests/instructions
# builds: all but the last few percent of a release, in a fraction of the time
bench NAME *ARGS:
    cargo bench --profile guard --package middleware --bench {{NAME}} -- {{ARGS}}

# A hit of the second tier beside a bare GET of the same bytes (needs redis-server)
l2-hit:
    cargo bench --package proxy --bench l2_hit -- --measure

# Whether the load tester judges rightly
prove:
    cargo build --release --package loadtest
    target/release/pillion-loadtest prove

# One parser of foreign bytes, fuzzed (needs cargo-fuzz); stable Rust will do, nothing here is unsafe
fuzz TARGET SECONDS="60":
    mkdir -p tests/fuzz/corpus/{{TARGET}}
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none {{TARGET}} tests/fuzz/corpus/{{TARGET}} \
        $(ls -d tests/fuzz/seeds/{{TARGET}} 2>/dev/null) -- -max_total_time={{SECONDS}} -rss_limit_mb=2048

# All of them, one after the other
fuzz-all SECONDS="60":
    for target in $(cargo fuzz list --fuzz-dir tests/fuzz); do just fuzz $target {{SECONDS}} || exit 1; done

# Snapshots that changed, one by one (needs cargo-insta)
snapshots:
    cargo insta review

# The container image
image TAG="pillion":
    docker build --tag {{TAG}} .

# The systemd units, as systemd reads them
units:
    systemd-analyze verify packaging/pillion.service packaging/pillion.socket
