"""Memory: where it went, who needs it, and how long it lasts."""

from colours import CRITICAL, GOOD
from frame import Board, Row
from panel import Series, Size, Text, graph, link, number, ranking

THIRD = Size(8)
GROUP = (link("Process group", "headroom-group", groupname="${__field.labels.groupname}"),)
CGROUP = (link("Container", "headroom-container", cgroup="${__field.labels.cgroup}"),)
KERNEL = "node_memory_KernelStack_bytes{@} + node_memory_PageTables_bytes{@}"
# Each byte of RAM once. Shared memory is page cache for the kernel, and cannot be dropped as that can.
PARTS = [
    Series("sum(node_memory_AnonPages_bytes{@})", "anonymous"),
    Series("sum(node_memory_Shmem_bytes{@})", "shared memory"),
    Series(
        "sum(node_memory_Cached_bytes{@} + node_memory_Buffers_bytes{@} - node_memory_Shmem_bytes{@})", "page cache"
    ),
    Series("sum(node_memory_SReclaimable_bytes{@})", "slab, reclaimable"),
    Series("sum(node_memory_SUnreclaim_bytes{@})", "slab, fixed"),
    Series(f"sum({KERNEL})", "kernel"),
    Series(
        "clamp_min(sum(node_memory_MemTotal_bytes{@} - node_memory_MemFree_bytes{@} - node_memory_AnonPages_bytes{@}"
        " - node_memory_Cached_bytes{@} - node_memory_Buffers_bytes{@} - node_memory_Slab_bytes{@}"
        f" - ({KERNEL})), 0)",
        "not accounted for",
    ),
    Series("sum(node_memory_MemFree_bytes{@})", "free"),
]


def resident(memtype: str) -> str:
    return f'max by (groupname, instance) (namedprocess_namegroup_memory_bytes{{@, memtype="{memtype}"}})'


NOW = Row(
    "",
    [
        number(
            Text("Memory", "All memory that the kernel manages.", "bytes"),
            "sum(node_memory_MemTotal_bytes{@})",
            decimals=1,
        ),
        number(
            Text(
                "Memory available",
                "Memory that can be had without swapping; of several machines the smallest share.",
                "percentunit",
            ),
            "min(instance:node_memory_available:ratio{@})",
            decimals=0,
        ),
        number(
            Text(
                "Until it is used up",
                "Time until no memory is available, if it goes on falling as in the last minutes. – : it does not "
                "fall.",
                "s",
                "memory does not fall",
            ),
            "min(headroom_memory_time_to_exhaustion_seconds{@})",
        ),
        number(
            Text(
                "Nearest limit",
                "Time until the first control group reaches its limit. – : none grows towards one.",
                "s",
                "no group grows towards a limit",
            ),
            "min(headroom_cgroup_memory_time_to_limit_seconds{@})",
        ),
        number(
            Text("Swap in use", "Swap that is in use.", "bytes"),
            "sum(node_memory_SwapTotal_bytes{@} - node_memory_SwapFree_bytes{@})",
            decimals=1,
        ),
        number(
            Text("OOM kills", "Kills for want of memory in the chosen time.", "none"),
            "sum(increase(node_vmstat_oom_kill{@}[$__range]))",
            steps=[(None, GOOD), (1, CRITICAL)],
            decimals=0,
        ),
    ],
)

WHERE = Row(
    "Where it went",
    [
        graph(
            Text(
                "All memory",
                "Every byte once: anonymous memory of programs, shared memory and tmpfs, page cache (which the kernel "
                "can take), slab, the "
                "kernel's stacks and page tables, what nothing accounts for, and what is free.",
                "bytes",
            ),
            PARTS,
            Size(16, 10),
            stacked=True,
        ),
        graph(
            Text(
                "Available memory",
                "Memory that can be had without swapping. Dashed: where MachineMemoryAvailableLow and "
                "MachineMemoryAvailableCritical begin.",
                "bytes",
            ),
            [
                Series("node_memory_MemAvailable_bytes{@}", "{{instance}} available"),
                Series("node_memory_MemTotal_bytes{@}", "{{instance}} total"),
                Series(
                    "node_memory_MemTotal_bytes{@} * scalar(headroom:memory_available_warning:ratio)",
                    "{{instance}} warning",
                ),
                Series(
                    "node_memory_MemTotal_bytes{@} * scalar(headroom:memory_available_critical:ratio)",
                    "{{instance}} critical",
                ),
            ],
            Size(8, 10),
        ),
        ranking(
            Text(
                "Largest process groups",
                "Resident memory of the ten largest of the named process groups, now.",
                "bytes",
            ),
            Series(f"topk(10, {resident('resident')})", "{{groupname}} ({{instance}})"),
            THIRD,
            GROUP,
        ),
        graph(
            Text(
                "Process groups, shared pages in proportion",
                "Memory of the ten largest named process groups; a page that several share counts in part for each, so "
                "that the sum is right.",
                "bytes",
            ),
            [
                Series(
                    "topk(10, sum by (groupname, instance) (headroom_process_group_pss_bytes{@}))",
                    "{{groupname}} ({{instance}})",
                )
            ],
            THIRD,
            links=GROUP,
        ),
        graph(
            Text(
                "Kinds of mappings",
                "Memory of all named process groups by what it was mapped for, shared pages in proportion.",
                "bytes",
            ),
            [Series("sum by (class) (headroom_process_group_pss_bytes{@})", "{{class}}")],
            THIRD,
            stacked=True,
        ),
    ],
)

