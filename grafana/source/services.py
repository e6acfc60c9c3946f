"""Services: rate, errors, duration and error budgets of applications, from the rules that `headroom rules generate` writes."""

from colours import CRITICAL, GOOD, NEUTRAL, WARNING
from frame import Board, Choice, Row
from panel import Column, Series, Size, Text, graph, link, listing, number

THIRD = Size(8)
MINE = '{?, service=~"$service"'
NAME = "{{service}}"
BOTH = "{{service}} {{objective}}"
NONE = "the configuration has no `services`, or their rules are not loaded (docs/slo.md)"
GROUP = (link("Process group", "headroom-group", groupname="${__field.labels.service}"),)
BURNING = ((None, NEUTRAL), (1, WARNING), (14.4, CRITICAL))
LEFT = ((None, CRITICAL), (0, WARNING), (0.25, GOOD))


def one(metric: str, more: str = "") -> str:
    """One series for each service: several servers may record the same."""
    return f"max by (service) ({metric}{MINE}{more}}})"


def each(metric: str, more: str = "") -> str:
    """One series for each objective of each service."""
    return f"max by (service, objective) ({metric}{MINE}{more}}})"


def burn(window: str) -> str:
    """How many times as fast as it may the budget is used up."""
    return f"{each('service:slo_bad:ratio_rate' + window)} / {each('service:slo_budget:ratio')}"


def quantile(objective: str) -> list[Series]:
    """A latency, and what it should be."""
    more = f', objective="{objective}"'
    return [
        Series(one("service:slo_latency:seconds5m", more), NAME),
        Series(one("service:slo_latency_target:seconds", more), NAME + " target, limit"),
        Series(one("service:slo_latency_critical:seconds", more), NAME + " critical"),
    ]


