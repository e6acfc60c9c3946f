"""The service of `headroom demo --python`: a cache that grows over its budget, and gives memory back when it is asked to."""

from __future__ import annotations

import argparse
import signal
import time

import headroom_kit as kit

ENTRY_BYTES = 1 << 20
STEP_SECONDS = 0.1


def main() -> None:
    """Fills the cache once, and serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--listen", required=True, help="where the hook listens: 127.0.0.1:8089, or unix:/run/hook.sock"
    )
    parser.add_argument("--token-file", help="the token that the hook wants")
    parser.add_argument("--grow", type=int, default=30, help="how fast the cache grows, in MiB a second")
    parser.add_argument("--most", type=int, default=240, help="the size at which it stops to grow, in MiB")
    arguments = parser.parse_args()
    cache: kit.Cache[int, bytes] = kit.Cache("thumbnails", max_bytes=1 << 40, size_of=len)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with kit.start(arguments.listen, token_file=arguments.token_file):
            fill(cache, arguments.grow, arguments.most)
            # What was given back stays away, so that the alert can resolve.
            signal.pause()
    except KeyboardInterrupt:
        pass


def fill(cache: kit.Cache[int, bytes], grow: int, most: int) -> None:
    """Puts one entry of a mebibyte after the other, until there are so many, or some have been given back."""
    begun = time.monotonic()
    key = 0
    while key < most and cache.stats.reclaimed == 0:
        if key < (time.monotonic() - begun) * grow:
            # Written, not merely reserved: the kernel counts pages that were touched.
            cache[key] = b"\xa5" * ENTRY_BYTES
            key += 1
        else:
            time.sleep(STEP_SECONDS)


if __name__ == "__main__":
    main()
