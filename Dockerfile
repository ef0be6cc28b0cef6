# syntax=docker/dockerfile:1
# The image of zooark: one binary on Debian, no root.
#
#   docker build -t zooark .
#
# The build compiles RocksDB: 12 to 25 minutes of two cores.

FROM rust:1.95-bookworm AS build
# RocksDB's bindings are generated with libclang.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches stay on the builder and are no part of any layer, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p cli --bin zooark \
    && install -m 0755 target/release/zooark /zooark

# Debian and not distroless: password_command and the chart's first container need a shell.
FROM debian:bookworm-slim
# Certificates for the stores, time zones for cron.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 zooark \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/zooark --shell /usr/sbin/nologin zooark \
    # What the daemon writes to, where nothing is mounted there.
    && install -d -m 0700 -o 65532 -g 65532 /var/lib/zooark /var/cache/zooark
COPY --from=build /zooark /usr/bin/zooark
LABEL org.opencontainers.image.title="zooark" \
      org.opencontainers.image.description="Backs up Apache ZooKeeper and restores it exactly" \
      org.opencontainers.image.source="https://github.com/zooark/zooark" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8088 8089
ENTRYPOINT ["/usr/bin/zooark"]
CMD ["--help"]