CGROUPS = Row(
    "Control groups",
    [
        ranking(
            Text(
                "Largest control groups",
                "Memory that is charged to the ten largest, each with all below it, now.",
                "bytes",
            ),
            Series('topk(10, headroom_cgroup_memory_current_bytes{@, cgroup!="/"})', "{{cgroup}} ({{instance}})"),
            THIRD,
            CGROUP,
        ),
        graph(
            Text(
                "Working sets",
                "What the ten control groups with the largest working sets need, estimated: their usage less what was "
                "not used of late.",
                "bytes",
            ),
            [Series('topk(10, headroom_cgroup_memory_working_set_bytes{@, cgroup!="/"})', "{{cgroup}} ({{instance}})")],
            THIRD,
            links=CGROUP,
        ),
        graph(
            Text(
                "Reclaimable in control groups",
                "Page cache and slab that the kernel can take at once and without swap, where there is most of it.",
                "bytes",
            ),
            [Series('topk(10, headroom_cgroup_memory_reclaimable_bytes{@, cgroup!="/"})', "{{cgroup}} ({{instance}})")],
            THIRD,
            links=CGROUP,
        ),
        graph(
            Text(
                "Refaults",
                "Pages per second that were taken and needed again soon, by control group: where they rise, memory is "
                "short.",
                "none",
            ),
            [
                Series(
                    'topk(10, sum by (cgroup, instance) (rate(headroom_cgroup_memory_refaults_total{@, cgroup!="/"}[@])))',
                    "{{cgroup}} ({{instance}})",
                )
            ],
            THIRD,
            links=CGROUP,
        ),
        graph(
            Text(
                "Seconds to the limit",
                "Time until a control group reaches its limit if it goes on growing. Dashed: where "
                "CgroupMemoryLimitSoon begins.",
                "s",
                "no group grows towards a limit",
            ),
            [
                Series("bottomk(10, headroom_cgroup_memory_time_to_limit_seconds{@})", "{{cgroup}} ({{instance}})"),
                Series("headroom:memory_time_left_warning:seconds", "warning"),
            ],
            THIRD,
            links=CGROUP,
        ),
        graph(
            Text(
                "Groups wait for memory",
                "Share of the time in which a task of the group waited for memory, in the ten that wait most.",
                "percentunit",
            ),
            [
                Series(
                    'topk(10, rate(headroom_cgroup_memory_pressure_waiting_seconds_total{@, cgroup!="/"}[@]))',
                    "{{cgroup}} ({{instance}})",
                )
            ],
            THIRD,
            links=CGROUP,
        ),
    ],
)

KERNEL_ROW = Row(
    "Swap, page cache, slab, faults",
    [
        graph(
            Text(
                "Swap",
                "Swap that is in use, and all swap. Memory that moves into a compressed swap in the same RAM is no "
                "gain.",
                "bytes",
            ),
            [
                Series("node_memory_SwapTotal_bytes{@} - node_memory_SwapFree_bytes{@}", "{{instance}} used"),
                Series("node_memory_SwapTotal_bytes{@}", "{{instance}} total"),
            ],
            THIRD,
        ),
        graph(
            Text("Swapped out of process groups", "Swap of the ten named process groups that have most.", "bytes"),
            [Series(f"topk(10, {resident('swapped')})", "{{groupname}} ({{instance}})")],
            THIRD,
            links=GROUP,
        ),
        graph(
            Text(
                "Page cache, used and not",
                "File pages that were used of late, and that were not: the kernel takes those first.",
                "bytes",
            ),
            [
                Series("node_memory_Active_file_bytes{@}", "{{instance}} active"),
                Series("node_memory_Inactive_file_bytes{@}", "{{instance}} inactive"),
                Series("node_memory_Dirty_bytes{@} + node_memory_Writeback_bytes{@}", "{{instance}} to be written"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Slab",
                "Memory of the kernel's own objects. That which grows without end and cannot be taken is a leak in the "
                "kernel.",
                "bytes",
            ),
            [
                Series("sum(node_memory_SReclaimable_bytes{@})", "slab, reclaimable"),
                Series("sum(node_memory_SUnreclaim_bytes{@})", "slab, fixed"),
            ],
            THIRD,
            stacked=True,
        ),
        graph(
            Text(
                "Major page faults",
                "Pages per second that programs had to wait for, because they were on a disk or in swap.",
                "none",
            ),
            [Series("rate(node_vmstat_pgmajfault{@}[@])", "{{instance}}")],
            THIRD,
        ),
        graph(
            Text(
                "Memory pressure",
                "Share of the time in which some task waited for memory, and in which none could run for want of it. "
                "Dashed: where "
                "MachineMemoryPressureHigh and MachineMemoryPressureCritical begin.",
                "percentunit",
            ),
            [
                Series("instance:node_memory_pressure_waiting:ratio_rate1m{@}", "{{instance}} some wait"),
                Series("instance:node_memory_pressure_stalled:ratio_rate1m{@}", "{{instance}} all stand"),
                Series("headroom:memory_pressure_waiting_warning:ratio", "warning"),
                Series("headroom:memory_pressure_stalled_critical:ratio", "critical"),
            ],
            THIRD,
        ),
    ],
)

BOARD = Board(
    "headroom-memory",
    "memory",
    "Headroom: memory",
    "Where the memory of a machine went, who needs it, and how long it lasts.",
    [NOW, WHERE, CGROUPS, KERNEL_ROW],
)
