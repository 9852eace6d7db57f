#!/usr/bin/python3
"""Names, links and directories: what POSIX and Linux say of them holds."""
import ctypes
import errno
import os
import socket
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises

NOREPLACE, EXCHANGE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@check
def rename_noreplace_replaces_nothing(m):
    put(m / "a", b"a")
    put(m / "b", b"b")
    raises(errno.EEXIST, renameat2, m / "a", m / "b", NOREPLACE)
    eq((get(m / "a"), get(m / "b")), (b"a", b"b"))
    renameat2(m / "a", m / "c", NOREPLACE)
    eq((get(m / "c"), os.path.lexists(m / "a")), (b"a", False))


@check
def rename_exchange_exchanges_anything(m):
    long = "x" * 255
    put(m / "file", b"file")
    os.mkdir(m / "dir")
    put(m / "dir/inside", b"inside")
    os.symlink("t" * 3000, m / "link")
    put(m / long, b"long")
    renameat2(m / "file", m / "dir", EXCHANGE)
    eq((get(m / "dir"), get(m / "file/inside")), (b"file", b"inside"))
    renameat2(m / "link", m / long, EXCHANGE)
    eq((get(m / "link"), os.readlink(m / long)), (b"long", "t" * 3000))
    renameat2(m / "file/inside", m / "dir", EXCHANGE)
    eq((get(m / "dir"), get(m / "file/inside")), (b"inside", b"file"))
    raises(errno.ENOENT, renameat2, m / "dir", m / "none", EXCHANGE)
    eq(sorted(os.listdir(m / ".")), sorted(["dir", "file", "link", long]))


@check
def rename_follows_the_rules_for_directories(m):
    os.makedirs(m / "a/b/c")
    os.mkdir(m / "empty")
    put(m / "f", b"f")
    raises(errno.ENOTEMPTY, os.rename, m / "empty", m / "a")
    raises(errno.EINVAL, os.rename, m / "a", m / "a/b/d")
    raises(errno.ENOTDIR, os.rename, m / "a", m / "f")
    raises(errno.EISDIR, os.rename, m / "f", m / "a")
    raises(errno.ENOTEMPTY, os.rmdir, m / "a")
    put(m / "a/b/c/deep", b"deep")
    os.rename(m / "a", m / "empty")
    eq(get(m / "empty/b/c/deep"), b"deep", "over an empty directory")
    os.rename(m / "empty/b", m / "b")
    eq(get(m / "b/c/deep"), b"deep", "to another parent")
    os.rmdir(m / "empty")


@check
def renaming_between_long_and_short_names(m):
    os.mkdir(m / "d")
    names = ["s", "a" * 255, "b" * 176, "c" * 175, "e" * 177, b"\xff" * 255]
    put(m / names[0], b"content")
    for a, b in zip(names, names[1:] + names[:1]):
        os.rename(m / a, m / b)
        eq(get(m / b), b"content")
        eq(len(os.listdir(m / ".")), 2)
    for name in map(os.fsencode, names):
        there = os.path.join(m / b"d", name)
        os.rename(m / "s", there)
        eq(os.listdir(m / b"d"), [name], "in another directory")
        os.rename(there, m / "s")
    os.rmdir(m / "d")


@check
def names_of_up_to_255_arbitrary_bytes(m):
    names = {bytes([b]) * n for b in (1, 0x20, 0x7f, 0x80, 0xff, 0x2a) for n in (1, 255)}
    names |= {b"." * 3, b".dirid", b".frondfs", b".tmp-x", b"@", b"@" + b"a" * 43, b"-rf",
              b"\xc3\xa4", b"a\xcc\x88", b"Case", b"case", b"CASE", b"new\nline", b"q\"'\\",
              b"@" + b"0" * 32 + b".link"}
    names |= {bytes(b for b in range(1, 256) if b != 0x2f)}
    names |= {b"n" * n for n in range(150, 256)}
    for name in names:
        put(m / name, name)
    eq(set(os.listdir(m / b".")), names)
    for name in names:
        eq(get(m / name), name)
    raises(errno.ENAMETOOLONG, put, m / (b"n" * 256))
    raises(errno.ENAMETOOLONG, os.mkdir, m / (b"n" * 256))
    for name in names:
        os.unlink(m / name)
    eq(os.listdir(m / b"."), [])


