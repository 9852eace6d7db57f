"""Times, attributes, directories being read, what was removed, locks, programs."""
import ctypes
import fcntl
import os
import shutil
import stat
import struct
import time
from itertools import product

import calls
from rights import execute
from notebook import attributes, blob, clear, get, put, section

PAST = 10**18 + 7


@section
def times_that_are_set(t):
    put("f", b"x")
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("p")
    now, omit = (0, calls.UTIME_NOW), (0, calls.UTIME_OMIT)
    values = [(0, 0), (1, 999999999), (1234567890, 123456789), (-1, 5), (-2**31, 0),
              (2**31, 1), (2**32 + 5, 7), (1, 10**9), (1, -1), omit]
    for name in ("f", "d", "l", "p"):
        for a in values:
            for b in values:
                flags = calls.AT_SYMLINK_NOFOLLOW if name == "l" else 0
                t(f"utimensat {name} {a} {b}", calls.utimensat, name, a, b, flags)
                st = os.lstat(name)
                if omit not in (a, b) or name != "p":
                    t.note(f"times of {name}", (st.st_atime_ns, st.st_mtime_ns))
    for a, b in ((now, (5, 5)), ((5, 5), now), (now, omit), (omit, now), (now, now)):
        os.utime("f", ns=(PAST, PAST))
        calls.utimensat("f", a, b)
        st = os.stat("f")
        t.note(f"moved {a} {b}", (st.st_atime_ns != PAST, st.st_mtime_ns != PAST))
    t("flags", calls.utimensat, "f", (1, 1), (1, 1), 0x8000)
    t("no path", calls.utimensat, None, (1, 1), (1, 1))
    fd = os.open("f", os.O_RDONLY)
    t("by descriptor", calls.utimensat, None, (7, 7), (8, 8), 0, fd)
    os.close(fd)
    fd = os.open("f", os.O_PATH)
    t("by path descriptor", calls.utimensat, None, (7, 7), (8, 8), 0, fd)
    t("empty path", calls.utimensat, "", (9, 9), (9, 9), calls.AT_EMPTY_PATH, fd)
    os.close(fd)


def times(name):
    try:
        st = os.lstat(name)
        return st.st_mtime_ns, st.st_ctime_ns
    except OSError:
        return None


def changes():
    """What moves the times of "f" in "d", by name."""
    def fd(flags, fn):
        n = os.open("d/f", flags)
        try:
            return fn(n)
        finally:
            os.close(n)
    return {
        "nothing": lambda: None, "read": lambda: get("d/f"), "stat": lambda: os.stat("d/f"),
        "open": lambda: fd(os.O_RDWR, lambda n: None),
        "write": lambda: fd(os.O_RDWR, lambda n: (os.write(n, b"w"), os.fsync(n))),
        "write nothing": lambda: fd(os.O_RDWR, lambda n: os.write(n, b"")),
        "append": lambda: fd(os.O_APPEND | 1, lambda n: os.write(n, b"a")),
        "truncate": lambda: calls.truncate("d/f", 3),
        "truncate same": lambda: calls.truncate("d/f", 100),
        "ftruncate same": lambda: fd(os.O_RDWR, lambda n: os.ftruncate(n, 100)),
        "grow": lambda: calls.truncate("d/f", 9000),
        "O_TRUNC": lambda: fd(os.O_RDWR | os.O_TRUNC, lambda n: None),
        "fallocate": lambda: fd(os.O_RDWR, lambda n: calls.fallocate(n, 0, 0, 9000)),
        "punch": lambda: fd(os.O_RDWR, lambda n: calls.fallocate(n, 3, 0, 50)),
        "copy": lambda: fd(os.O_RDWR, lambda n: os.copy_file_range(n, n, 10, 0, 50)),
        "chmod": lambda: os.chmod("d/f", 0o600), "chmod same": lambda: os.chmod("d/f", 0o644),
        "chown": lambda: os.chown("d/f", os.geteuid(), os.getegid()),
        "chown nothing": lambda: os.chown("d/f", -1, -1),
        "setxattr": lambda: os.setxattr("d/f", "user.a", b"1"),
        "removexattr": lambda: os.removexattr("d/f", "user.x"),
        "setxattr of dir": lambda: os.setxattr("d", "user.a", b"1"),
        "link": lambda: os.link("d/f", "d/new"), "link out": lambda: os.link("d/f", "e/new"),
        "unlink a name": lambda: os.unlink("d/g"), "unlink": lambda: os.unlink("d/f"),
        "rename": lambda: os.rename("d/f", "d/new"),
        "rename out": lambda: os.rename("d/f", "e/new"),
        "rename over": lambda: os.rename("d/h", "d/f"),
        "rename same": lambda: os.rename("d/f", "d/g"),
        "exchange": lambda: calls.renameat2("d/f", "d/h", calls.EXCHANGE),
        "exchange out": lambda: calls.renameat2("d/f", "e/i", calls.EXCHANGE),
        "create": lambda: put("d/new"), "create over": lambda: put("d/f"),
        "mkdir": lambda: os.mkdir("d/new"), "rmdir": lambda: os.rmdir("d/sub"),
        "symlink": lambda: os.symlink("t", "d/new"),
        "long symlink": lambda: os.symlink("t" * 4000, "d/new"),
        "unlink long": lambda: os.unlink("d/long"),
        "mkfifo": lambda: os.mkfifo("d/new"), "long name": lambda: put("d/" + "n" * 255),
        "unlink long name": lambda: os.unlink("d/" + "m" * 255),
        "move dir": lambda: os.rename("d/sub", "e/sub"),
        "failed mkdir": lambda: os.mkdir("d/f"), "failed rmdir": lambda: os.rmdir("d"),
        "utime": lambda: os.utime("d/f", ns=(5, 5)), "list": lambda: sorted(os.listdir("d")),
        "mmap": lambda: fd(os.O_RDWR, lambda n: mapped_write(n)),
        "fsync": lambda: fd(os.O_RDWR, os.fsync),
        "lock": lambda: fd(os.O_RDWR, lambda n: fcntl.lockf(n, fcntl.LOCK_EX))}


