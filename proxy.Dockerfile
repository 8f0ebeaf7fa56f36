# The proxy: weir, its configuration, and the C library. No shell.
#
#   BIN_FROM=builder    compiles weir here (default)
#   BIN_FROM=prebuilt   takes prebuilt/weir
#   TRAINED=1           compiles it with a profile of its own traffic: two builds, and half a minute of load
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12
ARG BIN_FROM=builder

FROM ${RUST_IMAGE} AS builder
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY auth auth
COPY benches benches
COPY config config
COPY examples examples
COPY limit limit
COPY migrate migrate
COPY scripts/lib.sh scripts/release.sh scripts/train.py scripts/
COPY src src
COPY test-support test-support
ARG TRAINED=0
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    mkdir /out \
    && if [ "$TRAINED" = 1 ]; then \
        rustup component add llvm-tools && scripts/release.sh /out/weir; \
    else \
        cargo build --profile dist --locked --package weir --bin weir && cp target/dist/weir /out/; \
    fi

FROM scratch AS prebuilt
COPY prebuilt/weir /out/weir

FROM ${BIN_FROM} AS binary

FROM ${RUNTIME_IMAGE} AS runtime
COPY --from=binary /out/weir /usr/local/bin/weir
COPY config/weir.yaml /etc/weir/weir.yaml
ENV PATH=/usr/local/bin:/usr/bin:/bin
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/weir"]
CMD ["run"]
