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

# One parser of foreign bytes, fuzzed (needs cargo-fuzz); stable Rust will do, nothing here is unsafe
fuzz TARGET SECONDS="60":
    cd tests && cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}}

# Snapshots that changed, one by one (needs cargo-insta)
snapshots:
    cargo insta review

# The container image
image TAG="pillion":
    docker build --tag {{TAG}} .

# The systemd units, as systemd reads them
units:
    systemd-analyze verify packaging/pillion.service packaging/pillion.socket
