"""Container: one control group, be it a container, a pod, a service or a slice."""

from colours import CRITICAL, GOOD
from frame import Board, Choice, Row
from panel import Series, Size, Text, graph, number

THIRD = Size(8)
NAME = "{{cgroup}} ({{instance}})"
MINE = '{@, cgroup=~"$cgroup"'
BY_ID = '{@, id=~"$cgroup"'
# Where a panel has it, it says so: these come from a collector that is off unless the configuration names it.
ASKED = "the collector `containers` is not switched on"


def most(metric: str) -> str:
    """One series for each group and machine: two jobs may scrape the same exporter."""
    return f"max by (cgroup, instance) ({metric}{MINE}}})"


def waited(what: str) -> str:
    return f"max by (cgroup, instance) (rate(headroom_cgroup_memory_pressure_{what}_seconds_total{MINE}}}[@]))"


def rate_by_id(metric: str, more: str = "") -> str:
    return f"max by (id, instance) (rate({metric}{BY_ID}{more}}}[@]))"


MEMORY = Row(
    "Memory",
    [
        graph(
            Text(
                "Usage and limits",
                "What is charged to the group and all below it. Dashed: its own hard limit, and where its tasks are "
                "held back.",
                "bytes",
            ),
            [
                Series(most("headroom_cgroup_memory_current_bytes"), NAME),
                Series(most("headroom_cgroup_memory_limit_bytes"), NAME + " limit"),
                Series(most("headroom_cgroup_memory_high_bytes"), NAME + " held back, warning"),
            ],
        ),
        graph(
            Text(
                "Working set",
                "What the group needs, estimated: its usage less file pages that were not used of late.",
                "bytes",
            ),
            [Series(most("headroom_cgroup_memory_working_set_bytes"), NAME)],
        ),
        graph(
            Text(
                "Kinds of memory",
                "Of all chosen groups: anonymous memory, page cache with shared memory, and what is in swap.",
                "bytes",
            ),
            [
                Series(f"sum({most('headroom_cgroup_memory_anon_bytes')})", "anonymous"),
                Series(f"sum({most('headroom_cgroup_memory_file_bytes')})", "page cache"),
                Series(f"sum({most('headroom_cgroup_memory_swap_bytes')})", "swapped"),
            ],
            THIRD,
            stacked=True,
        ),
        graph(
            Text(
                "Still to be had",
                "What the group can take before the nearest limit: its own, that of a group above it, or the machine.",
                "bytes",
            ),
            [Series(most("headroom_cgroup_memory_available_bytes"), NAME)],
            THIRD,
        ),
        graph(
            Text("Reclaimable", "Page cache and slab that the kernel can take at once and without swap.", "bytes"),
            [Series(most("headroom_cgroup_memory_reclaimable_bytes"), NAME)],
            THIRD,
        ),
        graph(
            Text(
                "Seconds to the limit",
                "Time until the first limit is reached if memory goes on growing. Dashed: where CgroupMemoryLimitSoon "
                "begins.",
                "s",
                "no chosen group grows towards a limit",
            ),
            [
                Series(most("headroom_cgroup_memory_time_to_limit_seconds"), NAME),
                Series("headroom:memory_time_left_warning:seconds", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Waits for memory",
                "Share of the time in which some task of the group waited for memory, and in which none could run.",
                "percentunit",
            ),
            [Series(waited("waiting"), NAME + " some wait"), Series(waited("stalled"), NAME + " all stand")],
            THIRD,
        ),
        graph(
            Text(
                "Refaults by kind",
                "Pages per second that were taken and needed again soon: where they rise, memory is short.",
                "none",
            ),
            [
                Series(
                    f"max by (cgroup, instance, kind) (rate(headroom_cgroup_memory_refaults_total{MINE}}}[@]))",
                    "{{cgroup}} {{kind}} ({{instance}})",
                )
            ],
            THIRD,
        ),
        graph(
            Text(
                "Bounds reached",
                "How often per second the group reached a bound of its memory, by the kernel's name for it: max, high, "
                "oom, oom_kill.",
                "none",
            ),
            [
                Series(
                    f"max by (cgroup, instance, event) (rate(headroom_cgroup_memory_events_total{MINE}}}[@]))",
                    "{{cgroup}} {{event}} ({{instance}})",
                )
            ],
            Size(24, 7),
        ),
    ],
)

REST = Row(
    "Processors, disks, network",
    [
        graph(
            Text("Processor time", "Processors in use.", "none", ASKED),
            [Series(rate_by_id("container_cpu_usage_seconds_total"), "{{id}} ({{instance}})")],
            THIRD,
        ),
        graph(
            Text(
                "Held back by the CPU limit",
                "Share of the periods. Dashed: where ContainerCpuThrottled begins.",
                "percentunit",
                ASKED + ", or no group has a CPU limit",
            ),
            [
                Series(
                    'max by (id, instance) (instance_id:container_cpu_throttled:ratio_rate5m{@, id=~"$cgroup"})',
                    "{{id}} ({{instance}})",
                ),
                Series("headroom:cpu_throttled_warning:ratio", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text("Processes and threads", "How many there are.", "none", ASKED),
            [
                Series(f"max by (id, instance) (container_processes{BY_ID}}})", "{{id}} processes"),
                Series(f"max by (id, instance) (container_threads{BY_ID}}})", "{{id}} threads"),
            ],
            THIRD,
        ),
        graph(
            Text("Read and written", "Bytes per second from and to disks.", "Bps", ASKED),
            [
                Series(f"sum by (id, instance) (rate(container_fs_reads_bytes_total{BY_ID}}}[@]))", "{{id}} read"),
                Series(f"sum by (id, instance) (rate(container_fs_writes_bytes_total{BY_ID}}}[@]))", "{{id}} written"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Received and sent",
                "Bytes per second. A network is shown once, at the pod or container that owns it.",
                "Bps",
                ASKED,
            ),
            [
                Series(
                    f"sum by (id, instance) (rate(container_network_receive_bytes_total{BY_ID}}}[@]))",
                    "{{id}} received",
                ),
                Series(
                    f"sum by (id, instance) (rate(container_network_transmit_bytes_total{BY_ID}}}[@]))", "{{id}} sent"
                ),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Kills for memory",
                "How often per second the kernel killed in the group for want of memory.",
                "none",
                ASKED,
            ),
            [Series(rate_by_id("container_oom_events_total"), "{{id}} ({{instance}})")],
            THIRD,
        ),
    ],
)

BOARD = Board(
    "headroom-container",
    "container",
    "Headroom: container and service",
    "One control group: a container, a pod, a service of systemd or a slice. Its memory, its limits, and what else it "
    "uses.",
    [
        Row(
            "",
            [
                number(
                    Text("Groups", "How many control groups are chosen.", "none"),
                    f"count({most('headroom_cgroup_memory_current_bytes')})",
                    decimals=0,
                    width=6,
                ),
                number(
                    Text(
                        "Largest",
                        "Memory that is charged to the largest of the chosen groups, with all below it.",
                        "bytes",
                    ),
                    f"max({most('headroom_cgroup_memory_current_bytes')})",
                    decimals=1,
                    width=6,
                ),
                number(
                    Text(
                        "Most pressure",
                        "Share of the time in which a task waited for memory, in the chosen group that waits most.",
                        "percentunit",
                    ),
                    f"max({waited('waiting')})",
                    decimals=1,
                    width=6,
                ),
                number(
                    Text(
                        "Kills in the group",
                        "Processes that the kernel killed for want of memory in the chosen time, in the group where it "
                        "was most.",
                        "none",
                    ),
                    f'max(increase(headroom_cgroup_memory_events_total{MINE}, event="oom_kill"}}[$__range]))',
                    steps=[(None, GOOD), (1, CRITICAL)],
                    decimals=0,
                    width=6,
                ),
            ],
        ),
        MEMORY,
        REST,
    ],
    [
        Choice(
            "cgroup",
            "Control group",
            'label_values(headroom_cgroup_memory_current_bytes{job=~"$job", instance=~"$instance(:[0-9]+)?"}, cgroup)',
            "Control groups by their path.",
        )
    ],
)
