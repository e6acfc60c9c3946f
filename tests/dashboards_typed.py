#!/usr/bin/env python3
"""Holds grafana/dashboards against Grafana's typed SDK. Run by tests/rules.sh with the Python that has it.

tests/dashboards_typed.py   each file is what grafana/source makes, and says nothing that the SDK's model does not know

Exit status: 0 fine, 1 a finding.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "grafana/source"))
import generate  # noqa: E402

# What the data source for Prometheus reads of an annotation, and the SDK's model does not have.
OF_PROMETHEUS = {"titleFormat", "textFormat", "tagKeys", "step"}


def unknown(written, understood, where):
    """What stands in the file and is gone, or another, after the SDK has read it."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            if key in OF_PROMETHEUS and where.startswith("annotations.list"):
                continue
            if key not in understood:
                yield f"{where}.{key} is not of the model"
            else:
                yield from unknown(value, understood[key], f"{where}.{key}".lstrip("."))
    elif isinstance(written, list) and isinstance(understood, list) and len(written) == len(understood):
        for index, (one, other) in enumerate(zip(written, understood)):
            yield from unknown(one, other, f"{where}[{index}]")
    elif written != understood:
        yield f"{where}: {written!r} is {understood!r} for the model"


def findings():
    for name in generate.differences(generate.outputs()):
        yield f"grafana/dashboards/{name} is not what grafana/source/generate.py makes: run it"
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        written = json.loads(path.read_text())
        try:
            understood = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            yield f"{path.name}: the SDK cannot read it: {type(e).__name__}: {e}"
            continue
        for what in unknown(written, understood, ""):
            yield f"{path.name}: {what}"


def main():
    plugins.register_default_plugins()
    found = list(findings())
    for what in found:
        print(f"FINDING {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