def mapped_write(fd):
    import mmap
    with mmap.mmap(fd, 100) as m:
        m[5:7] = b"mm"
        m.flush()


@section
def what_moves_which_times(t):
    for what, change in t.some(changes().items()):
        for name in ("d", "e"):
            clear(name)
            os.mkdir(name)
        put("d/f", blob(100))
        os.link("d/f", "d/g")
        put("d/h", b"h")
        put("e/i", b"i")
        os.mkdir("d/sub")
        os.symlink("t" * 4000, "d/long")
        put("d/" + "m" * 255)
        os.setxattr("d/f", "user.x", b"1")
        names = ("d/f", "d/g", "d/h", "d/new", "d/sub", "e/new", "e/i", "e/sub", "d", "e")
        for name in names:
            if os.path.lexists(name):
                os.utime(name, ns=(PAST, PAST))
        before = {n: times(n) for n in names}
        time.sleep(0.02)            # the clock of files ticks slowly
        t(what, change)
        for name in names:
            was, now = before[name], times(name)
            if was and now:
                t.note(f"{what}: {name} mtime", was[0] != now[0])
                t.note(f"{what}: {name} ctime", was[1] != now[1])


@section
def attributes_and_their_errors(t):
    put("f")
    os.mkdir("d")
    os.symlink("f", "l")
    os.mkfifo("p")
    for name in ("f", "d", "p"):
        for key in (b"user.a", b"user.", b"user", b"", b"user.\xff\xfe", b"nothing.x",
                    b"user." + b"n" * 250, b"user." + b"n" * 251, b"system.x",
                    b"user." + bytes(range(1, 128)), b"."):
            for value, size in ((b"", 0), (b"v", 1), (b"v" * 1000, 1000), (b"v", 65537)):
                t(f"set {name} {key!r:.20} {size}", calls.setxattr, name, key,
                  value.ljust(size, b"v"))
            t(f"list {name}", lambda: sorted(attributes(name)))
            t(f"remove {name} {key!r:.20}", os.removexattr, name, key)
    for flags in (0, 1, 2, 3, 4):
        for there in (False, True):
            clear("g")
            put("g")
            if there:
                os.setxattr("g", "user.x", b"old")
            t(f"set {flags} {there}", calls.setxattr, "g", b"user.x", b"new", None, flags)
            t("now", os.getxattr, "g", "user.x")
    os.setxattr("f", "user.x", b"value")
    put("only")
    os.setxattr("only", "user.x", b"value")
    for size in (0, 1, 4, 5, 6, 65536, 65537):
        t(f"get into {size}", calls.getxattr, "f", b"user.x", size)
    t("set of a link", lambda: os.setxattr("l", "user.y", b"", follow_symlinks=False))
    t("list of a link", lambda: os.listxattr("l", follow_symlinks=False))
    for key in ("user.none", "nothing.x", "user.", "x" * 256):
        t(f"get {key:.20}", os.getxattr, "f", key)
        t(f"get of a link {key:.20}", lambda: os.getxattr("l", key, follow_symlinks=False))
    for i in range(10):
        os.setxattr("d", f"user.{i}", b"%d" % i * 3)
    t("ten", lambda: {n: os.getxattr("d", n) for n in sorted(attributes("d"))})