@check
def hard_links_are_one_file(m):
    put(m / "a", b"one")
    os.mkdir(m / "d")
    names = ["b", "d/c", "l" * 255]
    for i, name in enumerate(names):
        os.link(m / "a", m / name)
        eq(os.stat(m / "a").st_nlink, i + 2)
    put(m / "d/c", b"-two", "ab")
    eq({get(m / n) for n in names + ["a"]}, {b"one-two"})
    eq(len({os.stat(m / n).st_ino for n in names + ["a"]}), 1)
    os.unlink(m / "a")
    eq((os.stat(m / "b").st_nlink, get(m / "d/c")), (3, b"one-two"))
    raises(errno.EPERM, os.link, m / "d", m / "e")
    raises(errno.EEXIST, os.link, m / "b", m / "d/c")
    os.rename(m / "b", m / "d/c")   # two names of one file: nothing happens
    assert os.path.exists(m / "b")


@check
def symlinks_of_every_length(m):
    lengths = list(range(1, 12)) + [59, 60, 100, 250, 255, 256, 1000, 2900, 3000,
                                    3014, 3015, 3016, 3050, 4000, 4094, 4095]
    for n in lengths:
        target = (b"/\xfft" * n)[:n]
        os.symlink(target, m / f"l{n}")
        eq(os.readlink(os.fsencode(m / f"l{n}")), target, f"length {n}")
        eq(os.lstat(m / f"l{n}").st_size, n, "its size")
    raises(errno.ENAMETOOLONG, os.symlink, "t" * 4096, m / "too-long")
    os.mkdir(m / "d")
    for n in lengths:
        os.rename(m / f"l{n}", m / f"d/{'L' * 200}{n}")
    for n in lengths:
        moved = os.fsencode(m / f"d/{'L' * 200}{n}")
        eq(os.readlink(moved), (b"/\xfft" * n)[:n])
        os.link(moved, m / f"h{n}", follow_symlinks=False)
        os.unlink(moved)
        eq(os.readlink(os.fsencode(m / f"h{n}")), (b"/\xfft" * n)[:n], "by its other name")
        os.unlink(m / f"h{n}")
    os.rmdir(m / "d")
    os.symlink("../" + os.path.basename(m / "."), m / "self")
    assert not os.path.islink(os.path.realpath(m / "self"))


@check(plain=False)
def long_links_move_with_their_targets():
    with frond.Mount() as m:        # anew: the kernel remembers targets
        os.mkdir(m / "d")
        for n in (100, 3100, 4095):
            for name in ("moved", "linked", "replaced", "exchanged"):
                os.symlink(name[0] * n, m / f"{name}{n}")
            os.symlink("gone" * 800, m / f"d/replaced{n}")
            os.symlink("o" * 4000, m / f"d/exchanged{n}")
            for name in ("moved", "replaced"):
                os.rename(m / f"{name}{n}", m / f"d/{name}{n}")
            os.link(m / f"linked{n}", m / f"d/linked{n}", follow_symlinks=False)
            os.unlink(m / f"linked{n}")
            renameat2(m / f"exchanged{n}", m / f"d/exchanged{n}", EXCHANGE)
        m.remount()
        for n in (100, 3100, 4095):
            for name in ("moved", "linked", "replaced", "exchanged"):
                eq(os.readlink(m / f"d/{name}{n}"), name[0] * n, name)
            eq(os.readlink(m / f"exchanged{n}"), "o" * 4000)
            os.unlink(m / f"exchanged{n}")
        frond.run("rm", "-r", m / "d")
        eq([n for n in os.listdir(m.vault) if "link" in n], [], "targets left behind")


