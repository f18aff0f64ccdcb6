# syntax=docker/dockerfile:1

# --- Build ---------------------------------------------------------------------------------------
FROM rust:1.95-slim-bookworm AS build
# aws-lc, zstd and mimalloc are C; make is what their builds may call.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Registry and target directory stay between builds; the binary is what is taken out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package proxy \
 && cp target/release/pillion /pillion

# --- Run -----------------------------------------------------------------------------------------
FROM debian:bookworm-slim
# The system's roots of trust, for https:// upstreams.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pillion
COPY --from=build /pillion /usr/local/bin/pillion
USER 10001:10001
EXPOSE 8080
# The admin listener stays on the container's loopback, where this asks it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["pillion", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["pillion"]
# With an app beside it: docker run IMAGE run --listen 0.0.0.0:8080 --upstream http://app:3000
# With a file: mount it and say run --config /etc/pillion.toml
CMD ["run", "--listen", "0.0.0.0:8080", "--upstream", "http://app:3000"]
