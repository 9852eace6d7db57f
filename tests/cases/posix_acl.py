#!/usr/bin/python3
"""POSIX ACLs: set, enforced, inherited, and in step with the mode."""
import errno
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, get, in_child, put, raises, run

OTHER = 51234


def acl(path, *flags):
    out = run("getfacl", "-cpn", *flags, path)
    return [line.split("\t")[0] for line in out.splitlines() if line]


def mode(path):
    return os.stat(path).st_mode & 0o7777


@check
def setfacl_and_getfacl_agree(m):
    put(m / "f")
    os.chmod(m / "f", 0o640)
    run("setfacl", "-m", f"u:{OTHER}:rw,g:{OTHER}:r", m / "f")
    eq(acl(m / "f"), ["user::rw-", f"user:{OTHER}:rw-", "group::r--",
                      f"group:{OTHER}:r--", "mask::rw-", "other::---"])
    eq(mode(m / "f"), 0o660, "the mask shows as the group's bits")
    run("setfacl", "-b", m / "f")
    eq(acl(m / "f"), ["user::rw-", "group::r--", "other::---"])
    eq(mode(m / "f"), 0o640)


@check
def chmod_changes_the_mask(m):
    put(m / "f")
    run("setfacl", "-m", f"u:{OTHER}:rwx", m / "f")
    os.chmod(m / "f", 0o604)
    eq([a for a in acl(m / "f") if a.startswith(("mask", "other"))],
       ["mask::---", "other::r--"])
    run("setfacl", "-m", "m::rx", m / "f")
    eq(mode(m / "f"), 0o654)


@check
def setting_an_access_acl_changes_the_mode(m):
    put(m / "f")
    run("setfacl", "--set", "u::rwx,g::rx,o::x", m / "f")
    eq(mode(m / "f"), 0o751)
    raises(errno.ENODATA, os.getxattr, m / "f", "system.posix_acl_access")


@check
def default_acls_are_inherited(m):
    os.mkdir(m / "d")
    run("setfacl", "-d", "-m", f"u::rwx,u:{OTHER}:rwx,g::rx,o::-", m / "d")
    old = os.umask(0o077)   # means nothing where a default ACL is
    try:
        os.mkdir(m / "d/sub", 0o777)
        os.close(os.open(m / "d/f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(m / "d/p", os.O_CREAT | os.O_WRONLY, 0o600))
        os.mkfifo(m / "d/fifo", 0o666)
        os.symlink("f", m / "d/l")
    finally:
        os.umask(old)
    eq(acl(m / "d/f"), ["user::rw-", f"user:{OTHER}:rwx", "group::r-x",
                        "mask::rw-", "other::---"])
    eq((mode(m / "d/f"), mode(m / "d/fifo")), (0o660, 0o660))
    eq(mode(m / "d/p"), 0o600, "the mode asked for is an upper bound")
    eq(mode(m / "d/sub"), 0o770)
    eq(acl(m / "d/sub", "-d"), acl(m / "d", "-d"), "handed on")
    os.makedirs(m / "d/sub/deeper", 0o777)
    eq(acl(m / "d/sub/deeper", "-d"), acl(m / "d", "-d"))
    run("setfacl", "-k", m / "d")
    eq(acl(m / "d", "-d"), [])


@check(plain=False, root=True)
def acls_are_enforced_for_other_users():
    with frond.Mount("allow_other") as m:
        os.chmod(m.path, 0o755)
        put(m / "f", b"secret")
        os.chmod(m / "f", 0o600)
        raises(errno.EACCES, in_child, lambda: get(m / "f"), OTHER, OTHER)
        run("setfacl", "-m", f"u:{OTHER}:r", m / "f")
        eq(in_child(lambda: get(m / "f"), OTHER, OTHER), b"secret")
        raises(errno.EACCES, in_child, lambda: put(m / "f", b""), OTHER, OTHER)
        run("setfacl", "-m", "m::-", m / "f")
        raises(errno.EACCES, in_child, lambda: get(m / "f"), OTHER, OTHER)
        run("setfacl", "-b", "-m", f"g:{OTHER}:rw", m / "f")
        in_child(lambda: put(m / "f", b"by group"), OTHER + 1, OTHER)
        in_child(lambda: put(m / "f", b"by group 2"), OTHER + 1, 5, [OTHER])
        eq(get(m / "f"), b"by group 2")
        os.mkdir(m / "d", 0o700)
        run("setfacl", "-d", "-m", f"u:{OTHER}:rwx", m / "d")
        run("setfacl", "-m", f"u:{OTHER}:rwx", m / "d")
        in_child(lambda: put(m / "d/his", b"x"), OTHER, OTHER)
        eq(os.stat(m / "d/his").st_uid, OTHER)
        m.remount()
        eq(in_child(lambda: get(m / "d/his"), OTHER, OTHER), b"x")


@check(plain=False, root=True)
def who_is_not_in_the_group_loses_its_bit_with_an_acl():
    with frond.Mount("allow_other") as m:
        os.chmod(m.path, 0o755)
        put(m / "f", b"")
        for groups, kept in ([], 0), ([OTHER + 1], stat.S_ISGID):
            os.chown(m / "f", OTHER, OTHER + 1)
            os.chmod(m / "f", 0o2755)
            in_child(lambda: run("setfacl", "-m", "u:5:r", m / "f"), OTHER, OTHER, groups)
            eq(mode(m / "f"), 0o755 | kept)
            run("setfacl", "-b", m / "f")
        os.chmod(m / "f", 0o2755)
        run("setfacl", "-m", "u:5:r", m / "f")
        eq(mode(m / "f"), 0o2755)


@check(plain=False)
def acls_survive_a_remount_and_a_copy():
    with frond.Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/f")
        run("setfacl", "-m", f"u:{OTHER}:rwx", m / "d", m / "d/f")
        run("setfacl", "-d", "-m", f"u:{OTHER}:rx", m / "d")
        before = run("getfacl", "-Rcpn", m / "d")
        m.remount()
        eq(run("getfacl", "-Rcpn", m / "d"), before)
        run("cp", "-a", m / "d", m / "e")
        eq(run("getfacl", "-Rcpn", m / "e").replace("/e", "/d"), before)


@check(plain=False)
def ls_l_marks_acls(m):
    put(m / "f")
    put(m / "g")
    run("setfacl", "-m", f"u:{OTHER}:r", m / "f")
    marks = {line.split()[-1]: line.split()[0][-1]
             for line in run("ls", "-l", m / ".").splitlines()[1:]}
    eq((marks["f"], marks["g"] == "+"), ("+", False))


frond.main()
