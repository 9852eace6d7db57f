#!/usr/bin/python3
"""Mounting and unmounting, every sentence and every exit status."""
import os
import re
import shlex
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import command
import frond
from command import DAMAGED, FAILED, MOUNTED, NEWER, NO_FUSE, NOBODY, NOT_A_VAULT, OK, POINT, \
    QUICK, USAGE, WRONG, as_nobody, cli, directory, mounted, new_vault, owned_by_nobody, tree, \
    with_fuse_for_all
from frond import FRONDFS, check, eq, fresh, get, passfile, put, run, until


@check
def mount_returns_when_the_mount_answers():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        assert os.path.ismount(p)
        put(f"{p}/file", b"content")
        eq(get(f"{p}/file"), b"content")
    assert not os.path.ismount(point)
    with mounted(vault, point) as p:
        eq(get(f"{p}/file"), b"content")


@check
def the_daemon_lets_go_of_everything_and_dumps_nothing():
    vault, point = new_vault(), directory()
    m = mounted(vault, point)
    with m:
        proc = f"/proc/{m.pid}"
        eq(os.readlink(f"{proc}/cwd"), "/")
        eq(os.getsid(m.pid), m.pid, "session")
        for fd in range(3):
            eq(os.readlink(f"{proc}/fd/{fd}"), "/dev/null")
        assert re.search(rb"Max core file size +0 +0 ", get(f"{proc}/limits"))
        for what in "cmdline", "environ":
            assert frond.PASSPHRASE.encode() not in get(f"{proc}/{what}")
        if not frond.SLOW:
            eq(os.stat(f"{proc}/status").st_uid, 0, "dumpable")
            memory = get(f"{proc}/status").decode()
            assert int(re.search(r"VmRSS:\s+(\d+)", memory)[1]) < 60000, memory


@check
def the_memory_of_key_derivation_does_not_stay():
    if frond.SLOW:
        raise frond.Skip("sanitizers keep freed memory")
    backing, point = fresh("backing"), directory()
    cli("init", "--passfile", passfile(), "--kdf-mem", "192", "--kdf-ops", "1", backing)
    m = mounted(backing, point)
    with m:
        memory = get(f"/proc/{m.pid}/status").decode()
        assert int(re.search(r"VmRSS:\s+(\d+)", memory)[1]) < 100000, memory


