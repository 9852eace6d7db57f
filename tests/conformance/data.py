"""Content: reading, writing, sizes, mappings, copies."""
import ctypes
import fcntl
import mmap
import os
import random
import resource
import signal

import calls
from notebook import blob, get, put, section

HUGE = (1 << 63) - 1


@section
def reads_and_writes_at_every_offset(t):
    put("f", blob(10000))
    fd = os.open("f", os.O_RDWR)
    for at in (0, 1, 4095, 4096, 4097, 8191, 9999, 10000, 10001, 1 << 33, HUGE - 5, HUGE, -1):
        for n in (0, 1, 15, 4096, 10000):
            t(f"pread {n} at {at}", os.pread, fd, n, at)
    for at in (0, 1, 4095, 4096, 8190, 9999, 10000, 12345, 20480, -1):
        for n in (0, 1, 17, 4096, 5000):
            t(f"pwrite {n} at {at}", os.pwrite, fd, blob(n, n + at), at)
            t(f"fstat after {n} at {at}", lambda: os.fstat(fd).st_size)
    t("content", get, "f")
    os.close(fd)


@section
def vectors(t):
    put("f", blob(9000))
    fd = os.open("f", os.O_RDWR)
    for sizes in ([], [0], [1], [10, 0, 4096, 7], [4096] * 3, [1] * 1024, [1] * 1025):
        bufs = [bytearray(n) for n in sizes]
        t(f"preadv {sizes[:4]} {len(sizes)}", os.preadv, fd, bufs, 5)
        t("into", lambda: b"".join(bufs))
        t(f"pwritev {sizes[:4]}", os.pwritev, fd, [blob(n, n) for n in sizes], 3000)
    for flags in (os.RWF_DSYNC, os.RWF_SYNC, os.RWF_HIPRI, os.RWF_APPEND, 0x800):
        t(f"pwritev flags {flags}", os.pwritev, fd, [b"flags"], 100, flags)
        t(f"preadv flags {flags}", os.preadv, fd, [bytearray(5)], 100, flags)
    t("content", get, "f")
    os.close(fd)


@section
def seeks(t):
    put("f", blob(10000))
    for name, flags in (("f", os.O_RDWR), ("f", os.O_RDWR | os.O_APPEND), (".", os.O_RDONLY)):
        fd = os.open(name, flags)
        for whence in (0, 1, 2, 5, 99):
            for at in (0, 1, 5000, -1, -5000, 1 << 40, -HUGE):
                if name == "f":
                    t(f"lseek {flags} {at} {whence}", os.lseek, fd, at, whence)
            if name == "f":
                t("read there", os.read, fd, 10)
                t("write there", lambda: os.write(fd, b"w") and os.fstat(fd).st_size
                  if os.lseek(fd, 0, 1) < 1 << 30 else 0)
        os.close(fd)
    fd = os.open("f", os.O_RDONLY)
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for at in (-1, 0, 5000, os.fstat(fd).st_size, os.fstat(fd).st_size + 1, HUGE):
            t(f"lseek {whence} {at}", os.lseek, fd, at, whence)
    os.close(fd)
    fd = os.open("f", os.O_PATH)
    t("lseek path", os.lseek, fd, 0, 0)
    os.close(fd)


