#!/bin/sh
# Checks rules, Alertmanager's routes, runbooks and dashboards, without a running stack. One line for each check, and
# what was found below it. Needs promtool, amtool, Alertmanager and python3-yaml; Grafana's typed SDK
# comes from PyPI into target/.
# Exit status: 0 fine, 1 a finding, 2 something that is needed is not installed.
set -u
cd "$(dirname "$0")/.." || exit 2

for program in promtool amtool python3; do
    if ! command -v "$program" >/dev/null; then
        echo "tests/rules.sh: no $program (apt-get install prometheus prometheus-alertmanager python3 python3-yaml)" >&2
        exit 2
    fi
done
if ! python3 -c 'import yaml' 2>/dev/null; then
    echo "tests/rules.sh: python3 has no module yaml (apt-get install python3-yaml)" >&2
    exit 2
fi

# shellcheck source=tests/check.sh
. tests/check.sh

# route RECEIVERS LABEL=VALUE…: the receivers that an alert with these labels reaches, in this order.
route() {
    receivers=$1
    shift
    check "route $* -> $receivers" amtool config routes test \
        --config.file=prometheus/alertmanager.yml --verify.receivers="$receivers" "$@"
}

check "promtool check config" promtool check config prometheus/prometheus.yml
check "promtool check rules" promtool check rules prometheus/rules/*.yml prometheus/services/*.rules.yml
check "promtool test rules" promtool test rules prometheus/tests/*.yml
check "each alert is complete and has a runbook" python3 tests/check_rules.py alerts
check "each alert fires, waits, ends and stays quiet in a test" python3 tests/check_rules.py tests
check "amtool check-config" amtool check-config prometheus/alertmanager.yml

route headroom-optimizer,humans alertname=ProcessGroupMemoryOverBudget severity=warning resource=memory \
    headroom_action=reclaim instance=web1:9177 groupname=cache
route headroom-optimizer,humans alertname=Own severity=critical headroom_action=anything
route watchdog alertname=Watchdog severity=none resource=headroom
route humans alertname=MachineMemoryAvailableCritical severity=critical resource=memory instance=web1:9177
route humans alertname=CpuUsageHigh severity=warning resource=cpu instance=web1:9177
route humans alertname=FilesystemFullWithinMonth severity=info resource=filesystem instance=web1:9177
route humans alertname=OomKillSeen severity=warning resource=memory instance=web1:9177
route humans alertname=HeadroomOptimizerDown severity=warning resource=headroom
route humans alertname=Foreign
route humans alertname=Foreign headroom_action=

check "what mutes what, and nothing mutes headroom_action" python3 tests/check_rules.py inhibition
check "Grafana's provisioning" python3 tests/check_rules.py grafana
check "dashboards and queries of runbooks" python3 tests/dashboards.py
# shellcheck disable=SC2046 # a list of packages
venv=$(scripts/python-venv.sh mypy $(cat grafana/source/requirements.txt))
case $? in
    0)
        check "types of grafana/source" "$venv/bin/mypy" --strict --cache-dir "$venv/mypy-cache" grafana/source/generate.py
        check "dashboards are grafana/source's output, in the form of Grafana's SDK" \
            "$venv/bin/python" -B tests/dashboards_typed.py
        ;;
    3) echo "SKIPPED: dashboards were NOT held against grafana/source and Grafana's SDK, for pip cannot reach an index" ;;
    *)
        failed=1
        echo "FAIL  Grafana's SDK cannot be installed"
        ;;
esac

exit "$failed"
