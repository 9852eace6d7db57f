#!/usr/bin/python3
"""Descriptors and memory stay within bounds however much is touched."""
import ctypes
import errno
import fcntl
import os
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import Skip, blob, check, eq, get, put, raises

libc = ctypes.CDLL(None, use_errno=True)
GETDENTS64 = {"x86_64": 217, "aarch64": 61}

THREADS_MAX = 32     # of the daemon, for requests
INODES = frond.scale(20000, 5000)


def rss(m):
    """Resident bytes of the daemon that are its own."""
    with open(f"/proc/{m.pid}/status") as f:
        fields = dict(line.split(":", 1) for line in f)
    return int(fields["RssAnon"].split()[0]) * 1024


def descriptors(m):
    return len(os.listdir(f"/proc/{m.pid}/fd"))


def fill(m, n, size=0):
    data = blob(size)
    for i in range(n):
        if i % 1000 == 0:
            os.mkdir(m / f"d{i // 1000:03}")
        put(m / f"d{i // 1000:03}/file-{i:09}", data)


def look(m):
    """Have the kernel cache every inode; their number."""
    n = 0
    for d, _, names in os.walk(m.path):
        for name in names:
            os.stat(os.path.join(d, name))
            n += 1
    return n


@check(plain=False)
def a_cached_inode_costs_at_most_512_bytes_beyond_its_name():
    if frond.SLOW:
        raise Skip("a sanitizer's allocator needs more")
    with frond.Mount(nofile=1024) as m:
        os.mkdir(m / "warm")
        for i in range(500):
            put(m / f"warm/f{i}", b"x")
        os.sync()
        fill(m, INODES)
        name, per = len("file-000000000"), []
        # A busy machine makes the daemon start threads, which have buffers that
        # no inode needs: one mount of several that takes no more is enough.
        while not per or min(per) > 512 + name and len(per) < 4:
            m.remount()
            eq(len(os.listdir(m / "warm")), 500)
            for i in range(500):
                os.stat(m / f"warm/f{i}")
            base = rss(m)
            eq(look(m), INODES + 500)
            per.append((rss(m) - base) / INODES)
            assert descriptors(m) < 1024
        print(f"{min(per):.0f} bytes for each of {INODES} cached inodes")
        assert min(per) <= 512 + name, f"{per} bytes each"


@check(plain=False)
def more_files_are_read_and_written_than_descriptors_exist():
    n = 2000
    with frond.Mount(nofile=1024) as m:
        fill(m, n, 5000)
        for d, _, names in os.walk(m.path):
            for name in names:
                eq(len(get(os.path.join(d, name))), 5000)
        assert descriptors(m) < 1024, f"{descriptors(m)} descriptors"


@check(plain=False)
def many_more_files_open_for_writing_than_descriptors():
    n = frond.may_open(2000)
    with frond.Mount(nofile=1024) as m:
        fds = [os.open(m / f"f{i}", os.O_CREAT | os.O_RDWR, 0o644) for i in range(n)]
        for turn in range(3):
            for i, fd in enumerate(fds):
                os.pwrite(fd, b"%05d" % i * 100, turn * 500)
        for fd in fds[::100]:
            os.fsync(fd)
        for i, fd in enumerate(fds):
            eq(os.pread(fd, 2000, 0), b"%05d" % i * 300)
        # Renamed while evicted: the name that the daemon knew is gone.
        for i in range(0, n, 3):
            os.rename(m / f"f{i}", m / f"renamed{i}")
        for i in range(0, n, 3):
            os.pwrite(fds[i], b"late", 1500)
            os.close(fds[i])
        m_listed = os.listdir(m.path)
        eq(len(m_listed), n)
        for i in range(n):
            if i % 3:
                os.close(fds[i])
        m.remount()
        for i in range(0, n, 3):
            eq(get(m / f"renamed{i}"), b"%05d" % i * 300 + b"late")


def next_entries(fd, room=240):
    """The names that getdents64(2) tells next: as many as fit; none: the end."""
    buf = ctypes.create_string_buffer(room)
    n = libc.syscall(GETDENTS64[os.uname().machine], fd, buf, room)
    if n < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    names, at = [], 0
    while at < n:
        length, = struct.unpack_from("H", buf.raw, at + 16)
        names.append(buf.raw[at + 19:at + length].split(b"\0")[0].decode())
        at += length
    return names