@section
def descriptors_that_do_not_fit(t):
    put("f", blob(100))
    os.mkdir("d")
    os.mkfifo("p")
    ways = {"r": os.open("f", os.O_RDONLY), "w": os.open("f", os.O_WRONLY),
            "path": os.open("f", os.O_PATH), "dir": os.open("d", os.O_RDONLY),
            "fifo": os.open("p", os.O_RDWR | os.O_NONBLOCK),
            "append": os.open("f", os.O_RDWR | os.O_APPEND), "none": 999}
    for title, fd in ways.items():
        for name, fn in (
                ("read", lambda: os.read(fd, 5)), ("write", lambda: os.write(fd, b"w")),
                ("pread", lambda: os.pread(fd, 5, 0)),
                ("pwrite", lambda: os.pwrite(fd, b"w", 0)),
                ("pwrite nothing", lambda: os.pwrite(fd, b"", 0)),
                ("ftruncate", lambda: os.ftruncate(fd, 50)),
                ("ftruncate -1", lambda: os.ftruncate(fd, -1)),
                ("fallocate", lambda: calls.fallocate(fd, 0, 0, 10)),
                ("fsync", lambda: os.fsync(fd)), ("fdatasync", lambda: os.fdatasync(fd)),
                ("syncrange", lambda: calls.sync_file_range(fd, 0, 0, 2)),
                ("syncrange flags", lambda: calls.sync_file_range(fd, 0, 0, 99)),
                ("fchmod", lambda: os.fchmod(fd, 0o644)),
                ("fadvise", lambda: os.posix_fadvise(fd, 0, 0, 3)),
                ("fadvise 99", lambda: os.posix_fadvise(fd, 0, 0, 99)),
                ("getfl", lambda: oct(fcntl.fcntl(fd, fcntl.F_GETFL) & 0o17777777)),
                ("setfl", lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)),
                ("listdir", lambda: os.listdir(fd)),
                ("getxattr", lambda: os.getxattr(fd, "user.x")),
                ("setxattr", lambda: os.setxattr(fd, "user.x", b"1")),
                ("flock", lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
                ("lockf", lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
                ("rlock", lambda: fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)),
                ("unlock", lambda: fcntl.flock(fd, fcntl.LOCK_UN)),
                ("mmap r", lambda: mmap.mmap(fd, 10, prot=mmap.PROT_READ).close()),
                ("mmap rw", lambda: mmap.mmap(fd, 10).close()),
                ("mmap private", lambda: mmap.mmap(fd, 10, flags=mmap.MAP_PRIVATE).close()),
                ("copy from", lambda: os.copy_file_range(fd, ways["append"], 5)),
                ("copy to", lambda: os.copy_file_range(ways["r"], fd, 5)),
                ("sendfile from", lambda: os.sendfile(ways["w"], fd, 0, 3)),
                ("sendfile to", lambda: os.sendfile(fd, ways["r"], 0, 3))):
            t(f"{title}: {name}", fn)
    t("content", get, "f")
    for fd in list(ways.values())[:-1]:
        os.close(fd)


@section
def truncations(t):
    os.mkdir("d")
    os.mkfifo("p")
    os.symlink("f", "l")
    for size in (0, 1, 5000, 4096, 4095, 4097, 12288, 100, 1 << 20, 3, -1, 0):
        put("f", blob(5000)) if size % 3 == 0 else None
        for name in ("f", "l", "d", "p", "none"):
            t(f"truncate {name} {size}", calls.truncate, name, size)
        t(f"content at {size}", lambda: (os.stat("f").st_size, get("f")))
    put("r", b"r", 0o444)
    t("truncate read-only", calls.truncate, "r", 0)


@section
def allocations(t):
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
    for mode in (0, calls.KEEP_SIZE, calls.PUNCH | calls.KEEP_SIZE, calls.ZERO,
                 calls.ZERO | calls.KEEP_SIZE, calls.PUNCH, calls.PUNCH | calls.ZERO, 0x4000):
        for at, n in ((0, 0), (0, 10), (0, 4096), (100, 5000), (4096, 8192), (9000, 9000),
                      (30000, 1), (-1, 5), (5, -1), (HUGE, 1)):
            os.ftruncate(fd, 0)
            os.pwrite(fd, blob(20000), 0)
            t(f"fallocate {mode} {at} {n}", calls.fallocate, fd, mode, at, n)
            t(f"after {mode} {at} {n}", lambda: (os.fstat(fd).st_size, get("f")))
    for at, n in ((0, 10), (100, 0), (5000, 30000), (-1, 1)):
        t(f"posix_fallocate {at} {n}", os.posix_fallocate, fd, at, n)
    os.close(fd)


