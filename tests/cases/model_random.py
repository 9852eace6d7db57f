#!/usr/bin/python3
"""Random steps in a mount and in a plain directory do the same."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, run

SEED = int(os.environ.get("FROND_SEED") or time.time_ns() // 1000000 % 10**9)


def model(a, seed, threads=8, ops=0):
    plain = frond.fresh("plain")
    os.mkdir(plain)
    print(f"seed {seed}: FROND_SEED={seed} runs the same again", flush=True)
    run(frond.helper("model"), "--dir-a", a, "--dir-b", plain, "--threads", str(threads),
        "--ops", str(ops or frond.scale(6000, 800)), "--seed", str(seed))
    return plain


def both(options, seed, **kw):
    """The run itself, a look after a remount, and the second reader's opinion."""
    with frond.Mount(options) as m:
        os.mkdir(m / "a")
        plain = model(m / "a", seed, **kw)
        if not frond.PLAIN:
            m.remount()
            run(frond.helper("model"), "--compare", "--dir-a", m / "a", "--dir-b", plain)
            m.umount()
            run(sys.executable, os.path.join(frond.ROOT, "contrib/recover.py"), "--passfile",
                frond.passfile(), "verify", m.vault)


@check
def with_the_writeback_cache():
    both("writeback=on", SEED)


@check
def without_the_writeback_cache():
    both("writeback=off", SEED + 1)


@check
def under_shared():
    both("shared", SEED + 2)


@check
def with_few_descriptors_and_many_threads():
    with frond.Mount(nofile=128) as m:
        model(m.path, SEED + 3, threads=24, ops=frond.scale(2500, 300))


@check
def one_thread_for_long():
    both("", SEED + 4, threads=1, ops=frond.scale(25000, 3000))


frond.main()
