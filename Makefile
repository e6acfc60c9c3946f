# Everything a person or CI types. `make` alone lists the targets.
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Where rustup and `cargo install` put their programs; a shell that was open before the set-up does not know it.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

STAGE := scripts/stage.sh
TARGET := $(or $(CARGO_TARGET_DIR),target)
SCRIPTS := .ci/run $(shell find scripts tests -name '*.sh' 2>/dev/null) deploy/deb/postinst deploy/deb/prerm deploy/deb/postrm

.PHONY: help run demo build man deb test bench pressure fuzz fmt clean dashboards refaults setup-run setup-test setup-bench setup-fuzz \
	test-fmt test-clippy test-shell test-kit test-slo test-deny test-rules test-python test-unit test-units test-deb test-otlp test-statsd test-page test-kubernetes test-vm test-restart test-compose check-macos kubernetes secrets

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run build ## install what is missing, build, start everything on this machine
	@exec $(TARGET)/release/headroom up

demo: setup-run build ## show the whole loop in about a minute, on real servers
	@exec $(TARGET)/release/headroom demo

build: ## build the release binary
	@$(STAGE) build cargo build --release --locked

man: build ## write the manual pages into target/man
	@$(STAGE) man target/release/headroom man target/man

deb: build ## build a Debian package into target/deb
	@$(STAGE) deb scripts/deb.sh target/release/headroom target/deb

# Cheap stages first, so that a slip is reported early; the first that fails ends the run.
test: setup-test test-fmt test-shell test-clippy check-macos test-python test-kit test-unit test-units test-deb test-rules test-deny test-otlp test-statsd test-page test-slo test-kubernetes test-vm test-restart test-compose ## everything that CI checks
	@echo "== all stages passed"

bench: setup-bench ## compare with node_exporter on this machine, in this minute
	@$(STAGE) bench cargo bench --locked --bench scrape
	@$(STAGE) bench-processes cargo bench --locked --bench processes
	@$(STAGE) bench-serving cargo bench --locked --bench serving
	@$(STAGE) bench-reaction cargo bench --locked --bench reaction
	@$(STAGE) bench-alert cargo bench --locked --bench alert
	@$(STAGE) bench-reclaim cargo bench --locked --bench reclaim
	@$(STAGE) bench-receiver cargo bench --locked --bench receiver
	@$(STAGE) bench-statsd cargo bench --locked --bench statsd
	@$(STAGE) bench-journal cargo bench --locked --bench journal
	@$(STAGE) bench-monitor cargo bench --locked --bench monitor
	@$(STAGE) bench-live cargo bench --locked --bench live
	@$(STAGE) bench-webhook cargo bench --locked --bench webhook

pressure: build ## the pressure laboratory: Headroom, other tools and nothing, in virtual machines: REPETITIONS each (3)
	@$(STAGE) pressure tests/pressure/run.sh $(TARGET)/release/headroom $(or $(REPETITIONS),3)

refaults: build ## what the proactive mode costs a group, in a virtual machine: pages that come back, time waited (some 5 minutes)
	@$(STAGE) refaults tests/vm/run.sh $(TARGET)/release/headroom proactive.sh

fuzz: setup-fuzz ## try every parser, and whole hosts, with damaged input: FUZZ_SECONDS each (20)
	@$(STAGE) fuzz scripts/fuzz.sh

fmt: ## put the code into its form
	cargo fmt --all

dashboards: ## write grafana/dashboards from grafana/source
	@venv=$$(scripts/python-venv.sh $$(cat grafana/source/requirements.txt)) && "$$venv/bin/python" -B grafana/source/generate.py

kubernetes: ## write the rules' objects for Kubernetes from prometheus/rules
	cargo run --locked --quiet -- rules write --operator --force deploy/kubernetes/monitoring/rules

secrets: ## make the token and the password that docker-compose.yml needs
	@scripts/secrets.sh

clean: ## remove what was built
	cargo clean

setup-run setup-test setup-bench setup-fuzz: setup-%:
	@$(STAGE) 'set-up' scripts/setup.sh $*

test-fmt: ## stage of `make test`: the code's form
	@$(STAGE) fmt cargo fmt --all --check

test-shell: ## stage: the shell scripts
	@$(STAGE) shellcheck shellcheck $(SCRIPTS)

test-clippy: ## stage: lints
	@$(STAGE) clippy cargo clippy --locked --workspace --all-targets -- -D warnings

check-macos: ## stage: the code compiles for macOS, without warnings; it cannot run here
	@$(STAGE) check-macos scripts/check-macos.sh

test-kit: ## stage: the crate for applications, with each allocator, and that who links it compiles nothing of the rest
	@$(STAGE) kit scripts/kit.sh

test-unit: ## stage: the code, with real servers where a test needs them
	@$(STAGE) cargo-test cargo test --locked

test-python: ## stage: the Python package in clients/python: form, types, tests, and as pip installs it
	@$(STAGE) python scripts/python.sh

test-units: ## stage: the units of systemd, their protections, and that the program needs no more
	@$(STAGE) units tests/units.sh

test-deb: ## stage: the Debian package, really installed, upgraded and purged
	@$(STAGE) deb tests/deb.sh

test-rules: ## stage: rules, their tests, Alertmanager's file, runbooks, dashboards
	@$(STAGE) rules tests/rules.sh

test-deny: ## stage: licences, sources and known holes of the dependencies
	@$(STAGE) cargo-deny scripts/deny.sh

test-otlp: ## stage: metrics from OpenTelemetry's own SDKs, over every way in
	@$(STAGE) otlp tests/otlp/run.sh

test-statsd: ## stage: StatsD from its clients, and beside the real statsd_exporter
	@$(STAGE) statsd tests/statsd/run.sh

test-page: ## stage: the live page, in a real Chromium
	@$(STAGE) page tests/page/run.sh

test-kubernetes: ## stage: the objects for Kubernetes, against the published schemas
	@$(STAGE) kubernetes tests/kubernetes/run.sh

test-slo: ## stage: the loop by a service's objective, with OpenTelemetry's SDK, Prometheus and Alertmanager
	@$(STAGE) slo tests/slo/run.sh

test-vm: ## stage: reclaim and metrics of control groups v2, on a kernel of its own in a virtual machine
	@$(STAGE) vm tests/vm/run.sh

test-restart: ## stage: restarts by the real systemd and the real Docker engine
	@$(STAGE) restart tests/restart.sh

test-compose: ## stage: docker-compose.yml, really brought up
	@$(STAGE) compose tests/compose/run.sh
