#!/usr/bin/python3
"""A backing directory far away: much is on its way at once, and stays right."""
import contextlib
import ctypes
import errno
import json
import mmap
import os
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import FRONDFS, blob, check, eq, fresh, get, put, run, scale

DELAY_MS = 20
MIB = 1 << 20


def unmount(path):
    """As soon as whoever has it open has ended."""
    frond.until(lambda: not subprocess.run(["umount", path], stderr=subprocess.DEVNULL)
                .returncode, what=f"unmounting {path}")


@contextlib.contextmanager
def far_mount(options="", backing=None):
    """A mount of a vault that is far away from when far(m) says so."""
    slow = fresh("slow")
    os.mkdir(slow)
    run(frond.helper("slow_fs"), backing or frond.new_vault(), slow, "0")
    try:
        with frond.Mount(options, vault=slow) as m:
            yield m
            near(m)
    finally:
        unmount(slow)


def far(m, delay_ms=DELAY_MS):
    os.setxattr(m.vault, "user.slow_fs.ms", b"%d" % delay_ms)


def near(m):
    far(m, 0)


def remount(m):
    """Nothing is left in anybody's caches."""
    near(m)
    m.remount()


def counted(m, name):
    return json.loads(run(FRONDFS, "info", "--json", m.path))[name]


@check(plain=False)
def a_reader_in_order_finds_it_read_ahead():
    data = blob(scale(16, 6) * MIB + 12345, 1)
    with far_mount() as m:
        put(m / "f", data)
        for options in ("", "max_read=131072", "max_read=1048576"):
            remount(m)
            m.remount(options)
            far(m)
            eq(get(m / "f") == data, True, options)
            assert counted(m, "ready_reads") > 0, options


