#!/usr/bin/env python3
"""Writes grafana/dashboards from the modules beside it, with Grafana's typed SDK (grafana-foundation-sdk on PyPI).

generate.py          writes the files
generate.py --check  compares instead: exit status 1 and the names of those that are not its output
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import benchmarks
import container
import fleet
import frame
import group
import leaks
import loop
import machine
import memory
import own
import services

TO = pathlib.Path(__file__).resolve().parent.parent / "dashboards"
BOARDS = [board.BOARD for board in (fleet, machine, memory, group, container, services, leaks, loop, benchmarks, own)]


def outputs() -> dict[str, str]:
    """Each file's name and text."""
    made = {}
    for board in BOARDS:
        encoded = json.dumps(frame.assembled(board), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        made[f"{board.file}.json"] = encoded + "\n"
    return made


def differences(made: dict[str, str]) -> list[str]:
    """Names of files that are missing, other than the output, or not of it."""
    there = {path.name: path.read_text() for path in TO.glob("*.json")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    made = outputs()
    different = differences(made)
    if arguments:
        for name in different:
            print(f"grafana/dashboards/{name} is not what grafana/source/generate.py makes: run it")
        return 1 if different else 0
    for name in different:
        if name in made:
            (TO / name).write_text(made[name])
        else:
            (TO / name).unlink()
        print(f"{'wrote' if name in made else 'removed'} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
