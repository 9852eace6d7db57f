"""Who may do what: modes, owners, groups, sticky and set-id bits, ACLs."""
import os
import stat
import struct
from itertools import product

import calls
from notebook import ANN, ANNS, BOB, BOBS, TEAM, TEAMS, clear, get, put, section

# Ann owns, her group is TEAM; Bob is nobody, or in TEAM besides.
PEOPLE = {"owner": ANNS, "group": (BOB, TEAM, ()), "member": TEAMS, "other": BOBS,
          "root": None}


def opens(name, flags):
    os.close(os.open(name, flags))


def file_calls():
    own = os.getegid()
    return {
        "read": lambda: get("f"), "write": lambda: opens("f", os.O_WRONLY),
        "rdwr": lambda: opens("f", os.O_RDWR), "append": lambda: opens("f", os.O_APPEND | 1),
        "trunc": lambda: opens("f", os.O_RDONLY | os.O_TRUNC),
        "creat": lambda: opens("f", os.O_CREAT | os.O_WRONLY),
        "noatime": lambda: opens("f", os.O_NOATIME), "path": lambda: opens("f", os.O_PATH),
        "stat": lambda: os.stat("f"), "r": lambda: calls.faccessat("f", 4),
        "w": lambda: calls.faccessat("f", 2), "x": lambda: calls.faccessat("f", 1),
        "rwx": lambda: calls.faccessat("f", 7, calls.AT_EACCESS),
        "truncate": lambda: calls.truncate("f", 3),
        "chmod": lambda: os.chmod("f", stat.S_IMODE(os.stat("f").st_mode)),
        "chgrp": lambda: os.chown("f", -1, own), "chown": lambda: os.chown("f", BOB, -1),
        "now": lambda: os.utime("f"), "set times": lambda: os.utime("f", ns=(1, 2)),
        "half now": lambda: calls.utimensat("f", (0, calls.UTIME_NOW), (0, 5)),
        "omit": lambda: calls.utimensat("f", (0, calls.UTIME_OMIT), (0, calls.UTIME_OMIT)),
        "now omit": lambda: calls.utimensat("f", (0, calls.UTIME_NOW),
                                            (0, calls.UTIME_OMIT)),
        "getxattr": lambda: os.getxattr("f", "user.x"),
        "setxattr": lambda: os.setxattr("f", "user.x", b"2"),
        "listxattr": lambda: "user.x" in os.listxattr("f"),
        "link": lambda: (os.link("f", "g"), os.unlink("g"))[0],
        "exec": lambda: execute("./f"),
    }