BOARD = Board(
    "headroom-services",
    "services",
    "Headroom: applications and objectives",
    "How services do by what was promised of them: requests, failures, latencies, error budgets and how fast they burn. Empty where the configuration names no `services`, or the rules that `headroom rules generate` writes are not loaded.",
    [
        Row(
            "",
            [
                number(
                    Text("Services", "How many of the chosen services have objectives.", "none", NONE),
                    f"count({one('service:slo_throughput_target:rate')})",
                    decimals=0,
                ),
                number(
                    Text("Requests", "Of all chosen services, per second.", "reqps", NONE),
                    f"sum({one('service:slo_requests:rate5m')})",
                    decimals=1,
                ),
                number(
                    Text(
                        "Objectives missed",
                        "How many are missed now, over five minutes: the budget burns faster than it lasts 30 days.",
                        "none",
                        NONE + ", or there are no requests",
                    ),
                    f"sum(({burn('5m')}) > bool 1)",
                    decimals=0,
                    steps=((None, GOOD), (1, WARNING)),
                ),
                number(
                    Text(
                        "Fastest burn",
                        "Burn rate of an hour; of several objectives the largest. 1 uses the budget up in exactly 30 "
                        "days, 14.4 a fiftieth of it in an hour.",
                        "none",
                        NONE + ", or there are no requests",
                    ),
                    f"max({burn('1h')})",
                    decimals=1,
                    steps=BURNING,
                ),
                number(
                    Text(
                        "Least budget left",
                        "Share of the error budget of 30 days that is left; of several objectives the least.",
                        "percentunit",
                        NONE + ", or there are no requests",
                    ),
                    f"min({each('service:slo_budget_left:ratio')})",
                    decimals=0,
                    steps=LEFT,
                ),
                number(
                    Text("Alerts", "Alerts of the chosen services that fire.", "none"),
                    'count(ALERTS{?, alertstate="firing", service=~"$service", service!=""}) or vector(0)',
                    decimals=0,
                    steps=((None, GOOD), (1, WARNING)),
                ),
            ],
        ),
        Row(
            "Objectives",
            [
                listing(
                    Text(
                        "Where each objective stands",
                        "Burn rates by window, and what is left of 30 days' budget. Two windows together make an alert: "
                        "14.4 in 1h and 5m, 6 in 6h and 30m, 3 in 1d and 2h, 1 in 3d and 6h.",
                        "none",
                        NONE + ", or there are no requests",
                    ),
                    [
                        Column("Service", label="service"),
                        Column("Objective", label="objective"),
                        Column("5 min", burn("5m"), "none", steps=BURNING),
                        Column("1 hour", burn("1h"), "none", steps=BURNING),
                        Column("6 hours", burn("6h"), "none", steps=((None, NEUTRAL), (1, WARNING), (6, CRITICAL))),
                        Column("1 day", burn("1d"), "none", steps=((None, NEUTRAL), (1, WARNING), (3, CRITICAL))),
                        Column("3 days", burn("3d"), "none", steps=((None, NEUTRAL), (1, WARNING))),
                        Column("Budget left", each("service:slo_budget_left:ratio"), "percentunit", steps=LEFT),
                    ],
                    "1 hour",
                )
            ],
        ),
        Row(
            "Rate, errors, duration",
            [
                graph(
                    Text(
                        "Requests and their target",
                        "Per second, over five minutes. Below the critical line for ten minutes, ServiceThroughputLow "
                        "fires.",
                        "reqps",
                        NONE,
                    ),
                    [
                        Series(one("service:slo_requests:rate5m"), NAME),
                        Series(one("service:slo_throughput_target:rate"), NAME + " target, limit"),
                        Series(one("service:slo_throughput_critical:rate"), NAME + " critical"),
                    ],
                ),
                graph(
                    Text(
                        "Share of failures",
                        "Over five minutes. Above the lines for five minutes, ServiceErrorRateHigh and "
                        "ServiceErrorRateCritical fire.",
                        "percentunit",
                        "no service says what a failure is, or there are no requests",
                    ),
                    [
                        Series(one("service:slo_bad:ratio_rate5m", ', objective="errors"'), NAME),
                        Series(one("service:slo_error_rate_warning:ratio"), NAME + " warning"),
                        Series(one("service:slo_error_rate_critical:ratio"), NAME + " critical"),
                    ],
                ),
                graph(
                    Text(
                        "Median latency",
                        "Half of the requests of five minutes took at most this.",
                        "s",
                        "no service says how long requests take, or there are none",
                    ),
                    quantile("p50"),
                    THIRD,
                ),
                graph(
                    Text(
                        "95th percentile",
                        "95 of 100 requests of five minutes took at most this.",
                        "s",
                        "no service says how long requests take, or there are none",
                    ),
                    quantile("p95"),
                    THIRD,
                ),
                graph(
                    Text(
                        "99th percentile",
                        "99 of 100 requests of five minutes took at most this.",
                        "s",
                        "no service says how long requests take, or there are none",
                    ),
                    quantile("p99"),
                    THIRD,
                ),
            ],
        ),
        Row(
            "Error budgets",
            [
                graph(
                    Text(
                        "What is left of 30 days",
                        "Share of each objective's budget; below 0 it is used up and more. Windows begin when the rules "
                        "are loaded.",
                        "percentunit",
                        NONE + ", or there are no requests",
                    ),
                    [Series(each("service:slo_budget_left:ratio"), BOTH)],
                    THIRD,
                    zero=False,
                    top=1,
                ),
                graph(
                    Text(
                        "Burn rate of an hour",
                        "Above 14.4, here and over five minutes, somebody is woken (ServiceErrorBudgetBurnsFast, "
                        "ServiceLatencyBudgetBurnsFast).",
                        "none",
                        NONE + ", or there are no requests",
                    ),
                    [Series(burn("1h"), BOTH), Series("vector(14.4)", "critical")],
                    THIRD,
                ),
                graph(
                    Text(
                        "Burn rate of three days",
                        "Above 1, here and over six hours, the budget will not last "
                        "(ServiceErrorBudgetBurnsSlowly, ServiceLatencyBudgetBurnsSlowly).",
                        "none",
                        NONE + ", or there are no requests",
                    ),
                    [Series(burn("3d"), BOTH), Series("vector(1)", "warning")],
                    THIRD,
                ),
            ],
        ),
        Row(
            "Memory",
            [
                graph(
                    Text(
                        "Memory and budget",
                        "What the service's process group or control group holds; of several machines, that with most.",
                        "bytes",
                        "no service has a process group or a control group",
                    ),
                    [
                        Series(one("service:slo_memory:bytes"), NAME),
                        Series(one("service:slo_memory_budget:bytes"), NAME + " budget"),
                    ],
                    Size(24),
                    links=GROUP,
                ),
            ],
        ),
    ],
    [
        Choice(
            "service",
            "Service",
            'label_values(service:slo_throughput_target:rate{instance=~"$instance(:[0-9]+)?|"}, service)',
            "Services as the configuration names them.",
        )
    ],
)