def helper(*argv, status=OK, says="", name="mount.frondfs"):
    link = os.path.join(directory("sbin"), name)
    os.symlink(FRONDFS, link)
    p = subprocess.run([link, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, start_new_session=True, timeout=60)
    eq(p.returncode, status, p.stdout)
    assert says in p.stdout.decode(), p.stdout


@check
def mount_8_can_call_it():
    vault, point, secret = new_vault(), directory(), passfile()
    helper(vault, point, "-f", "-o", f"rw,passfile={secret}")
    assert not os.path.ismount(point), "-f is fake here"
    helper(vault, point, "-s", "-n", "-v", "-t", "fuse.frondfs", "-o",
           f"rw,noatime,nofail,x-systemd.automount,passfile={secret}",
           name="mount.fuse.frondfs")
    assert os.path.ismount(point)
    cli("umount", point)
    helper(vault, point, "-r", "-o", f"passfile={secret}")
    frond.raises(30, os.mkdir, f"{point}/x")
    cli("umount", point)
    helper(vault, point, "-Z", status=USAGE)
    for options in "remount,ro", "rw,remount":
        helper(vault, point, "-o", options, status=USAGE, says="unmount it, and mount it again")


@check
def a_log_can_go_to_a_file():
    """In the background and in front; damage in a file whose name would command a terminal."""
    vault, point = new_vault(), directory()
    file = "a\nb\x1b[2J\u009bü"
    name = f"{point}/{file}"
    with mounted(vault, point):
        put(name, b"x" * 4096)
        backing = os.getxattr(name, "user.frondfs.backing")
    flipped = bytearray(get(backing))
    flipped[-1] ^= 1
    put(backing, flipped)
    log = put(fresh("log"), b"before\n")
    os.chdir(os.path.dirname(log))
    with mounted(vault, point, "-o", f"log={os.path.basename(log)}"):
        frond.raises(5, get, name)
    with frond.Mount(f"log={log}2", vault=vault) as m:
        frond.raises(5, get, m / file)
    eq(m.log(), "")
    with frond.Mount(vault=vault) as m:
        frond.raises(5, get, m / file)
    shown = r"a\\012b\\033\[2J\\302\\233ü: .*damaged.*"
    assert re.fullmatch(f"frondfs: {shown}\n", m.log()), m.log()
    eq(os.stat(log + "2").st_mode & 0o777, 0o600)
    for text in get(log).decode(), "before\n" + get(log + "2").decode():
        first, line, last = text.split("\n")
        assert first == "before" and last == "", text
        assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ frondfs: " + shown, line), line
    cli("mount", "--passfile", passfile(), "-o", "log=/no/where", vault, point, status=FAILED,
        says="'/no/where': No such file")
    assert not os.path.ismount(point)


@check
def a_log_in_the_mount_point_or_in_the_vault_is_not_made():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        os.mkdir(f"{p}/dir")
    os.symlink(vault, link := fresh("link"))
    os.mkdir(f"{point}/below")
    before = tree(vault), tree(point)
    cipher, = (n for n in os.listdir(vault) if n[0] != ".")
    for cwd, log in ("/", f"{point}/log"), (point, "log"), ("/", f"{point}/below/log"), \
            ("/", f"{vault}/log"), ("/", f"{link}/{cipher}/log"), (vault, "log"), \
            ("/", f"{vault}/.frondfs/vault.ini"):
        for how in [], ["-f"]:
            cli("mount", *how, "--passfile", passfile(), "-o", f"nonempty,log={log}", vault, point,
                status=FAILED, cwd=cwd, says=f"the log '{log}' may lie neither in the mount point")
        eq((tree(vault), tree(point)), before)
    with mounted(vault, point, "-o", f"nonempty,log={fresh('log')}"):
        pass


@check
def a_wrong_passphrase_is_status_4_and_changes_nothing():
    vault, point = new_vault(), directory()
    before = get(f"{vault}/.frondfs/vault.ini")
    cli("mount", "--passfile", passfile("wrong"), vault, point, status=WRONG,
        says="wrong passphrase")
    cli("mount", "-f", "--passfile", passfile("wrong"), vault, point, status=WRONG)
    cli("passwd", "--passfile", passfile("wrong"), "--new-passfile", passfile("new"), vault,
        status=WRONG, says="wrong passphrase")
    eq(get(f"{vault}/.frondfs/vault.ini"), before)
    assert not os.path.ismount(point)


@check
def what_is_wrong_with_a_vault_is_said_before_a_passphrase_is_asked():
    point = directory()
    cli("mount", directory("empty"), point, status=NOT_A_VAULT, says="not a vault")
    cli("mount", fresh("none"), point, status=NOT_A_VAULT, says="no directory")
    vault = new_vault()
    ini = f"{vault}/.frondfs/vault.ini"
    good = get(ini)
    put(ini, good.replace(b"salt", b"sal", 1))
    cli("mount", vault, point, status=DAMAGED, says="damaged at line")
    cli("passwd", vault, status=DAMAGED)
    cli("info", vault, status=DAMAGED)
    put(ini, good.replace(b"version = 2", b"version = 3"))
    cli("mount", vault, point, status=NEWER, says="newer version")
    cli("info", vault, status=NEWER)
    # only the key tells that this one was changed
    put(ini, good.replace(b"created = 20", b"created = 19"))
    cli("mount", "--passfile", passfile(), vault, point, status=DAMAGED,
        says="changed by someone")
    put(ini, good)
    cli("mount", "--passfile", passfile(), vault, point)
    cli("umount", point)


@check
def faults_of_a_mount_point_are_status_7():
    vault = new_vault()
    cli("mount", vault, fresh("none"), status=POINT, says="does not exist")
    cli("mount", vault, put(fresh("file")), status=POINT, says="not a directory")
    cli("mount", vault, vault, status=POINT, says="within each other")
    # what nobody has made yet need not be made first
    for new in f"{vault}/new", f"{vault}/new/er/", f"{vault}/":
        cli("mount", vault, new, status=POINT, says="within each other")
    cli("mount", vault, f"{vault}.new", status=POINT, says="make it with mkdir")
    inside = f"{vault}/inside"
    os.mkdir(inside)
    cli("mount", vault, inside, status=POINT, says="within each other")
    os.rmdir(inside)
    cli("mount", vault, frond.work(), "-o", "nonempty", status=POINT,
        says="within each other")
    cli("mount", vault, "/proc", status=POINT, says="mounted on '/proc' already")
    full = directory("full")
    put(f"{full}/file")
    text = cli("mount", vault, full, status=POINT, says="not empty")
    # whoever forgot to mount, and wrote there, believes it to be
    assert "what lies there is NOT encrypted" in text and "into the mount" in text, text
    with mounted(vault, full, "-o", "nonempty") as p:
        eq(os.listdir(p), [])
    eq(os.listdir(full), ["file"])


@check
def the_two_directories_in_the_wrong_order_are_noticed():
    vault, point = new_vault(), directory()
    cli("mount", point, vault, status=NOT_A_VAULT, says="the backing directory comes first")
    cli(point, vault, status=NOT_A_VAULT, says=f"'{vault}' is")
    cli("mount", fresh("none"), vault, status=NOT_A_VAULT, says="comes first")
    cli("mount", point, directory("empty"), status=NOT_A_VAULT, says="'frondfs init'")
    eq(os.listdir(point), [])


@check
def a_second_mount_needs_shared():
    vault, one, two = new_vault(), directory(), directory()
    with mounted(vault, one):
        cli("mount", vault, two, status=MOUNTED, says=f"mounted already, on '{one}'")
        cli("mount", "--passfile", passfile(), vault, two, "-o", "shared", status=MOUNTED)
        cli("mount", "--passfile", passfile(), vault, two, "-o", "ro", status=MOUNTED)
        cli("mount", vault, one, status=POINT, says="already")
    with mounted(vault, one, "-o", "shared") as a:
        with mounted(vault, two, "-o", "shared") as b:
            put(f"{a}/seen", b"by both")
            eq(get(f"{b}/seen"), b"by both")
        # it would keep for a moment what others write, and know no locks of theirs
        cli("mount", "--passfile", passfile(), vault, two, "-o", "ro", status=MOUNTED,
            says="every mount of it -o shared")
        with mounted(vault, two, "-o", "ro,shared") as b:
            eq(get(f"{b}/seen"), b"by both")
    with mounted(vault, one, "-o", "ro"):
        cli("mount", "--passfile", passfile(), vault, two, "-o", "shared", status=MOUNTED,
            says="every mount of it -o shared")
        with mounted(vault, two, "-o", "ro") as b:
            eq(get(f"{b}/seen"), b"by both")


@check
def a_mount_that_goes_on_without_a_mount_point_is_told():
    vault, point = new_vault(), directory()
    m = mounted(vault, point)
    with open(f"{point}/f", "w") as f:
        frond.detach(point)
        cli("mount", vault, point, status=MOUNTED, says="goes on until that is closed")
        f.write("still works")
    until(lambda: not os.path.exists(f"/proc/{m.pid}"), 30, "the daemon's end")
    with mounted(vault, point):
        eq(get(f"{point}/f"), b"still works")


HOLD = """
import fcntl, os, struct, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, 37, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 1, 0))
open(sys.argv[2], "w").close()
time.sleep(0.1)
"""


@check
def a_lock_that_is_held_for_a_moment_while_it_mounts_is_waited_for():
    """As by a mount that has ended, and looks once more whether all is durable."""
    vault, point, hold = new_vault(), directory(), put(fresh("hold.py"), HOLD.encode())
    with mounted(vault, point):
        pass

    def mounts():
        held = fresh("held")
        command = (f"'{sys.executable}' '{hold}' '{vault}/.frondfs/lock' '{held}' "
                   f">/dev/null 2>&1 & while [ ! -e '{held}' ]; do sleep 0.01; done; "
                   f"cat '{passfile()}'")
        p = subprocess.run([FRONDFS, "mount", "--extpass", command, vault, point],
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert p.returncode in (OK, MOUNTED), p.stderr
        return p.returncode == OK
    # on a busy machine the moment may be a long one
    assert any(mounts() for _ in range(5)), "refused every time"
    cli("umount", point)


@check
def unmounting_one_of_several_shared_mounts_does_not_wait_long():
    vault, one, two = new_vault(), directory(), directory()
    with mounted(vault, one, "-o", "shared"), mounted(vault, two, "-o", "shared"):
        start = time.monotonic()
        cli("umount", two)
        assert time.monotonic() - start < (5 if not frond.SLOW else 20)


@check(root=True)
def without_dev_fuse_it_says_so():
    vault, point, empty = new_vault(), directory(), directory("dev")
    script = 'mount --bind "$1" /dev && shift && exec "$@"'
    p = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", empty,
         FRONDFS, "mount", "--passfile", passfile(), vault, point],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    eq(p.returncode, NO_FUSE, p.stdout)
    assert b"no /dev/fuse" in p.stdout, p.stdout


@check(root=True)
def without_fusermount3_users_are_told():
    def body():
        vault, point = owned_by_nobody("backing"), owned_by_nobody("mnt")
        as_nobody("init", "--passfile", passfile(), *QUICK, vault)
        as_nobody("mount", "--passfile", passfile(), vault, point, status=NO_FUSE,
                  says="fusermount3", env={"PATH": directory("bin")})
    with_fuse_for_all(body)


@check(root=True)
def a_refusal_is_told_with_the_advice_that_fits_it():
    nameless, advice = 54321, "'user_allow_other' in /etc/fuse.conf"

    def refused(vault, point, user, *options):
        p = subprocess.run(
            [FRONDFS, "mount", "--passfile", passfile(), *options, vault, point],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            env=dict(os.environ, XDG_STATE_HOME=frond.state_of(user)),
            user=user, group=user, extra_groups=[])
        eq(p.returncode, FAILED, p.stderr)
        return p.stderr.splitlines()

    def body():
        vault, point, theirs = (owned_by_nobody(n) for n in ("backing", "mnt", "theirs"))
        as_nobody("init", "--passfile", passfile(), *QUICK, vault)
        os.chown(theirs, 0, 0)
        said = refused(vault, theirs, NOBODY)
        assert said[-1].endswith("you need write access to it"), said
        run("mount", "--bind", conf := put(fresh("fuse.conf"), b"#user_allow_other\n"),
            "/etc/fuse.conf")
        said = refused(vault, point, NOBODY, "-o", "allow_other")
        assert said[-1].endswith(f"need the line {advice}"), said
        put(conf, b"user_allow_other\n")
        as_nobody("mount", "--passfile", passfile(), "-o", "allow_other", vault, point)
        as_nobody("umount", point)
        for path in (point, vault, *tree(vault)):
            os.chown(path, nameless, nameless)
        for options in [], ["-o", "allow_other"]:
            said = refused(vault, point, nameless, *options)
            assert "username" in said[-2] and said[-1].endswith("stands above"), said
    frond.tool("fusermount3")
    if not os.path.exists("/etc/fuse.conf"):
        raise frond.Skip("there is no /etc/fuse.conf")
    with_fuse_for_all(body)


@check(root=True)
def users_mount_and_unmount_their_own():
    def body():
        vault, point = owned_by_nobody("backing"), owned_by_nobody("mnt")
        as_nobody("init", "--passfile", passfile(), *QUICK, vault)
        as_nobody("mount", "--passfile", passfile(), vault, point)
        # another user may not, and root may although it cannot look inside
        cli("umount", point, status=FAILED, says="someone else", user=1, group=1,
            extra_groups=[])
        as_nobody("umount", point)
        as_nobody("info", vault, says="mounted:      no")
        as_nobody("mount", "--passfile", passfile(), vault, point)
        cli("umount", point)
        as_nobody("mount", "--passfile", passfile(), vault, point, "-o", "fsname=mine")
        frond.in_child(lambda: put(f"{point}/file", b"mine"), uid=NOBODY, gid=NOBODY)
        as_nobody("info", f"{point}/file", says="4 bytes")
        as_nobody("umount", point)
    frond.tool("fusermount3")
    with_fuse_for_all(body)


@check(root=True)
def suid_and_dev_are_roots_alone_and_that_is_said():
    def flags(point):
        return frond.run("findmnt", "-no", "OPTIONS", point).split(",")

    def body():
        vault, point = owned_by_nobody("backing"), owned_by_nobody("mnt")
        as_nobody("init", "--passfile", passfile(), *QUICK, vault)
        for given in "suid", "dev", "suid,dev":
            as_nobody("mount", "--passfile", passfile(), vault, point, "-o", given,
                      says=f"only root can give the mount option '{given}'")
            assert {"nosuid", "nodev"} <= set(flags(point)), flags(point)
            as_nobody("umount", point)
        eq(as_nobody("mount", "--passfile", passfile(), vault, point, "-o", "suid,nosuid"), "")
        as_nobody("umount", point)
    vault, point = new_vault(), directory()
    eq(cli("mount", "--passfile", passfile(), vault, point, "-o", "suid,dev"), "")
    assert not {"nosuid", "nodev"} & set(flags(point)), flags(point)
    cli("umount", point)
    frond.tool("fusermount3")
    with_fuse_for_all(body)


@check
def umount_refuses_politely_what_is_in_use():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        with open(f"{p}/open", "w") as f:
            cli("umount", p, status=POINT, says="fuser -vm")
            f.write("still works")
        eq(get(f"{p}/open"), b"still works")
    point = directory("with blanks")
    with mounted(vault, point), open(f"{point}/open"):
        cli("umount", point, status=POINT, says=f"fuser -vm '{point}'")


@check
def umount_returns_when_the_data_is_at_rest():
    vault, point = new_vault(), directory()
    m = mounted(vault, point, "-o", "writeback=on")
    put(f"{point}/big", frond.blob(frond.scale(32, 4) << 20))
    cli("umount", point)
    assert not os.path.ismount(point)
    cli("info", vault, says="mounted:      no")
    before = tree(vault)
    time.sleep(0.5)
    eq(tree(vault), before)
    until(lambda: not os.path.exists(f"/proc/{m.pid}"), 5, "the daemon's end")


@check(root=True)
def umount_tells_where_the_same_mount_goes_on():
    vault, point, other = new_vault(), directory("point"), directory("other place")
    for first, second in ((point, other), (other, point)):
        cli("mount", "--passfile", passfile(), vault, point)
        run("mount", "--bind", point, other)
        put(f"{point}/f", b"kept")
        cli("umount", first, status=FAILED,
            says=f"'{first}' is unmounted, but the same mount is still on '{second}'")
        eq((os.path.ismount(first), get(f"{second}/f")), (False, b"kept"))
        cli("umount", second)
        eq(os.path.ismount(second), False)


@check
def umount_touches_nothing_but_vaults():
    cli("umount", "/proc", status=POINT, says="no vault is mounted")
    cli("umount", directory(), status=POINT, says="no vault is mounted")
    cli("umount", fresh("none"), status=POINT, says="there is no")
    file = put(fresh("file"), b"")
    cli("umount", file + "/x", status=POINT, says="there is no")
    cli("attach", file, "--list", status=POINT, says="is no directory; name the one")


@check(root=True)
def a_mount_in_another_namespace_is_told_with_how_to_end_it():
    vault, point = new_vault(), directory()
    with subprocess.Popen(
            ["unshare", "--mount", "sh", "-c",
             '"$1" mount --passfile "$2" "$3" "$4" && echo up && read line; exec "$1" umount "$4"',
             "sh", frond.FRONDFS, passfile(), vault, point],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as there:
        try:
            eq(there.stdout.readline(), b"up\n")
            assert not os.path.ismount(point)
            said = cli("umount", point, status=POINT, says="which has mounts of its own")
            run(*shlex.split(said[said.index("nsenter"):]))
            cli("umount", point, status=POINT, says="lists those that are")
        finally:
            there.stdin.close()


@check
def odd_names_of_mount_points_work():
    vault = new_vault()
    for name in "a b", "tab\there", "new\nline", "back\\slash\\040", "#hash", "-dash", "ü":
        parent = directory("odd")
        point = os.path.join(parent, name)
        os.mkdir(point)
        cli("mount", "--passfile", passfile(), vault, point)
        assert os.path.ismount(point)
        cli("umount", "--", name, cwd=parent)
        assert not os.path.ismount(point)


@check
def a_mount_whose_daemon_was_killed_can_be_unmounted():
    vault, point = new_vault(), directory()
    m = mounted(vault, point)
    os.kill(m.pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{m.pid}"), 10, "the daemon's end")
    link = fresh("link")
    os.symlink(point, link)
    for name in point, link:
        cli("mount", vault, name, status=POINT,
            says=f"died; unmount it with 'frondfs umount {shlex.quote(name)}' and mount again")
    cli("info", point, status=FAILED, says="the mount there died: unmount it with 'frondfs umount'")
    cli("check", point, status=8, says="the mount there died: unmount it with 'frondfs umount'")
    cli("attach", point, "--list", status=POINT, says="died; unmount it with 'frondfs umount'")
    # the lock is that of the mount that came after it
    with mounted(vault, directory("other")):
        cli("umount", point)
        assert not os.path.ismount(point)
    with mounted(vault, point):
        pass


@check(root=True)
def what_keeps_a_vault_from_being_used_is_said_with_what_to_do():
    vault, place, point = new_vault(), directory("read-only"), directory()
    run("mount", "--bind", vault, place)
    try:
        run("mount", "-o", "remount,bind,ro", place)
        cli("mount", "--passfile", passfile(), place, point, status=FAILED,
            says="only read the vault with '-o ro'")
        cli("check", "--repair", "--passfile", passfile(), place, status=8,
            says="make that file system writable, or check it without --repair")
        cli("check", "--passfile", passfile(), place, says="nothing is damaged")
        text = cli("passwd", "--passfile", passfile(), "--new-passfile", passfile("new"), place,
                   status=FAILED, says="make that file system writable and try again")
        assert "-o ro" not in text, text
        with mounted(place, point, "-o", "ro"):
            pass
    finally:
        run("umount", "-l", place)
    os.chmod(vault, 0o700)
    as_nobody("info", vault, status=FAILED, says="become the user whose vault it is")


command.main()
