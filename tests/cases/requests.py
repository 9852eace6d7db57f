#!/usr/bin/python3
"""How many requests things take: each is a way to the daemon and back."""
import array
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises, run, scale

LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, READ, WRITE, GETXATTR, FLUSH = \
    1, 2, 3, 4, 10, 15, 16, 22, 25
CREATE, BATCH_FORGET = 35, 42
KINDS = 64
WORDS = KINDS + 11      # and bytes, chunks, reads and writes of other kinds; the journal
COUNTERS = 2 << 30 | WORDS * 8 << 16 | ord("F") << 8 | 13


def counters(m):
    words = array.array("Q", bytes(WORDS * 8))
    fd = os.open(m.path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, COUNTERS, words, True)
    finally:
        os.close(fd)
    return words


def difference(m, fn):
    before = counters(m)
    fn()
    after = counters(m)
    return [b - a for a, b in zip(before, after)]


@check(plain=False)
def what_is_read_and_written_is_counted():
    data = blob(1 << 20, 1)
    with frond.Mount() as m:
        d = difference(m, lambda: put(m / "f", data))
        eq(d[KINDS + 1] >= len(data), True, "bytes written")
        eq(d[KINDS + 3] >= len(data) // 4096, True, "chunks sealed")
        m.remount()
        d = difference(m, lambda: get(m / "f"))
        eq(d[KINDS], len(data), "bytes read")
        eq(d[KINDS + 2], len(data) // 4096, "chunks opened")
        eq(d[READ] >= 4, True, "requests of at most 256 KiB")


@check(plain=False)
def a_small_file_takes_six_requests():
    def make():
        for n in range(100):
            fd = os.open(m / f"f{n}", os.O_CREAT | os.O_WRONLY, 0o644)
            os.write(fd, b"x" * 1000)
            os.close(fd)

    with frond.Mount() as m:
        put(m / "first", b"")       # here FLUSH is asked for once
        d = difference(m, make)
        eq(d[CREATE], 100, "CREATE")
        eq(d[FLUSH], 0, "FLUSH")
        eq(d[WRITE] <= 101, True, "WRITE")
        # now and then the clock ticks between a write and its close
        eq(sum(d[:KINDS]) - d[SETATTR] <= 620, True, sum(d[:KINDS]))


@check(plain=False)
def a_removed_file_takes_three_requests():
    # the directory's attributes, UNLINK, and what the kernel knew of its times
    with frond.Mount() as m:
        os.mkdir(m / "d")
        for n in range(100):
            put(m / f"d/f{n}", b"x" * 1000)
        d = difference(m, lambda: [os.unlink(m / f"d/f{n}") for n in range(100)])
        eq((d[UNLINK], d[LOOKUP]), (100, 0))
        eq(sum(d[:KINDS]) - d[FORGET] - d[BATCH_FORGET] <= 320, True, d[:KINDS])


@check(plain=False)
def a_listing_tells_what_the_kernel_knows_only_once():
    def look():
        for name in os.listdir(m / "d"):
            os.stat(m / f"d/{name}")
            raises(errno.ENODATA, os.getxattr, m / f"d/{name}",
                   "system.posix_acl_access")

    with frond.Mount() as m:
        os.mkdir(m / "d")
        for n in range(100):
            put(m / f"d/f{n}", b"x" * n)
        m.remount()
        d = difference(m, look)
        eq((d[GETXATTR], d[LOOKUP] <= 2), (100, True), d[:KINDS])
        d = difference(m, look)
        # listing a directory moves its access time, as the kernel sees it
        eq((d[GETXATTR], d[LOOKUP], d[GETATTR] <= 1), (0, 0, True), d[:KINDS])
        eq(sum(d[:KINDS]) <= 10, True, d[:KINDS])
        # what has changed since is told again, all with the listing
        for n in range(100):
            os.truncate(m / f"d/f{n}", 5000 + n)
            os.setxattr(m / f"d/f{n}", "user.x", b"1")
        d = difference(m, look)
        eq((d[LOOKUP], d[GETATTR] <= 1), (0, True), d[:KINDS])
        eq([os.stat(m / f"d/f{n}").st_size for n in range(100)],
           list(range(5000, 5100)))


@check(plain=False)
def what_is_listed_to_be_removed_is_not_looked_up():
    with frond.Mount() as m:
        n = scale(2000, 400)        # more than one reply has room for
        os.mkdir(m / "d")
        for i in range(n):
            put(m / f"d/a file {i}", b"")
        m.remount()
        d = difference(m, lambda: run("rm", "-r", m / "d"))
        eq((d[UNLINK], d[LOOKUP] <= 3), (n, True), d[:KINDS])


@check(plain=False)
def a_long_listing_asks_for_labels_once():
    if "selinuxfs" in get("/proc/filesystems").decode():
        raise frond.Skip("SELinux uses them here")
    label = b"system_u:object_r:etc_t:s0\0"
    with frond.Mount() as m:
        os.mkdir(m / "d")
        for n in range(100):
            put(m / f"d/f{n}", b"x")
        run("ls", "-l", m / "d")
        d = difference(m, lambda: run("ls", "-l", m / "d"))
        eq(d[GETXATTR] <= 2, True, d[GETXATTR])
        # one that is there is told
        raises(errno.EOPNOTSUPP, os.getxattr, m / "d/f1", "security.selinux")
        os.setxattr(m / "d/f1", "security.selinux", label)
        eq(os.getxattr(m / "d/f1", "security.selinux"), label)
        raises(errno.ENODATA, os.getxattr, m / "d/f1", "security.other")


@check(plain=False)
def mounting_takes_no_more_work_when_there_are_more_files():
    frond.tool("strace")
    if frond.SLOW:
        raise frond.Skip("sanitizers want to be looked into")

    def calls(vault):
        counts = frond.fresh("calls")
        with frond.Mount(vault=vault, wrapper=["strace", "-f", "-c", "-S", "calls",
                                               "-o", counts]):
            pass
        rows = [line.split() for line in get(counts).decode().splitlines()]
        return sum(int(r[3]) for r in rows
                   if r and r[-1] in ("openat", "statx", "newfstatat", "pread64",
                                      "getdents64", "readlinkat"))

    vault = frond.new_vault()
    few = calls(vault)
    with frond.Mount(vault=vault) as m:
        for n in range(20):
            os.mkdir(m / f"d{n}")
            for k in range(scale(50, 20)):
                put(m / f"d{n}/f{k}")
    many = calls(vault)
    eq(many - few < 40, True, f"{few} calls when empty, {many} now")


@check(plain=False)
def info_tells_the_counters_of_a_mount_point():
    with frond.Mount() as m:
        os.mkdir(m / "d")
        put(m / "f", b"text")
        told = json.loads(run(frond.FRONDFS, "info", "--json", m.path))
        eq((told["requests"]["mkdir"], told["requests"]["create"]), (1, 1))
        eq(told["written_bytes"], 4)
        eq(told["chunks_sealed"] >= 1, True, told["chunks_sealed"])
        below = json.loads(run(frond.FRONDFS, "info", "--json", m / "d"))
        eq("requests" in below, False)


@check(plain=False)
def info_tells_what_the_journal_did():
    def told(m):
        return json.loads(run(frond.FRONDFS, "info", "--json", m.path))["journal"]

    for options, used in ("", True), ("journal=off", False):
        with frond.Mount(options) as m:
            put(m / "f", b"text" * 5000)
            with open(m / "f", "r+b") as f:
                f.write(b"over")
                f.flush()
                os.fsync(f.fileno())
            was = told(m)
            eq(was["records"] >= 1, used, was)
            eq(was["bytes"] > 4096, used, was)
            eq(was["commits"] >= 1, used, was)
            while told(m)["pending"]:
                time.sleep(0.1)
            eq(told(m)["applied"] >= 1, used, told(m))


@check(plain=False)
def attributes_that_were_missed_are_found_once_they_are_there():
    with frond.Mount() as m:
        put(m / "f", b"text")
        os.mkdir(m / "d")
        for lap in range(3):
            for path in (m / "f", m / "d"):
                for name in ("user.one", "user.two"):
                    raises(61, os.getxattr, path, name)         # ENODATA
                os.setxattr(path, "user.two", b"2")
                raises(61, os.getxattr, path, "user.one")
                eq(os.getxattr(path, "user.two"), b"2")
                os.setxattr(path, "user.one", b"1" * 3000)
                eq(os.getxattr(path, "user.one"), b"1" * 3000)
                os.removexattr(path, "user.one")
                raises(61, os.getxattr, path, "user.one")
                eq(os.listxattr(path), ["user.two"])
                os.removexattr(path, "user.two")
            if lap == 1:
                m.remount()


def at_once(fn, count):
    """fn(0), fn(1), ... in as many threads."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(fn, range(count)))


def stat_slowly(m, slow, count, delay_s):
    """The sizes of all d*/f, asked for at once, and how long that took."""
    m.remount()
    for n in range(count):
        raises(errno.ENOENT, os.stat, m / f"d{n}/none")
    time.sleep(1.5)     # the kernel remembers slow_fs's names for 1 s
    os.setxattr(slow, "user.slow_fs.ms", b"%d" % (delay_s * 1000))
    begin = time.monotonic()
    sizes = at_once(lambda n: os.stat(m / f"d{n}/f").st_size, count)
    took = time.monotonic() - begin
    os.setxattr(slow, "user.slow_fs.ms", b"0")
    return sizes, took


@check(plain=False)
def a_slow_answer_keeps_nobody_else_waiting():
    delay_s, count, rounds = 1, 8, []
    root, slow = frond.new_vault(), frond.fresh("slow")
    os.mkdir(slow)
    run(frond.helper("slow_fs"), root, slow, "0")
    try:
        with frond.Mount(vault=slow) as m:
            for n in range(count):
                os.mkdir(m / f"d{n}")
                put(m / f"d{n}/f", b"x" * n)
            # on a busy machine something may have asked just before
            while max(rounds, default=0) < delay_s and len(rounds) < 5:
                sizes, took = stat_slowly(m, slow, count, delay_s)
                eq(sizes, list(range(count)))
                rounds.append(took)
            # one after the other they would take eight seconds
            eq(delay_s <= rounds[-1] < count * delay_s / 2, True, f"{rounds} s")
    finally:
        frond.until(lambda: not subprocess.run(["umount", slow]).returncode,
                    what="unmounting the slow file system")


def is_stopped(pid):
    """All of its threads: one on another processor goes on for a moment."""
    tasks = f"/proc/{pid}/task"
    return all(b"\nState:\tT" in get(f"{tasks}/{t}/status") for t in os.listdir(tasks))


@check(plain=False, root=True)
def names_in_one_directory_are_looked_up_at_once():
    control = frond.fresh("control")
    os.mkdir(control)
    if subprocess.run(["mount", "-t", "fusectl", "none", control],
                      stderr=subprocess.DEVNULL).returncode:
        raise frond.Skip("no fusectl here")
    count = 6
    try:
        with frond.Mount() as m:
            os.mkdir(m / "d")
            for n in range(count):
                put(m / f"d/f{n}", b"x" * n)
            m.remount()
            raises(errno.ENOENT, os.stat, m / "d/none")
            minor = os.minor(os.stat(m.path).st_dev)
            waiting = os.path.join(control, str(minor), "waiting")
            # held, so that nobody's dropping of caches has it looked up as well
            d = os.open(m / "d", os.O_PATH | os.O_DIRECTORY)
            os.kill(m.pid, signal.SIGSTOP)
            try:
                frond.until(lambda: is_stopped(m.pid), what="the daemon's stop")
                with ThreadPoolExecutor(count) as pool:
                    sizes = pool.map(lambda n: os.stat(f"f{n}", dir_fd=d).st_size,
                                     range(count))
                    try:
                        frond.until(lambda: int(get(waiting)) >= count,
                                    what="all look-ups being on their way")
                    finally:
                        os.kill(m.pid, signal.SIGCONT)
                    eq(list(sizes), list(range(count)))
            finally:
                os.close(d)
                os.kill(m.pid, signal.SIGCONT)
    finally:
        run("umount", control)


@check(plain=False)
def what_is_written_back_keeps_nobody_waiting():
    """Not even where all of it waits for the journal."""
    if frond.SLOW:
        raise frond.Skip("sanitizers bring their own libraries")
    size = 24 << 20     # of requests of 1 MiB, more than the kernel keeps in flight
    held = frond.fresh("held")
    wrapper = ["env", f"LD_PRELOAD={frond.helper('libholder.so')}", f"HOLDER={held}"]
    with frond.Mount(wrapper=wrapper) as m, ThreadPoolExecutor(2) as pool:
        put(m / "f", blob(size, 1))
        for n in range(20):
            put(m / f"g{n}", b"x")
        m.remount()
        with open(m / "f", "r+b", buffering=0) as f:
            put(held)
            try:
                f.write(blob(size, 2))
                written = pool.submit(os.fsync, f.fileno())
                for n in range(20):
                    time.sleep(0.04)
                    eq(pool.submit(os.stat, m / f"g{n}").result(60).st_size, 1)
                eq(written.done(), False, "it is waiting")
            finally:
                os.unlink(held)
            written.result(60)
        m.remount()
        eq(get(m / "f"), blob(size, 2))


if __name__ == "__main__":
    frond.main()
