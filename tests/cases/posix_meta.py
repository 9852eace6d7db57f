#!/usr/bin/python3
"""Modes, owners, times to the nanosecond and extended attributes."""
import ctypes
import errno
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises


@check
def chmod_changes_the_mode_and_nothing_else(m):
    put(m / "f", b"x")
    os.utime(m / "f", ns=(123456789, 987654321))
    for mode in (0, 0o200, 0o444, 0o777, 0o1755):
        os.chmod(m / "f", mode)
        st = os.stat(m / "f")
        eq((st.st_mode & 0o7777, st.st_mtime_ns, st.st_size), (mode, 987654321, 1))
    os.mkdir(m / "d", 0o700)
    os.chmod(m / "d", 0o3711)
    eq(os.stat(m / "d").st_mode & 0o7777, 0o3711)


@check
def the_umask_applies(m):
    old = os.umask(0o027)
    try:
        os.close(os.open(m / "f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(m / "d", 0o777)
        os.mkfifo(m / "p", 0o666)
    finally:
        os.umask(old)
    modes = [os.stat(m / n).st_mode & 0o7777 for n in "fdp"]
    eq(modes, [0o640, 0o750, 0o640])


@check(root=True)
def chown_changes_owners(m):
    put(m / "f", b"x")
    os.symlink("f", m / "l")
    os.mkdir(m / "d")
    for name in ("f", "d"):
        os.chown(m / name, 12345, -1)
        os.chown(m / name, -1, 54321)
        st = os.stat(m / name)
        eq((st.st_uid, st.st_gid), (12345, 54321))
    os.lchown(m / "l", 7, 8)
    eq((os.lstat(m / "l").st_uid, os.stat(m / "f").st_uid), (7, 12345))


@check
def times_are_kept_to_the_nanosecond(m):
    put(m / "f", b"x")
    os.mkdir(m / "d")
    os.symlink("f", m / "l")
    for name in "fdl":
        for ns in ((1, 999999999), (1234567890123456789, 1), (10**18, 2 * 10**18 + 1)):
            os.utime(m / name, ns=ns, follow_symlinks=False)
            st = os.lstat(m / name)
            eq((st.st_atime_ns, st.st_mtime_ns), ns, name)
    os.utime(m / "f")
    assert abs(os.stat(m / "f").st_mtime - time.time()) < 10


@check
def what_writes_moves_the_time_and_what_reads_does_not(m):
    past = 10**18 + 7
    put(m / "f", blob(20000))
    fd = os.open(m / "f", os.O_RDWR)

    def moved(step):
        os.utime(m / "f", ns=(past, past))
        step()
        os.fsync(fd)
        return os.stat(m / "f").st_mtime_ns != past
    for name, step, want in (
            ("read", lambda: os.pread(fd, 5000, 0), False),
            ("stat", lambda: os.stat(m / "f"), False),
            ("fsync", lambda: os.fsync(fd), False),
            ("open", lambda: os.close(os.open(m / "f", os.O_RDWR)), False),
            ("chmod", lambda: os.chmod(m / "f", 0o600), False),
            ("link", lambda: os.link(m / "f", m / "g"), False),
            ("rename", lambda: os.rename(m / "g", m / "h"), False),
            ("unlink", lambda: os.unlink(m / "h"), False),
            ("setxattr", lambda: os.setxattr(m / "f", "user.x", b"y"), False),
            ("overwrite", lambda: os.pwrite(fd, b"z", 100), True),
            ("append", lambda: os.pwrite(fd, b"z", 20000), True),
            ("shrink", lambda: os.ftruncate(fd, 100), True),
            ("grow", lambda: os.ftruncate(fd, 50000), True),
            ("O_TRUNC", lambda: put(m / "f"), True)):
        eq(moved(step), want, f"{name} moves mtime")
    os.close(fd)


@check(plain=False)
def the_time_of_a_write_is_the_same_for_ever():
    with frond.Mount() as m:
        # the kernel collects writes, and may tell their time before them, or,
        # of what is written in the moment it is made, not at all
        ends, libc = threading.Event(), ctypes.CDLL(None)

        def sync_again_and_again():
            fd = os.open(m.path, os.O_RDONLY)
            while not ends.is_set():
                libc.syncfs(fd)
            os.close(fd)
        syncing = threading.Thread(target=sync_again_and_again)
        syncing.start()
        try:
            for n in range(60):
                with open(m / f"f{n}", "wb", buffering=0) as f:
                    for _ in range(1 + n % 12):
                        f.write(blob(32768))
                if n % 5 == 0:
                    with open(m / f"f{n}", "r+b", buffering=0) as f:
                        f.seek(5000)
                        f.write(b"again")
        finally:
            ends.set()
            syncing.join()

        def times():
            return {n: os.stat(m / n).st_mtime_ns for n in sorted(os.listdir(m.path))}
        before = times()
        m.remount()
        eq(set(times().items()) ^ set(before.items()), set())


@check(plain=False)
def a_time_that_was_set_stays_through_every_internal_rewrite():
    # Header and tail rewrites, write-back and release come later than utimens.
    for options in ("writeback=on", "writeback=off"):
        with frond.Mount(options) as m:
            past = 1111111111111111111
            for i, n in enumerate((0, 1, 4096, 5000, 300000)):
                fd = os.open(m / f"f{i}", os.O_CREAT | os.O_RDWR, 0o644)
                for at in range(0, n, 7000):
                    os.pwrite(fd, blob(min(7000, n - at), at), at)
                if n > 4096:        # a gap, filled later
                    os.pwrite(fd, b"end", n + 50000)
                    os.pwrite(fd, bytes(50000), n)
                os.utime(fd, ns=(past, past + i))
                if i % 2:
                    os.fsync(fd)
                os.close(fd)
            os.mkdir(m / "d")
            os.utime(m / "d", ns=(past, past))
            os.sync()
            time.sleep(0.5)
            for _ in range(2):
                for i in range(5):
                    eq(os.stat(m / f"f{i}").st_mtime_ns, past + i, f"f{i}, {options}")
                eq(os.stat(m / "d").st_mtime_ns, past)
                m.remount()


@check
def cp_p_and_tar_keep_times(m):
    os.mkdir(m / "a")
    for i in range(20):
        put(m / f"a/f{i}", blob(i * 999))
        os.utime(m / f"a/f{i}", ns=(10**18, 10**18 + i))
    frond.run("cp", "-a", m / "a", m / "b")
    frond.run("tar", "-C", m / "a", "--format=posix", "-cf", m / "t.tar", ".")
    os.mkdir(m / "c")
    frond.run("tar", "-C", m / "c", "-xf", m / "t.tar")
    os.sync()
    time.sleep(0.2)
    for d in "bc":
        for i in range(20):
            eq(os.stat(m / f"{d}/f{i}").st_mtime_ns, 10**18 + i, f"{d}/f{i}")


@check
def make_finds_nothing_to_do_twice(m):
    put(m / "Makefile", b"out: in\n\tcp in out\n")
    put(m / "in", blob(5000))
    assert "cp in out" in frond.run(frond.tool("make"), "-C", m / ".")
    os.sync()
    assert "cp in out" not in frond.run("make", "-C", m / ".")


@check
def extended_attributes_keep_names_and_values(m):
    put(m / "f")
    os.mkdir(m / "d")
    attrs = {"user.a": b"", "user.b": bytes(range(256)), "user.\u00e4\u00f6": b"u",
             "user.mime_type": b"text/plain", "user." + "n" * 200: b"long name"}
    for name in "fd":
        for key, value in attrs.items():
            os.setxattr(m / name, key, value)
        shown = [k for k in os.listxattr(m / name) if not k.startswith("user.frondfs.")]
        eq(sorted(shown), sorted(attrs))
        eq({k: os.getxattr(m / name, k) for k in attrs}, attrs)
        os.setxattr(m / name, "user.a", b"replaced")
        eq(os.getxattr(m / name, "user.a"), b"replaced")
        for key in attrs:
            os.removexattr(m / name, key)
        eq([k for k in os.listxattr(m / name) if not k.startswith("user.frondfs.")], [])


@check
def extended_attribute_calls_fail_as_they_should(m):
    put(m / "f")
    raises(errno.ENODATA, os.getxattr, m / "f", "user.none")
    raises(errno.ENODATA, os.removexattr, m / "f", "user.none")
    raises(errno.ENODATA, os.setxattr, m / "f", "user.x", b"", os.XATTR_REPLACE)
    os.setxattr(m / "f", "user.x", b"1", os.XATTR_CREATE)
    raises(errno.EEXIST, os.setxattr, m / "f", "user.x", b"2", os.XATTR_CREATE)
    eq(os.getxattr(m / "f", "user.x"), b"1")
    raises(errno.ERANGE, os.setxattr, m / "f", "user." + "n" * 251, b"")
    os.symlink("f", m / "l")
    raises(errno.EPERM, os.setxattr, m / "l", "user.x", b"", follow_symlinks=False)


@check(plain=False)
def extended_attributes_survive_rename_link_and_remount():
    with frond.Mount() as m:
        put(m / "f", b"x")
        os.setxattr(m / "f", "user.x", b"kept")
        os.rename(m / "f", m / ("g" * 255))
        os.link(m / ("g" * 255), m / "h")
        m.remount()
        eq(os.getxattr(m / "h", "user.x"), b"kept")
        names = os.listxattr(m.backing(m / "h"))
        assert names and not [n for n in names if "user.x" in n or b"kept" in
                              os.getxattr(m.backing(m / "h"), n)], names


@check(plain=False)
def xattr_off_refuses_them():
    with frond.Mount("xattr=off") as m:
        put(m / "f", b"x")
        raises((errno.EOPNOTSUPP, errno.ENOSYS), os.setxattr, m / "f", "user.x", b"")
        eq(get(m / "f"), b"x")


@check(plain=False)
def read_only_mounts_change_nothing():
    with frond.Mount() as m:
        put(m / "f", blob(9000))
        m.remount("ro")
        for call, args in ((put, (m / "g",)), (os.unlink, (m / "f",)),
                           (os.mkdir, (m / "d",)), (os.chmod, (m / "f", 0o600)),
                           (os.truncate, (m / "f", 0)), (os.rename, (m / "f", m / "g")),
                           (os.setxattr, (m / "f", "user.x", b""))):
            raises(errno.EROFS, call, *args)
        eq(get(m / "f"), blob(9000))


frond.main()
