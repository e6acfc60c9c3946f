"""Machine: each resource by its use, by what waits for it, and by its errors."""

from colours import CRITICAL, GOOD, WARNING
from frame import Board, Row
from panel import Series, Size, Text, graph, link, number, states
from promql import REAL_LINK

THIRD = Size(8)
GROUPS = (link("Process group", "headroom-group", groupname="${__field.labels.groupname}"),)
MEMORY = (link("Where the memory went", "headroom-memory"),)

NOW = Row(
    "",
    [
        number(
            Text("Running for", "Since the machine was started; of several machines the shortest.", "s"),
            "min(time() - node_boot_time_seconds{@})",
        ),
        number(
            Text("Processors", "How many processors are online.", "none"),
            'count(node_cpu_seconds_total{@, mode="idle"})',
            decimals=0,
        ),
        number(
            Text("Memory", "All memory that the kernel manages.", "bytes"),
            "sum(node_memory_MemTotal_bytes{@})",
            decimals=1,
        ),
        number(
            Text("Alerts firing", "Alerts about the chosen machines that fire now, without the Watchdog.", "none"),
            'count(ALERTS{#, alertstate="firing", alertname!="Watchdog"}) or vector(0)',
            steps=[(None, GOOD), (1, WARNING)],
            decimals=0,
        ),
        number(
            Text("OOM kills", "Kills for want of memory in the chosen time.", "none"),
            "sum(increase(node_vmstat_oom_kill{@}[$__range]))",
            steps=[(None, GOOD), (1, CRITICAL)],
            decimals=0,
        ),
        number(
            Text(
                "Descriptors in use", "Open files of the machine as a share of what the kernel allows.", "percentunit"
            ),
            "max(instance:node_filefd_used:ratio{@})",
            decimals=1,
        ),
    ],
)

