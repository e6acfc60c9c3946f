# The image of exporter and optimizer: one program, no shell, no root. `docker build -t headroom:0.1.0 .`
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked
# An empty directory to copy, for the last image has no program that could make one.
RUN mkdir /state

# glibc and nothing else; of the same Debian release as the compiler above, so that the versions of glibc fit.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/headroom /usr/bin/headroom
# A fresh volume takes its owner from here: without it the optimizer could not write its journal.
COPY --from=build --chown=65532:65532 /state /var/lib/headroom
USER 65532:65532
ENV STATE_DIRECTORY=/var/lib/headroom
EXPOSE 9177 9178
# For `exporter` on its own address; whoever runs another command gives another check.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 \
    CMD ["headroom", "check", "ready", "http://127.0.0.1:9177/-/ready"]
ENTRYPOINT ["headroom"]
CMD ["exporter"]
