# The auth service: `auth`, which is `migrate` and `alembic` too, and bash for people who look inside.
#
#   BIN_FROM=builder    compiles them here (default)
#   BIN_FROM=prebuilt   takes prebuilt/auth
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim
ARG BIN_FROM=builder

FROM ${RUST_IMAGE} AS builder
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY config config
COPY examples examples
COPY limit limit
COPY src src
COPY auth auth
COPY migrate migrate
COPY test-support test-support
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --package auth --bin auth \
    && mkdir /out && cp target/dist/auth /out/

FROM scratch AS prebuilt
COPY prebuilt/auth /out/

FROM ${BIN_FROM} AS binary

FROM ${RUNTIME_IMAGE} AS runtime
# `apps` is where `migrate init migrations` works: a volume starts with the owner it has here.
RUN echo 'auth:x:10001:' >> /etc/group \
    && echo 'auth:x:10001:10001:auth:/srv:/bin/bash' >> /etc/passwd \
    && install -d -o 10001 -g 10001 /srv/apps
COPY --from=binary /out/auth /usr/local/bin/
# Under these names it is `auth migrate`.
RUN ln -s auth /usr/local/bin/migrate && ln -s auth /usr/local/bin/alembic
COPY docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/local/bin:/usr/bin:/bin
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["auth", "serve"]
