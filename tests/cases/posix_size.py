#!/usr/bin/python3
"""Truncation, holes, fallocate, SEEK_DATA/HOLE, copies and huge files."""
import ctypes
import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises

KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def seek_exactly(path, at, whence, want):
    """
    Once closed by all who wrote it, a file tells its holes to the chunk. The
    kernel lets the daemon know of a close soon after close(2).
    """
    fd = os.open(path, os.O_RDONLY)
    frond.until(lambda: os.lseek(fd, at, whence) == want, 5,
                f"seek from {at} to {want}")
    os.close(fd)


def holes(fd):
    """[(begin, end)] of the holes, as lseek(2) tells them."""
    end = os.lseek(fd, 0, os.SEEK_END)
    found, at = [], 0
    while at < end:
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        if hole >= end:
            break
        try:
            at = os.lseek(fd, hole, os.SEEK_DATA)
        except OSError as e:
            eq(e.errno, errno.ENXIO)
            at = end
        found.append((hole, at))
    return found


@check
def truncate_works_both_ways_at_every_edge(m):
    edges = (0, 1, 100, 4095, 4096, 4097, 8192, 12289, 40960, 100000)
    data = blob(100000)
    for a in edges:
        for b in edges:
            put(m / "f", data[:a])
            os.truncate(m / "f", b)
            eq(os.stat(m / "f").st_size, b)
            eq(get(m / "f"), data[:min(a, b)] + bytes(max(0, b - a)), f"{a} to {b}")


@check
def what_was_cut_off_does_not_come_back(m):
    put(m / "f", b"s" * 20000)
    fd = os.open(m / "f", os.O_RDWR)
    for at in (10000, 4097, 4096, 1, 0):
        os.ftruncate(fd, at)
        os.ftruncate(fd, 20000)
        eq(os.pread(fd, 20000, 0), b"s" * at + bytes(20000 - at), f"cut at {at}")
    os.close(fd)


@check
def gaps_read_as_zeros(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"far", 1000003)
    os.pwrite(fd, b"near", 5000)
    want = bytes(5000) + b"near" + bytes(1000003 - 5004) + b"far"
    os.fsync(fd)
    eq(os.pread(fd, 2000000, 0), want)
    os.close(fd)
    eq(get(m / "f"), want)
    assert os.stat(m / "f").st_blocks * 512 < 200000, "holes take no room"


@check
def blocks_filled_backwards_make_the_same_file(m):
    data = blob(400000)
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    for at in reversed(range(0, len(data), 10000)):
        os.pwrite(fd, data[at:at + 10000], at)
        if at % 50000 == 0:
            os.fsync(fd)
    os.close(fd)
    eq(get(m / "f"), data)