@section
def directories_being_read(t):
    for i in range(300):
        (put, os.mkdir, lambda p: os.symlink("t", p), os.mkfifo)[i % 4](f"name{i}")
    d = calls.Dir(".")
    all_of_it = d.rest()
    t.note("names and types", sorted((n, k) for n, k, _ in all_of_it))
    t.note("inodes", all(os.lstat(n).st_ino == ino for n, _, ino in all_of_it
                         if n not in (b".", b"..")))
    t.note("dot", [i == os.stat(n).st_ino for n, _, i in all_of_it if n == b"."])
    d.rewind()
    places = []
    while True:
        at = d.tell()
        entry = d.read()
        if not entry:
            break
        places.append((at, entry[0]))
    good = 0
    for at, name in reversed(places):
        d.seek(at)
        good += d.read()[0] == name
    t.note("seekdir finds", good == len(places) == 302)
    d.seek(places[150][0])
    for i in range(0, 300, 2):
        clear(f"name{i}")
    left = {n for n, _, _ in d.rest()}
    odd = {b"name%d" % i for i in range(1, 300, 2)}
    t.note("entries that stayed are there",
           {n for _, n in places[150:]} & odd <= left)
    d.rewind()
    t.note("rewound", sorted(n for n, _, _ in d.rest()))
    d.close()
    seen, d = [], calls.Dir(".")
    while entry := d.read():        # remove while reading: nothing is left out
        seen.append(entry[0])
        if entry[0] not in (b".", b".."):
            clear(os.fsdecode(entry[0]))
    d.close()
    t.note("seen while removing", sorted(seen))
    t.note("left", os.listdir("."))


@section
def files_that_were_removed_while_open(t):
    put("f", blob(10000))
    os.link("f", "g")
    fd = os.open("f", os.O_RDWR)
    os.unlink("f")
    t("one name left", os.fstat, fd)
    os.unlink("g")
    t("none", os.fstat, fd)
    t("read", os.pread, fd, 20000, 0)
    t("write", os.pwrite, fd, b"still", 9998)
    t("truncate", os.ftruncate, fd, 5000)
    t("grow", os.ftruncate, fd, 15000)
    t("chmod", os.fchmod, fd, 0o600)
    t("chown", os.fchown, fd, -1, os.getegid())
    t("utime", lambda: os.utime(fd, ns=(11, 12)))
    t("setxattr", lambda: os.setxattr(fd, "user.x", b"1"))
    t("getxattr", lambda: os.getxattr(fd, "user.x"))
    t("fsync", os.fsync, fd)
    t("status", os.fstat, fd)
    t("content", os.pread, fd, 20000, 0)
    t("link back", lambda: os.link(f"/proc/self/fd/{fd}", "back", follow_symlinks=True))
    t("open again", lambda: get(f"/proc/self/fd/{fd}"))
    put("f", b"a new one")
    t("the new one", get, "f")
    os.close(fd)
    put("h", b"h")
    fd = os.open("h", os.O_RDONLY)
    os.rename("f", "h")
    t("replaced while open", lambda: (os.read(fd, 9), os.fstat(fd).st_nlink))
    os.close(fd)
    os.mkfifo("p")
    fd = os.open("p", os.O_PATH)
    os.unlink("p")
    t("fifo", os.fstat, fd)
    os.close(fd)
    os.symlink("t", "l")
    fd = os.open("l", os.O_PATH | os.O_NOFOLLOW)
    t("link", lambda: os.readlink("", dir_fd=fd))
    os.unlink("l")
    t("link removed", os.fstat, fd)
    os.close(fd)


