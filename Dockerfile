# The image of pg-rejoin: `docker build -t pg-rejoin .` (or `buildah build`, unchanged).
#
# Stages: `runtime` is the image without our programs, so that a build on a Debian 12 machine can be put
# on it without compiling again (`buildah build --target runtime`); `build` compiles; the last joins them.

FROM debian:bookworm-slim AS runtime
# The shared libraries of the two clients, the log, the checksums and the metrics. No ca-certificates: the API server's CA and
# PostgreSQL's are named files, and the HTTP library would parse the whole bundle for every request (40 ms).
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libcivetweb1 libcpprest2.10 libisal2 libpq5 libprometheus-cpp-core1.0 libspdlog1.10 libyaml-cpp0.7 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log
ENV SSL_CERT_FILE=/dev/null
# A default only: any user that owns the data will do, nothing in the image is owned or written by it.
USER 65532:65532
ENTRYPOINT ["pg-rejoin"]

FROM debian:bookworm-slim AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      cmake g++ ninja-build pkg-config \
      libcli11-dev libcpprest-dev libisal-dev libpq-dev libspdlog-dev libssl-dev libyaml-cpp-dev nlohmann-json3-dev \
      prometheus-cpp-dev
WORKDIR /src
COPY . .
# Called by the name pg_rewind it is pg_rewind.
RUN cmake --preset release \
 && cmake --build --preset release --target pg-rejoin pg-rejoin-gate \
 && install -D --strip --target-directory=/out/usr/local/bin build/release/src/pg-rejoin build/release/src/pg-rejoin-gate \
 && ln -s pg-rejoin /out/usr/local/bin/pg_rewind

FROM runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pg-rejoin" \
      org.opencontainers.image.description="Brings an old PostgreSQL primary back as a standby after a failover" \
      org.opencontainers.image.source="https://github.com/pg-rejoin/pg-rejoin" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/ /
