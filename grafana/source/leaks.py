"""Leaks: what grows without end, and how fast."""

from colours import NEUTRAL, WARNING
from frame import Board, Row
from panel import Column, Series, Size, Text, graph, link, listing, number, states
from promql import threshold

RESIDENT = 'namedprocess_namegroup_memory_bytes{@, memtype="resident"}'
BY = "max by (groupname, instance)"
GROWTH = f"3600 * {BY} (deriv({RESIDENT}[$__range]))"
SUSPECTED = 'ALERTS{#, alertname="ProcessGroupLeakSuspected"}'
NAME = "{{groupname}} ({{instance}})"
TO_GROUP = link("Process group", "headroom-group", groupname="${__data.fields.Group}")
FROM_SERIES = (link("Process group", "headroom-group", groupname="${__field.labels.groupname}"),)

GROUPS = listing(
    Text(
        "Growth of process groups",
        "Slope of resident memory over the chosen time, the steepest first, and how much of the alert's threshold that "
        "is. A group "
        "that restarted in that time shows less than it grew; a cache that fills grows too: look at whether it ends.",
        "none",
    ),
    [
        Column("Group", label="groupname", links=(TO_GROUP,)),
        Column("Machine", label="instance"),
        Column("Growth in an hour", GROWTH, "bytes"),
        Column(
            "Of the threshold",
            f"{GROWTH} / {threshold('leak_growth_warning:bytes')}",
            "percentunit",
            steps=[(None, NEUTRAL), (1, WARNING)],
        ),
        Column("Resident now", f"{BY} ({RESIDENT})", "bytes"),
        Column("Restarts", f"{BY} (changes(namedprocess_namegroup_oldest_start_time_seconds{{@}}[$__range]))", "none"),
    ],
    "Growth in an hour",
    Size(24, 9),
)

BOARD = Board(
    "headroom-leaks",
    "leaks",
    "Headroom: leaks",
    "What grows without end: memory, descriptors and threads of process groups, control groups, and the kernel itself.",
    [
        Row(
            "",
            [
                number(
                    Text(
                        "Leaks suspected",
                        "Process groups for which ProcessGroupLeakSuspected waits or fires: it wants six hours of "
                        "growth.",
                        "none",
                    ),
                    f"count({BY} ({SUSPECTED})) or vector(0)",
                    steps=[(None, "green"), (1, WARNING)],
                    decimals=0,
                    width=6,
                ),
                number(
                    Text("Steepest growth", "Of the process group that grew most, in an hour.", "bytes"),
                    f"max({GROWTH})",
                    decimals=1,
                    width=6,
                ),
                number(
                    Text(
                        "Slab that cannot be taken",
                        "Growth of the kernel's own objects in an hour: a steady one is a leak in the kernel or a "
                        "driver.",
                        "bytes",
                    ),
                    "3600 * max(deriv(node_memory_SUnreclaim_bytes{@}[$__range]))",
                    decimals=1,
                    width=6,
                ),
                number(
                    Text("Descriptors of the machine", "Growth of the number of open files in an hour.", "none"),
                    "3600 * max(deriv(node_filefd_allocated{@}[$__range]))",
                    decimals=0,
                    width=6,
                ),
                GROUPS,
                states(
                    Text("Suspicions", "ProcessGroupLeakSuspected over time.", "none", "no leak is suspected"),
                    [
                        Series(
                            f'{BY} (2 * ({SUSPECTED} and ALERTS{{#, alertstate="firing"}}) or {SUSPECTED})',
                            NAME,
                        )
                    ],
                    {"1": ("Pending", "yellow"), "2": ("Firing", WARNING)},
                    Size(24, 5),
                ),
            ],
        ),
        Row(
            "Process groups",
            [
                graph(
                    Text("Resident memory", "The ten largest of the named process groups.", "bytes"),
                    [Series(f"topk(10, {BY} ({RESIDENT}))", NAME)],
                    Size(8),
                    links=FROM_SERIES,
                ),
                graph(
                    Text(
                        "Open files",
                        "File descriptors of the ten groups that hold most. One that only rises is a leak too.",
                        "none",
                    ),
                    [Series(f"topk(10, {BY} (namedprocess_namegroup_open_filedesc{{@}}))", NAME)],
                    Size(8),
                    links=FROM_SERIES,
                ),
                graph(
                    Text("Threads", "Threads of the ten groups that have most.", "none"),
                    [Series(f"topk(10, {BY} (namedprocess_namegroup_num_threads{{@}}))", NAME)],
                    Size(8),
                    links=FROM_SERIES,
                ),
            ],
        ),
        Row(
            "Control groups and kernel",
            [
                graph(
                    Text(
                        "Anonymous memory of control groups",
                        "Of the ten with most, each with all below it: page cache, which may grow, is left out.",
                        "bytes",
                    ),
                    [
                        Series(
                            'topk(10, max by (cgroup, instance) (headroom_cgroup_memory_anon_bytes{@, cgroup!="/"}))',
                            "{{cgroup}} ({{instance}})",
                        )
                    ],
                    Size(8),
                    links=(link("Container", "headroom-container", cgroup="${__field.labels.cgroup}"),),
                ),
                graph(
                    Text("The kernel's own memory", "Slab that cannot be taken, stacks and page tables.", "bytes"),
                    [
                        Series("node_memory_SUnreclaim_bytes{@}", "slab, fixed ({{instance}})"),
                        Series("node_memory_KernelStack_bytes{@}", "stacks ({{instance}})"),
                        Series("node_memory_PageTables_bytes{@}", "page tables ({{instance}})"),
                    ],
                    Size(8),
                ),
                graph(
                    Text(
                        "Memory in four hours",
                        "Share of memory that is available in four hours, if it goes on as in the chosen time. Below 0 "
                        "it is used up before.",
                        "percentunit",
                    ),
                    [
                        Series(
                            "predict_linear(instance:node_memory_available:ratio{@}[$__range], 4 * 3600)",
                            "{{instance}}",
                        )
                    ],
                    Size(8),
                    zero=False,
                ),
            ],
        ),
    ],
    span="now-6h",
)
