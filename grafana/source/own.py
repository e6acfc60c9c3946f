"""Headroom itself: what the watching costs, what waits, and what fails."""

from colours import CRITICAL, GOOD, WARNING
from frame import Board, Row
from panel import Column, Series, Size, Text, bars, graph, listing, number, states
from promql import counted, once

THIRD = Size(8)
COLLECTOR = "max by (collector, instance)"
GOOD_OR_BAD = {"0": ("Bad", CRITICAL), "1": ("Good", GOOD)}

NOW = Row(
    "",
    [
        number(
            Text(
                "Processor share",
                "Processor time of Headroom's processes, in processors; under `headroom up` all parts are one process.",
                "percentunit",
            ),
            f"sum({once('rate(process_cpu_seconds_total{@}[@]) and on (instance) headroom_build_info{@}')})",
            decimals=2,
        ),
        number(
            Text("Resident memory", "Of Headroom's processes, without Prometheus and Alertmanager.", "bytes"),
            f"sum({once('process_resident_memory_bytes{@} and on (instance) headroom_build_info{@}')})",
            decimals=1,
        ),
        number(
            Text("A scrape takes", "The longest of the last scrapes of an exporter.", "s"),
            'max(scrape_duration_seconds{@, job="node"})',
            decimals=3,
        ),
        number(
            Text(
                "Collectors failing",
                "Collectors that did not succeed in the last scrape. Some never do on a machine that has not what they "
                "look for.",
                "none",
            ),
            f"count({COLLECTOR} (node_scrape_collector_success{{@}}) == 0) or vector(0)",
            decimals=0,
        ),
        number(
            Text("Series left out", "Series that are not shown because there are more than `series_max`.", "none"),
            f"sum({COLLECTOR} (headroom_collector_series_cut{{@}}))",
            steps=[(None, GOOD), (1, WARNING)],
            decimals=0,
        ),
        number(
            Text("Configuration", "Whether the last reload of the configuration succeeded.", "none"),
            "min(headroom_config_last_reload_successful{@})",
            states={"0": ("Refused", CRITICAL), "1": ("Good", GOOD)},
        ),
    ],
)

COST = Row(
    "Cost of each collector",
    [
        listing(
            Text(
                "Collectors, the dearest first",
                "Per second: processor time, time that it ran, calls of the kernel and bytes that it read; and its "
                "last run.",
                "none",
            ),
            [
                Column("Collector", label="collector"),
                Column("Machine", label="instance"),
                Column(
                    "Processor share",
                    f"{COLLECTOR} (rate(headroom_collector_cpu_seconds_total{{@}}[$__range]))",
                    "percentunit",
                ),
                Column(
                    "Share of the time",
                    f"{COLLECTOR} (rate(headroom_collector_duration_seconds_total{{@}}[$__range]))",
                    "percentunit",
                ),
                Column(
                    "Calls of the kernel",
                    f"{COLLECTOR} (rate(headroom_collector_syscalls_total{{@}}[$__range]))",
                    "cps",
                ),
                Column("Read", f"{COLLECTOR} (rate(headroom_collector_read_bytes_total{{@}}[$__range]))", "Bps"),
                Column("Last run", f"{COLLECTOR} (node_scrape_collector_duration_seconds{{@}})", "s"),
            ],
            "Processor share",
            Size(24, 9),
        ),
        graph(
            Text("Processor time of collectors", "Share of a processor that the ten dearest take.", "percentunit"),
            [
                Series(
                    f"topk(10, {COLLECTOR} (rate(headroom_collector_cpu_seconds_total{{@}}[@])))",
                    "{{collector}} ({{instance}})",
                )
            ],
            THIRD,
        ),
        graph(
            Text("Calls of the kernel", "Per second, by the ten collectors that make most.", "cps"),
            [
                Series(
                    f"topk(10, {COLLECTOR} (rate(headroom_collector_syscalls_total{{@}}[@])))",
                    "{{collector}} ({{instance}})",
                )
            ],
            THIRD,
        ),
        graph(
            Text("Bytes read", "Per second, by the ten collectors that read most.", "Bps"),
            [
                Series(
                    f"topk(10, {COLLECTOR} (rate(headroom_collector_read_bytes_total{{@}}[@])))",
                    "{{collector}} ({{instance}})",
                )
            ],
            THIRD,
        ),
    ],
)