def execute(path):
    """Status of the program, or the error of execve(2)."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(path, [path])
        except OSError as e:
            os.write(w, bytes([e.errno]))
        os._exit(0)
    os.close(w)
    error = os.read(r, 1)
    os.close(r)
    status = os.waitpid(pid, 0)[1]
    if error:
        raise OSError(error[0], os.strerror(error[0]))
    return status


@section(root=True)
def every_mode_of_a_file_for_everybody(t):
    # The directory is anybody's, so that the file's own mode decides.
    os.chmod(".", 0o777)
    modes = [m << s for s in (6, 3, 0) for m in range(8)] + [0o777, 0o706, 0o770]
    for mode, (who, user) in t.some(product(modes, PEOPLE.items())):
        clear("f")
        put("f", b"#!/bin/true\n")
        os.setxattr("f", "user.x", b"1")
        os.chown("f", ANN, TEAM)
        os.chmod("f", mode)

        def all_calls():
            for name, fn in file_calls().items():
                t(f"{mode:03o} {who} {name}", fn)
        t.as_user(user, all_calls)
        t.note(f"{mode:03o} {who} left", os.lstat("f"))


def directory_calls():
    return {
        "list": lambda: sorted(os.listdir("d")), "stat": lambda: os.stat("d/f"),
        "open": lambda: opens("d/f", os.O_RDONLY), "chdir": lambda: (os.chdir("d"),
                                                                     os.chdir("/"))[0],
        "create": lambda: put("d/new"), "mkdir": lambda: os.mkdir("d/newdir"),
        "symlink": lambda: os.symlink("t", "d/newlink"),
        "mkfifo": lambda: os.mkfifo("d/newfifo"),
        "mknod": lambda: calls.mknod("d/chr", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        "link": lambda: os.link("d/f", "d/hard"),
        "rename": lambda: os.rename("d/g", "d/g2"),
        "exchange": lambda: calls.renameat2("d/f", "d/sub", calls.EXCHANGE),
        "move out": lambda: os.rename("d/out", "out"),
        "move in": lambda: os.rename("in", "d/in"),
        "unlink": lambda: os.unlink("d/h"), "rmdir": lambda: os.rmdir("d/sub2"),
        "tmpfile": lambda: opens("d", os.O_TMPFILE | os.O_RDWR),
        "chmod": lambda: os.chmod("d", stat.S_IMODE(os.stat("d").st_mode)),
        "touch": lambda: os.utime("d"), "setxattr": lambda: os.setxattr("d", "user.x", b"")}


@section(root=True)
def every_mode_of_a_directory_for_everybody(t):
    os.chmod(".", 0o777)
    modes = [m << s for s in (6, 3, 0) for m in range(8)] + [0o777, 0o1777, 0o1770, 0o2777]
    for mode, (who, user) in t.some(product(modes, PEOPLE.items())):
        for name in ("d", "in", "out"):
            clear(name)
        os.mkdir("d")
        for name in ("d/f", "d/g", "d/h", "d/out", "in"):
            put(name, b"content")
            os.chmod(name, 0o666)
        for name in ("d/sub", "d/sub2"):
            os.mkdir(name, 0o777)
        os.chown("d", ANN, TEAM)
        os.chmod("d", mode)
        here = os.getcwd()
        def all_calls():
            fd = os.open(here, os.O_PATH)
            for name, fn in directory_calls().items():
                os.fchdir(fd)
                t(f"{mode:04o} {who} {name}", fn)
        t.as_user(user, all_calls)
        t.tree("d")
@section(root=True)
def sticky_directories(t):
    for owner, mode, mine, (who, user) in t.some(product(
            (0, ANN, BOB), (0o1777, 0o1770, 0o0777), (ANN, BOB, 0), PEOPLE.items())):
        clear("d")
        os.mkdir("d")
        os.mkdir("d/dir")
        for name in ("d/a", "d/b", "d/c", "d/mine"):
            put(name, b"x")
        for name in ("d/a", "d/b", "d/c", "d/dir"):
            os.chown(name, mine, mine)
        if user:
            os.chown("d/mine", user[0], user[1])
        os.chown("d", owner, TEAM)
        os.chmod("d", mode)
        def all_calls():
            title = f"{owner} {mode:o} {mine} {who}"
            t(f"{title} unlink", os.unlink, "d/a")
            t(f"{title} rename", os.rename, "d/b", "d/b2")
            t(f"{title} replace", os.rename, "d/mine", "d/c")
            t(f"{title} rmdir", os.rmdir, "d/dir")
        t.as_user(user, all_calls)
    t.tree("d")


@section(root=True)
def set_id_bits_come_and_go(t):
    os.chmod(".", 0o777)
    for dir_mode in (0o777, 0o2777, 0o3777):
        for who, user in PEOPLE.items():
            clear("d")
            os.mkdir("d")
            os.chown("d", ANN, TEAM)
            os.chmod("d", dir_mode)

            def make():
                for mode in (0o644, 0o755, 0o2755, 0o4755, 0o6711, 0o2644, 0o7777):
                    t(f"open {mode:o}", lambda: os.close(
                        os.open(f"d/f{mode:o}", os.O_CREAT | os.O_WRONLY, mode)))
                    t(f"mkdir {mode:o}", os.mkdir, f"d/d{mode:o}", mode)
                    t(f"mknod {mode:o}", calls.mknod, f"d/n{mode:o}", stat.S_IFREG | mode)
                    put(f"d/c{mode:o}")
                    t(f"chmod {mode:o}", os.chmod, f"d/c{mode:o}", mode)
                    os.mkdir(f"d/e{mode:o}")
                    t(f"chmod dir {mode:o}", os.chmod, f"d/e{mode:o}", mode)
                os.symlink("t", "d/l")
                os.mkfifo("d/p")
            t.as_user(user, make)
            t.tree("d")


@section(root=True)
def what_takes_set_id_bits_away(t):
    acts = {
        "write": lambda f: put_part(f), "truncate": lambda f: calls.truncate(f, 2),
        "open trunc": lambda f: opens(f, os.O_WRONLY | os.O_TRUNC),
        "chown same": lambda f: os.chown(f, os.stat(f).st_uid, -1),
        "chgrp": lambda f: os.chown(f, -1, os.getegid()),
        "chown nothing": lambda f: os.chown(f, -1, -1), "utime": os.utime,
        "fallocate": lambda f: on(f, lambda fd: calls.fallocate(fd, 0, 0, 9000)),
        "punch": lambda f: on(f, lambda fd: calls.fallocate(fd, 3, 0, 2)),
        "copy": lambda f: on(f, lambda fd: copy_into(fd)),
        "setxattr": lambda f: os.setxattr(f, "user.x", b"1"),
        "chmod same": lambda f: os.chmod(f, stat.S_IMODE(os.stat(f).st_mode)),
        "link": lambda f: (os.link(f, f + "2"), os.unlink(f + "2"))[0]}
    os.chmod(".", 0o777)
    put("source", b"source")
    for (what, act), mode, (who, user) in t.some(product(
            acts.items(), (0o4777, 0o2777, 0o6777, 0o2767, 0o6666), PEOPLE.items())):
        clear("f")
        put("f", b"content")
        os.chown("f", ANN, TEAM)
        os.chmod("f", mode)
        t.as_user(user, lambda: t(f"{what} {mode:o} {who}", act, "f"))
        t.note(f"{what} {mode:o} {who} left", os.lstat("f"))
def on(name, fn):
    fd = os.open(name, os.O_RDWR)
    try:
        return fn(fd)
    finally:
        os.close(fd)


def put_part(name):
    on(name, lambda fd: os.pwrite(fd, b"p", 1))


def copy_into(fd):
    src = os.open("source", os.O_RDONLY)
    try:
        return os.copy_file_range(src, fd, 6)
    finally:
        os.close(src)


@section(root=True)
def every_change_of_owner_by_everybody(t):
    os.chmod(".", 0o777)
    make = {"file": put, "dir": os.mkdir, "link": lambda p: os.symlink("t", p)}
    for kind, (who, user), uid, gid in t.some(product(
            make, PEOPLE.items(), (-1, ANN, BOB, 0), (-1, ANN, BOB, TEAM, 0))):
        clear("f")
        make[kind]("f")
        os.lchown("f", ANN, ANN)
        title = f"{kind} {who} {uid}:{gid}"
        t.as_user(user, lambda: t(title, os.lchown, "f", uid, gid))
        t.note(title, os.lstat("f"))
    ids = (1 << 16, (1 << 31) - 1, (1 << 32) - 2)
    for n in ids:
        put("n")
        t(f"chown {n}", os.chown, "n", n, n)
        t(f"stat {n}", os.stat, "n")


@section
def modes_and_masks(t):
    for mask in (0, 0o022, 0o027, 0o077, 0o777):
        old = os.umask(mask)
        for mode in (0, 0o600, 0o644, 0o666, 0o777, 0o1777, 0o4711):
            title = f"{mask:03o} {mode:04o}"
            t(f"open {title}", lambda: os.close(
                os.open("f", os.O_CREAT | os.O_RDWR, mode)))
            t(f"mkdir {title}", os.mkdir, "d", mode)
            t(f"fifo {title}", os.mkfifo, "p", mode)
            t(f"node {title}", calls.mknod, "n", stat.S_IFREG | mode)
            t.note(title, [os.lstat(n) for n in ("f", "d", "p", "n")])
            for name in ("f", "d", "p", "n"):
                clear(name)
        os.umask(old)
    put("f")
    for mode in list(range(0, 0o10000, 0o111)) + [0o170777, 0o100644]:
        t(f"chmod {mode:o}", os.chmod, "f", mode)
        t(f"mode {mode:o}", os.stat, "f")


@section
def kinds_of_nodes(t):
    for title, kind in (("reg", stat.S_IFREG), ("fifo", stat.S_IFIFO), ("none", 0),
                        ("sock", stat.S_IFSOCK), ("chr", stat.S_IFCHR),
                        ("blk", stat.S_IFBLK), ("dir", stat.S_IFDIR),
                        ("lnk", stat.S_IFLNK), ("odd", 0o150000)):
        for dev in (0, os.makedev(1, 3), os.makedev(255, 255), os.makedev(4095, 1048575)):
            t(f"mknod {title} {dev:x}", calls.mknod, f"{title}{dev:x}", kind | 0o640, dev)
            t(f"stat {title} {dev:x}", os.lstat, f"{title}{dev:x}")


def acl(*entries):
    """The bytes of an ACL: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NOBODY = (1 << 32) - 1
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32


