#!/usr/bin/python3
"""What MACs and shares are does not show in how long they take (tests/bench/timing.c).

FROND_LONG=1 measures; otherwise nothing is: it takes minutes, alone on a machine.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check

SAMPLES, TRIES = "300000", 3


def measured(backend):
    """What it prints; its status is 1 where there is a leak, 2 without the backend."""
    return subprocess.run([frond.helper("timing"), SAMPLES], text=True, timeout=3000,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(os.environ, FRONDFS_CRYPTO=backend))


@check
def secrets_take_the_same_time_whatever_they_are():
    if not os.environ.get("FROND_LONG") or frond.SLOW:
        raise frond.Skip("long: FROND_LONG=1")
    for backend in "openssl", "ipsecmb":
        # a leak is there each time, what else the machine does is not
        for _ in range(TRIES):
            p = measured(backend)
            print(p.stdout)
            if p.returncode != 1:
                break
        assert p.returncode in (0, 2), f"{backend}: {p.stdout}"
        assert p.returncode == 0 or backend != "openssl", p.stdout


frond.main()