@check
def files_of_many_tebibytes_work(m):
    for n, at in enumerate(((5 << 40) + 12345, 13 << 40)):
        fd = os.open(m / f"f{n}", os.O_CREAT | os.O_RDWR, 0o644)
        os.pwrite(fd, b"begin", 0)
        os.pwrite(fd, b"out here", at)
        os.fsync(fd)
        eq(os.fstat(fd).st_size, at + 8)
        eq(os.pread(fd, 100, at - 4), bytes(4) + b"out here")
        eq(os.pread(fd, 8, at // 2), bytes(8))
        os.close(fd)
        seek_exactly(m / f"f{n}", 1 << 20, os.SEEK_DATA, at // 4096 * 4096)
        fd = os.open(m / f"f{n}", os.O_RDWR)
        os.ftruncate(fd, 5)
        eq(os.pread(fd, 10, 0), b"begin")
        os.close(fd)
    raises((errno.EFBIG, errno.EINVAL), os.truncate, m / "f0", (1 << 63) - 1)


@check
def fallocate_extends_or_keeps_the_size(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, blob(6000))
    fallocate(fd, KEEP, 0, 100000)
    eq(os.fstat(fd).st_size, 6000, "keep-size")
    fallocate(fd, 0, 3000, 50000)
    eq(os.fstat(fd).st_size, 53000, "without keep-size")
    eq(os.pread(fd, 60000, 0), blob(6000) + bytes(47000))
    os.close(fd)


@check
def punched_and_zeroed_ranges_read_as_zeros(m):
    data = blob(100000)
    ranges = ((0, 4096), (1, 4095), (4000, 200), (4096, 40960), (5000, 30001),
              (99000, 1000), (95000, 50000), (0, 100000))
    for mode in (PUNCH | KEEP, ZERO | KEEP, ZERO):
        for at, n in ranges:
            put(m / "f", data)
            fd = os.open(m / "f", os.O_RDWR)
            fallocate(fd, mode, at, n)
            want = data[:at] + bytes(min(n, 100000 - at)) + data[at + n:]
            if mode == ZERO:
                want += bytes(max(0, at + n - 100000))
            eq(os.fstat(fd).st_size, len(want), f"size, mode {mode}, {at}+{n}")
            eq(os.pread(fd, 200000, 0), want, f"mode {mode}, {at}+{n}")
            os.close(fd)
            eq(get(m / "f"), want)


@check
def punching_frees_room(m):
    put(m / "f", blob(8 << 20))
    fd = os.open(m / "f", os.O_RDWR)
    os.fsync(fd)
    before = os.fstat(fd).st_blocks
    fallocate(fd, PUNCH | KEEP, 1 << 20, 6 << 20)
    os.fsync(fd)
    os.close(fd)
    os.sync()
    after = os.stat(m / "f").st_blocks
    assert after < before / 2, f"{before} blocks before, {after} after"


@check
def fallocate_refuses_what_it_cannot_do(m):
    put(m / "f", blob(100000))
    fd = os.open(m / "f", os.O_RDWR)
    raises(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, 4096)
    raises(errno.EINVAL, fallocate, fd, 0, 0, 0)
    raises(errno.EINVAL, fallocate, fd, 0, -1, 10)
    if not frond.PLAIN:
        raises(errno.EOPNOTSUPP, fallocate, fd, COLLAPSE, 0, 4096)
        raises(errno.EOPNOTSUPP, fallocate, fd, INSERT, 0, 4096)
    os.close(fd)
    eq(get(m / "f"), blob(100000))


@check
def seek_data_and_seek_hole_tell_the_holes(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    for at in (64, 256, 512):
        os.pwrite(fd, blob(16 << 10), at << 10)
    os.ftruncate(fd, 1 << 20)
    raises(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)
    raises(errno.ENXIO, os.lseek, fd, 2 << 20, os.SEEK_HOLE)
    os.close(fd)
    seek_exactly(m / "f", 64 << 10, os.SEEK_HOLE, 80 << 10)
    fd = os.open(m / "f", os.O_RDONLY)
    found = holes(fd)
    for begin, end in found:
        part = os.pread(fd, end - begin, begin)
        eq(part, bytes(len(part)), "a hole")
    covered = sum(end - begin for begin, end in found)
    assert covered >= (1 << 20) - (48 << 10) - 4 * 4096, f"holes: {found}"
    eq(os.lseek(fd, 4096, os.SEEK_DATA), 64 << 10)  # chunk 0 may be data
    eq(os.lseek(fd, 64 << 10, os.SEEK_HOLE), 80 << 10)
    raises(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)
    raises(errno.ENXIO, os.lseek, fd, 2 << 20, os.SEEK_HOLE)
    os.close(fd)


@check
def unwritten_back_data_is_not_called_a_hole(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(fd, 1 << 20)
    os.pwrite(fd, b"fresh", 500000)
    data = os.lseek(fd, 0, os.SEEK_DATA)
    os.close(fd)
    assert data <= 500000, f"data only at {data}"


@check
def copy_file_range_copies(m):
    data = blob(3 << 20)
    put(m / "a", data)
    a = os.open(m / "a", os.O_RDONLY)
    b = os.open(m / "b", os.O_CREAT | os.O_RDWR, 0o644)
    done = 0
    while done < len(data) - 5:
        n = os.copy_file_range(a, b, len(data) - 5 - done, 5 + done, done)
        assert n > 0, "nothing copied"
        done += n
    eq(os.pread(b, len(data), 0), data[5:])
    raises(errno.EINVAL, os.copy_file_range, b, b, 1000, 0, 10)
    os.close(a)
    os.close(b)
    frond.run("cp", "--reflink=auto", "--sparse=auto", m / "a", m / "c")
    eq(get(m / "c"), data)


@check
def st_blocks_and_statfs_are_plausible(m):
    put(m / "f", blob(1 << 20))
    os.sync()
    st = os.stat(m / "f")
    assert (1 << 20) <= st.st_blocks * 512 <= (1 << 20) * 1.2, st.st_blocks
    assert st.st_blksize >= 4096
    fs, below = os.statvfs(m / "f"), os.statvfs(m.vault)
    eq(fs.f_namemax, 255)
    assert fs.f_blocks * fs.f_frsize <= below.f_blocks * below.f_frsize
    assert fs.f_blocks * fs.f_frsize >= below.f_blocks * below.f_frsize * 0.9
    assert fs.f_bavail and fs.f_files


frond.main()