CPU = Row(
    "Processors: use, waiting, taken",
    [
        graph(
            Text(
                "Processors in use",
                "Share of all processors' time in use, over one minute. Dashed: where CpuUsageHigh begins.",
                "percentunit",
            ),
            [
                Series("instance:node_cpu_utilisation:ratio_rate1m{@}", "{{instance}}"),
                Series("headroom:cpu_utilisation_warning:ratio", "warning"),
            ],
            THIRD,
            top=1,
        ),
        graph(
            Text(
                "Processor time by kind",
                "What the processors did, as a share of all their time; what is missing to the top they were idle.",
                "percentunit",
            ),
            [
                Series(
                    'avg by (mode) (sum by (instance, cpu, mode) (rate(node_cpu_seconds_total{@, mode!="idle"}[@])))',
                    "{{mode}}",
                )
            ],
            THIRD,
            stacked=True,
            top=1,
        ),
        graph(
            Text(
                "Tasks wait for a processor",
                "Share of the time in which a task that could run had no processor (PSI “some”).",
                "percentunit",
            ),
            [Series("rate(node_pressure_cpu_waiting_seconds_total{@}[@])", "{{instance}}")],
            THIRD,
        ),
        graph(
            Text(
                "Load for each processor",
                "Tasks that run or wait, for each processor. Above 1 some wait; on Linux those that wait for a disk "
                "count too.",
                "none",
            ),
            [
                Series(
                    'sum by (instance) (node_load1{@}) / count by (instance) (node_cpu_seconds_total{@, mode="idle"})',
                    "{{instance}}",
                )
            ],
            THIRD,
        ),
        graph(
            Text(
                "Taken by the host",
                "Share of the time that other guests of the host had. Dashed: where CpuStealHigh begins.",
                "percentunit",
            ),
            [
                Series("instance:node_cpu_steal:ratio_rate5m{@}", "{{instance}}"),
                Series("headroom:cpu_steal_warning:ratio", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Tasks now", "Tasks that run or could, and tasks that cannot go on before a disk has answered.", "none"
            ),
            [
                Series("node_procs_running{@}", "{{instance}} running"),
                Series("node_procs_blocked{@}", "{{instance}} blocked"),
            ],
            THIRD,
        ),
    ],
)

RAM = Row(
    "Memory: use, waiting, kills",
    [
        graph(
            Text(
                "Available memory",
                "Memory that can be had without swapping (MemAvailable), and all memory. Dashed: where "
                "MachineMemoryAvailableLow and "
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
            THIRD,
            links=MEMORY,
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
            links=MEMORY,
        ),
        graph(
            Text(
                "Pages to and from swap",
                "Pages per second that go to swap or come back. Both above the dashed line for a minute: "
                "SwapThrashing.",
                "none",
            ),
            [
                Series("instance:node_swap_in:pages_rate1m{@}", "{{instance}} in"),
                Series("instance:node_swap_out:pages_rate1m{@}", "{{instance}} out"),
                Series("headroom:swap_in_warning:pages", "warning"),
            ],
            THIRD,
            links=MEMORY,
        ),
    ],
)

DISKS = Row(
    "Disks and file systems",
    [
        graph(
            Text(
                "Disks busy",
                "Share of the time in which a disk had something to do. A disk that takes many requests at once may be "
                "at 100 % and have room.",
                "percentunit",
            ),
            [Series("instance_device:node_disk_busy:ratio_rate1m{@}", "{{device}} ({{instance}})")],
            THIRD,
            top=1,
        ),
        graph(
            Text(
                "Time of a read or write",
                "Mean over five minutes, where there is more than one operation a second. Dashed: where "
                "DiskLatencyHigh begins.",
                "s",
                "the disks rest",
            ),
            [
                Series("instance_device:node_disk_operation:mean_seconds5m{@}", "{{device}} ({{instance}})"),
                Series("headroom:disk_latency_warning:seconds", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Tasks wait for a disk",
                "Share of the time in which some task waited, and in which none could run. Dashed: where "
                "IoPressureHigh begins.",
                "percentunit",
            ),
            [
                Series("rate(node_pressure_io_waiting_seconds_total{@}[@])", "{{instance}} some wait"),
                Series("instance:node_io_pressure_stalled:ratio_rate5m{@}", "{{instance}} all stand"),
                Series("headroom:io_pressure_stalled_warning:ratio", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text("Read and written", "Bytes per second that disks read and wrote.", "Bps"),
            [
                Series("rate(node_disk_read_bytes_total{@}[@])", "{{device}} read ({{instance}})"),
                Series("rate(node_disk_written_bytes_total{@}[@])", "{{device}} written ({{instance}})"),
            ],
            THIRD,
        ),
        graph(
            Text("Requests under way", "Mean number of requests that a disk has at once.", "none"),
            [Series("rate(node_disk_io_time_weighted_seconds_total{@}[@])", "{{device}} ({{instance}})")],
            THIRD,
        ),
        graph(
            Text("Operations", "Reads and writes per second.", "iops"),
            [
                Series("rate(node_disk_reads_completed_total{@}[@])", "{{device}} read ({{instance}})"),
                Series("rate(node_disk_writes_completed_total{@}[@])", "{{device}} written ({{instance}})"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "File systems in use",
                "Share in use, as df shows it. Dashed: where FilesystemAlmostFull begins.",
                "percentunit",
            ),
            [
                Series("instance_mountpoint:node_filesystem_used:ratio{@}", "{{mountpoint}} ({{instance}})"),
                Series("headroom:filesystem_used_critical:ratio", "critical"),
            ],
            THIRD,
            top=1,
        ),
        graph(
            Text(
                "Inodes in use",
                "Share of the files that a file system can hold. Dashed: where FilesystemInodesAlmostUsedUp begins.",
                "percentunit",
            ),
            [
                Series("instance_mountpoint:node_filesystem_files_used:ratio{@}", "{{mountpoint}} ({{instance}})"),
                Series("headroom:filesystem_files_used_warning:ratio", "warning"),
            ],
            THIRD,
            top=1,
        ),
        graph(
            Text(
                "File systems in four hours",
                "Bytes available in four hours, if it goes on as in the chosen time. Below 0 it is full before.",
                "bytes",
            ),
            [
                Series(
                    "predict_linear(node_filesystem_avail_bytes{@}[$__range], 4 * 3600) and "
                    "instance_mountpoint:node_filesystem_used:ratio{@}",
                    "{{mountpoint}} ({{instance}})",
                )
            ],
            THIRD,
            zero=False,
        ),
    ],
)

NET = Row(
    "Network",
    [
        graph(
            Text("Received and sent", "Bytes per second. Virtual interfaces are left out.", "Bps"),
            [
                Series(
                    f"rate(node_network_receive_bytes_total{{@, {REAL_LINK}}}[@])", "{{device}} received ({{instance}})"
                ),
                Series(
                    f"rate(node_network_transmit_bytes_total{{@, {REAL_LINK}}}[@])", "{{device}} sent ({{instance}})"
                ),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Errors and drops",
                "Share of the packets with errors, and dropped, where there are more than ten a second. Dashed: where "
                "NetworkErrorsHigh and "
                "NetworkDropsHigh begin.",
                "percentunit",
                "no interface has more than ten packets a second",
            ),
            [
                Series("instance_device:node_network_errors:ratio_rate5m{@}", "{{device}} with errors ({{instance}})"),
                Series("instance_device:node_network_dropped:ratio_rate5m{@}", "{{device}} dropped ({{instance}})"),
                Series("headroom:network_errors_warning:ratio", "warning"),
                Series("headroom:network_drops_warning:ratio", "warning for drops"),
            ],
            THIRD,
        ),
        states(
            Text("Links", "Whether an interface has a link. Virtual interfaces are left out.", "none"),
            [Series(f"node_network_carrier{{@, {REAL_LINK}}}", "{{device}} {{instance}}")],
            {"0": ("No link", WARNING), "1": ("Link", GOOD)},
            THIRD,
        ),
        graph(
            Text("TCP connections", "Connections that are established, and that wait to be forgotten.", "none"),
            [
                Series("node_netstat_Tcp_CurrEstab{@}", "{{instance}} established"),
                Series("node_sockstat_TCP_tw{@}", "{{instance}} closing"),
            ],
            THIRD,
        ),
        graph(
            Text("TCP sent again", "Share of the segments that had to be sent again.", "percentunit"),
            [
                Series(
                    "rate(node_netstat_Tcp_RetransSegs{@}[@]) / (rate(node_netstat_Tcp_OutSegs{@}[@]) > 0)",
                    "{{instance}}",
                )
            ],
            THIRD,
        ),
        graph(
            Text(
                "Tracked connections",
                "Share of the table of tracked connections in use. Dashed: where ConntrackTableAlmostFull begins.",
                "percentunit",
            ),
            [
                Series("instance:node_nf_conntrack_used:ratio{@}", "{{instance}}"),
                Series("headroom:conntrack_used_warning:ratio", "warning"),
            ],
            THIRD,
        ),
    ],
)

REST = Row(
    "Kernel: descriptors, clock, process groups",
    [
        graph(
            Text(
                "File descriptors",
                "Share in use of what the kernel allows. Dashed: where FileDescriptorsAlmostUsedUp begins.",
                "percentunit",
            ),
            [
                Series("instance:node_filefd_used:ratio{@}", "{{instance}}"),
                Series("headroom:descriptors_used_warning:ratio", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "Clock",
                "How far the clock is off, where it is synchronised. Beyond the dashed line, to either side, "
                "ClockSkewed begins.",
                "s",
            ),
            [
                Series("node_timex_offset_seconds{@}", "{{instance}}"),
                Series("headroom:clock_offset_warning:seconds", "warning"),
            ],
            THIRD,
            zero=False,
        ),
        graph(
            Text(
                "Processor time of process groups",
                "Processors in use by the ten busiest of the named process groups.",
                "none",
            ),
            [
                Series(
                    "topk(10, sum by (groupname, instance) (rate(namedprocess_namegroup_cpu_seconds_total{@}[@])))",
                    "{{groupname}} ({{instance}})",
                )
            ],
            THIRD,
            links=GROUPS,
        ),
    ],
)

BOARD = Board(
    "headroom-machine",
    "machine",
    "Headroom: machine",
    "One machine, resource by resource: how much is in use, what waits for it, and what goes wrong.",
    [NOW, CPU, RAM, DISKS, NET, REST],
)
