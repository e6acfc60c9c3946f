"""Load tests and benchmarks: the results of runs beside what the machine did meanwhile, and what became worse."""

from colours import GOOD, NEUTRAL, WARNING
from frame import Annotation, Board, Choice, Row
from panel import Column, Panel, Series, Size, Text, graph, link, listing, number, states
from promql import once

THIRD = Size(8)
NONE = "no run is recorded (docs/benchmarks.md)"
NO_BASELINE = NONE + ", or none has a baseline yet"
MINE = '{@, benchmark=~"$benchmark"'
BY = "max by (benchmark, measure, instance)"
VALUE = f"{BY} (headroom_benchmark_value{MINE}}})"
BASELINE = f"{BY} (headroom_benchmark_baseline_value{MINE}}})"
WORSE = f"{BY} (headroom_benchmark_worse_ratio{MINE}}})"
TOLERANCE = (
    'max by (benchmark, instance) (instance_benchmark:headroom_benchmark_tolerance:ratio{#, benchmark=~"$benchmark"})'
)
# 1 is exactly what may be.
OF_TOLERANCE = f"{WORSE} / on (benchmark, instance) group_left () {TOLERANCE}"
LAST_RUN = f"max by (benchmark, instance) (headroom_benchmark_last_run_timestamp_seconds{MINE}}})"
NAME = "{{benchmark}} {{measure}} ({{instance}})"
MACHINE = (link("Machine", "headroom-machine"),)


def results(title: str, description: str, unit: str, measures: str, empty: str) -> Panel:
    """The results whose measures end in a unit, as steps from run to run, and their baselines."""
    matching = f"{MINE}, measure{measures}}}"
    return graph(
        Text(title, description + " Dashed: the baseline.", unit, f"{NONE}, or none has {empty}"),
        [
            Series(f"{BY} (headroom_benchmark_value{matching})", NAME),
            Series(f"{BY} (headroom_benchmark_baseline_value{matching})", NAME + " limit"),
        ],
    )


