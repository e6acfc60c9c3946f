"""The loop: from memory under pressure to alerts, from alerts to actions, and what came of them."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from colours import CRITICAL, GOOD, NEUTRAL, PENDING, WARNING
from frame import Board, Row
from panel import Column, Series, Size, Text, bars, dots, graph, happened, link, listing, number, states
from promql import by_machine, counted, once

THIRD = Size(8)
BAR = " Each bar is a minute or, over long times, more."
FIRING = 'ALERTS{?, alertstate="firing", alertname!="Watchdog"}'
# The optimizer's own address, which its record is asked at; its counters may stand on the exporter's page alone.
ADDRESS = (
    "topk by (machine) (1, max by (machine, optimizer) ("
    + by_machine('label_replace(up{@, job="headroom-optimizer"} >= bool 0, "optimizer", "$1", "instance", "(.+)")')
    + "))"
)
STANDING = '(time() - ALERTS_FOR_STATE{?, headroom_action!=""})'
GROUP = (link("Process group", "headroom-group", groupname="${__field.labels.groupname}"),)
OWN_RECORD = dashboard.DashboardLink("The optimizer's record (asks for its token)").target_blank(True)
OWN_RECORD = OWN_RECORD.url("$scheme://${__data.fields.Optimizer}/api/v1/actions?limit=100")
RUNS = 'result=~"effective|exhausted|no_gain|failed|interrupted"'


REPORT = dashboard.DashboardLink("What each action gained and cost here").target_blank(True)
REPORT = REPORT.url("$scheme://${__data.fields.Optimizer}/api/v1/actions/report")


def runs(result: str) -> str:
    return "sum(" + once(f"increase(headroom_optimizer_runs_total{{@, {result}}}[$__range])", "result") + ")"


def recorded(expr: str) -> str:
    """The same, with a label `optimizer`: where to ask for the record."""
    return f"({expr}) * on (machine) group_left (optimizer) {ADDRESS}"


def quantile(share: str, metric: str, labels: str) -> str:
    every = once(f"increase({metric}_bucket{{@}}[@])", f"{labels}, le" if labels else "le")
    return f"histogram_quantile({share}, sum by ({labels + ', ' if labels else ''}le) ({every}))"


NOW = Row(
    "",
    [
        number(
            Text(
                "Alerts firing",
                "Alerts that fire now on the chosen machines, without the Watchdog, which always fires.",
                "none",
            ),
            f"count({FIRING}) or vector(0)",
            steps=[(None, GOOD), (1, WARNING)],
            decimals=0,
        ),
        number(
            Text(
                "Memory available",
                "The smallest share of memory that is available on any of the chosen machines. The lines in “Available "
                "memory” show when it is too little.",
                "percentunit",
            ),
            "min(instance:node_memory_available:ratio{@})",
            decimals=0,
        ),
        number(
            Text(
                "Freed and verified",
                "Bytes that actions gave back to the machine in the chosen time, as measured afterwards: the smaller "
                "of the target's fall and the rise of the machine's available memory.",
                "bytes",
            ),
            "sum(" + once("increase(headroom_optimizer_freed_bytes_total{@}[$__range])", "action, target") + ")",
            steps=[(None, GOOD)],
            decimals=1,
        ),
        number(
            Text(
                "Effective runs",
                "Runs that gained what was wanted, as a share of all runs in the chosen time that acted. – : no run "
                "acted.",
                "percentunit",
                "no run acted",
            ),
            f"""{runs('result="effective"')} / ({runs(RUNS)} > 0)""",
            decimals=0,
        ),
        number(
            Text(
                "Journal",
                "Whether the optimizer could write its journal when it last tried. Where it cannot, it takes no alerts "
                "and begins no action.",
                "none",
            ),
            "min(headroom_optimizer_journal_writable{@})",
            states={"0": ("Not writable", CRITICAL), "1": ("Writable", GOOD)},
        ),
        number(
            Text("Actions", "Whether a person holds all actions (`headroom optimizer pause`).", "none"),
            "max(headroom_optimizer_paused{@})",
            states={"0": ("Allowed", GOOD), "1": ("Held", WARNING)},
        ),
    ],
)

MEMORY = Row(
    "Memory",
    [
        graph(
            Text(
                "Available memory",
                "Memory that can be had without swapping (MemAvailable), and all memory. Dashed: where "
                "MachineMemoryAvailableLow (warning) and MachineMemoryAvailableCritical (critical) begin.",
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
            links=(link("Where the memory went", "headroom-memory"),),
        ),
        graph(
            Text(
                "Process groups and their budgets",
                "Resident memory of the process groups that have a budget. Dashed: the budget, from the configuration. "
                "Above it for 30 s, ProcessGroupMemoryOverBudget fires.",
                "bytes",
            ),
            [
                Series(
                    'max without (job, memtype) (namedprocess_namegroup_memory_bytes{@, memtype="resident"})'
                    " and max without (job) (headroom_process_group_memory_budget_bytes{@})",
                    "{{groupname}} ({{instance}})",
                ),
                Series(
                    "max without (job) (headroom_process_group_memory_budget_bytes{@})",
                    "{{groupname}} ({{instance}}) budget",
                ),
            ],
            links=GROUP,
        ),
        graph(
            Text(
                "Budget in use",
                "Resident memory of a process group as a share of its budget. Above 100 %, the optimizer is asked to "
                "give memory back.",
                "percentunit",
            ),
            [
                Series(
                    "instance_groupname:headroom_process_group_memory_used:ratio{#}", "{{groupname}} ({{instance}})"
                ),
                Series("vector(1)", "warning: the whole budget"),
            ],
            THIRD,
            links=GROUP,
        ),
        graph(
            Text(
                "Some tasks wait",
                "Share of the time in which at least one task waited for memory (PSI “some”), over one minute. Dashed: "
                "where MachineMemoryPressureHigh begins.",
                "percentunit",
            ),
            [
                Series("instance:node_memory_pressure_waiting:ratio_rate1m{@}", "{{instance}}"),
                Series("headroom:memory_pressure_waiting_warning:ratio", "warning"),
            ],
            THIRD,
        ),
        graph(
            Text(
                "All tasks stand still",
                "Share of the time in which no task could run for want of memory (PSI “full”), over one minute. "
                "Dashed: where MachineMemoryPressureCritical begins.",
                "percentunit",
            ),
            [
                Series("instance:node_memory_pressure_stalled:ratio_rate1m{@}", "{{instance}}"),
                Series("headroom:memory_pressure_stalled_critical:ratio", "critical"),
            ],
            THIRD,
        ),
    ],
)

ALERTS = Row(
    "From alert to action",
    [
        states(
            Text(
                "Alerts",
                "Every alert that is pending or fires, by its state. The Watchdog fires always: where its bar ends, "
                "the chain of alerts was broken.",
                "none",
            ),
            [
                Series(
                    "max by (alertname, groupname, mountpoint, instance) ("
                    '2 * ALERTS{?, alertstate="firing"} or ALERTS{?, alertstate="pending"})',
                    "{{alertname}} {{groupname}}{{mountpoint}} {{instance}}",
                )
            ],
            {"1": ("Pending", PENDING), "2": ("Firing", CRITICAL)},
            Size(24),
        ),
        bars(
            Text(
                "Alerts received",
                "Alerts in the webhooks that the optimizer accepted, by state, repeats included." + BAR,
                "short",
            ),
            [Series(counted("headroom_optimizer_alerts_total{@}", "status"), "{{status}}")],
        ),
        bars(
            Text(
                "Webhook calls",
                "Calls of the webhook by what became of them. All but “accepted” are alerts that lead to no action."
                + BAR,
                "short",
            ),
            [Series(counted("headroom_optimizer_notifications_total{@}", "result"), "{{result}}")],
        ),
        graph(
            Text("Runs that wait or act", "Runs that wait for their turn or for a guard, and runs that act.", "none"),
            [
                Series("sum(" + once("headroom_optimizer_runs_waiting{@}") + ")", "wait"),
                Series("sum(" + once("headroom_optimizer_runs_active{@}") + ")", "act"),
            ],
            THIRD,
        ),
        bars(
            Text(
                "Runs by result",
                "Ended runs by result. One firing of one alert leads to at most one run." + BAR,
                "short",
            ),
            [Series(counted("headroom_optimizer_runs_total{@}", "result"), "{{result}}")],
        ),
        bars(
            Text("Actions by result", "Actions by what the measurement afterwards said." + BAR, "short"),
            [Series(counted("headroom_optimizer_actions_total{@}", "action, result"), "{{action}}: {{result}}")],
        ),
        bars(
            Text(
                "Guard refusals",
                "Times that a guard said no: not now (cool-down, rate, concurrency) or not at all (protected, too "
                "little to gain, dry run)." + BAR,
                "short",
            ),
            [Series(counted("headroom_optimizer_guard_refusals_total{@}", "guard"), "{{guard}}")],
        ),
    ],
)

RESULT = Row(
    "What came of it",
    [
        bars(
            Text("Bytes freed", "Verified bytes that actions gave back, by action and target." + BAR, "bytes"),
            [
                Series(
                    "sum by (action, target) ("
                    + once("increase(headroom_optimizer_freed_bytes_total{@}[@])", "action, target")
                    + ")",
                    "{{action}}: {{target}}",
                )
            ],
            Size(12),
        ),
        dots(
            Text(
                "Time of actions",
                "Time from an action's intent to its verdict, settling and measuring included: median and 95th "
                "percentile of the actions in each interval.",
                "s",
                "no action ended",
            ),
            [
                Series(quantile("0.5", "headroom_optimizer_action_duration_seconds", "action"), "{{action}} median"),
                Series(quantile("0.95", "headroom_optimizer_action_duration_seconds", "action"), "{{action}} 95 %"),
            ],
            Size(12),
        ),
        bars(
            Text(
                "Harm done",
                "Actions after which something got worse within a minute (pressure, faults, an application's own figure), by "
                "action and target. One that harms is left out there for a while." + BAR,
                "short",
            ),
            [
                Series(
                    counted("headroom_optimizer_harmful_actions_total{@}", "action, target"),
                    "{{action}}: {{target}} harmful",
                )
            ],
            Size(12),
        ),
        states(
            Text(
                "Breakers",
                "Whether an action is left out on a target, because it lately gained nothing or did harm there.",
                "none",
            ),
            [
                Series(
                    once("headroom_optimizer_breaker_open{@}", "action, target"), "{{action}}: {{target}} ({{machine}})"
                )
            ],
            {"0": ("Closed: may act", GOOD), "1": ("Open: left out", WARNING)},
            Size(12),
        ),
        graph(
            Text(
                "From threshold to relief",
                "How long the threshold of an alert that asks for an action has been crossed. Each line rises until "
                "there is relief: its "
                "peak is the time from threshold to relief, `for` included.",
                "s",
                "no such threshold is crossed",
            ),
            [
                Series(
                    f"max by (alertname, groupname, instance) {STANDING}", "{{alertname}} {{groupname}} ({{instance}})"
                )
            ],
            THIRD,
            links=GROUP,
        ),
        number(
            Text(
                "Longest to relief",
                "The longest time from threshold to relief in the chosen time. – : no threshold was crossed, or for "
                "less than one interval.",
                "s",
                "no such threshold was crossed",
            ),
            f"max(max_over_time({STANDING}[$__range:$__interval]))",
            width=4,
        ),
        number(
            Text(
                "Effects that stand",
                "Effects of actions (a priority, a limit) that stand until they are undone.",
                "none",
            ),
            "sum(" + once("headroom_optimizer_effects_standing{@}") + ")",
            decimals=0,
            width=4,
        ),
        dots(
            Text(
                "From stall to first action",
                "Where the optimizer watches the kernel's stall totals itself: time from the beginning of a stall to "
                "the first action, median "
                "and 95th percentile.",
                "s",
                "no rule saw a stall",
            ),
            [
                Series(quantile("0.5", "headroom_optimizer_reaction_seconds", ""), "median"),
                Series(quantile("0.95", "headroom_optimizer_reaction_seconds", ""), "95 %"),
            ],
        ),
        happened(
            Text(
                "Journal: actions",
                "Each action that ended in the chosen time, the newest first. Reasons and readings before and after "
                "are in the record: follow the link.",
                "none",
                "no action ended",
            ),
            recorded("round(" + once("increase(headroom_optimizer_actions_total{@}[@])", "action, result") + ") > 0"),
            [
                Column("Action", label="action"),
                Column("Result", label="result"),
                Column("How many"),
                Column("Optimizer", label="optimizer", links=(OWN_RECORD,)),
                Column("Machine", label="machine"),
            ],
        ),
        happened(
            Text(
                "Journal: bytes that came back",
                "What each action freed in the chosen time, as verified, the newest first.",
                "bytes",
                "no action freed memory",
            ),
            recorded(once("increase(headroom_optimizer_freed_bytes_total{@}[@])", "action, target") + " > 0"),
            [
                Column("Action", label="action"),
                Column("Target", label="target"),
                Column("Freed", unit="bytes"),
                Column("Optimizer", label="optimizer", links=(OWN_RECORD,)),
                Column("Machine", label="machine"),
            ],
        ),
    ],
)

PARTS = Row(
    "The loop itself",
    [
        states(
            Text(
                "Parts of the loop", "Whether Prometheus can read exporter, optimizer, itself and Alertmanager.", "none"
            ),
            [Series("up{@}", "{{job}} {{instance}}")],
            {"0": ("Down", CRITICAL), "1": ("Up", GOOD)},
        ),
        listing(
            Text(
                "Optimizers",
                "Each optimizer and its record, with every run, its reasons and what was measured.",
                "none",
            ),
            [
                Column("Machine", label="machine"),
                Column("Optimizer", label="optimizer", links=(OWN_RECORD, REPORT)),
                Column("Scraped", ADDRESS, "none"),
                Column("Journal writable", once("headroom_optimizer_journal_writable{@}"), "none"),
                Column("Held", once("headroom_optimizer_paused{@}"), "none", steps=[(None, NEUTRAL), (1, WARNING)]),
                Column(
                    "Breakers open",
                    f"sum by (machine) ({once('headroom_optimizer_breaker_open{@}', 'action, target')})",
                    "none",
                    steps=[(None, NEUTRAL), (1, WARNING)],
                ),
                Column("Effects that stand", once("headroom_optimizer_effects_standing{@}"), "none"),
            ],
            "Held",
            Size(12),
        ),
    ],
)

SCHEME = (
    dashboard.CustomVariable("scheme").label("Record by").description("How a browser reaches the optimizer's record.")
)
SCHEME = SCHEME.values("http,https").current(model.VariableOption(text="http", value="http", selected=True))

BOARD = Board(
    "headroom-loop",
    "the-loop",
    "Headroom: the loop",
    "Memory under pressure, the alerts it raises, the actions they lead to, and the bytes that came back.",
    [NOW, MEMORY, ALERTS, RESULT, PARTS],
    more=[SCHEME],
    span="now-30m",
)
