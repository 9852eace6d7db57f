#!/usr/bin/python3
"""A user without privileges makes, mounts, uses and unmounts a vault."""
import errno
import os
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import PLAIN, blob, check, eq, fresh, get, in_child, put, raises, run
from share import Person

USER = 65534 if os.geteuid() == 0 else os.geteuid()
DAEMON = 1      # another that every machine has


def fuse_for_all():
    """/dev/fuse as udev makes it, for this process and its children alone."""
    if PLAIN or os.geteuid() or os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        return
    frond.own_mounts()
    place = fresh("dev")
    os.mkdir(place)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "none", place)
    os.mknod(f"{place}/fuse", stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(f"{place}/fuse", 0o666)
    run("mount", "--bind", f"{place}/fuse", "/dev/fuse")
    run("umount", "-l", place)


def as_user(fn):
    return in_child(fn, USER, USER) if os.geteuid() == 0 else fn()


def mounted(**kw):
    own = os.path.join(frond.work(), "frondfs")
    if not os.path.exists(own):
        # The build tree may lie where an ordinary user cannot look.
        shutil.copy(frond.FRONDFS, own)
        os.chmod(own, 0o755)
        frond.FRONDFS = own
    return frond.Mount(user=USER if os.geteuid() == 0 else None, **kw)


@check(plain=False)
def everything_ordinary_works_through_fusermount3():
    with mounted() as m:
        def use():
            os.makedirs(m / "d/e")
            put(m / "d/e/f", blob(100000))
            os.symlink("d/e/f", m / "l")
            os.link(m / "d/e/f", m / ("h" * 255))
            os.setxattr(m / "l", "user.x", b"y")
            os.chmod(m / "d/e/f", 0o400)
            eq(get(m / "l"), blob(100000))
            os.rename(m / "d", m / "g")
            eq(sorted(os.listdir(m.path)), sorted(["g", "h" * 255, "l"]))
            run("setfacl", "-m", "u:12345:r", m / "g")
            fd = os.open(m / "gone", os.O_CREAT | os.O_RDWR)
            os.unlink(m / "gone")
            os.write(fd, blob(9000))
            eq(os.pread(fd, 9000, 0), blob(9000))
        as_user(use)
        m.remount()
        eq(as_user(lambda: get(m / ("h" * 255))), blob(100000))


@check(plain=False)
def a_directory_that_became_unreadable_is_read_on():
    with mounted(nofile=1024) as m:
        def read_on():
            os.mkdir(m / "secret")
            put(m / "secret/inside")
            fd = os.open(m / "secret", os.O_RDONLY)
            os.chmod(m / "secret", 0o300)
            others = []
            for i in range(400):        # more than are kept open
                os.mkdir(m / f"d{i}")
                others.append(os.open(m / f"d{i}", os.O_RDONLY))
            return os.listdir(fd), os.stat(m / "secret").st_mode & 0o777
        eq(as_user(read_on), (["inside"], 0o300))


@check(plain=False)
def files_of_mode_0_and_0200_can_be_used_by_their_owner():
    with mounted() as m:
        def use():
            for mode in (0, 0o200, 0o400):
                fd = os.open(m / f"f{mode}", os.O_CREAT | os.O_RDWR, mode)
                os.write(fd, blob(9000))
                os.fsync(fd)
                eq(os.pread(fd, 9000, 0), blob(9000))
                os.ftruncate(fd, 4000)
                os.close(fd)
                eq(os.stat(m / f"f{mode}").st_size, 4000)
            raises(errno.EACCES, get, m / "f0")
            raises(errno.EACCES, get, m / "f128")
            raises(errno.EACCES, put, m / "f256", b"x")
            w = os.open(m / "f128", os.O_WRONLY)
            os.pwrite(w, b"inside a chunk", 100)     # needs what it may not read
            os.close(w)
            os.chmod(m / "f128", 0o600)
            eq(get(m / "f128"), blob(9000)[:100] + b"inside a chunk" + blob(9000)[114:4000])
            os.chmod(m / "f256", 0)
            os.rename(m / "f256", m / "g")
            os.unlink(m / "g")
        as_user(use)


@check(plain=False)
def many_unreadable_files_stay_usable_with_few_descriptors():
    with mounted(nofile=256) as m:
        def use():
            fds = [os.open(m / f"f{i}", os.O_CREAT | os.O_RDWR, (0o200, 0, 0o400)[i % 3])
                   for i in range(800)]
            for turn in range(2):
                for i, fd in enumerate(fds):
                    os.pwrite(fd, b"%04d" % i * 10, turn * 40)
            for i in range(0, 800, 5):
                os.rename(m / f"f{i}", m / f"renamed{i}")
            for i in range(1, 800, 5):
                os.unlink(m / f"f{i}")
            for i, fd in enumerate(fds):
                os.fsync(fd)
                eq(os.pread(fd, 200, 0), b"%04d" % i * 20, f"file {i}")
                os.close(fd)
        as_user(use)


@check(plain=False)
def a_directory_without_permissions_is_respected_and_recovered():
    with mounted() as m:
        def use():
            os.mkdir(m / "d")
            put(m / "d/f", b"x")
            os.chmod(m / "d", 0)
            raises(errno.EACCES, os.listdir, m / "d")
            raises(errno.EACCES, get, m / "d/f")
            os.rename(m / "d", m / "e")
            os.chmod(m / "e", 0o500)
            eq(get(m / "e/f"), b"x")
            raises(errno.EACCES, put, m / "e/g")
            os.chmod(m / "e", 0o700)
            os.mkdir(m / "z", 0)
            os.rmdir(m / "z")
        as_user(use)
        m.remount()
        eq(as_user(lambda: get(m / "e/f")), b"x")


@check(plain=False, root=True)
def root_and_others_stay_outside():
    with mounted() as m:
        as_user(lambda: put(m / "f", b"x"))
        raises(errno.EACCES, os.stat, m / "f")
        raises(errno.EACCES, in_child, lambda: os.stat(m / "f"), USER - 1, USER - 1)


@check(plain=False)
def the_backing_files_are_the_users_own():
    with mounted() as m:
        as_user(lambda: put(m / "f", b"x"))
        m.umount()
        for d, dirs, names in os.walk(m.vault):
            for name in dirs + names:
                eq(os.lstat(os.path.join(d, name)).st_uid, USER)


@check(plain=False, root=True)
def who_may_not_remember_is_told():
    anothers = fresh("state")
    os.makedirs(os.path.join(anothers, "frondfs"))
    before = os.environ["XDG_STATE_HOME"]
    try:
        for place, why in ((fresh("nowhere"), "Permission denied"),
                           (anothers, "it is another account's")):
            os.environ["XDG_STATE_HOME"] = place
            with mounted() as m:
                said = m.log()
            eq(said.count(f"cannot remember in '{place}/frondfs'"), 1, said)
            assert f"({why})" in said and "set XDG_STATE_HOME" in said, said
        with mounted(options="remember=off") as m:
            eq(m.log(), "")
    finally:
        os.environ["XDG_STATE_HOME"] = before
    with mounted() as m:
        eq(m.log(), "")


@check(plain=False, root=True)
def what_one_user_grants_another_needs_no_more_than_that_file():
    post = fresh("post")
    os.mkdir(post)
    os.chmod(post, 0o1777)
    ann, bob = Person("ann", post, user=USER), Person("bob", post, user=DAEMON)
    ann.meets(bob)
    bob.meets(ann)
    os.chmod(ann.mount.vault, 0o700)

    def as_bob(fn):
        return in_child(fn, bob.user, bob.user)

    def plan():
        os.mkdir(ann.path("folder"), 0o700)
        os.chmod(put(ann.path("folder/plan"), b"plan"), 0o600)
        return ann.path("folder/plan")

    def frondfs(*argv):
        p = as_bob(lambda: subprocess.run([frond.FRONDFS, *argv], capture_output=True,
                                          text=True, check=False))
        return p.returncode, p.stderr

    def attach():
        return frondfs("attach", bob.mount.path, "ann", ann.mount.vault)

    def let(what, path):
        in_child(lambda: run("setfacl", "-m", f"u:{bob.user}:{what}", path),
                 ann.user, ann.user)

    path = in_child(plan, ann.user, ann.user)
    ann.send("grant", path, "--to", "bob")
    bob.receive()
    status, said = attach()
    eq(status, 1, said)
    assert f"'{ann.mount.vault}' may not be entered: Permission denied" in said, said
    let("x", ann.mount.vault)
    eq(attach(), (0, ""))
    let("x", os.path.dirname(path))
    raises(errno.EACCES, as_bob, lambda: get(bob.shared("ann/plan")))
    let("r", path)
    eq(as_bob(lambda: get(bob.shared("ann/plan"))), b"plan")
    assert "may be read" in bob.tg("status")
    # what more there is of the vault says which part is kept from whom
    ini = os.path.join(ann.mount.vault, ".frondfs")
    for open_now, closed in ((None, ".frondfs"), (ini, ".frondfs/vault.ini")):
        if open_now:
            os.chmod(open_now, 0o755)
        status, said = frondfs("info", ann.mount.vault)
        eq((status, f"because of its {closed}: Permission denied" in said), (1, True), said)
    # and taken away again, it is still hers
    run("setfacl", "-b", ann.mount.vault)
    bob.receive()
    said = bob.tg("status")
    assert f"not yours to enter (Permission denied): {ann.mount.vault}" in said, said
    let("x", ann.mount.vault)
    bob.receive()
    assert "may be read" in bob.tg("status")
    ann.mount.umount()
    bob.mount.umount()


fuse_for_all()
frond.main()
