#!/usr/bin/python3
"""Two mounts of one backing directory under -o shared work together."""
import errno
import fcntl
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises, run, until


class Pair:
    """Two shared mounts, a and b, of one vault."""

    def __enter__(self):
        self.a = frond.Mount("shared")
        self.b = frond.Mount("shared", vault=self.a.vault)
        return self.a, self.b

    def __exit__(self, *error):
        self.b.__exit__(*error)
        self.a.__exit__(*error)


def lock(fd, kind, start, length):
    return fcntl.fcntl(fd, 6, struct.pack("hhqqi", kind, 0, start, length, 0))


def children(*jobs):
    pids = []
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            try:
                job()
                os._exit(0)
            except BaseException as e:
                print(f"child: {e!r}", flush=True)
            finally:
                os._exit(1)
        pids.append(pid)
    eq([os.waitpid(p, 0)[1] for p in pids], [0] * len(pids), "children")


@check(plain=False)
def without_shared_a_second_mount_is_refused():
    with frond.Mount() as m:
        other = frond.fresh("mnt")
        os.mkdir(other)
        for options in ("shared", "writeback=on"):
            try:
                run(frond.FRONDFS, "mount", "-f", "-o", options, "--passfile",
                    frond.passfile(), m.vault, other, timeout=60)
                raise RuntimeError("a second mount came about")
            except AssertionError:
                pass
            assert not os.path.ismount(other)
        put(m / "f", b"unharmed")


def times_of_changes():
    """How long it takes until the other mount sees each of several."""
    took = []
    with Pair() as (a, b):
        def seen(what):
            start = time.monotonic()
            until(what, 30, "change seen")
            took.append(time.monotonic() - start)
        put(a / "f", blob(100000))
        seen(lambda: os.path.exists(b / "f") and get(b / "f") == blob(100000))
        put(b / "f", blob(50000, 2))
        seen(lambda: get(a / "f") == blob(50000, 2))
        fd = os.open(a / "f", os.O_RDONLY)
        eq(os.pread(fd, 100, 0), blob(50000, 2)[:100])
        with open(b / "f", "rb+") as f:
            f.write(b"changed in place")
        seen(lambda: os.pread(fd, 16, 0) == b"changed in place")
        os.close(fd)
        os.truncate(b / "f", 3)
        seen(lambda: os.stat(a / "f").st_size == 3)
        os.chmod(a / "f", 0o600)
        seen(lambda: os.stat(b / "f").st_mode & 0o777 == 0o600)
        os.mkdir(b / "d")
        seen(lambda: "d" in os.listdir(a.path))
        os.rename(a / "d", a / "e")
        seen(lambda: set(os.listdir(b.path)) == {"e", "f"})
        os.unlink(b / "f")
        seen(lambda: not os.path.exists(a / "f"))
        put(a / "f", b"another file of that name")
        seen(lambda: os.path.exists(b / "f") and get(b / "f") == b"another file of that name")
    return took


@check(plain=False)
def changes_are_seen_within_a_second():
    frond.soon(times_of_changes, 4 if frond.SLOW else 1.2)


@check(plain=False)
def appenders_on_both_sides_never_lose_a_record():
    n = frond.scale(400, 60)
    with Pair() as (a, b):
        put(a / "log")

        def append(m, who):
            def job():
                fd = os.open(m / "log", os.O_WRONLY | os.O_APPEND)
                for i in range(n):
                    line = f"{who} {i:06} {'x' * (i % 97)}\n".encode()
                    eq(os.write(fd, line), len(line))
                os.close(fd)
            return job
        children(append(a, "a1"), append(a, "a2"), append(b, "b1"), append(b, "b2"))
        time.sleep(1.1)
        for m in (a, b):
            records = [line.split() for line in get(m / "log").decode().splitlines()]
            for who in ("a1", "a2", "b1", "b2"):
                eq([int(r[1]) for r in records if r[0] == who], list(range(n)), who)
            eq(len(records), 4 * n)


@check(plain=False)
def range_locks_hold_across_mounts():
    with Pair() as (a, b):
        put(a / "f", bytes(100))
        until(lambda: os.path.exists(b / "f"), 2, "file seen")
        x, y = os.open(a / "f", os.O_RDWR), os.open(b / "f", os.O_RDWR)
        busy = (errno.EAGAIN, errno.EACCES)
        lock(x, fcntl.F_WRLCK, 0, 10)
        raises(busy, lock, y, fcntl.F_WRLCK, 5, 1)
        lock(y, fcntl.F_WRLCK, 10, 10)
        raises(busy, lock, x, fcntl.F_RDLCK, 15, 1)
        lock(x, fcntl.F_UNLCK, 0, 10)
        lock(y, fcntl.F_WRLCK, 5, 1)
        os.close(y)
        lock(x, fcntl.F_WRLCK, 0, 0)
        os.close(x)


@check(plain=False)
def flock_holds_across_mounts():
    with Pair() as (a, b):
        put(a / "f", b"x")
        until(lambda: os.path.exists(b / "f"), 2, "file seen")
        x, y = os.open(a / "f", os.O_RDWR), os.open(b / "f", os.O_RDWR)
        fcntl.flock(x, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raises(errno.EWOULDBLOCK, fcntl.flock, y, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(x, fcntl.LOCK_SH)
        fcntl.flock(y, fcntl.LOCK_SH | fcntl.LOCK_NB)
        raises(errno.EWOULDBLOCK, fcntl.flock, x, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(y)
        fcntl.flock(x, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(x)


@check(plain=False)
def counting_under_a_lock_across_mounts_loses_nothing():
    n = frond.scale(150, 30)
    with Pair() as (a, b):
        put(a / "n", b"0")
        until(lambda: os.path.exists(b / "n"), 2, "file seen")

        def count(m):
            def job():
                for _ in range(n):
                    fd = os.open(m / "n", os.O_RDWR)
                    fcntl.lockf(fd, fcntl.LOCK_EX)
                    value = int(os.pread(fd, 20, 0))
                    os.pwrite(fd, b"%d" % (value + 1), 0)
                    os.close(fd)
            return job
        children(count(a), count(b), count(a), count(b))
        time.sleep(1.1)
        eq((int(get(a / "n")), int(get(b / "n"))), (4 * n, 4 * n))


@check(plain=False)
def different_parts_from_both_sides_make_one_file():
    size, part = 1 << 20, 5000
    with Pair() as (a, b):
        put(a / "f", bytes(size))
        until(lambda: os.path.exists(b / "f") and os.stat(b / "f").st_size == size, 2)

        def write(m, first):
            def job():
                fd = os.open(m / "f", os.O_RDWR)
                for i in range(first, size // part, 2):
                    os.pwrite(fd, bytes([i % 256]) * part, i * part)
                os.close(fd)
            return job
        children(write(a, 0), write(b, 1))
        time.sleep(1.1)
        want = b"".join(bytes([i % 256]) * part for i in range(size // part))
        want += bytes(size - len(want))
        for m in (a, b):
            eq(get(m / "f"), want)


@check(plain=False)
def a_file_unlinked_on_the_other_side_stays_readable():
    with Pair() as (a, b):
        put(a / "f", blob(100000))
        until(lambda: os.path.exists(b / "f"), 2, "file seen")
        fd = os.open(b / "f", os.O_RDONLY)
        eq(os.pread(fd, 10, 0), blob(100000)[:10])
        os.unlink(a / "f")
        eq(os.pread(fd, 100000, 0), blob(100000))
        os.close(fd)


frond.main()
