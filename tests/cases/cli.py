#!/usr/bin/python3
"""The command line: every sentence, every exit status, on real mounts."""
import ctypes
import fcntl
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import FRONDFS, check, eq, fresh, get, passfile, put, until

OK, FAILED, USAGE, NOT_A_VAULT, WRONG, DAMAGED, NEWER, POINT, MOUNTED, NO_FUSE, \
    NO_PASSPHRASE = range(11)
QUICK = ["--kdf-mem", "8", "--kdf-ops", "1"]
NOBODY = 65534


def cli(*argv, status=OK, says="", **kw):
    """Run frondfs without a terminal; what it printed, both streams."""
    p = subprocess.run([FRONDFS, *argv], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       start_new_session=True, timeout=120, **kw)
    text = p.stdout.decode(errors="surrogateescape")
    assert p.returncode == status, f"{argv}: status {p.returncode}, not {status}: {text}"
    assert says in text, f"{argv}: {says!r} is not in {text!r}"
    if status and status != USAGE or "see 'frondfs" in text:
        eq(text.count("\n"), 1, f"{argv}: sentences in {text!r}")
    return text


def tree(path):
    """Everything below path, to see that nothing was changed."""
    return {os.path.join(d, n): (os.lstat(os.path.join(d, n)).st_mtime_ns,
                                 os.lstat(os.path.join(d, n)).st_size)
            for d, dirs, files in os.walk(path) for n in dirs + files}


def new_vault(passphrase=frond.PASSPHRASE):
    backing = fresh("backing")
    cli("init", "--passfile", passfile(passphrase), *QUICK, backing)
    return backing


def directory(name="mnt"):
    path = fresh(name)
    os.mkdir(path)
    return path


def daemon_of(point):
    """The process that serves a mount point."""
    want = os.fsencode(point)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if want in get(f"/proc/{pid}/cmdline") and int(pid) != os.getpid():
                return int(pid)
        except OSError:
            pass
    raise AssertionError(f"nobody serves {point}")


class mounted:
    """with mounted(backing, point): in the background; away afterwards."""

    def __init__(self, backing, point, *args, **kw):
        self.point = point
        cli("mount", "--passfile", passfile(), *args, backing, point, **kw)
        self.pid = daemon_of(point)

    def __enter__(self):
        return self.point

    def __exit__(self, kind, *_):
        if kind and os.path.ismount(self.point):
            frond.detach(self.point)
        elif os.path.ismount(self.point):
            cli("umount", self.point)


