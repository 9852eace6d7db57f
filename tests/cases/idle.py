#!/usr/bin/python3
"""idle=MIN unmounts a mount that nobody uses, and never one in use."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, get, put


@check(plain=False)
def an_idle_mount_unmounts_itself_and_a_used_one_stays():
    idle, used, held = (frond.Mount("idle=1") for _ in range(3))
    put(idle / "f", blob(9000))
    put(used / "f", blob(9000))
    put(held / "f", blob(9000))
    fd = os.open(held / "f", os.O_RDONLY)
    end = time.monotonic() + 150
    began = time.monotonic()
    while idle.proc.poll() is None:
        assert time.monotonic() < end, "still mounted after 150 s"
        get(used / "f")
        put(used / "g", blob(5000))
        time.sleep(1)
    waited = time.monotonic() - began
    assert waited > 50, f"gone after {waited:.0f} s"
    idle.reap()
    assert not os.path.ismount(idle.path)
    assert used.proc.poll() is None, "the used one went, too"
    assert held.proc.poll() is None, "one with an open file went"
    assert os.pread(fd, 9000, 0) == blob(9000)
    os.close(fd)
    used.umount()
    held.umount()
    with idle.mount():
        assert get(idle / "f") == blob(9000)


if frond.SCALE < 1:
    print("skip idle: it takes more than a minute")
    sys.exit(77)
frond.main()
