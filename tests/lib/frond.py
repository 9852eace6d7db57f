"""What the cases share: a vault, a mount, checks with names.

    import frond

    @frond.check
    def a_file_keeps_what_was_written(m):
        with open(m / "file", "wb") as f:
            ...

    frond.main()

A check that takes an argument gets the file's common mount; `m / "name"` is a
path in a directory that no other check uses. Checks without an argument mount
for themselves. `BUILD=build/dev tests/cases/x.py [CHECK...]` runs one file.

BUILD        the build tree whose frondfs is tested (build/dev)
FROND_SCALE  1 for everything, less for less of what takes long
FROND_PLAIN  set: run on a plain directory, to see that the case is right
"""
import atexit
import ctypes
import errno
import inspect
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(ROOT, "build/dev"))
FRONDFS = os.path.join(BUILD, "tools/frondfs/frondfs")
SCALE = float(os.environ.get("FROND_SCALE") or 1)
PLAIN = bool(os.environ.get("FROND_PLAIN"))
PASSPHRASE = "correct horse battery staple"
SLOW = "asan" in BUILD or "tsan" in BUILD

_mounts, _work = [], None


class Skip(Exception):
    """This machine lacks something that the check cannot do without."""


def scale(n, least=1):
    return max(least, int(n * SCALE))


def may_open(n):
    """n, or as many files as this process may hold open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    n = min(n, limit - 100) if limit != resource.RLIM_INFINITY else n
    if n < 1200:
        raise Skip("the hard limit of open files is too low")
    return n


def tool(name):
    if not shutil.which(name):
        raise Skip(f"{name} is not installed")
    return name


def run(*argv, **kw):
    """Run a program; its output, or an AssertionError that shows it."""
    kw.setdefault("timeout", 900)
    kw.setdefault("stdin", subprocess.DEVNULL)
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace", **kw)
    if p.returncode:
        raise AssertionError(f"{' '.join(map(str, argv))}: status {p.returncode}\n"
                             + p.stdout[-4000:])
    return p.stdout


def helper(name):
    """A C program of the tests, as the build tree has it."""
    path = os.path.join(BUILD, "tests", name)
    if not os.path.exists(path):
        raise AssertionError(f"{path} has not been built")
    return path


def raises(code, fn, *args, **kw):
    """fn must fail with this errno (or one of these)."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        got = fn(*args, **kw)
    except OSError as e:
        names = [errno.errorcode[c] for c in codes]
        assert e.errno in codes, f"{names} expected, got {e}"
        return e
    raise AssertionError(f"no error, but {got!r}; expected {errno.errorcode[codes[0]]}")


def eq(got, want, what=""):
    if got == want:
        return
    if isinstance(got, bytes) and isinstance(want, bytes) and len(want) > 100:
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b),
                  min(len(got), len(want)))
        raise AssertionError(
            f"{what}: {len(got)} bytes, want {len(want)}; first difference at "
            f"{at}: {got[at:at + 24]!r}, want {want[at:at + 24]!r}")
    raise AssertionError(f"{what}: got {got!r:.300}, want {want!r:.300}")


def until(condition, timeout_s=10, what="condition"):
    """Wait until the condition holds; its value."""
    end = time.monotonic() + timeout_s * (4 if SLOW else 1)
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        time.sleep(0.02)
    return value


def soon(changes, limit_s):
    """Each of the changes is seen in time; changes() makes them all and returns
    how long each took. A busy machine is late at times, what waits for too long
    is late every time: the best of several counts."""
    best = changes()
    for _ in range(4):
        if max(best) < limit_s:
            return
        best = list(map(min, best, changes()))
    assert max(best) < limit_s, f"{best} s"


def put(path, data=b"", mode="wb"):
    with open(path, mode) as f:
        f.write(data)
    return path


def get(path):
    with open(path, "rb") as f:
        return f.read()


def lose_dirid(path):
    """Remove a .dirid and the attribute that could stand in for it."""
    os.unlink(path)
    lose_aside(os.path.dirname(path))


def lose_aside(path):
    """Remove a directory's attribute that has its id."""
    try:
        os.removexattr(path, "user.frondfs-dirid")
    except OSError as e:
        if e.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise


def blob(n, seed=1):
    """n bytes that repeat nowhere near a chunk's length."""
    import random
    rng, most = random.Random(seed), 1 << 24  # randbytes has a limit
    return b"".join(rng.randbytes(min(most, n - at)) for at in range(0, n, most))


def state_of(uid):
    """Where this user's mounts remember: what is there is root's, who was first."""
    state = os.environ.get("XDG_STATE_HOME", "")
    common = uid and state == os.path.join(work(), "state")
    return os.path.join(state, f"of {uid}") if common else state