class Terminal:
    """frondfs as a job of a session that has a terminal of its own."""

    open = []

    def __init__(self, *argv):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.text = b""
        reports, report = os.pipe()
        self.leader = os.fork()
        if self.leader == 0:
            try:
                self._lead(slave, report, argv)
            finally:
                os._exit(1)
        os.close(report)
        self.reports = os.fdopen(reports, "r")
        self.pid = int(self.reports.readline())
        Terminal.open.append(self)

    @staticmethod
    def _lead(slave, report, argv):
        """The session's leader, which sees its job stop and end."""
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(slave, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            for fd in range(3):
                os.dup2(slave, fd)
            os.execv(FRONDFS, [FRONDFS, *argv])
        os.write(report, b"%d\n" % pid)
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            echo = bool(termios.tcgetattr(slave)[3] & termios.ECHO)
            os.write(report, b"%d %d\n" % (status, echo))
            if not os.WIFSTOPPED(status):
                os._exit(0)

    def expect(self, what, timeout_s=30):
        end = time.monotonic() + timeout_s
        while what.encode() not in self.text:
            left = end - time.monotonic()
            assert left > 0, f"{what!r} never came, but {self.text!r}"
            if select.select([self.master], [], [], left)[0]:
                self.text += os.read(self.master, 4096)
        self.text = self.text.split(what.encode(), 1)[1]

    def echo(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def answer(self, prompt, text):
        self.expect(prompt)
        until(lambda: not self.echo(), what="echo off")
        os.write(self.master, text.encode() + b"\n")

    def next_status(self):
        """(wait status, was echo on?) of the job's next stop or its end."""
        assert select.select([self.reports], [], [], 60)[0], "the job goes on"
        status, echo = self.reports.readline().split()
        return int(status), echo == "1"

    def gone(self):
        os.waitpid(self.leader, 0)
        Terminal.open.remove(self)

    def end(self, status=OK, says=""):
        got, echo = self.next_status()
        self.gone()
        while select.select([self.master], [], [], 0.2)[0]:
            try:
                self.text += os.read(self.master, 4096)
            except OSError:
                break
        os.close(self.master)
        os.close(self.slave)
        text = self.text.decode()
        eq(os.waitstatus_to_exitcode(got), status, f"status ({text})")
        assert says in text, f"{says!r} is not in {text!r}"
        assert echo, "echo stayed off"
        return text


@check
def help_and_version_need_nothing():
    assert re.fullmatch(r"frondfs \d+\.\d+\.\d+\n", cli("--version"))
    for command in "init", "mount", "umount", "passwd", "info":
        text = cli(command, "--help", says=f"Usage: frondfs {command}")
        eq(cli("help", command), text)
        eq(cli("--help", command), text)
        assert command in cli("--help")


@check
def mistakes_in_arguments_get_status_2_and_a_hint():
    cli(status=USAGE, says="Usage:")
    cli("mout", status=USAGE, says="'frondfs --help'")
    cli("mout", "x", "y", status=USAGE, says="'mout'")
    cli("help", "mout", status=USAGE, says="'mout'")
    cli("init", status=USAGE, says="see 'frondfs init --help'")
    cli("init", "a", "b", status=USAGE)
    cli("init", "--bogus", "a", status=USAGE, says="--bogus")
    cli("init", "-x", "a", status=USAGE, says="-x")
    cli("init", "a", "--passfile", status=USAGE, says="--passfile wants a value")
    for bad in "7", "4097", "", "8x", "-8":
        cli("init", "--kdf-mem", bad, "a", status=USAGE, says="8 to 4096")
    cli("init", "--kdf-ops", "0", "a", status=USAGE, says="1 to 64")
    cli("init", "--passfile", "x", "--extpass", "y", "a", status=USAGE, says="exclude")
    cli("mount", "a", status=USAGE, says="mount point")
    cli("mount", "-o", "ro,frobnicate", "a", "b", status=USAGE, says="'frobnicate'")
    cli("mount", "-o", "idle=0", "a", "b", status=USAGE, says="'idle=0'")
    cli("mount", "-o", "allow_other,allow_root", "a", "b", status=USAGE, says="exclude")
    cli("mount", "a", "b", "-o", status=USAGE, says="-o wants a value")
    cli("umount", status=USAGE)
    cli("passwd", status=USAGE)
    cli("info", status=USAGE)


@check
def init_makes_a_vault_and_says_what_to_back_up():
    backing = fresh("backing")
    text = cli("init", backing, "--passfile", passfile(), *QUICK)
    assert f"{backing}/.frondfs/vault.ini" in text and "passphrase" in text
    assert "recover.py" in text
    assert os.path.exists(f"{backing}/.frondfs/vault.ini")
    empty = directory("empty")
    cli("init", "--passfile", passfile(), *QUICK, "--", empty)
    cli("info", empty, says="argon2id, 1 passes over 8 MiB")


@check
def init_refuses_what_is_not_empty_and_changes_nothing():
    full = directory("full")
    put(f"{full}/file")
    before = tree(full)
    # no passphrase to be had: the refusal must come first
    cli("init", *QUICK, full, status=NOT_A_VAULT, says="not empty")
    eq(tree(full), before)
    vault = new_vault()
    before = tree(vault)
    cli("init", *QUICK, vault, status=NOT_A_VAULT, says="already")
    eq(tree(vault), before)
    cli("init", *QUICK, f"{full}/file", status=NOT_A_VAULT, says="not a directory")
    cli("init", "--passfile", passfile(), *QUICK, f"{full}/no/where", status=FAILED,
        says="does not exist")
    eq(os.listdir(full), ["file"])


@check
def init_asks_twice_without_echo():
    backing = fresh("backing")
    t = Terminal("init", *QUICK, backing)
    t.answer("Passphrase", "s3cret words")
    t.answer("again", "s3cret words")
    assert "s3cret" not in t.end(says="A vault is in")
    t = Terminal("mount", backing, point := directory())
    t.answer("Passphrase", "s3cret words")
    t.end()
    assert os.path.ismount(point)
    cli("umount", point)


@check
def two_new_passphrases_that_differ_make_nothing():
    backing = fresh("backing")
    t = Terminal("init", *QUICK, backing)
    t.answer("Passphrase", "one")
    t.answer("again", "two")
    t.end(NO_PASSPHRASE, "differ")
    assert not os.path.exists(backing)
    t = Terminal("init", *QUICK, backing)
    t.answer("Passphrase", "")
    t.end(NO_PASSPHRASE, "empty")
    assert not os.path.exists(backing)


@check
def ctrl_c_at_the_prompt_ends_all_with_echo_on():
    t = Terminal("mount", new_vault(), point := directory())
    t.expect("Passphrase")
    until(lambda: not t.echo(), what="echo off")
    os.write(t.master, b"\x03")
    t.end(-signal.SIGINT)
    assert not os.path.ismount(point)


@check
def ctrl_z_at_the_prompt_stops_with_echo_on_and_asks_again():
    t = Terminal("mount", new_vault(), point := directory())
    t.expect("Passphrase")
    until(lambda: not t.echo(), what="echo off")
    os.write(t.master, b"half\x1a")
    status, echo = t.next_status()
    assert os.WIFSTOPPED(status) and echo, (status, echo)
    os.killpg(t.pid, signal.SIGCONT)
    t.answer("Passphrase", frond.PASSPHRASE)
    t.end()
    assert os.path.ismount(point)
    cli("umount", point)


@check
def sigterm_at_the_prompt_ends_both_processes():
    t = Terminal("mount", new_vault(), point := directory())
    t.expect("Passphrase")
    until(lambda: not t.echo(), what="echo off")
    os.kill(t.pid, signal.SIGTERM)
    t.end(-signal.SIGTERM)
    assert not os.path.ismount(point)


@check
def a_child_that_dies_without_a_word_is_reported():
    t = Terminal("mount", new_vault(), directory())
    t.expect("Passphrase")
    child = int(get(f"/proc/{t.pid}/task/{t.pid}/children"))
    before = termios.tcgetattr(t.slave)
    os.kill(child, signal.SIGKILL)
    t.expect("killed by signal 9")
    before[3] |= termios.ECHO       # nobody was left to do it
    termios.tcsetattr(t.slave, termios.TCSANOW, before)
    status, _ = t.next_status()
    eq(os.waitstatus_to_exitcode(status), FAILED)
    t.gone()


@check
def no_terminal_and_no_passfile_is_status_10():
    cli("init", *QUICK, fresh("backing"), status=NO_PASSPHRASE, says="no terminal")
    cli("mount", new_vault(), directory(), status=NO_PASSPHRASE, says="no terminal")
    cli("mount", "-f", new_vault(), directory(), status=NO_PASSPHRASE, says="no terminal")


@check
def a_passfile_gives_its_first_line():
    vault = new_vault("päss word")
    point = directory()
    for content in b"p\xc3\xa4ss word", b"p\xc3\xa4ss word\n", b"p\xc3\xa4ss word\r\n", \
            b"p\xc3\xa4ss word\nsecond\n", b"p\xc3\xa4ss word\n" + b"x" * 100000:
        cli("mount", "--passfile", put(fresh("pass"), content), vault, point)
        cli("umount", point)
    for content in b"p\xc3\xa4ss word \n", b"p\xc3\xa4ss word\n"[1:], b"p\xc3\xa4ss word\r":
        cli("mount", "--passfile", put(fresh("pass"), content), vault, point,
            status=WRONG, says="wrong passphrase")


@check
def bad_passfiles_are_status_10():
    vault, point = new_vault(), directory()
    for content, why in (b"", "empty"), (b"\n", "empty"), (b"\r\n", "empty"), \
            (b"\nlater\n", "empty"), (b"x" * 4097, "longer"), (b"x" * 4097 + b"\n", "longer"):
        cli("mount", "--passfile", put(fresh("pass"), content), vault, point,
            status=NO_PASSPHRASE, says=why)
    cli("mount", "--passfile", fresh("none"), vault, point, status=NO_PASSPHRASE,
        says="No such file")
    cli("mount", "--passfile", "/", vault, point, status=NO_PASSPHRASE, says="'/'")
    assert not os.path.ismount(point)


@check
def the_longest_passphrase_works():
    for end in "", "\n", "\r\n":
        backing = fresh("backing")
        cli("init", *QUICK, "--passfile", put(fresh("pass"), b"x" * 4096 + end.encode()), backing)
        with mounted_with(backing, "x" * 4096):
            pass


def mounted_with(backing, passphrase):
    point = directory()
    cli("mount", "--passfile", passfile(passphrase), backing, point)
    m = mounted.__new__(mounted)
    m.point = point
    return m


@check
def a_command_gives_the_passphrase():
    vault, point = new_vault("from a command"), directory()
    for command in "echo from a command", "printf 'from a command'", \
            "echo from a command; seq 100000", "test -n x && echo from a command":
        cli("mount", "--extpass", command, vault, point)
        cli("umount", point)
    cli("mount", "--extpass", "echo from a command; exit 3", vault, point,
        status=NO_PASSPHRASE, says="status 3")
    cli("mount", "--extpass", "echo from a command; kill -9 $$", vault, point,
        status=NO_PASSPHRASE, says="signal 9")
    cli("mount", "--extpass", "true", vault, point, status=NO_PASSPHRASE, says="empty")
    cli("mount", "-o", r"extpass=printf '%s\,%s' a b", new_vault("a,b"), point)
    cli("umount", point)


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


@check
def arguments_may_come_in_any_order():
    vault, point = new_vault(), directory()
    cli(vault, point, "-o", f"passfile={passfile()}")
    assert os.path.ismount(point)
    cli("umount", point)
    cli("mount", vault, "--passfile", passfile(), "--", point)
    cli("umount", "--", point)
    cli("-o", f"passfile={passfile()},ro", vault, point)
    frond.raises(30, os.mkdir, f"{point}/x")    # EROFS
    cli("umount", point)


def helper(*argv, status=OK, name="mount.frondfs"):
    link = os.path.join(directory("sbin"), name)
    os.symlink(FRONDFS, link)
    p = subprocess.run([link, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, start_new_session=True, timeout=60)
    eq(p.returncode, status, p.stdout)


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
    put(ini, good.replace(b"version = 1", b"version = 2"))
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
    inside = f"{vault}/inside"
    os.mkdir(inside)
    cli("mount", vault, inside, status=POINT, says="within each other")
    os.rmdir(inside)
    cli("mount", vault, frond.work(), "-o", "nonempty", status=POINT,
        says="within each other")
    cli("mount", vault, "/proc", status=POINT, says="mounted on '/proc' already")
    full = directory("full")
    put(f"{full}/file")
    cli("mount", vault, full, status=POINT, says="not empty")
    with mounted(vault, full, "-o", "nonempty") as p:
        eq(os.listdir(p), [])
    eq(os.listdir(full), ["file"])


@check
def a_second_mount_needs_shared():
    vault, one, two = new_vault(), directory(), directory()
    with mounted(vault, one):
        cli("mount", vault, two, status=MOUNTED, says="mounted already")
        cli("mount", "--passfile", passfile(), vault, two, "-o", "shared", status=MOUNTED)
        cli("mount", "--passfile", passfile(), vault, two, "-o", "ro", status=MOUNTED)
        cli("mount", vault, one, status=POINT, says="already")
    with mounted(vault, one, "-o", "shared") as a:
        with mounted(vault, two, "-o", "shared") as b:
            put(f"{a}/seen", b"by both")
            eq(get(f"{b}/seen"), b"by both")
    with mounted(vault, one, "-o", "ro"):
        with mounted(vault, two, "-o", "ro") as b:
            eq(get(f"{b}/seen"), b"by both")


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


def as_nobody(*argv, status=OK, says="", env=None):
    cli(*argv, status=status, says=says, env=env,
        user=NOBODY, group=NOBODY, extra_groups=[])


def with_fuse_for_all(body):
    """Run body where every user may open /dev/fuse, as on most machines."""
    def inside():
        CLONE_NEWNS = 0x20000
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0
        frond.run("mount", "--make-rprivate", "/")
        node = fresh("fuse")
        os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        os.chmod(node, 0o666)
        frond.run("mount", "--bind", node, "/dev/fuse")
        try:
            body()
        finally:
            clean_up()
    try:
        frond.in_child(lambda: os.stat(FRONDFS), uid=NOBODY, gid=NOBODY)
    except OSError:
        raise frond.Skip("other users cannot reach the program") from None
    frond.in_child(inside)


def owned_by_nobody(name):
    path = directory(name)
    os.chown(path, NOBODY, NOBODY)
    return path


@check(root=True)
def without_fusermount3_users_are_told():
    def body():
        vault, point = owned_by_nobody("backing"), owned_by_nobody("mnt")
        as_nobody("init", "--passfile", passfile(), *QUICK, vault)
        as_nobody("mount", "--passfile", passfile(), vault, point, status=NO_FUSE,
                  says="fusermount3", env={"PATH": directory("bin")})
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


@check
def umount_refuses_politely_what_is_in_use():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        with open(f"{p}/open", "w") as f:
            cli("umount", p, status=POINT, says="fuser -vm")
            f.write("still works")
        eq(get(f"{p}/open"), b"still works")


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


@check
def umount_touches_nothing_but_vaults():
    cli("umount", "/proc", status=POINT, says="no vault is mounted")
    cli("umount", directory(), status=POINT, says="no vault is mounted")
    cli("umount", fresh("none"), status=POINT, says="there is no")


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
    cli("mount", vault, point, status=POINT, says="already")
    cli("umount", point)
    with mounted(vault, point):
        pass


@check
def idle_unmounts_by_itself():
    if frond.SCALE < 1:
        raise frond.Skip("takes two minutes")
    vault, point = new_vault(), directory()
    m = mounted(vault, point, "-o", "idle=1")
    with m:
        for _ in range(8):      # in use: it must not go
            time.sleep(10)
            put(f"{point}/busy", b"x")
        assert os.path.ismount(point)
        until(lambda: not os.path.exists(f"/proc/{m.pid}"), 150, "unmounting")
        assert not os.path.ismount(point)


@check
def passwd_changes_the_passphrase():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        put(f"{p}/file", b"kept")
        cli("passwd", "--passfile", passfile(), "--new-passfile", passfile("new"), vault,
            says="changed")
        eq(get(f"{p}/file"), b"kept")
    cli("mount", "--passfile", passfile(), vault, point, status=WRONG)
    with mounted_with(vault, "new") as p:
        eq(get(f"{p}/file"), b"kept")
    t = Terminal("passwd", vault)
    t.answer("Present", "new")
    t.answer("New", "newer")
    t.answer("again", "newer")
    t.end()
    with mounted_with(vault, "newer"):
        pass


@check
def info_tells_about_a_vault():
    vault, point = new_vault(), directory()
    text = cli("info", vault)
    assert "mounted:      no" in text and "version:      1" in text, text
    about = json.loads(cli("info", "--json", vault))
    eq(about["path"], os.path.realpath(vault))
    eq((about["type"], about["version"], about["mounted"]), ("vault", 1, False))
    assert re.fullmatch("[0-9a-f]{32}", about["id"]), about
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", about["created"])
    eq(about["slots"], [{"name": "default", "kdf": "argon2id", "ops": 1, "mem": 8 << 20}])
    with mounted(vault, point):
        assert json.loads(cli("info", vault, "--json"))["mounted"] is True
        cli("info", vault, says="mounted:      yes")
    cli("info", frond.work(), status=NOT_A_VAULT, says="neither")
    cli("info", put(fresh("file")), status=NOT_A_VAULT, says="neither")
    cli("info", fresh("none"), status=NOT_A_VAULT, says="no directory")


@check
def info_tells_about_a_path_in_a_mount():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        for size in 0, 1, 4096, 4097, 100000:
            put(f"{p}/file", frond.blob(size))
            with open(f"{p}/file", "r+b") as f:
                os.fsync(f.fileno())
            about = json.loads(cli("info", "--json", f"{p}/file"))
            eq((about["type"], about["size"]), ("file", size))
            eq(about["chunks"], max(1, -(-size // 4096)))
            eq(about["backing_size"], os.stat(about["backing"]).st_size)
            eq(get(about["backing"])[8:24].hex(), about["id"])
            assert about["backing"].startswith(os.path.realpath(vault) + "/")
        cli("info", f"{p}/file", says="100000 bytes")
        os.mkdir(f"{p}/dir")
        about = json.loads(cli("info", "--json", f"{p}/dir"))
        eq(about["type"], "directory")
        eq(get(f"{about['backing']}/.dirid")[:16].hex(), about["id"])
        assert "size" not in about
        os.symlink("file", f"{p}/link")
        eq(json.loads(cli("info", "--json", f"{p}/link"))["type"], "symlink")
        os.mkfifo(f"{p}/fifo")
        cli("info", f"{p}/fifo", says="fifo")


@check
def info_json_carries_any_name():
    vault, point = new_vault(), directory()
    names = [b'quote"back\\slash', b"tab\tnew\nline\x01\x7f", "grüß €😀".encode(),
             b"latin\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
             b"cut\xe2\x82"]
    with mounted(vault, point) as p:
        for name in names:
            path = os.fsencode(p) + b"/" + name
            put(path)
            about = json.loads(cli("info", "--json", path))
            eq(os.fsencode(about["path"]), path)
            text = cli("info", path)
            eq(text.count("\n"), 7, text)


@check
def the_backend_can_be_chosen():
    vault, point = new_vault(), directory()
    env = dict(os.environ, FRONDFS_CRYPTO="openssl")
    cli("mount", "--passfile", passfile(), vault, point, env=env)
    cli("umount", point, env=env)
    cli("info", vault, env=dict(env, FRONDFS_CRYPTO=""))
    cli("info", vault, env=dict(env, FRONDFS_CRYPTO="rot13"), status=FAILED,
        says="FRONDFS_CRYPTO=rot13")


def clean_up():
    """What failed checks left running or mounted."""
    for t in Terminal.open:
        os.killpg(t.pid, signal.SIGKILL)
    for line in get("/proc/self/mountinfo").decode().splitlines():
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
        if point.startswith(frond.work() + "/"):
            frond.detach(point)


try:
    frond.main()
finally:
    clean_up()