@section
def directories_that_were_removed_while_open(t):
    os.makedirs("d/e")
    d = os.open("d", os.O_RDONLY)
    t("not empty", os.rmdir, "d")
    os.rmdir("d/e")
    os.rmdir("d")
    t("status", lambda: (os.fstat(d).st_nlink, stat.S_ISDIR(os.fstat(d).st_mode)))
    t("list", lambda: os.listdir(d))
    t("chmod", os.fchmod, d, 0o700)
    t("utime", lambda: os.utime(d, ns=(1, 2)))
    t("setxattr", lambda: os.setxattr(d, "user.x", b"1"))
    t("open .", lambda: os.open(".", os.O_RDONLY, dir_fd=d))
    t("stat ..", lambda: stat.S_ISDIR(os.stat("..", dir_fd=d).st_mode))
    t("create", lambda: os.open("n", os.O_CREAT, 0o600, dir_fd=d))
    t("rename in", lambda: (put("x"), os.rename("x", "n", dst_dir_fd=d)))
    t("link in", lambda: os.link("x", "n", dst_dir_fd=d))
    t("tmpfile", lambda: os.open(".", os.O_TMPFILE | os.O_RDWR, dir_fd=d))
    t("fsync", os.fsync, d)
    os.mkdir("d")
    t("the new one is another", lambda: os.stat("d").st_ino != os.fstat(d).st_ino
      or os.fstat(d).st_nlink)
    os.close(d)


@section
def nameless_files(t):
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY, os.O_RDWR | os.O_EXCL):
        fd = t.fd(f"tmpfile {flags:o}", ".", os.O_TMPFILE | flags, 0o640)
        if fd is None:
            continue
        t("write", os.write, fd, b"nameless")
        t("status", os.fstat, fd)
        t("link", lambda: os.link(f"/proc/self/fd/{fd}", f"named{flags:o}",
                                  src_dir_fd=-100, follow_symlinks=True))
        t("status", os.fstat, fd)
        t("again", lambda: os.link(f"/proc/self/fd/{fd}", f"twice{flags:o}",
                                   src_dir_fd=-100, follow_symlinks=True))
        os.close(fd)
    t("names", lambda: sorted(os.listdir(".")))


def other_process(fn):
    """True, or the error, of fn() in another process."""
    pid = os.fork()
    if pid == 0:
        try:
            fn()
            os._exit(0)
        except OSError as e:
            os._exit(e.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return "granted"


def posix_lock(fd, cmd, kind, start, length, whence=0):
    data = struct.pack("hhqqi4x", kind, whence, start, length, 0)
    back = fcntl.fcntl(fd, cmd, data)
    return struct.unpack("hhqqi4x", back)[:4]


@section
def locks_between_processes(t):
    put("f", blob(100))
    kinds = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK}
    fd = os.open("f", os.O_RDWR)
    places = ((0, 0), (10, 10), (50, 1))
    others = ((0, 0), (0, 10), (19, 5), (20, 0), (50, 1), (51, 9))
    for (held, hk), (a, n), (want, wk), (b, m) in t.some(product(
            kinds.items(), places, kinds.items(), others)):
        def lock():
            g = os.open("f", os.O_RDWR)
            posix_lock(g, fcntl.F_SETLK, wk, b, m)

        def ask():
            g = os.open("f", os.O_RDWR)
            return posix_lock(g, fcntl.F_GETLK, wk, b, m)
        posix_lock(fd, fcntl.F_SETLK, fcntl.F_UNLCK, 0, 0)
        t(f"take {held} {a} {n}", posix_lock, fd, fcntl.F_SETLK, hk, a, n)
        t(f"against {want} {b} {m}", other_process, lock)
        t.as_user(None, lambda: t("who holds it", ask))
    posix_lock(fd, fcntl.F_SETLK, fcntl.F_UNLCK, 0, 0)
    for args in ((-5, 2), (5, -3), (-1, 0), (0, -1), ((1 << 62), 1 << 62)):
        t(f"lock {args}", posix_lock, fd, fcntl.F_SETLK, fcntl.F_WRLCK, *args)
    t("lock of kind 9", posix_lock, fd, fcntl.F_SETLK, 9, 0, 1)
    os.close(fd)


@section
def flocks_and_descriptions(t):
    put("f", b"x")
    a, b = os.open("f", os.O_RDWR), os.open("f", os.O_RDONLY)
    nb = fcntl.LOCK_NB
    for first in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        for second in (fcntl.LOCK_SH, fcntl.LOCK_EX):
            t(f"flock {first}", fcntl.flock, a, first | nb)
            t(f"then {second}", fcntl.flock, b, second | nb)
            t("elsewhere", other_process, lambda: fcntl.flock(b, second | nb))
            t("posix beside", other_process, lambda: fcntl.lockf(b, fcntl.LOCK_SH | nb))
            fcntl.flock(a, fcntl.LOCK_UN)
            fcntl.flock(b, fcntl.LOCK_UN)
    t("nonsense", fcntl.flock, a, 0)
    c = os.dup(a)
    fcntl.flock(a, fcntl.LOCK_EX)
    os.close(a)
    t("a duplicate keeps it", fcntl.flock, b, fcntl.LOCK_EX | nb)
    os.close(c)
    t("no longer", fcntl.flock, b, fcntl.LOCK_EX | nb)
    fcntl.flock(b, fcntl.LOCK_UN)
    a = os.open("f", os.O_RDWR)
    t("ofd", posix_lock, a, 37, fcntl.F_WRLCK, 0, 10)
    t("ofd against another", posix_lock, b, 37, fcntl.F_RDLCK, 5, 1)
    t("ofd beside", posix_lock, b, 37, fcntl.F_RDLCK, 10, 1)
    os.close(a)
    t("ofd freed", posix_lock, b, 37, fcntl.F_RDLCK, 5, 1)
    os.close(b)