BOARD = Board(
    "headroom-benchmarks",
    "benchmarks",
    "Headroom: load tests & benchmarks",
    "Results that `headroom benchmark record` left, held against their baselines, beside what the machine did meanwhile. Empty where no run was recorded.",
    [
        Row(
            "",
            [
                number(
                    Text("Benchmarks", "How many of the chosen benchmarks have a run.", "none", NONE),
                    f"count({LAST_RUN})",
                    decimals=0,
                    width=6,
                ),
                number(
                    Text(
                        "Results that regressed",
                        "How many results are worse than their baseline by more than the tolerance.",
                        "none",
                        NO_BASELINE,
                    ),
                    f"sum({OF_TOLERANCE} > bool 1)",
                    steps=((None, GOOD), (1, WARNING)),
                    decimals=0,
                    width=6,
                ),
                number(
                    Text(
                        "Worst of its tolerance",
                        "The result that is worst: how much of what it may be worse it is worse. Above 100 % it regressed.",
                        "percentunit",
                        NO_BASELINE,
                    ),
                    f"max({OF_TOLERANCE})",
                    steps=((None, NEUTRAL), (1, WARNING)),
                    decimals=0,
                    width=6,
                ),
                number(
                    Text("Since the last run", "Time since the newest of the chosen benchmarks' runs.", "s", NONE),
                    f"time() - max({LAST_RUN})",
                    decimals=0,
                    width=6,
                ),
            ],
        ),
        Row(
            "Results",
            [
                listing(
                    Text(
                        "Last runs",
                        "Each result of each last run, in the unit that the measure ends in, beside its baseline: an "
                        "accepted run, or the median of the earlier ones. Worse is above 0, whichever way is better.",
                        "none",
                        NONE,
                    ),
                    [
                        Column("Benchmark", label="benchmark"),
                        Column("Measure", label="measure"),
                        Column("Machine", label="instance", links=MACHINE),
                        Column("Last", VALUE, "short"),
                        Column("Baseline", BASELINE, "short"),
                        Column("Worse by", WORSE, "percentunit"),
                        Column(
                            "Of the tolerance",
                            OF_TOLERANCE,
                            "percentunit",
                            steps=((None, NEUTRAL), (1, WARNING)),
                        ),
                    ],
                    "Of the tolerance",
                    Size(24, 9),
                ),
                graph(
                    Text(
                        "Change against the baseline",
                        "By what share each result is worse; below 0 it is better. Above the dashed line for a minute, "
                        "BenchmarkRegressed fires.",
                        "percentunit",
                        NO_BASELINE,
                    ),
                    [Series(WORSE, NAME), Series(TOLERANCE, "{{benchmark}} ({{instance}}) warning")],
                    zero=False,
                    links=MACHINE,
                ),
                states(
                    Text(
                        "Regressions",
                        "Whether each result was worse than its baseline by more than the tolerance, over time.",
                        "none",
                        NO_BASELINE,
                    ),
                    [Series(f"{OF_TOLERANCE} > bool 1", NAME)],
                    {"0": ("As it should be", GOOD), "1": ("Regressed", WARNING)},
                ),
                results("Times", "Results in seconds.", "s", '=~".*_seconds"', "a measure that ends in _seconds"),
                results(
                    "Throughput",
                    "Results per second.",
                    "ops",
                    '=~".*_per_second"',
                    "a measure that ends in _per_second",
                ),
                results("Sizes", "Results in bytes.", "bytes", '=~".*_bytes"', "a measure that ends in _bytes"),
                results(
                    "Other results",
                    "Shares, counts, and whatever else was recorded.",
                    "short",
                    '!~".*_(seconds|per_second|bytes)"',
                    "another measure",
                ),
            ],
        ),
        Row(
            "The machine meanwhile",
            [
                graph(
                    Text(
                        "Processors in use",
                        "Share of all processors' time in use, over one minute. Dashed: where CpuUsageHigh begins. A "
                        "result of a machine that was busy with something else says little.",
                        "percentunit",
                    ),
                    [
                        Series("instance:node_cpu_utilisation:ratio_rate1m{@}", "{{instance}}"),
                        Series("headroom:cpu_utilisation_warning:ratio", "warning"),
                    ],
                    THIRD,
                    top=1,
                    links=MACHINE,
                ),
                graph(
                    Text(
                        "Memory available",
                        "Share of the memory that is still available. Dashed: where MachineMemoryAvailableLow and "
                        "MachineMemoryAvailableCritical begin.",
                        "percentunit",
                    ),
                    [
                        Series("instance:node_memory_available:ratio{@}", "{{instance}}"),
                        Series("headroom:memory_available_warning:ratio", "warning"),
                        Series("headroom:memory_available_critical:ratio", "critical"),
                    ],
                    THIRD,
                    top=1,
                    links=MACHINE,
                ),
                graph(
                    Text(
                        "Waiting",
                        "Share of the time in which some task waited for a processor, for memory, for a disk (PSI "
                        "“some”).",
                        "percentunit",
                    ),
                    [
                        Series("rate(node_pressure_cpu_waiting_seconds_total{@}[@])", "processor ({{instance}})"),
                        Series("rate(node_pressure_memory_waiting_seconds_total{@}[@])", "memory ({{instance}})"),
                        Series("rate(node_pressure_io_waiting_seconds_total{@}[@])", "disk ({{instance}})"),
                    ],
                    THIRD,
                    links=MACHINE,
                ),
            ],
        ),
    ],
    [
        Choice(
            "benchmark",
            "Benchmark",
            'label_values(headroom_benchmark_last_run_timestamp_seconds{job=~"$job", instance=~"$instance(:[0-9]+)?"}, benchmark)',
            "Benchmarks as they were recorded.",
        )
    ],
    span="now-6h",
    annotations=[
        Annotation(
            "Benchmark runs",
            NEUTRAL,
            once(
                'changes(headroom_benchmark_last_run_timestamp_seconds{@, benchmark=~"$benchmark"}[@])',
                "benchmark",
            )
            + " > 0",
            "A run of {{benchmark}} was recorded",
            "benchmark,machine",
        )
    ],
)
