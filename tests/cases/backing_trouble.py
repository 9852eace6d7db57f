#!/usr/bin/python3
"""A backing directory that is full, or away for a while: it is told, nothing that
was stored is harmed, and the same mount goes on when that is over."""
import contextlib
import ctypes
import errno
import os
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import FRONDFS, blob, check, eq, fresh, get, put, raises, run, until
from vaultcheck import findings

MIB = 1 << 20
CHUNK = 4096


def synced(path, data):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def unmount(path):
    """As soon as whoever has it open has ended."""
    until(lambda: not subprocess.run(["umount", path], stderr=subprocess.DEVNULL).returncode,
          what=f"unmounting {path}")


# ---- full

@contextlib.contextmanager
def small_disk():
    """A file system of its own with a vault on it."""
    disk = fresh("disk")
    os.mkdir(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0755", "none", disk],
                      stderr=subprocess.DEVNULL).returncode:
        raise frond.Skip("no tmpfs may be mounted here")
    try:
        vault = os.path.join(disk, "vault")
        os.mkdir(vault)
        run(FRONDFS, "init", "--passfile", frond.passfile(), "--kdf-mem", "8",
            "--kdf-ops", "1", vault)
        yield disk, vault
    finally:
        unmount(disk)


def fill(disk, left):
    room = os.statvfs(disk)
    with open(put(os.path.join(disk, "filler")), "r+b") as f:
        os.posix_fallocate(f.fileno(), 0, room.f_bavail * room.f_bsize - left)


def told(path, data, at=0, flags=os.O_CREAT, sync=True):
    """Written, made durable and closed: the first error, or None."""
    error = None
    try:
        fd = os.open(path, os.O_WRONLY | flags, 0o644)
    except OSError as e:
        return e.errno
    try:
        os.pwrite(fd, data, at)
        if sync:
            os.fsync(fd)
    except OSError as e:
        error = e.errno
    try:
        os.close(fd)
    except OSError as e:
        error = error or e.errno
    return error