@section
def random_changes_of_one_file(t):
    rng = random.Random(41)
    fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
    gd = os.open("g", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(gd, blob(60000, 7), 0)
    for i in range(500):
        at, n = rng.randrange(70000), rng.choice((1, 16, 100, 4096, 5000, 20000))
        at = at // 4096 * 4096 if rng.random() < .3 else at
        what = rng.choice((
            ("write", lambda: os.pwrite(fd, blob(n, i), at)),
            ("write", lambda: os.pwrite(fd, blob(n, i), at)),
            ("truncate", lambda: os.ftruncate(fd, at)),
            ("punch", lambda: calls.fallocate(fd, 3, at, n)),
            ("zero", lambda: calls.fallocate(fd, calls.ZERO, at, n)),
            ("allocate", lambda: calls.fallocate(fd, 0, at, n)),
            ("copy", lambda: os.copy_file_range(gd, fd, n, at % 40000, at)),
            ("back", lambda: os.copy_file_range(fd, gd, n, at, at % 50000)),
            ("fsync", lambda: os.fsync(fd)),
            ("append", lambda: os.pwrite(fd, blob(n, i), os.fstat(fd).st_size)),
            ("map", lambda: mapped(fd, at, n, i)),
            ("read", lambda: os.pread(fd, n, at)), ("stat", lambda: os.fstat(fd).st_size)))
        t(f"{i} {what[0]} {n} at {at}", what[1])
        if i % 10 == 0:
            t(f"{i} content", get, "f")
    t("other", get, "g")
    os.close(fd)
    os.close(gd)


def mapped(fd, at, n, seed):
    size = os.fstat(fd).st_size
    if at >= size:
        return None
    n = min(n, size - at)
    with mmap.mmap(fd, size) as m:
        before = m[at:at + n]
        m[at:at + n] = blob(n, seed)
    return before


def faults(fn):
    """How a child that does this ends."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            fn()
            os._exit(0)
        except OSError as e:
            os._exit(e.errno)
    return os.waitpid(pid, 0)[1] & 0xff7f


@section
def mappings(t):
    put("f", blob(12288))
    fd = os.open("f", os.O_RDWR)
    other = mmap.mmap(fd, 12288, flags=mmap.MAP_PRIVATE)
    with mmap.mmap(fd, 12288) as m:
        os.ftruncate(fd, 10000)
        t("tail of the last page", lambda: m[9990:12288])
        m[10000:10010] = b"after end."
        m[5000:5005] = b"12345"
        t("read sees", os.pread, fd, 10, 4998)
        t("private sees", lambda: other[4998:5008])
        other[4998:5008] = b"privately."
        t("shared does not", lambda: m[4998:5008])
        os.pwrite(fd, b"written", 6000)
        t("map sees", lambda: m[5998:6010])
        os.ftruncate(fd, 15000)
        t("what was behind the end", os.pread, fd, 20, 9995)
        os.ftruncate(fd, 5000)
        t("a page behind the end", faults, lambda: m[8192])
        t("and written", faults, lambda: m.__setitem__(8192, 1))
        os.ftruncate(fd, 9000)
        t("grown again", lambda: m[4990:8200])
        t("flush", m.flush)
    other.close()
    os.close(fd)
    t("content", get, "f")


@section
def copies_within_and_between_files(t):
    put("a", blob(30000, 3))
    put("b", blob(100, 4))
    a, b = os.open("a", os.O_RDWR), os.open("b", os.O_RDWR)
    for n, src, dst in ((100, 0, 0), (5000, 10, 4096), (0, 0, 0), (99999, 20000, 1),
                        (10, 30000, 0), (10, 40000, 0), (4096, 8192, 16384), (10, -1, 0),
                        (10, 0, -1)):
        t(f"copy {n} {src} {dst}", os.copy_file_range, a, b, n, src, dst)
        t(f"copied {n} {src} {dst}", get, "b")
    t("copy by position", lambda: (os.copy_file_range(a, b, 77), os.lseek(a, 0, 1),
                                   os.lseek(b, 0, 1)))
    t("overlap", os.copy_file_range, a, a, 5000, 0, 100)
    t("within", os.copy_file_range, a, a, 5000, 0, 10000)
    t("content", get, "a")
    for n, at in ((10, 0), (20000, 5000), (10, 99999), (0, 0), (10, -1)):
        t(f"sendfile {n} {at}", os.sendfile, b, a, at, n)
    r, w = os.pipe()
    t("splice in", os.splice, a, w, 3000, 100)
    t("splice out", os.splice, r, b, 3000, None, 50)
    t("content", get, "b")
    for fd in (a, b, r, w):
        os.close(fd)


@section
def appends_and_other_flags(t):
    put("f", b"begin")
    fd = os.open("f", os.O_RDWR | os.O_APPEND)
    t("pwrite appends", os.pwrite, fd, b"12345", 0)
    t("write", os.write, fd, b"-w")
    t("position", os.lseek, fd, 0, 1)
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    t("no longer", os.pwrite, fd, b"BEGIN", 0)
    t("content", get, "f")
    t("dup", lambda: os.lseek(os.dup(fd), 3, 0) and os.lseek(fd, 0, 1))
    os.close(fd)
    fd = os.open("f", os.O_RDWR | os.O_SYNC)
    t("sync write", os.write, fd, blob(9000))
    t("getfl", lambda: oct(fcntl.fcntl(fd, fcntl.F_GETFL)))
    os.close(fd)


@section
def the_size_limit_of_a_process(t):
    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o644)
        t("up to it", os.pwrite, fd, blob(9000), 0)
        t("over it", os.pwrite, fd, blob(5000), 8000)
        t("behind it", os.pwrite, fd, b"x", 10000)
        t("truncate to it", os.ftruncate, fd, 10000)
        t("truncate over it", os.ftruncate, fd, 10001)
        t("allocate over it", calls.fallocate, fd, 0, 0, 20000)
        t("size", lambda: os.fstat(fd).st_size)
    t.as_user(None, limited)
    t("content", get, "f")


@section
def direct_io(t):
    put("f", blob(32768))
    fd = os.open("f", os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 8192)
    t("read", os.preadv, fd, [page], 8192)
    t("what", lambda: page[:])
    page[:] = blob(8192, 5)
    t("write", os.pwritev, fd, [page], 16384)
    tail = mmap.mmap(-1, 8192)
    t("read at the end", os.preadv, fd, [tail], 28672)
    t("what", lambda: tail[:4096])
    t("read behind the end", os.preadv, fd, [page], 1 << 20)
    t("grow", os.pwritev, fd, [page], 40960)
    t("content", get, "f")
    os.close(fd)


@section
def bad_addresses(t):
    put("f", blob(10000))
    fd = os.open("f", os.O_RDWR)
    libc, bad = calls.libc, ctypes.c_void_p(16)

    def raw(fn, *args):
        if fn(*args) < 0:
            raise OSError(ctypes.get_errno(), "")
        return "fine"
    for name, args in (("read", (fd, bad, 100)), ("write", (fd, bad, 100)),
                       ("open", (bad, 0)), ("readlink", (b"f", bad, 10)),
                       ("mkdir", (bad, 0o700)), ("rename", (b"f", bad)),
                       ("symlink", (bad, b"s")), ("unlink", (bad,)),
                       ("getxattr", (b"f", bad, None, 0)),
                       ("setxattr", (b"f", b"user.x", bad, 10, 0)),
                       ("utimensat", (-100, b"f", bad, 0)), ("truncate", (bad, 0))):
        t(f"{name} at a bad address", raw, getattr(libc, name), *args)
    t("content", get, "f")
    os.close(fd)


