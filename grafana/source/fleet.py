"""Fleet: all machines, the worst first, and links that are down."""

from colours import CRITICAL, GOOD, NEUTRAL, PENDING, WARNING
from frame import Board, Row
from panel import Column, Series, Size, Text, graph, link, listing, number, states
from promql import REAL_LINK, by_machine, once, threshold

ALERTS = 'ALERTS{#, alertstate="firing", alertname!="Watchdog"}'
# Shares of what the alerts take for too much, so that 1 is a threshold whatever is measured.
NEAREST = [
    (
        "memory",
        f"(1 - instance:node_memory_available:ratio{{@}}) / (1 - {threshold('memory_available_warning:ratio')})",
    ),
    ("processors", f"instance:node_cpu_utilisation:ratio_rate1m{{@}} / {threshold('cpu_utilisation_warning:ratio')}"),
    (
        "pressure",
        f"instance:node_memory_pressure_waiting:ratio_rate1m{{@}} / "
        f"{threshold('memory_pressure_waiting_warning:ratio')}",
    ),
    (
        "disks",
        f"instance:node_io_pressure_stalled:ratio_rate5m{{@}} / {threshold('io_pressure_stalled_warning:ratio')}",
    ),
    ("descriptors", f"instance:node_filefd_used:ratio{{@}} / {threshold('descriptors_used_warning:ratio')}"),
    (
        "file systems",
        f"max by (job, instance) (instance_mountpoint:node_filesystem_used:ratio{{@}}) / "
        f"{threshold('filesystem_used_critical:ratio')}",
    ),
]


def _worst() -> str:
    each = [f'label_replace({expr}, "what", "{what}", "", "")' for what, expr in NEAREST]
    return f"max by (machine) ({by_machine(' or '.join(each))})"


def _of(expr: str, how: str = "max") -> str:
    return f"{how} by (machine) ({by_machine(expr)})"


def _count(alerts: str) -> str:
    """How many alerts a machine has, and 0 where it has none."""
    return f"{_of(alerts, 'count')} or 0 * {_of('node_boot_time_seconds{@}')}"


TO_MACHINE = link("This machine", "headroom-machine", False, instance="${__data.fields.Machine}")
TO_MEMORY = link("Its memory", "headroom-memory", False, instance="${__data.fields.Machine}")
FROM_SERIES = (link("This machine", "headroom-machine", False, instance="${__field.labels.machine}"),)

MACHINES = listing(
    Text(
        "Machines, the worst first",
        "Each machine by how near it is to the threshold of an alert: of memory, processors, memory pressure, disk "
        "pressure, file descriptors or file systems the one that is nearest; at 100 % an alert is near or fires. "
        "– : the kernel says nothing of it (no pressure information).",
        "none",
    ),
    [
        Column("Machine", label="machine", links=(TO_MACHINE, TO_MEMORY)),
        Column(
            "Nearest threshold", _worst(), "percentunit", steps=[(None, GOOD), (0.8, PENDING), (1, WARNING)], width=140
        ),
        Column("Alerts", _count(ALERTS), "none", steps=[(None, NEUTRAL), (1, WARNING)], width=80),
        Column(
            "Critical",
            _count('ALERTS{#, alertstate="firing", severity="critical"}'),
            "none",
            steps=[(None, NEUTRAL), (1, CRITICAL)],
            width=80,
        ),
        Column("Memory available", _of("instance:node_memory_available:ratio{@}", "min"), "percentunit", width=130),
        Column(
            "Waits for memory", _of("instance:node_memory_pressure_waiting:ratio_rate1m{@}"), "percentunit", width=130
        ),
        Column("Processors", _of("instance:node_cpu_utilisation:ratio_rate1m{@}"), "percentunit", width=100),
        Column(
            "Fullest file system", _of("instance_mountpoint:node_filesystem_used:ratio{@}"), "percentunit", width=140
        ),
        Column("Running for", _of("time() - node_boot_time_seconds{@}"), "s", width=120),
    ],
    "Nearest threshold",
    Size(24, 9),
)

LINKS = listing(
    Text(
        "Links down",
        "Network interfaces that had a link in the chosen time and have none now. Virtual interfaces are left out, as "
        "in "
        "the alert NetworkLinkDown.",
        "none",
        "no link is down",
    ),
    [
        Column("Machine", label="machine", links=(TO_MACHINE,)),
        Column("Interface", label="device"),
        Column(
            "Times lost",
            "max by (machine, device) ("
            + by_machine(
                f"(increase(node_network_carrier_down_changes_total{{@, {REAL_LINK}}}[$__range]) >= 0) and "
                f"(node_network_carrier{{@, {REAL_LINK}}} == 0) and "
                f"(max_over_time(node_network_carrier{{@}}[$__range]) == 1)"
            )
            + ")",
            "none",
        ),
    ],
    "Times lost",
    Size(12, 8),
)

