#!/usr/bin/python3
"""Mounted by root with allow_other: files belong to, and obey, their users."""
import errno
import mmap
import os
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, in_child, put, raises

ANN, BOB, TEAM = 51001, 51002, 51100    # no such users; numbers will do


def opened(m, name="d", mode=0o1777):
    os.chmod(m.path, 0o755)
    os.chmod(m / ".", 0o755)
    os.mkdir(m / name)
    os.chmod(m / name, mode)
    return m / name


def owner(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def modes(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@check(root=True, plain=False)
def new_files_belong_to_their_maker(m):
    d = opened(m)

    def make():
        put(f"{d}/file", blob(5000))
        os.mkdir(f"{d}/dir")
        os.symlink("t", f"{d}/link")
        os.symlink("t" * 4000, f"{d}/longlink")
        os.mkfifo(f"{d}/fifo")
        put(f"{d}/{'n' * 255}", b"x")
        put(f"{d}/dir/below", b"x")
    in_child(make, ANN, TEAM)
    for name in ("file", "dir", "link", "longlink", "fifo", "n" * 255, "dir/below"):
        eq(owner(f"{d}/{name}"), (ANN, TEAM), name)
    eq(in_child(lambda: get(f"{d}/file"), BOB, BOB), blob(5000))
    eq(in_child(lambda: os.readlink(f"{d}/longlink"), BOB, BOB), "t" * 4000)


@check(root=True, plain=False)
def permissions_are_enforced(m):
    d = opened(m)
    in_child(lambda: (put(f"{d}/private", b"secret"), os.chmod(f"{d}/private", 0o600),
                      os.mkdir(f"{d}/closed", 0o700), put(f"{d}/closed/f", b"x")), ANN, ANN)
    for call, args in ((get, (f"{d}/private",)), (put, (f"{d}/private",)),
                       (os.truncate, (f"{d}/private", 0)), (get, (f"{d}/closed/f",)),
                       (os.listdir, (f"{d}/closed",)), (os.mkdir, (f"{d}/closed/x",))):
        raises(errno.EACCES, in_child, lambda c=call, a=args: c(*a), BOB, BOB)
    for call, args in ((os.chmod, (f"{d}/private", 0o777)), (os.chown, (f"{d}/private", BOB, -1)),
                       (os.utime, (f"{d}/private", (1, 1))), (os.unlink, (f"{d}/private",)),
                       (os.rename, (f"{d}/private", f"{d}/mine"))):
        raises((errno.EPERM, errno.EACCES), in_child, lambda c=call, a=args: c(*a), BOB, BOB)
    raises(errno.EPERM, in_child, lambda: os.chown(f"{d}/private", BOB, -1), ANN, ANN)
    eq(get(f"{d}/private"), b"secret")


@check(root=True, plain=False)
def supplementary_groups_count(m):
    d = opened(m)
    put(f"{d}/team", b"team")
    os.chown(f"{d}/team", 0, TEAM)
    os.chmod(f"{d}/team", 0o660)
    os.mkdir(f"{d}/td")
    os.chown(f"{d}/td", 0, TEAM)
    os.chmod(f"{d}/td", 0o770)
    raises(errno.EACCES, in_child, lambda: get(f"{d}/team"), BOB, BOB)
    in_child(lambda: put(f"{d}/team", b"changed"), BOB, BOB, [TEAM])
    in_child(lambda: put(f"{d}/td/made", b"x"), BOB, BOB, [5, TEAM, 6])
    eq((get(f"{d}/team"), owner(f"{d}/td/made")), (b"changed", (BOB, BOB)))
    in_child(lambda: os.chown(f"{d}/td/made", -1, TEAM), BOB, BOB, [TEAM])
    eq(owner(f"{d}/td/made"), (BOB, TEAM))


@check(root=True, plain=False)
def setgid_directories_hand_their_group_on(m):
    d = opened(m, mode=0o777)
    os.chown(d, 0, TEAM)
    os.chmod(d, 0o2777)
    in_child(lambda: (put(f"{d}/f"), os.mkdir(f"{d}/sub"), put(f"{d}/sub/g")), ANN, ANN)
    eq([owner(f"{d}/{n}") for n in ("f", "sub", "sub/g")], [(ANN, TEAM)] * 3)
    assert modes(f"{d}/sub") & stat.S_ISGID, "the bit itself"
    # The answer to mkdir must have said so, too: no remount in between.
    assert in_child(lambda: (os.mkdir(f"{d}/s2"), os.stat(f"{d}/s2").st_mode)[1],
                    ANN, ANN) & stat.S_ISGID


@check(root=True, plain=False)
def set_id_bits_go_when_others_write(m):
    d = opened(m, mode=0o777)

    def append(path):
        with open(path, "ab") as f:
            f.write(b"x")

    def shared_map(path):
        import mmap
        with open(path, "rb+") as f, mmap.mmap(f.fileno(), 0) as a:
            a[0:1] = b"m"
    ways = {"write": lambda p: os.pwrite(os.open(p, os.O_WRONLY), b"x", 0),
            "append": append, "truncate": lambda p: os.truncate(p, 3),
            "o_trunc": lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)),
            "ftruncate": lambda p: os.ftruncate(os.open(p, os.O_WRONLY), 1)}
    for name, way in ways.items():
        path = f"{d}/{name}"
        put(path, blob(9000))
        for turn in "first", "second":      # cleared once is not clear for ever
            os.chmod(path, 0o6777)
            eq(modes(path), 0o6777)
            in_child(lambda w=way, p=path: w(p), BOB, BOB)
            eq(modes(path), 0o777, f"after the {turn} {name} by another")
    put(f"{d}/own", blob(9000))
    os.chown(f"{d}/own", ANN, ANN)
    os.chmod(f"{d}/own", 0o4755)
    in_child(lambda: append(f"{d}/own"), ANN, ANN)
    eq(modes(f"{d}/own"), 0o755, "after the owner's own write")
    put(f"{d}/locking", b"x" * 100)
    os.chmod(f"{d}/locking", 0o2767)
    in_child(lambda: append(f"{d}/locking"), BOB, BOB)
    assert not modes(f"{d}/locking") & stat.S_ISUID


