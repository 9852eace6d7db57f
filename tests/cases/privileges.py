#!/usr/bin/python3
"""What somebody who got into the daemon would find there: very little."""
import errno
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import command
import frond
import tokens
from command import NOBODY, directory, owned_by_nobody, with_fuse_for_all
from frond import SLOW, blob, check, eq, get, put, until

# Of linux/capability.h: what fs/mount/privileges.c keeps of root's.
KEPT = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "SETGID": 6,
        "SETUID": 7, "IPC_LOCK": 14, "SYS_PTRACE": 19, "MKNOD": 27}


def field(path, name):
    return re.search(rf"^{name}:\s+(.*)$", get(path).decode(), re.M)[1]


def tasks(pid):
    return [f"/proc/{pid}/task/{t}/status" for t in os.listdir(f"/proc/{pid}/task")]


def unmounter_of(pid):
    """The process that unmounts for the daemon pid."""
    return until(lambda: find_unmounter(pid), what="the process that unmounts")


def find_unmounter(pid):
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            # it takes this name when it has done all else
            if get(f"/proc/{p}/comm") == b"frondfs-unmount\n" and \
                    get(f"/proc/{p}/cmdline") == b"frondfs-unmounter\0" and \
                    field(f"/proc/{p}/status", "PPid") == str(pid):
                return int(p)
        except OSError:
            pass
    return None


def as_ordinary_user(body):
    """body(), run by a user that may mount."""
    if os.geteuid():
        return body()
    home = owned_by_nobody("home")
    # the build tree may lie where such a user cannot look
    own = command.FRONDFS = shutil.copy(frond.FRONDFS, f"{home}/frondfs")
    os.chmod(own, 0o755)

    def at_home():
        frond._work, frond.FRONDFS = home, own
        body()
    return with_fuse_for_all(lambda: frond.in_child(at_home, uid=NOBODY, gid=NOBODY))


class Intruder:
    """A thread of ours in the daemon that does as it is told."""

    def __init__(self, options=""):
        if SLOW:
            raise frond.Skip("sanitizers bring their own libraries")
        self.dir = directory("intruder")
        self.m = frond.Mount(options, wrapper=[
            "env", f"LD_PRELOAD={frond.helper('libintruder.so')}", f"INTRUDER={self.dir}"])

    def attempt(self, what):
        """The errno that it met, or the daemon's end."""
        answer = f"{self.dir}/answer"
        put(f"{self.dir}/.order", what.encode())
        os.rename(f"{self.dir}/.order", f"{self.dir}/order")
        until(lambda: os.path.exists(answer) and get(answer) or
              self.m.proc.poll() is not None, what=what)
        if self.m.proc.poll() is not None:
            return -self.m.proc.returncode
        code = int(get(answer))
        os.unlink(answer)
        return code


# What an attacker of the daemon gets

@check(plain=False)
def the_network_and_the_memory_of_others_are_out_of_reach():
    i = Intruder()
    with i.m:
        eq(i.attempt("unix"), 0, "the intruder works")
        eq(i.attempt("socket"), errno.ENOSYS)
        eq(i.attempt("dumpable"), errno.ENOSYS)
        assert i.attempt("memory") in (errno.EPERM, errno.EACCES, errno.ENOENT)
        put(i.m / "f", blob(100000))
        eq(get(i.m / "f"), blob(100000))


@check(plain=False)
def starting_a_program_or_tracing_one_ends_the_daemon():
    for what in "exec", "ptrace":
        i = Intruder()
        put(i.m / "f", b"kept")
        eq(i.attempt(what), signal.SIGSYS, what)
        i.m.drop()
        with i.m.mount():
            eq(get(i.m / "f"), b"kept")


@check(plain=False)
def without_the_filter_the_intruder_would_have_had_it_all():
    i = Intruder("confine=off")
    eq(i.attempt("socket"), 0)
    eq(i.attempt("dumpable"), 0)
    eq(i.attempt("exec"), 0, "the daemon became another program")
    i.m.drop()


@check(plain=False)
def every_thread_has_given_up_what_it_does_not_need():
    with frond.Mount() as m:
        put(m / "f", blob(1 << 20))
        eq(get(m / "f"), blob(1 << 20))
        have = int(field("/proc/self/status", "CapPrm"), 16)
        keep = sum(1 << bit for bit in KEPT.values()) & have
        for task in until(lambda: len(t := tasks(m.pid)) > 2 and t):
            eq(field(task, "NoNewPrivs"), "1")
            if not SLOW:
                eq(field(task, "Seccomp"), "2")
            for name, want in (("CapPrm", keep), ("CapInh", 0), ("CapAmb", 0)):
                eq(int(field(task, name), 16), want, f"{task} {name}")
            eq(int(field(task, "CapEff"), 16) & ~keep, 0, task)
            if os.geteuid() == 0:
                eq(int(field(task, "CapBnd"), 16) & ~keep, 0, task)


