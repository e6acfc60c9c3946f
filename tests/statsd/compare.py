"""Gives the same datagrams to Headroom and to statsd_exporter, and compares what both show.

usage: compare.py HEADROOM_UDP HEADROOM_PAGE EXPORTER_UDP EXPORTER_PAGE
"""

import math
import re
import socket
import sys
import time
import urllib.request

from packets import packets

# What each says of itself.
OWN = re.compile(r"(headroom|statsd_exporter|statsd_metric_mapper|go|process|promhttp|node)_")
SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


def page(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        return answer.read().decode()


def samples(text):
    """Name and labels of each sample, without the job that Headroom adds, and its value."""
    out = {}
    for line in text.splitlines():
        if not line or line.startswith("#") or OWN.match(line):
            continue
        name, labels, value = SAMPLE.match(line).groups()
        pairs = dict(LABEL.findall(labels or ""))
        pairs.pop("job", None)
        if "le" in pairs:
            pairs["le"] = str(float(pairs["le"]))
        out[name, tuple(sorted(pairs.items()))] = float(value)
    return out


def settled(address, of):
    """What a page shows once it shows the last datagram and has not changed for a moment."""
    before, deadline = None, time.monotonic() + 60
    while time.monotonic() < deadline:
        now = samples(page(address))
        # As text, in which NaN is equal to itself.
        if str(now) == str(before) and any(name == "the_last" for name, _ in now):
            return now
        before = now
        time.sleep(0.5)
    sys.exit(f"{of} does not come to rest, or lost datagrams")


def differs(name, ours, theirs):
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) != math.isnan(theirs)
    return not math.isclose(ours, theirs, rel_tol=1e-9)


def rank_off(observed, ours, theirs):
    """By what share of the observations two estimates of a quantile lie apart."""
    return abs(sum(o <= ours for o in observed) - sum(o <= theirs for o in observed)) / max(1, len(observed))


def main():
    our_udp, our_page, their_udp, their_page = sys.argv[1:]
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = list(packets()) + [b"the.last:1|c"]
    for at, packet in enumerate(sent):
        for address in (our_udp, their_udp):
            host, port = address.rsplit(":", 1)
            sender.sendto(packet, (host, int(port)))
        if at % 50 == 0:
            time.sleep(0.1)
    ours, theirs = settled(our_page, "Headroom"), settled(their_page, "statsd_exporter")
    observed = [float(n) / 1000 for n in re.findall(r"sum\.random:([\d.]+)\|ms", b"\n".join(sent).decode("utf-8", "replace"))]
    wrong = [f"only Headroom has {key}" for key in sorted(ours.keys() - theirs.keys())]
    wrong += [f"only statsd_exporter has {key}" for key in sorted(theirs.keys() - ours.keys())]
    for key in sorted(ours.keys() & theirs.keys()):
        name, labels = key
        if name in ("sum_random_seconds", "plain_timer") and "quantile" in dict(labels):
            values = observed if name.startswith("sum") else [n / 1000 for n in range(400)]
            if rank_off(values, ours[key], theirs[key]) > 0.06:
                wrong.append(f"{key}: {ours[key]}, and {theirs[key]} by statsd_exporter")
        elif differs(name, ours[key], theirs[key]):
            wrong.append(f"{key}: {ours[key]}, and {theirs[key]} by statsd_exporter")
    print("\n".join(wrong))
    if wrong or len(ours) < 80:
        sys.exit(f"{len(ours)} series, {len(wrong)} differences")
    print(f"{len(ours)} series are the same")


main()
