#!/usr/bin/python3
"""A directory of 200 000 entries is made, listed, used and removed."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, get, put

N = frond.scale(200000, 5000)


@check(plain=False)
def two_hundred_thousand_entries():
    with frond.Mount(nofile=1024) as m:
        os.mkdir(m / "big")
        times = {}

        def timed(name, fn):
            start = time.monotonic()
            value = fn()
            times[name] = time.monotonic() - start
            return value

        def make():
            for i in range(N):
                os.close(os.open(m / f"big/entry-{i:06}", os.O_CREAT | os.O_WRONLY, 0o644))
        timed("create", make)
        m.remount()
        names = timed("list", lambda: os.listdir(m / "big"))
        eq(len(names), N)
        eq(len(set(names)), N, "different names")
        timed("stat", lambda: [os.stat(m / f"big/entry-{i:06}") for i in range(0, N, 7)])
        eq(sum(1 for e in os.scandir(m / "big") if e.stat().st_size == 0), N)
        put(m / f"big/entry-{N // 2:06}", b"content")
        eq(get(m / f"big/entry-{N // 2:06}"), b"content")
        os.rename(m / "big", m / "renamed")
        timed("remove", lambda: frond.run("rm", "-r", m / "renamed"))
        eq(os.listdir(m.path), [])
        print(f"{N} entries: " + ", ".join(f"{k} {v:.1f} s" for k, v in times.items()))
        # Listing must not crawl: 10 us an entry is a directory read, 1 ms is not.
        assert times["list"] < N * 100e-6 * (10 if frond.SLOW else 1) + 1, times


frond.main()
