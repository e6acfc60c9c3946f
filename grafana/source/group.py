"""Process group: all that is known of one kind of process."""

from frame import Board, Choice, Row
from panel import Series, Size, Text, graph, number

THIRD = Size(8)
MINE = '{@, groupname=~"$groupname"'
NAME = "{{groupname}} ({{instance}})"


def most(metric: str, more: str = "") -> str:
    """One series for each group and machine: two jobs may scrape the same exporter."""
    return f"max by (groupname, instance) ({metric}{MINE}{more}}})"


def rate(metric: str) -> str:
    return f"max by (groupname, instance) (rate({metric}{MINE}}}[@]))"


BOARD = Board(
    "headroom-group",
    "process-group",
    "Headroom: process group",
    "All that is known of one named group of processes: its memory by kind, its budget, and what else it uses. Empty where the configuration names no groups (`process_groups`), or none of them has processes.",
    [
        Row(
            "",
            [
                number(
                    Text("Processes", "How many processes the chosen groups have.", "none"),
                    f"sum({most('namedprocess_namegroup_num_procs')})",
                    decimals=0,
                ),
                number(
                    Text(
                        "Resident memory",
                        "Resident memory of the chosen groups; what several processes share counts for each.",
                        "bytes",
                    ),
                    "sum(" + most("namedprocess_namegroup_memory_bytes", ', memtype="resident"') + ")",
                    decimals=1,
                ),
                number(
                    Text(
                        "Shared pages in proportion",
                        "Memory of the chosen groups, where a page that several share counts in part for each.",
                        "bytes",
                    ),
                    f"sum(headroom_process_group_pss_bytes{MINE}}})",
                    decimals=1,
                ),
                number(
                    Text(
                        "Budget in use",
                        "Resident memory as a share of the group's budget; of several groups the largest. – : no "
                        "budget.",
                        "percentunit",
                    ),
                    'max(instance_groupname:headroom_process_group_memory_used:ratio{#, groupname=~"$groupname"})',
                    decimals=0,
                ),
                number(
                    Text("Running for", "How long the oldest process has run; of several groups the shortest.", "s"),
                    f"min(time() - ({most('namedprocess_namegroup_oldest_start_time_seconds')} > 0))",
                ),
                number(
                    Text(
                        "Descriptors in use",
                        "Of the process that is nearest to its limit of open files.",
                        "percentunit",
                    ),
                    f"max({most('namedprocess_namegroup_worst_fd_ratio')})",
                    decimals=1,
                ),
            ],
        ),
        Row(
            "Memory",
            [
                graph(
                    Text(
                        "Resident memory and budget",
                        "Dashed: the budget, from the configuration. Above it for 30 s, ProcessGroupMemoryOverBudget "
                        "fires.",
                        "bytes",
                    ),
                    [
                        Series(most("namedprocess_namegroup_memory_bytes", ', memtype="resident"'), NAME),
                        Series(most("headroom_process_group_memory_budget_bytes"), NAME + " budget"),
                    ],
                ),
                graph(
                    Text("What it was mapped for", "Memory by class of mapping, shared pages in proportion.", "bytes"),
                    [Series(f"sum by (class) (headroom_process_group_pss_bytes{MINE}}})", "{{class}}")],
                    stacked=True,
                ),
                graph(
                    Text(
                        "Swap by kind",
                        "What of the group is in swap, by class of mapping, shared pages in proportion.",
                        "bytes",
                    ),
                    [Series(f"sum by (class) (headroom_process_group_swap_pss_bytes{MINE}}})", "{{class}}")],
                    THIRD,
                    stacked=True,
                ),
                graph(
                    Text(
                        "Major page faults",
                        "Pages per second that the group had to wait for, because they were on a disk or in swap.",
                        "none",
                    ),
                    [Series(rate("namedprocess_namegroup_major_page_faults_total"), NAME)],
                    THIRD,
                ),
                graph(
                    Text(
                        "Growth in an hour",
                        "Slope of resident memory in the chosen time. Above the dashed line for hours, "
                        "ProcessGroupLeakSuspected fires.",
                        "bytes",
                    ),
                    [
                        Series(
                            "3600 * max by (groupname, instance) (deriv(namedprocess_namegroup_memory_bytes"
                            f'{MINE}, memtype="resident"}}[$__range]))',
                            NAME,
                        ),
                        Series("headroom:leak_growth_warning:bytes", "warning"),
                    ],
                    THIRD,
                    zero=False,
                ),
            ],
        ),
        Row(
            "Processors, files, threads",
            [
                graph(
                    Text("Processor time", "Processors in use, in user code and in the kernel.", "none"),
                    [
                        Series(
                            f"max by (groupname, instance, mode) "
                            f"(rate(namedprocess_namegroup_cpu_seconds_total{MINE}}}[@]))",
                            "{{groupname}} {{mode}} ({{instance}})",
                        )
                    ],
                    THIRD,
                ),
                graph(
                    Text("Read and written", "Bytes per second that the group read from and wrote to disks.", "Bps"),
                    [
                        Series(rate("namedprocess_namegroup_read_bytes_total"), "{{groupname}} read"),
                        Series(rate("namedprocess_namegroup_write_bytes_total"), "{{groupname}} written"),
                    ],
                    THIRD,
                ),
                graph(
                    Text(
                        "Context switches",
                        "Per second: voluntary ones wait for something, others lost the processor.",
                        "none",
                    ),
                    [
                        Series(
                            f"max by (groupname, ctxswitchtype) "
                            f"(rate(namedprocess_namegroup_context_switches_total{MINE}}}[@]))",
                            "{{groupname}} {{ctxswitchtype}}",
                        )
                    ],
                    THIRD,
                ),
                graph(
                    Text("Processes and threads", "How many there are.", "none"),
                    [
                        Series(most("namedprocess_namegroup_num_procs"), "{{groupname}} processes"),
                        Series(most("namedprocess_namegroup_num_threads"), "{{groupname}} threads"),
                    ],
                    THIRD,
                ),
                graph(
                    Text(
                        "What the processes do", "Processes by state. Zombies have ended and are not collected.", "none"
                    ),
                    [
                        Series(
                            f"sum by (state) (max by (groupname, instance, state) "
                            f"(namedprocess_namegroup_states{MINE}}}))",
                            "{{state}}",
                        )
                    ],
                    THIRD,
                    stacked=True,
                ),
                graph(
                    Text(
                        "Open files",
                        "Open file descriptors of the group. How near its worst process is to its limit stands at the "
                        "top.",
                        "none",
                    ),
                    [Series(most("namedprocess_namegroup_open_filedesc"), NAME)],
                    THIRD,
                ),
            ],
        ),
    ],
    [
        Choice(
            "groupname",
            "Process group",
            'label_values(namedprocess_namegroup_num_procs{job=~"$job", instance=~"$instance(:[0-9]+)?"}, groupname)',
            "Groups of processes as the configuration names them.",
        )
    ],
)
