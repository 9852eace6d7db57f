"""What the cases about the command line share: frondfs run as a user runs it."""
import fcntl
import os
import pty
import re
import select
import signal
import stat
import subprocess
import termios
import time

import frond
from frond import FRONDFS, eq, fresh, get, passfile, until

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


def mounted_with(backing, passphrase):
    point = directory()
    cli("mount", "--passfile", passfile(passphrase), backing, point)
    m = mounted.__new__(mounted)
    m.point = point
    return m


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


def as_nobody(*argv, status=OK, says="", env=None):
    env = dict(env or os.environ, XDG_STATE_HOME=frond.state_of(NOBODY))
    return cli(*argv, status=status, says=says, env=env,
               user=NOBODY, group=NOBODY, extra_groups=[])


def with_fuse_for_all(body):
    """Run body where every user may open /dev/fuse, as on most machines."""
    def inside():
        frond.own_mounts()
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


def clean_up():
    """What failed checks left running or mounted."""
    for t in Terminal.open:
        os.killpg(t.pid, signal.SIGKILL)
    for line in get("/proc/self/mountinfo").decode().splitlines():
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
        if point.startswith(frond.work() + "/"):
            frond.detach(point)


def main():
    try:
        frond.main()
    finally:
        clean_up()