@section
def programs(t):
    shutil.copyfile("/bin/true", "true")
    os.chmod("true", 0o755)
    t("runs", execute, "./true")
    fd = os.open("true", os.O_WRONLY)
    t("open for writing", execute, "./true")
    os.close(fd)
    os.chmod("true", 0o644)
    t("no x bit", execute, "./true")
    t("a directory", execute, ".")
    put("script", b"#!/bin/true\n", 0o755)
    t("a script", execute, "./script")
    put("nothing", b"", 0o755)
    t("nothing", execute, "./nothing")
    put("no-program", b"#!/nonexistent\n", 0o755)
    t("without interpreter", execute, "./no-program")
    shutil.copyfile("/bin/sleep", "sleep")
    os.chmod("sleep", 0o755)
    pid = os.posix_spawn("./sleep", ["sleep", "100"], {})
    while not os.readlink(f"/proc/{pid}/exe").startswith(os.getcwd()):
        pass
    t("write to what runs", os.open, "sleep", os.O_WRONLY)
    t("truncate what runs", calls.truncate, "sleep", 0)
    t("remove what runs", os.unlink, "sleep")
    os.kill(pid, 9)
    os.waitpid(pid, 0)


@section
def watches(t):
    libc = calls.libc
    fd = libc.inotify_init1(os.O_NONBLOCK)
    put("f", b"x")
    os.mkdir("d")
    t.note("watch", libc.inotify_add_watch(fd, b".", 0xfff))

    def events():
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return []
        found = []
        while data:
            _, mask, _, n = struct.unpack("iIII", data[:16])
            found.append((hex(mask), data[16:16 + n].rstrip(b"\0")))
            data = data[16 + n:]
        return found
    for what, act in (("create", lambda: put("g", b"1")), ("read", lambda: get("g")),
                      ("write", lambda: put("g", b"2")), ("chmod", lambda: os.chmod("g", 0o600)),
                      ("rename", lambda: os.rename("g", "h")),
                      ("over", lambda: os.rename("h", "f")),
                      ("link", lambda: os.link("f", "k")), ("out", lambda: os.rename("k", "d/k")),
                      ("in", lambda: os.rename("d/k", "k")), ("unlink", lambda: os.unlink("k")),
                      ("mkdir", lambda: os.mkdir("e")), ("rmdir", lambda: os.rmdir("e")),
                      ("truncate", lambda: calls.truncate("f", 9000)),
                      ("symlink", lambda: os.symlink("t", "l")),
                      ("xattr", lambda: os.setxattr("f", "user.x", b"")),
                      ("utime", lambda: os.utime("f"))):
        act()
        t.note(what, events())
    os.close(fd)


@section
def what_is_known_of_the_file_system(t):
    st = os.statvfs(".")
    t.note("longest name", st.f_namemax)
    t.note("pathconf", [os.pathconf(".", n) for n in ("PC_NAME_MAX", "PC_PATH_MAX",
                                                      "PC_PIPE_BUF", "PC_NO_TRUNC")])
    t.note("chunk", st.f_frsize > 0 and st.f_blocks >= st.f_bfree >= st.f_bavail)
    put("f", b"x")
    for flags in (0, calls.AT_SYMLINK_NOFOLLOW, 0x2000, 0x4000, 0x6000):
        t(f"statx {flags:x}", lambda: calls.statx_mask("f", flags)[1:])
    t("statx none", calls.statx_mask, "none")
    fd = os.open("f", os.O_RDWR)
    t("syncfs", calls.syncfs, fd)
    t("FIONREAD", lambda: fcntl.ioctl(fd, 0x541b, ctypes.c_int(0)))
    t("terminal?", lambda: os.isatty(fd))
    os.close(fd)
