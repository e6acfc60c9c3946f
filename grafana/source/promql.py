"""How the dashboards' queries are written: what every selector has in common, and the thresholds of the alerts."""

import re

_INSTANCE = 'instance=~"$instance(:[0-9]+)?"'
_OR_NONE = 'instance=~"$instance(:[0-9]+)?|"'
_SELECTOR = 'job=~"$job", ' + _INSTANCE
# What prometheus/rules/devices.yml takes for a real network interface.
REAL_LINK = 'device!~"lo|veth.*|docker.*|br-.*|cni.*|flannel.*|cali.*|virbr.*|vnet.*|tap.*|tun.*"'


def promql(text: str) -> str:
    """Writes out the abbreviations: {@} is the chosen jobs and machines, {#} the chosen machines alone (of series that
    have lost their job), {?} besides what belongs to no machine, [@] the interval that a rate wants. More label matchers
    may follow: {@, mode="idle"}."""
    for short, whole in (
        ("{@", "{" + _SELECTOR),
        ("{#", "{" + _INSTANCE),
        ("{?", "{" + _OR_NONE),
        ("[@]", "[$__rate_interval]"),
    ):
        text = text.replace(short, whole)
    return re.sub(r"\s*\n\s*", " ", text.strip())


def threshold(name: str) -> str:
    """A threshold of prometheus/rules/thresholds.yml, to calculate with."""
    return f"scalar(headroom:{name})"


def by_machine(expr: str) -> str:
    """Gives the series a label `machine`: the host's name without a port, as the variable $instance has it."""
    return f'label_replace({expr}, "machine", "$1", "instance", "(.+?)(:[0-9]+)?")'


def once(expr: str, labels: str = "") -> str:
    """Counts what a machine says once: under `headroom up` the pages of exporter and optimizer are one and the same, so
    a Prometheus that scrapes both has each series under two jobs and two ports. `labels` are all labels that the series
    have besides."""
    besides = f", {labels}" if labels and labels != "machine" else ""
    return f"max by (machine{besides}) ({by_machine(expr)})"


def counted(metric: str, labels: str, by: str = "") -> str:
    """How often something happened in each interval, as whole numbers, by some of the labels (or by all)."""
    return f"round(sum by ({by or labels}) ({once(f'increase({metric}[@])', labels)}))"