SERVED = Row(
    "Scrapes and requests",
    [
        graph(
            Text(
                "Time of a scrape",
                "As Prometheus measured it. Above 1 s for five minutes, HeadroomScrapeSlow fires.",
                "s",
            ),
            [Series("scrape_duration_seconds{@}", "{{job}} {{instance}}")],
            THIRD,
        ),
        graph(
            Text("Samples in a scrape", "How many samples each target has.", "none"),
            [Series("scrape_samples_scraped{@}", "{{job}} {{instance}}")],
            THIRD,
        ),
        graph(
            Text("HTTP answers", "Answers of exporter and optimizer per second, by page and status code.", "reqps"),
            [
                Series(
                    "sum by (listener, handler, code) ("
                    + once("rate(headroom_http_requests_total{@}[@])", "listener, handler, code")
                    + ")",
                    "{{listener}} {{handler}} {{code}}",
                )
            ],
            THIRD,
        ),
        bars(
            Text(
                "Requests refused",
                "Connections beyond the limit, requests without the right token or password, and connections that did "
                "not agree on TLS. Each "
                "bar is a minute or, over long times, more.",
                "short",
            ),
            [
                Series(counted("headroom_http_connections_rejected_total{@}", "listener"), "{{listener}}: too many"),
                Series(counted("headroom_http_auth_failures_total{@}", "listener, reason"), "{{listener}}: {{reason}}"),
                Series(
                    counted("headroom_http_tls_failures_total{@}", "listener, reason"), "{{listener}} TLS: {{reason}}"
                ),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Memory of the parts",
                "Resident memory of exporter, optimizer, Prometheus and Alertmanager. Under `headroom up`, exporter "
                "and optimizer are one process, and both show its size.",
                "bytes",
            ),
            [Series("process_resident_memory_bytes{@}", "{{job}} {{instance}}")],
            THIRD,
        ),
        graph(
            Text(
                "Processor time of the parts",
                "Processors that exporter, optimizer, Prometheus and Alertmanager use.",
                "percentunit",
            ),
            [Series("rate(process_cpu_seconds_total{@}[@])", "{{job}} {{instance}}")],
            THIRD,
        ),
    ],
)

OPTIMIZER = Row(
    "The optimizer: queue and errors",
    [
        graph(
            Text(
                "Queue",
                "Runs that wait for their turn or for a guard, runs that act, and effects that stand until they are "
                "undone.",
                "none",
            ),
            [
                Series("sum(" + once("headroom_optimizer_runs_waiting{@}") + ")", "runs that wait"),
                Series("sum(" + once("headroom_optimizer_runs_active{@}") + ")", "runs that act"),
                Series("sum(" + once("headroom_optimizer_effects_standing{@}") + ")", "effects that stand"),
            ],
            THIRD,
        ),
        bars(
            Text(
                "Errors",
                "Reads and writes of the journal that failed, and writes to kernel files that did not return in time. "
                "Each bar is a minute or, over long times, more.",
                "short",
            ),
            [
                Series(
                    counted("headroom_optimizer_journal_errors_total{@}", "machine"), "journal errors ({{machine}})"
                ),
                Series(
                    counted("headroom_optimizer_kernel_writes_late_total{@}", "machine"), "late writes ({{machine}})"
                ),
            ],
            THIRD,
        ),
        graph(
            Text("Writes that hang", "Writes to kernel files that were late and have not returned yet.", "none"),
            [Series(once("headroom_optimizer_kernel_writes_blocked{@}"), "{{machine}}")],
            THIRD,
        ),
        states(
            Text(
                "Journal, configuration, memory",
                "Whether the journal could be written when last tried, the configuration could be read, and the "
                "optimizer's memory is locked, so that it can act while the machine swaps.",
                "none",
            ),
            [
                Series(once("headroom_optimizer_journal_writable{@}"), "journal {{machine}}"),
                Series(once("headroom_config_last_reload_successful{@}"), "configuration {{machine}}"),
                Series(
                    once("headroom_web_config_last_reload_successful{@}", "listener"),
                    "certificates {{listener}} {{machine}}",
                ),
                Series(once("headroom_optimizer_memory_locked{@}"), "memory locked {{machine}}"),
            ],
            GOOD_OR_BAD,
            Size(12),
        ),
        listing(
            Text(
                "Left out", "What Headroom does not show because there is more than the configuration allows.", "none"
            ),
            [
                Column("Machine", label="instance"),
                Column("Control groups", "max by (instance) (headroom_cgroups_cut{@})", "none"),
                Column("Process groups", "max by (instance) (headroom_process_groups_cut{@})", "none"),
                Column("Names of threads", "max by (instance) (headroom_process_group_thread_names_cut{@})", "none"),
                Column(
                    "Processes not looked at yet",
                    "max by (instance) (headroom_process_groups_unread_processes{@})",
                    "none",
                ),
                Column("Oldest look", "max by (instance) (headroom_process_groups_pss_age_seconds{@})", "s"),
            ],
            "Control groups",
            Size(12),
        ),
        bars(
            Text(
                "Told to others",
                "Spans and records for OTLP, and annotations for Grafana, by what became of them. Each bar is a minute or, "
                "over long times, more.",
                "short",
                "the configuration asks for neither",
            ),
            [
                Series(counted("headroom_otlp_records_total{@}", "signal, result"), "OTLP {{signal}} {{result}}"),
                Series(counted("headroom_optimizer_annotations_total{@}", "result"), "annotations {{result}}"),
            ],
            Size(24, 6),
        ),
    ],
)

BOARD = Board(
    "headroom-own",
    "headroom",
    "Headroom: itself",
    "What the watching costs, collector by collector, what waits in the optimizer, and what fails.",
    [NOW, COST, SERVED, OPTIMIZER],
)