@check(root=True, plain=False)
def set_id_bits_go_with_chown_and_stay_for_root(m):
    d = opened(m)
    put(f"{d}/f", b"x")
    os.chmod(f"{d}/f", 0o6755)
    with open(f"{d}/f", "ab") as f:
        f.write(b"by root")
    eq(modes(f"{d}/f"), 0o6755, "root may keep them")
    os.chown(f"{d}/f", ANN, ANN)
    eq(modes(f"{d}/f"), 0o755)
    os.chmod(f"{d}/f", 0o6755)
    in_child(lambda: os.chown(f"{d}/f", ANN, TEAM), ANN, ANN, [TEAM])
    eq(modes(f"{d}/f"), 0o755)


@check(root=True, plain=False)
def a_security_capability_goes_with_a_write(m):
    d = opened(m, mode=0o777)
    for name, way in (("write", lambda p: os.pwrite(os.open(p, os.O_WRONLY), b"x", 0)),
                      ("truncate", lambda p: os.truncate(p, 1)),
                      ("chown", None)):
        path = f"{d}/{name}"
        put(path, b"program")
        os.chmod(path, 0o777)
        frond.run(frond.tool("setcap"), "cap_net_bind_service=ep", path)
        assert "cap_net_bind" in frond.run("getcap", path)
        if way:
            in_child(lambda w=way, p=path: w(p), BOB, BOB)
        else:
            os.chown(path, ANN, ANN)
        assert "cap_net_bind" not in frond.run("getcap", path), name