@check(plain=False)
def no_complaint_is_logged_about_it():
    with frond.Mount() as m:
        put(m / "f", b"x")
        assert "cannot" not in m.log(), m.log()


# Memory

def mappings(pid):
    """(start, end, flags) of what the daemon may write."""
    head = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (r\S+) ", re.M)
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", get(f"/proc/{pid}/smaps").decode()):
        if found := head.match(part):
            flags = re.search(r"VmFlags: (.*)", part)[1].split()
            yield int(found[1], 16), int(found[2], 16), flags


def places(pid, secret):
    """The flags of every mapping that holds the secret."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end, flags in mappings(pid):
            try:
                memory.seek(start)
                held = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue        # the kernel's own
            if secret in held:
                yield flags


@check(plain=False, root=True)
def the_master_key_lies_in_locked_memory_that_is_never_dumped():
    if SLOW:
        raise frond.Skip("sanitizers keep what was freed")
    with frond.Mount() as m:
        put(m / "f", blob(9000))
        with open(m / "f", "rb") as f:
            f.read()
            keys = tokens.Keys(m.vault, frond.PASSPHRASE)
            found = list(places(m.pid, keys.master))
            assert found, "not even the master key was found: the test looks wrong"
            # libcrypto's contexts, of a thread's own, hold copies of the others
            for name, key in (("master key", keys.master), ("log's key", keys.sub(6)),
                              ("link targets' key", keys.sub(4)),
                              ("attributes' key", keys.sub(7)), ("inbox's key", keys.sub(9))):
                for flags in places(m.pid, key):
                    assert {"lo", "dd"} <= set(flags), f"{name} lies in {flags}"
            eq(list(places(m.pid, frond.PASSPHRASE.encode())), [], "the passphrase")


@check(plain=False)
def others_of_the_same_user_cannot_look_into_the_daemon():
    if SLOW:
        raise frond.Skip("sanitizers want to be looked into")

    def body():
        with frond.Mount() as m:
            for what in "mem", "environ", "maps", "auxv":
                frond.raises((errno.EACCES, errno.EPERM), get, f"/proc/{m.pid}/{what}")
            frond.raises(errno.EACCES, os.listdir, f"/proc/{m.pid}/fd")
            helper = unmounter_of(m.pid)
            frond.raises((errno.EACCES, errno.EPERM), get, f"/proc/{helper}/environ")
    as_ordinary_user(body)


@check(plain=False)
def tgshare_becomes_no_more_than_it_is_and_dumps_nothing():
    tgshare = os.path.join(frond.BUILD, "tools/tgshare/tgshare")
    with subprocess.Popen([tgshare, "combine"], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        status = f"/proc/{p.pid}/status"
        until(lambda: field(status, "NoNewPrivs") == "1", what="no new privileges")
        assert re.search(rb"Max core file size +0 +0 ", get(f"/proc/{p.pid}/limits"))
        p.kill()


# The process that unmounts

@check(plain=False, root=True)
def the_unmounter_has_nothing_and_ends_with_the_daemon():
    for end in "umount", "kill9":
        m = frond.Mount()
        pid = unmounter_of(m.pid)
        until(lambda: os.readlink(f"/proc/{pid}/cwd") == "/", what="its directory")
        eq(len(os.listdir(f"/proc/{pid}/fd")), 3, "descriptors")
        if not SLOW:
            keys = tokens.Keys(m.vault, frond.PASSPHRASE)
            eq(list(places(pid, keys.master)), [], "the master key")
        os.kill(pid, signal.SIGTERM)
        put(m / "f", b"x")
        getattr(m, end)()
        until(lambda: not os.path.exists(f"/proc/{pid}") or
              field(f"/proc/{pid}/status", "State").startswith("Z"), what="its end")


@check(plain=False)
def a_daemon_told_to_end_unmounts_for_an_ordinary_user():
    def body():
        for busy in False, True:
            m = frond.Mount(vault=frond.new_vault())
            kept = os.open(m / "f", os.O_CREAT | os.O_RDWR)
            os.write(kept, blob(50000))
            if not busy:
                os.close(kept)
            m.proc.terminate()
            eq(m.proc.wait(30), 0, m.log())
            if busy:
                frond.close_dead(kept)
            assert not os.path.ismount(m.path), f"busy: {busy}"
            eq(os.listdir(m.path), [])
            assert "cannot" not in m.log(), m.log()
            with m.mount():
                eq(get(m / "f"), blob(50000))
    as_ordinary_user(body)


command.main()