@check(plain=False)
def targets_of_long_links_stay_beside_every_name_and_nowhere_else():
    def beside(m, d="."):
        at = m.vault if d == "." else os.fsdecode(m.backing(m / d))
        return len([n for n in os.listdir(at) if n.endswith(".link")])
    with frond.Mount() as m:
        for d in "abc":
            os.mkdir(m / d)
        for n in (3100, 4095):
            os.symlink("t" * n, m / f"l{n}")
            for name in (f"a/l{n}", f"a/again{n}", f"b/l{n}"):
                os.link(m / f"l{n}", m / name, follow_symlinks=False)
            os.unlink(m / f"l{n}")
        eq((beside(m), beside(m, "a"), beside(m, "b")), (0, 2, 2), "linked away")
        for n in (3100, 4095):
            os.rename(m / f"a/l{n}", m / f"c/l{n}")
        eq((beside(m, "a"), beside(m, "c")), (2, 2), "one of two names moved")
        for n in (3100, 4095):
            os.rename(m / f"a/again{n}", m / f"c/again{n}")
            os.rename(put(m / "f"), m / f"b/l{n}")
        eq((beside(m, "a"), beside(m, "b"), beside(m, "c")), (0, 0, 2), "the other, too")
        m.remount()
        for n in (3100, 4095):
            eq(os.readlink(m / f"c/l{n}"), "t" * n)
            os.unlink(m / f"c/l{n}")
            eq(os.readlink(m / f"c/again{n}"), "t" * n)
            os.unlink(m / f"c/again{n}")
        eq(beside(m, "c"), 0)


@check(root=True)
def device_nodes_fifos_and_sockets(m):
    os.mknod(m / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(m / "blk", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    eq(os.stat(m / "null").st_rdev, os.makedev(1, 3))
    eq(os.stat(m / "blk").st_rdev, os.makedev(7, 99))
    assert stat.S_ISBLK(os.stat(m / "blk").st_mode)
    if not frond.PLAIN:
        raises(errno.EACCES, os.open, m / "null", os.O_RDONLY)  # nodev


@check
def fifos_and_sockets_work(m):
    os.mkfifo(m / "fifo", 0o600)
    r = os.open(m / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    w = os.open(m / "fifo", os.O_WRONLY)
    os.write(w, b"through")
    eq(os.read(r, 100), b"through")
    os.close(r)
    os.close(w)
    here = os.open(".", os.O_RDONLY)
    os.chdir(m / ".")       # socket paths are short
    try:
        server = socket.socket(socket.AF_UNIX)
        server.bind("sock")
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect("sock")
        client.close()
        server.close()
    finally:
        os.fchdir(here)
        os.close(here)
    assert stat.S_ISSOCK(os.stat(m / "sock").st_mode)


@check
def directories_count_their_children(m):
    for i in range(3):
        os.mkdir(m / f"d{i}")
    put(m / "f")
    eq(os.stat(m / ".").st_nlink, 5)
    os.rmdir(m / "d1")
    eq(os.stat(m / ".").st_nlink, 4)
    fd = os.open(m / ".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


@check
def dotdot_leads_back(m):
    os.makedirs(m / "a/b")
    eq(os.stat(m / "a/b/..").st_ino, os.stat(m / "a").st_ino)
    os.rename(m / "a/b", m / "b")
    eq(os.stat(m / "b/..").st_ino, os.stat(m / ".").st_ino)
    kinds = {e.name: e.inode() for e in os.scandir(m / ".")}
    eq(kinds["b"], os.stat(m / "b").st_ino, "d_ino is st_ino")


@check
def a_removed_working_directory_is_empty_and_takes_nothing(m):
    os.mkdir(m / "gone")
    fd = os.open(m / "gone", os.O_RDONLY)
    os.rmdir(m / "gone")
    eq(os.listdir(fd), [])
    raises(errno.ENOENT, os.open, "new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    raises(errno.ENOENT, os.mkdir, "new", dir_fd=fd)
    os.close(fd)


@check(plain=False)
def inode_numbers_survive_a_remount():
    with frond.Mount() as m:
        for i in range(200):
            os.makedirs(m / f"d{i % 7}", exist_ok=True)
            put(m / f"d{i % 7}/f{i}", blob(i))
        os.symlink("x", m / "link")

        def numbers():
            return {p: os.lstat(p).st_ino for d, ds, fs in os.walk(m.path)
                    for p in (os.path.join(d, n) for n in ds + fs)}
        before = numbers()
        eq(len(set(before.values())), len(before), "each its own")
        os.rename(m / "d0/f0", m / "d1/renamed")
        eq(os.stat(m / "d1/renamed").st_ino, before[m / "d0/f0"])
        os.rename(m / "d1/renamed", m / "d0/f0")
        m.remount()
        eq(numbers(), before)


frond.main()