def rest_of(fd):
    return [name for names in iter(lambda: next_entries(fd), []) for name in names]


def busily(m, stop, failed):
    """Ordinary work, until stop is set."""
    i = 0
    try:
        while not stop.is_set():
            i += 1
            put(m / f"work/f{i % 300}", blob(5000, i))
            eq(get(m / f"work/f{i % 300}"), blob(5000, i))
            os.listdir(m / "work")
            os.makedirs(m / f"work/d{i}/sub")
            os.removedirs(m / f"work/d{i}/sub")
    except BaseException as e:
        failed.append(e)


@check(plain=False)
def more_directories_are_held_open_than_descriptors_exist():
    handles = frond.may_open(2500)
    count, entries = handles // 2, 12
    with frond.Mount(nofile=1024) as m:
        os.mkdir(m / "work")
        put(m / "work/stays")
        want = sorted([".", "..", *(f"entry-{i:02}" for i in range(entries))])
        for d in range(count):
            os.mkdir(m / f"d{d}")
            for name in want[2:]:
                os.mkfifo(m / f"d{d}/{name}")
        fds = [os.open(m / f"d{i % count}", os.O_RDONLY) for i in range(handles)]
        stop, failed = threading.Event(), []
        worker = threading.Thread(target=busily, args=(m, stop, failed))
        worker.start()
        try:
            told = [next_entries(fd) for fd in fds]
            assert all(0 < len(t) < entries for t in told), "half is read"
            # What happens to a directory meanwhile must not cost an entry.
            for d in range(0, count, 5):
                os.rename(m / f"d{d}", m / f"moved{d}")
            for d in range(1, count, 5):
                os.mkfifo(m / f"d{d}/new")
                os.unlink(m / f"d{d}/new")
            for i, fd in enumerate(fds):
                eq(sorted(told[i] + rest_of(fd)), want, f"handle {i}")
            for fd in fds[::50]:
                os.fsync(fd)
            for fd in fds[::7]:
                os.lseek(fd, 0, os.SEEK_SET)
                eq(sorted(rest_of(fd)), want, "from the start")
        finally:
            stop.set()
            worker.join()
        eq(failed, [], "other work")
        assert descriptors(m) < 1024, f"{descriptors(m)} descriptors"
        for fd in fds:
            os.close(fd)


@check(plain=False)
def directories_removed_while_open_end_well_however_many_are_open():
    n = frond.may_open(1500)
    with frond.Mount(nofile=1024) as m:
        for d in range(n):
            os.mkdir(m / f"d{d}")
        fds = [os.open(m / f"d{d}", os.O_RDONLY) for d in range(n)]
        for d in range(0, n, 3):
            os.rmdir(m / f"d{d}")
        for d, fd in enumerate(fds):
            if d % 3:
                eq(sorted(rest_of(fd)), [".", ".."])
            else:
                raises(errno.ENOENT, rest_of, fd)
            os.fsync(fd)
            os.close(fd)