def some_acls():
    base = [(USER_OBJ, 6, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 0, NOBODY)]
    bob = [base[0], (USER, 6, BOB), base[1], (MASK, 7, NOBODY), base[2]]
    return {
        "minimal": acl(*base), "bob": acl(*bob),
        "masked": acl(base[0], (USER, 7, BOB), base[1], (MASK, 4, NOBODY), base[2]),
        "group": acl(base[0], base[1], (GROUP, 6, TEAM), (MASK, 6, NOBODY), base[2]),
        "no mask": acl(base[0], (USER, 6, BOB), base[1], base[2]),
        "unsorted": acl(*reversed(bob)), "no owner": acl(*base[1:]),
        "twice": acl(base[0], base[0], base[1], base[2]), "empty": b"",
        "no entries": acl(), "version": b"\1\0\0\0" + acl(*base)[4:],
        "cut": acl(*base)[:-3], "bits": acl((USER_OBJ, 15, NOBODY), *base[1:]),
        "tag": acl((64, 6, NOBODY), *base)}


@section
def lists_of_access(t):
    for kind, make in (("file", put), ("dir", os.mkdir)):
        for title, value in some_acls().items():
            for name in ("system.posix_acl_access", "system.posix_acl_default"):
                clear("x")
                make("x")
                os.chmod("x", 0o640)
                t(f"{kind} {title} set {name}", os.setxattr, "x", name, value)
                t(f"{kind} {title} get {name}", os.getxattr, "x", name)
                t(f"{kind} {title} mode", os.stat, "x")
                os.chmod("x", 0o705)
                t(f"{kind} {title} after chmod", os.getxattr, "x", name)
                if kind == "dir":
                    old = os.umask(0o077)
                    put("x/f", b"", 0o666)
                    os.mkdir("x/d", 0o777)
                    os.umask(old)
                    t.tree("x")
                t(f"{kind} {title} remove", os.removexattr, "x", name)
                t(f"{kind} {title} mode then", os.stat, "x")


@section(root=True)
def lists_of_access_decide(t):
    os.chmod(".", 0o777)
    for (title, value), (who, user) in t.some(product(some_acls().items(),
                                                      PEOPLE.items())):
        for kind in ("f", "d"):
            clear(kind)
        put("f", b"#!/bin/true\n")
        os.mkdir("d")
        for name in ("f", "d"):
            os.chown(name, ANN, ANN)
            try:
                os.setxattr(name, "system.posix_acl_access", value)
            except OSError:
                pass

        def all_calls():
            for name in ("read", "write", "x", "exec", "now", "setxattr"):
                t(f"{title} {who} {name}", file_calls()[name])
            t(f"{title} {who} list", os.listdir, "d")
            t(f"{title} {who} create", put, "d/new")
        t.as_user(user, all_calls)