BOARD = Board(
    "headroom-fleet",
    "fleet",
    "Headroom: fleet",
    "All machines on one page: which of them needs somebody first, and for what.",
    [
        Row(
            "",
            [
                number(
                    Text("Machines", "Exporters that Prometheus can read.", "none"),
                    'count(up{@, job="node"} == 1)',
                    decimals=0,
                ),
                number(
                    Text("Targets down", "Scrape targets that Prometheus cannot read.", "none"),
                    "count(up{@} == 0) or vector(0)",
                    steps=[(None, GOOD), (1, CRITICAL)],
                    decimals=0,
                ),
                number(
                    Text("Alerts firing", "Alerts that fire now, without the Watchdog, which always fires.", "none"),
                    f"count({ALERTS}) or vector(0)",
                    steps=[(None, GOOD), (1, WARNING)],
                    decimals=0,
                ),
                number(
                    Text("OOM kills", "Kills for want of memory in the chosen time, on all chosen machines.", "none"),
                    "sum(increase(node_vmstat_oom_kill{@}[$__range]))",
                    steps=[(None, GOOD), (1, CRITICAL)],
                    decimals=0,
                ),
                number(
                    Text(
                        "Memory available",
                        "The smallest share of memory that is available on a machine.",
                        "percentunit",
                    ),
                    "min(instance:node_memory_available:ratio{@})",
                    decimals=0,
                ),
                number(
                    Text(
                        "Freed and verified",
                        "Bytes that actions gave back in the chosen time, as measured afterwards.",
                        "bytes",
                    ),
                    f"sum({once('increase(headroom_optimizer_freed_bytes_total{@}[$__range])', 'action, target')})",
                    steps=[(None, GOOD)],
                    decimals=1,
                ),
                MACHINES,
                LINKS,
                states(
                    Text("Targets", "Whether Prometheus can read each target.", "none"),
                    [Series("up{@}", "{{job}} {{instance}}")],
                    {"0": ("Down", CRITICAL), "1": ("Up", GOOD)},
                ),
            ],
        ),
        Row(
            "The ten worst of each kind",
            [
                graph(
                    Text(
                        "Least memory available",
                        "Share of memory that is available. Below the dashed lines alerts fire.",
                        "percentunit",
                    ),
                    [
                        Series(f"bottomk(10, {by_machine('instance:node_memory_available:ratio{@}')})", "{{machine}}"),
                        Series("headroom:memory_available_warning:ratio", "warning"),
                        Series("headroom:memory_available_critical:ratio", "critical"),
                    ],
                    links=FROM_SERIES,
                ),
                graph(
                    Text(
                        "Most memory pressure",
                        "Share of the time in which some task waited for memory. Above the dashed line an alert fires.",
                        "percentunit",
                    ),
                    [
                        Series(
                            f"topk(10, {by_machine('instance:node_memory_pressure_waiting:ratio_rate1m{@}')})",
                            "{{machine}}",
                        ),
                        Series("headroom:memory_pressure_waiting_warning:ratio", "warning"),
                    ],
                    links=FROM_SERIES,
                ),
                graph(
                    Text(
                        "Busiest processors",
                        "Share of all processors' time in use. Above the dashed line an alert fires.",
                        "percentunit",
                    ),
                    [
                        Series(
                            f"topk(10, {by_machine('instance:node_cpu_utilisation:ratio_rate1m{@}')})", "{{machine}}"
                        ),
                        Series("headroom:cpu_utilisation_warning:ratio", "warning"),
                    ],
                    links=FROM_SERIES,
                ),
                graph(
                    Text(
                        "Fullest file systems",
                        "Share in use, as df shows it. Above the dashed line an alert fires.",
                        "percentunit",
                    ),
                    [
                        Series(
                            f"topk(10, {by_machine('instance_mountpoint:node_filesystem_used:ratio{@}')})",
                            "{{mountpoint}} ({{machine}})",
                        ),
                        Series("headroom:filesystem_used_critical:ratio", "critical"),
                    ],
                    links=FROM_SERIES,
                ),
            ],
        ),
    ],
)