@check(plain=False)
def removed_directories_can_be_looked_at_however_many_are_open():
    n = frond.may_open(1500)
    with frond.Mount(nofile=1024) as m:
        put(m / "f")
        os.mkdir(m / "from")
        for d in range(n):
            os.mkdir(m / f"d{d}", 0o750)
            os.chown(m / f"d{d}", os.geteuid(), os.getegid())
        fds = [os.open(m / f"d{d}", os.O_RDONLY) for d in range(n)]
        before = [os.fstat(fd) for fd in fds]
        for d in range(n):
            if d % 2:
                os.rmdir(m / f"d{d}")
            else:
                os.mkdir(m / f"from/{d}")
                os.rename(m / f"from/{d}", m / f"d{d}")
        for d in range(0, n, 2):
            os.stat(m / f"d{d}")        # these take the descriptors
        for d, fd in enumerate(fds):
            st = os.fstat(fd)
            eq((st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_nlink),
               (before[d].st_ino, before[d].st_mode, before[d].st_uid,
                before[d].st_gid, 0), f"directory {d}")
            raises(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
            os.close(fd)


@check(plain=False)
def locks_that_took_every_descriptor_do_not_stop_the_rest():
    n, deep = 500, "a/b/c/d/e/f/g"
    with frond.Mount("shared", nofile=400) as m:
        os.makedirs(m / deep)
        put(m / f"{deep}/inside", b"deep")
        for i in range(n):
            put(m / f"f{i}", blob(5000, i))
        m.remount()             # no directory but the top one is open
        fds, refused = [], 0
        for i in range(n):
            fds.append(os.open(m / f"f{i}", os.O_RDWR))
            try:
                fcntl.flock(fds[-1], fcntl.LOCK_EX)
            except OSError as e:
                assert e.errno in (errno.EMFILE, errno.ENOLCK), e
                refused += 1
        assert refused, "the locks did not need every descriptor"
        eq(os.listdir(m / deep), ["inside"])
        eq(get(m / f"{deep}/inside"), b"deep")
        put(m / f"{deep}/new", b"new")
        os.makedirs(m / f"{deep}/h/i/j")
        os.rename(m / f"{deep}/h/i", m / f"a/{'i' * 250}")
        os.symlink("t" * 4000, m / f"{deep}/link")
        eq(os.readlink(m / f"{deep}/link"), "t" * 4000)
        os.rename(m / f"{deep}/link", m / "a/b/link")
        frond.run("rm", "-r", m / "a")
        for i in range(0, n, 3):
            eq(get(m / f"f{i}"), blob(5000, i), f"file {i}")
            os.pwrite(fds[i], b"changed", 0)
        for fd in fds:
            os.close(fd)
        eq(get(m / "f3")[:7], b"changed")


@check(plain=False)
def creating_and_deleting_for_long_costs_nothing():
    if frond.SLOW:
        raise Skip("a sanitizer's quarantine grows on purpose")
    with frond.Mount() as m:
        def loop(k, rounds):
            for i in range(rounds):
                d = m / f"d{k}"
                os.mkdir(d)
                for j in range(20):
                    put(f"{d}/f{j}", b"x" * (j * 300))
                    os.setxattr(f"{d}/f{j}", "user.x", b"y")
                os.rename(f"{d}/f3", f"{d}/{'n' * 250}")
                os.symlink("x" * 3500, f"{d}/l")
                os.readlink(f"{d}/l")
                os.listdir(d)
                for name in os.listdir(d):
                    os.unlink(f"{d}/{name}")
                os.rmdir(d)

        def together(rounds):
            threads = [threading.Thread(target=loop, args=(k, rounds)) for k in range(3)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        rounds = frond.scale(40, 10)
        together(rounds)
        fds, before, grown = descriptors(m), rss(m), []
        most = max(64 << 10, rounds * 3 * 22 * 16)
        # A thread that works for the first time takes its buffers once, and a
        # busy machine makes the daemon start one after another, up to a number;
        # what leaks grows every time.
        while not grown or min(grown) >= most and len(grown) < THREADS_MAX + 4:
            together(rounds)
            grown.append(rss(m) - before)
            before += grown[-1]
        assert min(grown) < most, f"{grown} bytes more each time"
        assert descriptors(m) <= fds + 16, f"{fds} descriptors, then {descriptors(m)}"


@check(plain=False)
def forgotten_inodes_are_given_back():
    if frond.SLOW or os.geteuid():
        raise Skip("needs root and a plain allocator")
    with frond.Mount() as m:
        fill(m, 5000)
        m.remount()
        base = rss(m)
        look(m)
        full = rss(m)
        for _ in range(3):
            put("/proc/sys/vm/drop_caches", b"2")
        look_again = []
        for _ in range(5):
            look(m)
            put("/proc/sys/vm/drop_caches", b"2")
            look_again.append(rss(m))
        # A thread's first request costs its buffers, once; inodes that stay
        # would cost as much every time.
        steps = [b - a for a, b in zip(look_again, look_again[1:])]
        assert min(steps) < (full - base) * 0.3, f"{base}, {full}, then {look_again}"


frond.main()
