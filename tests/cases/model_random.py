#!/usr/bin/python3
"""Random steps in a mount and in a plain directory do the same."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, put, run

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


@check(plain=False)
def where_descriptors_run_out_now_and_then():
    """Wherever that happens, nobody hears of it."""
    if frond.SLOW:
        raise frond.Skip("sanitizers bring their own libraries")
    scarce = frond.fresh("scarce")
    wrapper = ["env", f"LD_PRELOAD={frond.helper('libscarcity.so')}", f"SCARCITY={scarce}"]
    with frond.Mount(wrapper=wrapper) as m:
        put(scarce)
        model(m.path, SEED + 5, threads=24, ops=frond.scale(700, 200))
        os.unlink(scarce)
        eq(m.log(), "")


@check
def one_thread_for_long():
    both("", SEED + 4, threads=1, ops=frond.scale(25000, 3000))


frond.main()