def pieces(m, data, places):
    """Whatever is asked for, each time by a request of its own (O_DIRECT)."""
    fd = os.open(m / "f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, MIB)
    for at, size in places:
        n = os.preadv(fd, [memoryview(buffer)[:size]], at)
        eq(buffer[:n] == data[at:at + size], True, (at, size))
    os.close(fd)


@check(plain=False)
def pieces_of_any_size_and_order_are_right():
    data = blob(6 * MIB + 777, 2)
    sizes = (64 << 10, 100 << 10, 128 << 10, 200 << 10, 256 << 10, 4096)
    with far_mount() as m:
        put(m / "f", data)
        remount(m)
        far(m, 5)
        for size in sizes[:scale(len(sizes), 3)]:
            step = -(-len(data) // size)
            places = [(k * size, size) for k in range(step)][:24]
            pieces(m, data, places)
            # two by two the wrong way round; then back, and to the end
            pieces(m, data, [places[k ^ 1] for k in range(len(places) // 2 * 2)])
            pieces(m, data, places[10:] + places[:3] + [(len(data) - 5000, size)])


@check(plain=False)
def what_was_read_ahead_is_forgotten_when_it_is_written():
    piece, count = 128 << 10, 32
    with far_mount() as m:
        want = [blob(piece, 100 + k) for k in range(count)]
        put(m / "f", b"".join(want))
        remount(m)
        far(m, 5)
        reader = os.open(m / "f", os.O_RDONLY | os.O_DIRECT)
        writer = os.open(m / "f", os.O_RDWR)
        buffer = mmap.mmap(-1, piece)
        for k in range(count):
            os.preadv(reader, [buffer], k * piece)
            eq(buffer[:] == want[k], True, f"piece {k}")
            ahead = k + 1 + k % 7
            if k % 3 == 0 and ahead < count:
                want[ahead] = blob(piece, 1000 + k)
                os.pwrite(writer, want[ahead], ahead * piece)
        os.close(writer)
        os.close(reader)


@check(plain=False)
def the_end_that_was_read_ahead_may_have_moved():
    piece, count, more = 128 << 10, 24, blob(300 << 10, 4)
    data = blob(count * piece + 10000, 3)
    for begin in range(2, 2 + scale(6, 2)):
        with far_mount() as m:
            put(m / "f", data)
            remount(m)
            far(m, 10)
            reader = os.open(m / "f", os.O_RDONLY | os.O_DIRECT)
            writer = os.open(m / "f", os.O_WRONLY | os.O_DIRECT)
            longer = threading.Thread(target=os.pwrite,
                                      args=(writer, more, len(data)))
            buffer = mmap.mmap(-1, piece)
            got = b""
            for k in range(count + 3):
                # while the end of the file is being asked for
                if k == begin:
                    longer.start()
                if k == count:
                    longer.join()
                n = os.preadv(reader, [buffer], k * piece)
                got += buffer[:n]
            os.close(writer)
            os.close(reader)
            eq(got == data + more, True, (begin, len(got)))


@check(plain=False)
def a_file_that_grows_is_written_in_large_pieces():
    data = blob(scale(16, 6) * MIB + 54321, 3)
    with far_mount() as m:
        far(m)
        with open(m / "f", "wb", buffering=0) as f:
            f.write(data)
            os.fsync(f.fileno())
        assert counted(m, "joined_writes") > 0
        remount(m)
        eq(get(m / "f") == data, True)


@check(plain=False)
def many_files_grow_at_once():
    count = 6
    data = [blob(2 * MIB + 1000 * n, 10 + n) for n in range(count)]
    with far_mount() as m:
        far(m, 10)
        fds = [os.open(m / f"f{n}", os.O_CREAT | os.O_WRONLY) for n in range(count)]
        for at in range(0, max(map(len, data)), 300000):
            for n, fd in enumerate(fds):
                os.pwrite(fd, data[n][at:at + 300000], at)
        for fd in fds:
            os.fsync(fd)
            os.close(fd)
        remount(m)
        for n in range(count):
            eq(get(m / f"f{n}") == data[n], True, n)


@check(plain=False)
def a_file_that_grows_with_gaps_is_right():
    piece = 300000
    data = [blob(piece, 20 + k) if k % 3 else bytes(piece) for k in range(20)]
    with far_mount() as m:
        far(m, 10)
        fd = os.open(m / "f", os.O_CREAT | os.O_WRONLY)
        for k in (*range(10, 20), *range(10)):
            if k % 3:
                os.pwrite(fd, data[k], k * piece)
        os.fsync(fd)
        os.close(fd)
        remount(m)
        eq(get(m / "f") == b"".join(data), True)


def write_chunks(name, chunks, before_closing=lambda: None):
    """Each by a request of its own."""
    fd = os.open(name, os.O_WRONLY)
    for n, data in chunks.items():
        os.pwrite(fd, data, n * len(data))
    before_closing()
    os.close(fd)


@check(plain=False)
def a_file_that_is_being_closed_is_opened_anew_and_written():
    chunk, islands = 4096, range(0, 60, 3)
    with far_mount("writeback=off") as m:
        for k in range(scale(6, 2)):
            near(m)
            name, old, new = m / f"f{k}", blob(chunk, k), blob(chunk, k + 100)
            put(name, b"")
            os.truncate(name, 60 * chunk)
            write_chunks(name, {n: old for n in islands})
            m.remount()
            # closing it, the mount seals the islands anew, for they claim less
            write_chunks(name, {n + 1: old for n in islands}, before_closing=lambda: far(m, 5))
            write_chunks(name, {n: new for n in reversed(islands)})
            near(m)
            m.remount()
            found = get(name)
            eq([n for n in islands if found[n * chunk:][:2 * chunk] != new + old], [])


@check(plain=False, root=True)
def what_has_no_room_far_away_is_said_and_harms_nothing():
    small = fresh("small")
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", small],
                      stderr=subprocess.DEVNULL).returncode:
        raise frond.Skip("no tmpfs may be mounted here")
    try:
        run(FRONDFS, "init", "--passfile", frond.passfile(), "--kdf-mem", "8",
            "--kdf-ops", "1", small)
        had, more = blob(3 * MIB + 99, 4), blob(16 * MIB, 5)
        with far_mount(backing=small) as m:
            put(m / "had", had)
            far(m, 10)
            fd = os.open(m / "f", os.O_CREAT | os.O_WRONLY)
            try:
                os.write(fd, more)
                os.fsync(fd)
                raise AssertionError("no error")
            except OSError as e:
                eq(e.errno, errno.ENOSPC)
            finally:
                try:
                    os.close(fd)
                except OSError as e:
                    eq(e.errno, errno.ENOSPC)
            remount(m)
            eq(get(m / "had") == had, True)
            got = get(m / "f")
            # what was too much together had room in part
            eq(got[:5 * MIB] == more[:5 * MIB], True, "what there was room for")
            for at in range(0, len(got), 4096):
                part = got[at:at + 4096]
                assert part == more[at:at + len(part)] or not any(part), at
            os.unlink(m / "f")
            put(m / "f", had)
            eq(get(m / "f") == had, True)
    finally:
        unmount(small)


def mtime_anew(path):
    """What the file system says, not what the kernel remembers of it."""
    force_sync, mtime, buffer = 0x2000, 0x40, ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).statx(-100, os.fsencode(path), force_sync, mtime, buffer):
        raise OSError(ctypes.get_errno(), "statx", path)
    return struct.unpack_from("qI", buffer, 112)


@check(plain=False)
def a_time_that_was_set_stays_while_the_journal_brings_chunks_home():
    past = 123456789, 987654321
    with far_mount("writeback=off") as m:
        put(m / "f", blob(64 * 4096, 3))
        remount(m)
        far(m)
        with open(m / "f", "r+b", buffering=0) as f:
            for chunk in range(0, 64, 2):
                os.pwrite(f.fileno(), b"x" * 4096, chunk * 4096)
            os.utime(f.fileno(), ns=(0, past[0] * 10**9 + past[1]))
            looks = 0
            while counted(m, "journal")["pending"] or looks == 0:
                eq(mtime_anew(m / "f"), past, f"after {looks} looks")
                looks += 1


frond.main()