@check(root=True, plain=False)
def the_sticky_bit_protects_others_files(m):
    d = opened(m)
    in_child(lambda: put(f"{d}/anns", b"x"), ANN, ANN)
    raises((errno.EPERM, errno.EACCES), in_child, lambda: os.unlink(f"{d}/anns"), BOB, BOB)
    raises((errno.EPERM, errno.EACCES), in_child,
           lambda: os.rename(f"{d}/anns", f"{d}/bobs"), BOB, BOB)
    in_child(lambda: os.unlink(f"{d}/anns"), ANN, ANN)


@check(root=True, plain=False)
def set_id_programs_and_devices_are_dead_unless_asked_for():
    with frond.Mount("allow_other") as m:
        for options, works in (("allow_other", False), ("allow_other,suid,dev", True)):
            m.remount(options)
            os.chmod(m.path, 0o755)
            put(m / "id", get("/usr/bin/id"))
            os.chmod(m / "id", 0o4755)
            out = in_child(lambda: subprocess.run([m / "id", "-u"], stdout=-1, check=True).stdout,
                           BOB, BOB)
            eq(out.strip(), b"0" if works else b"%d" % BOB, f"set-id with {options}")
            os.mknod(m / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            if works:
                put(m / "null", b"x")
            else:
                raises(errno.EACCES, put, m / "null", b"x")
            os.unlink(m / "null")


def overwrite(path, flags=0):
    with open(path, "rb") as f:
        head = f.read(4096)
    with mmap.mmap(-1, 4096) as aligned:        # as O_DIRECT wants it
        aligned.write(head)
        fd = os.open(path, os.O_WRONLY | flags)
        try:
            eq(os.write(fd, aligned), 4096)
        finally:
            os.close(fd)


def make_room(path):
    with open(path, "r+b") as f:
        os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, 4096)


@check(root=True, plain=False)
def what_somebody_else_has_written_runs_as_nobody_but_him():
    changes = (overwrite, lambda path: overwrite(path, os.O_APPEND),
               lambda path: overwrite(path, os.O_DIRECT), make_room)
    with frond.Mount("allow_other") as m:
        for options in ("suid", "suid,writeback=off", "suid,shared"):
            m.remount("allow_other," + options)
            os.chmod(m.path, 0o755)
            for change in changes:
                put(m / "id", get("/usr/bin/id"))
                os.chmod(m / "id", 0o6777)
                eq(modes(m / "id"), 0o6777)
                in_child(lambda: change(m / "id"), BOB, BOB)
                said = in_child(lambda: subprocess.run([m / "id", "-u"], stdout=-1,
                                                       check=True).stdout, BOB, BOB)
                eq(said.strip(), b"%d" % BOB, options)
                eq(modes(m / "id"), 0o777, options)


@check(root=True, plain=False)
def without_allow_other_the_mount_is_closed_to_others():
    with frond.Mount() as m:
        put(m / "f", b"x")
        os.chmod(m / "f", 0o777)
        raises(errno.EACCES, in_child, lambda: os.stat(m / "f"), BOB, BOB)


@check(root=True, plain=False)
def permissions_are_enforced_without_attributes():
    """Where the kernel knows of no ACLs, nothing but the mount's options asks it to."""
    with frond.Mount("allow_other,xattr=off") as m:
        permissions_are_enforced(m)


@check(root=True, plain=False)
def access_answers_for_the_caller(m):
    d = opened(m)
    put(f"{d}/f", b"x")
    os.chown(f"{d}/f", ANN, TEAM)
    os.chmod(f"{d}/f", 0o640)
    can = lambda how: lambda: os.access(f"{d}/f", how)  # noqa: E731
    eq([in_child(can(h), ANN, ANN) for h in (os.R_OK, os.W_OK, os.X_OK)], [True, True, False])
    eq([in_child(can(h), BOB, TEAM) for h in (os.R_OK, os.W_OK)], [True, False])
    eq([in_child(can(h), BOB, BOB) for h in (os.R_OK, os.W_OK)], [False, False])


frond.main("allow_other")