def in_child(fn, uid=None, gid=None, groups=()):
    """What fn() returns in a forked process, run as that user."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups(groups)
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                os.environ["XDG_STATE_HOME"] = state_of(uid)
            answer = (True, fn(), "")
        except BaseException as e:
            where = traceback.format_exc(limit=-4)
            answer = (False, e if isinstance(e, OSError)
                      else AssertionError(where), where)
        with os.fdopen(w, "wb") as f:
            pickle.dump(answer, f)
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        data = f.read()
    os.waitpid(pid, 0)
    good, value, where = pickle.loads(data)
    if not good:
        raise value from AssertionError(where)
    return value


def own_mounts():
    """From now on nobody else sees what this process and its children mount.
    Another namespace of mounts gets a copy of each, and a file system ends when
    its last copy does: XFS cannot be mounted a second time before that."""
    CLONE_NEWNS = 0x20000
    assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0
    run("mount", "--make-rprivate", "/")
    # the copies that came here: who unmounts theirs waits for the daemon's end
    for line in get("/proc/self/mounts").splitlines():
        _, point, kind, *_ = line.split(b" ")
        point = point.decode("unicode_escape").encode("latin-1")
        if kind.startswith(b"fuse") and not point.startswith(os.fsencode(work())):
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)


def work():
    """This process's own directory; gone when it ends."""
    global _work
    if _work is None:
        # The blank is on purpose: paths with spaces must work everywhere.
        _work = tempfile.mkdtemp(prefix="frond test ")
        os.chmod(_work, 0o755)
    return _work


def fresh(name):
    """A path in work() that does not exist yet."""
    n, there = 0, os.listdir(work())    # what nobody may look at is there, too
    while f"{name}{n or ''}" in there:
        n += 1
    return os.path.join(work(), f"{name}{n or ''}")


def passfile(text=PASSPHRASE):
    path = fresh("passphrase")
    put(path, text.encode() + b"\n")
    os.chmod(path, 0o644)
    return path


def new_vault(user=None):
    """A new vault, quick to unlock; its backing directory."""
    backing = fresh("backing")
    if PLAIN:
        os.mkdir(backing)
        return backing
    os.mkdir(backing)
    if user is not None:
        os.chown(backing, user, user)
    run(FRONDFS, "init", "--passfile", passfile(), "--kdf-mem", "8",
        "--kdf-ops", "1", backing, preexec_fn=_become(user))
    return backing


def _become(user=None, nofile=None):
    parent = os.getpid()

    def setup():
        if nofile:
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.environ["XDG_STATE_HOME"] = state_of(user)
        # A daemon must not outlive the test that started it.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
    return setup


class Mount:
    """A vault, mounted. A context manager; unmounting checks the daemon."""

    def __init__(self, options="", vault=None, user=None, nofile=None,
                 wrapper=()):
        self.options, self.user, self.nofile = options, user, nofile
        self.wrapper = list(wrapper)
        self.vault = vault or new_vault(user)
        self.sub = ""
        self.proc = None
        self.path = self.vault
        if not PLAIN:
            self.path = fresh("mnt")
            os.mkdir(self.path)
            if user is not None:
                os.chown(self.path, user, user)
            self.mount()

    def mount(self):
        if PLAIN:
            return self
        before = os.stat(self.path).st_dev
        self.log_path = fresh("log")
        argv = self.wrapper + [FRONDFS, "mount", "-f", "--passfile", passfile()]
        if self.options:
            argv += ["-o", self.options]
        with open(self.log_path, "wb") as log:
            self.proc = subprocess.Popen(
                argv + [self.vault, self.path], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
                preexec_fn=_become(self.user, self.nofile))
        _mounts.append(self)
        until(lambda: self._answers(before), 30, "mounting")
        return self

    def _answers(self, before):
        if self.proc.poll() is not None:
            raise AssertionError(f"mount ended: {self.log()}")
        try:
            return os.stat(self.path).st_dev != before
        except PermissionError:
            return True     # another user's mount, there but not for us

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind or self.proc is None:
            self.drop()
        else:
            self.umount()

    def __truediv__(self, name):
        return os.path.join(os.fsencode(os.path.join(self.path, self.sub)), name) \
            if isinstance(name, bytes) else os.path.join(self.path, self.sub, name)

    def log(self):
        return get(self.log_path).decode(errors="replace")

    @property
    def pid(self):
        return self.proc.pid

    def umount(self):
        """Unmount politely; the daemon must end well and soon."""
        if PLAIN or self.proc is None:
            return
        end = time.monotonic() + 10
        while True:
            try:
                run(FRONDFS, "umount", self.path, preexec_fn=_become(self.user))
                break
            except AssertionError:
                # Another case's private mounts may hold a copy of this one,
                # and with it the daemon, which reap() waits for.
                if not os.path.ismount(self.path):
                    break
                # Something (an indexer, a dying child) may look for a moment.
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        self.reap()

    def reap(self):
        """The daemon has ended, or is about to, without complaint. It makes all
        that it wrote durable first, for which a busy disk takes its time."""
        status = self.proc.wait(300)
        _mounts.remove(self)
        self.proc = None
        assert status == 0, f"the daemon ended with {status}: {self.log()[-4000:]}"

    def remount(self, options=None):
        self.umount()
        if options is not None:
            self.options = options
        return self.mount()

    def kill9(self):
        """What a crash of the daemon leaves: nothing mounted."""
        if PLAIN:
            return
        self.proc.kill()
        self.drop()

    def drop(self):
        if self.proc is None:
            return
        detach(self.path)
        self.proc.terminate()
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait(20)
        if self in _mounts:
            _mounts.remove(self)
        self.proc = None

    def backing(self, path):
        """The backing file of a path in this mount."""
        name = os.getxattr(path, "user.frondfs.backing")
        return os.path.join(os.fsencode(self.vault), name)