def overwrite(path, old, new):
    """Chunk by chunk, each made durable: what has to be there, and which may be new."""
    now, may = bytearray(old), set()
    fd = os.open(path, os.O_WRONLY)
    # odd ones first: nothing that could be written in one piece
    for i in [*range(1, len(old) // CHUNK, 2), *range(0, len(old) // CHUNK, 2)]:
        at = i * CHUNK
        try:
            os.pwrite(fd, new[at:at + CHUNK], at)
            os.fsync(fd)
            now[at:at + CHUNK] = new[at:at + CHUNK]
        except OSError as e:
            eq(e.errno, errno.ENOSPC)
            may.add(i)
    with contextlib.suppress(OSError):
        os.close(fd)
    return bytes(now), may


@check(plain=False, root=True)
def a_full_disk_is_told_harms_nothing_and_is_enough_when_emptied():
    had, more, changed = blob(4 * MIB, 1), blob(6 * MIB, 2), blob(4 * MIB, 3)
    with small_disk() as (disk, vault), frond.Mount(vault=vault) as m:
        synced(m / "had", had)
        synced(m / "grown", had[:MIB])
        fill(disk, MIB)
        eq(told(m / "new", more), errno.ENOSPC, "a new file, at fsync")
        eq(told(m / "closed", more, sync=False), errno.ENOSPC, "a new file, at close")
        assert "new: not all that was written to it could be stored" in m.log(), m.log()
        eq(told(m / "grown", more, MIB, 0), errno.ENOSPC, "what grows")
        now, may = overwrite(m / "had", had, changed)
        for at in range(0, len(had), CHUNK):
            part = get_at(m / "had", at)
            assert part == now[at:at + CHUNK] or (
                at // CHUNK in may and part == changed[at:at + CHUNK]), f"chunk {at // CHUNK}"
        eq(get_at(m / "grown", 0, MIB), had[:MIB])
        os.unlink(os.path.join(disk, "filler"))
        os.unlink(m / "closed")
        # nothing but room was missing
        for name, data in (("new", more), ("grown", had)):
            until(lambda: told(m / name, data) is None, what=f"room for {name}")
            os.truncate(m / name, len(data))
        until(lambda: told(m / "had", changed) is None, what="room for what changes")
        m.remount()
        for name, data in (("new", more), ("grown", had), ("had", changed)):
            eq(get(m / name), data, name)
        m.umount()
        eq(findings(vault)[0], [])
        m.mount()


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
ZERO_KEEP = 0x11


def read_twice(fd, size):
    """As the kernel has it, and as it lies there."""
    cached = os.pread(fd, size, 0)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return cached, os.pread(fd, size, 0)


@check(plain=False, root=True)
def chunks_that_cannot_be_zeroed_for_want_of_room_stay_as_they_are():
    data, told = blob(16 * CHUNK, 4), set()
    with small_disk() as (disk, vault), frond.Mount(vault=vault) as m:
        for left in range(0, 16 * CHUNK, CHUNK):
            synced(m / "f", data)
            m.remount()
            fd = os.open(m / "f", os.O_RDWR)
            os.pread(fd, len(data), 0)
            fill(disk, left)
            # whole chunks, and a little of the one behind them
            told.add(LIBC.fallocate(fd, ZERO_KEEP, 4 * CHUNK, 5 * CHUNK + 100))
            cached, stored = read_twice(fd, len(data))
            os.unlink(os.path.join(disk, "filler"))
            os.close(fd)
            eq(cached[:9 * CHUNK], stored[:9 * CHUNK], f"{left} bytes left")
        eq(told, {0, -1}, "with room, and without")


def get_at(path, at, size=CHUNK):
    with open(path, "rb", buffering=0) as f:
        return os.pread(f.fileno(), size, at)


# ---- away

@contextlib.contextmanager
def elsewhere():
    """A mount of a vault on a file server."""
    server = fresh("server")
    os.mkdir(server)
    run(frond.helper("slow_fs"), frond.new_vault(), server, "0")
    try:
        with frond.Mount(vault=server) as m:
            yield m
    finally:
        unmount(server)


def reachable(m, yes):
    os.setxattr(m.vault, "user.slow_fs.ms", b"0" if yes else b"-1")


def calls(m, fd):
    """What a program may do then, and what it is told."""
    yield "reading", lambda: get(m / "cold")
    yield "opening to write", lambda: os.open(m / "cold", os.O_WRONLY)
    yield "making", lambda: put(m / "new", b"x")
    yield "making a directory", lambda: os.mkdir(m / "dir")
    yield "linking", lambda: os.symlink("target", m / "link")
    yield "renaming", lambda: os.rename(m / "cold", m / "moved")
    yield "removing", lambda: os.unlink(m / "cold")
    yield "an attribute", lambda: os.setxattr(m / "cold", "user.a", b"v")
    yield "a mode", lambda: os.chmod(m / "cold", 0o600)
    yield "a length", lambda: os.truncate(m / "cold", 5)
    yield "making durable", lambda: os.fsync(fd)


def durable(fd, data, at):
    """One that failed says so once."""
    try:
        os.pwrite(fd, data, at)
        os.fsync(fd)
        return True
    except OSError as e:
        eq(e.errno, errno.EIO)
        return False


def forget(m, *fds):
    """Nothing that was written stays in memory: it has to be fetched."""
    for fd in fds:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    journal = os.path.join(m.vault, ".frondfs/journal")
    for name in os.listdir(journal):
        # slow_fs has the kernel drop what it has of a file that is opened again
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(os.path.join(journal, name), os.O_RDONLY))


@check(plain=False, root=True)
def a_backing_directory_that_is_away_is_told_and_goes_on_when_it_is_back():
    old, new, newer = blob(100 * CHUNK, 1), blob(100 * CHUNK, 2), blob(100 * CHUNK, 3)
    with elsewhere() as m:
        for name in ("open", "cold", "kept"):
            synced(m / name, old)
        m.remount()
        fd = os.open(m / "open", os.O_RDWR)
        os.pwrite(fd, new[:50 * CHUNK], 0)
        os.fsync(fd)
        os.pwrite(fd, newer[50 * CHUNK:], 50 * CHUNK)
        os.listdir(m.path)
        kept = os.open(m / "kept", os.O_RDWR)
        for k in range(2):
            # durable in the journal, and not in its place
            half = slice(k * 50 * CHUNK, (k + 1) * 50 * CHUNK)
            until(lambda: durable(kept, new[half], half.start), what="fsync to work")
            forget(m, fd, kept)
            reachable(m, False)
            time.sleep(0.6)     # it is tried
            for what, call in calls(m, fd):
                e = raises((errno.EIO, errno.ENOENT), call)
                assert e.errno == errno.EIO, f"{what}: {e}"
            reachable(m, True)
            eq(get(m / "cold"), old)
        # what fsync has refused may be written again, or be what it was
        forget(m, fd, kept)
        eq(os.pread(fd, 50 * CHUNK, 0), new[:50 * CHUNK])
        eq(os.pread(kept, 100 * CHUNK, 0), new)
        os.pwrite(fd, newer, 0)
        until(lambda: told(m / "open", newer, flags=0) is None, what="fsync to work")
        os.close(fd)
        os.close(kept)
        put(m / "after", old)
        os.rename(m / "cold", m / "moved")
        m.remount()
        eq({name: get(m / name) for name in os.listdir(m.path)},
           {"after": old, "moved": old, "open": newer, "kept": new})
        m.umount()
        eq(findings(m.vault)[0], [])
        m.mount()


# ---- removed, and not to be written

OLD, NEW = blob(20 * CHUNK, 1), blob(3 * CHUNK, 2)


def with_a_file():
    """A mount with a file that was there before it."""
    m = frond.Mount()
    put(m / "f", OLD)
    m.remount()
    return m


def overwrite_end(m):
    with open(m / "f", "r+b") as f:
        f.seek(17 * CHUNK)
        f.write(NEW)


def told_at_the_end(m):
    """What unmounting says, which has to fail; the mount is over then."""
    p = subprocess.run([FRONDFS, "umount", m.path], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=60)
    m.reap()
    eq((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)
    return p.stderr


@check(plain=False)
def when_the_vault_directory_is_removed_nothing_is_lost_and_all_say_so():
    for wait in True, False:
        m = with_a_file()
        meta = os.path.join(m.vault, ".frondfs")
        ini = get(os.path.join(meta, "vault.ini"))
        # a mount that has just begun writes in there
        until(lambda: not subprocess.run(["rm", "-rf", meta]).returncode, what="rm -r")
        overwrite_end(m)
        if wait:
            with open(m / "f", "r+b") as f:
                os.fsync(f.fileno())
        eq(get(m / "f"), OLD[:17 * CHUNK] + NEW)
        text = told_at_the_end(m)
        assert "/.frondfs/vault.ini' is gone: put it back from your backup" in text, text
        assert "/.frondfs/vault.ini is gone" in m.log(), m.log()
        eq(os.path.exists(os.path.join(meta, "vault.ini")), False)
        put(os.path.join(meta, "vault.ini"), ini)
        with m.mount():
            eq(get(m / "f"), OLD[:17 * CHUNK] + NEW)
        eq(findings(m.vault)[0], [])


@check(plain=False)
def a_vault_that_was_moved_away_is_not_called_one_without_vault_ini():
    m = with_a_file()
    there, moved = m.vault, fresh("moved")
    os.rename(there, moved)
    overwrite_end(m)
    text = told_at_the_end(m)
    assert f"there is no directory '{there}' any more: if it was moved" in text, text
    os.rename(moved, there)
    with m.mount():
        eq(get(m / "f"), OLD[:17 * CHUNK] + NEW)


@check(plain=False)
def what_cannot_be_brought_to_its_place_at_the_end_is_told():
    m = with_a_file()
    resource.prlimit(m.pid, resource.RLIMIT_FSIZE, (10 * CHUNK, 10 * CHUNK))
    overwrite_end(m)
    text = told_at_the_end(m)
    assert "the next mount goes on from the journal" in text, text
    with m.mount():
        eq(get(m / "f"), OLD[:17 * CHUNK] + NEW)


@check(plain=False, root=True)
def a_backing_directory_that_is_away_at_the_end_is_told():
    with elsewhere() as m:
        synced(m / "f", OLD)
        m.remount()
        overwrite_end(m)
        with open(m / "f", "r+b") as f:
            os.fsync(f.fileno())
        reachable(m, False)
        text = told_at_the_end(m)
        assert "cannot be looked into: Input/output error" in text, text
        reachable(m, True)
        m.mount()
        eq(get(m / "f"), OLD[:17 * CHUNK] + NEW)


frond.main()
