# syntax=docker/dockerfile:1
# One binary on a small Debian, without root. Built for the platform it is built on.

FROM rust:1.95-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The dependencies alone, over empty crates: this layer is made anew only when a manifest or the lock changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY sandbox/Cargo.toml sandbox/Cargo.toml
RUN mkdir -p src benches sandbox/src \
    && for bench in accept latency relay send sessions; do echo 'fn main() {}' >"benches/$bench.rs"; done \
    && echo 'fn main() {}' >src/main.rs && : >src/lib.rs \
    && echo 'fn main() {}' >sandbox/src/main.rs && : >sandbox/src/lib.rs \
    && cargo build --release --locked --bin recado \
    && rm -rf src sandbox/src
COPY migrations migrations
COPY sandbox/src sandbox/src
COPY src src
# Cargo goes by the time of a file: the empty crates were younger than the real ones.
RUN find src sandbox/src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin recado

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Recado" \
      org.opencontainers.image.description="WhatsApp messaging as an actor system" \
      org.opencontainers.image.licenses="AGPL-3.0-only"
# What changes within a stable Debian are fixes, and old versions leave its mirrors: nothing is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 recado \
    && useradd --system --uid 10001 --gid recado --home-dir /data --no-create-home recado \
    && install -d -o recado -g recado -m 0700 /data /backups
COPY --from=build /src/target/release/recado /usr/local/bin/recado
COPY LICENSE /usr/share/doc/recado/LICENSE
ENV RECADO_LISTEN=0.0.0.0:3000 \
    RECADO_DATA_DIR=/data \
    RECADO_BACKUP_DIR=/backups/recado \
    RECADO_ENV=production \
    LOG_FORMAT=json
USER 10001:10001
VOLUME ["/data", "/backups"]
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/recado", "health"]
ENTRYPOINT ["/usr/local/bin/recado"]
CMD ["serve"]