def detach(path):
    for argv in (["umount", "-l", path], ["fusermount3", "-uzq", path]):
        if subprocess.run(argv, stderr=subprocess.DEVNULL).returncode == 0:
            return


def close_dead(fd):
    """Close what was open in a mount that has ended."""
    try:
        os.close(fd)
    except OSError:
        pass        # the kernel has nobody to ask; it is closed nevertheless


def _cleanup():
    for m in list(_mounts):
        m.drop()
    if _work:
        subprocess.run(["rm", "-rf", "--one-file-system", _work])


_checks = []


def check(fn=None, *, plain=True, root=False):
    """plain: means something on a plain directory, too; root: needs root."""
    def add(f):
        f.plain, f.root = plain, root
        _checks.append(f)
        return f
    return add(fn) if fn else add


def _run_check(fn, mount):
    if PLAIN and not fn.plain:
        raise Skip("needs a mount")
    if fn.root and os.geteuid():
        raise Skip("needs root")
    if not inspect.signature(fn).parameters:
        return fn()
    mount.sub = fn.__name__
    os.mkdir(os.path.join(mount.path, mount.sub))
    try:
        return fn(mount)
    finally:
        mount.sub = ""


def _descriptors():
    return set(map(int, os.listdir("/proc/self/fd")))


def _report(name, fn):
    start, had = time.monotonic(), _descriptors()
    try:
        fn()
        word, why = "ok", ""
    except Skip as e:
        word, why = "skip", f": {e}"
    except (Exception, SystemExit):
        word, why = "FAIL", "\n" + traceback.format_exc(limit=-4)
        # What a failed check left open must not fail the next ones, too.
        for fd in _descriptors() - had:
            os.closerange(fd, fd + 1)
    print(f"{word} {name} ({time.monotonic() - start:.1f} s){why}", flush=True)
    return word


def main(options="", **kw):
    """Run the checks; the exit status says how they went."""
    # what mounts remember is of no interest to anybody later
    os.environ["XDG_STATE_HOME"] = os.path.join(work(), "state")
    if not os.path.isdir(state := os.environ["XDG_STATE_HOME"]):
        os.mkdir(state)
        os.chmod(state, 0o1777)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    atexit.register(_cleanup)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not PLAIN and not os.path.exists("/dev/fuse"):
        # A CI machine that cannot mount is a broken one, not an excuse.
        print(("FAIL" if os.environ.get("CI") else "skip") + " all: no /dev/fuse")
        sys.exit(1 if os.environ.get("CI") else 77)
    if not PLAIN and not os.path.exists(FRONDFS):
        sys.exit(f"FAIL all: {FRONDFS} has not been built")
    wanted = [c for c in _checks if not sys.argv[1:] or c.__name__ in sys.argv[1:]]
    words, mount = [], None
    if any(inspect.signature(c).parameters for c in wanted):
        mount = Mount(options, **kw)
    for c in wanted:
        words.append(_report(c.__name__, lambda: _run_check(c, mount)))
    if mount and not PLAIN:
        words.append(_report("the_daemon_ends_well", mount.umount))
    if "FAIL" in words and mount and not PLAIN:
        print("--- log of the mount:\n" + mount.log()[-3000:])
    sys.exit(1 if "FAIL" in words else 77 if set(words) == {"skip"} else 0)
