"""
The script's notebook. What the script does below one directory is written
down line by line in words that do not depend on where that directory lies:
two directories of the same kind make the same lines.
"""
import errno
import hashlib
import os
import pickle
import stat
import traceback

ANN, BOB, TEAM = 51001, 51002, 51100    # no such users; numbers will do
ANNS, BOBS = (ANN, ANN, ()), (BOB, BOB, ())
TEAMS = (BOB, BOB, (TEAM,))             # one who is in a group besides
NEW = 1577836800 * 10**9                # times before 2020 were set by us

BROKEN = "the script itself"

_sections = []


def section(fn=None, *, root=False):
    """root: only root can run it; all others are run as a user, too."""
    def add(f):
        _sections.append((f.__name__, f, root))
        return f
    return add(fn) if fn else add


def sections():
    return list(_sections)


def digest(data):
    if len(data) <= 48:
        return repr(bytes(data))
    return f"{len(data)} bytes {hashlib.blake2b(data, digest_size=6).hexdigest()}"


def words(value):
    """A result, without what is another one at every run."""
    if isinstance(value, os.stat_result):
        return stat_words(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return digest(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(words, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return words(sorted(value))
    if isinstance(value, OSError):
        return errno.errorcode.get(value.errno, str(value.errno))
    return repr(value)


def stat_words(st):
    size = "-" if stat.S_ISDIR(st.st_mode) else st.st_size
    return (f"{st.st_mode:o} {st.st_uid}:{st.st_gid} nlink {st.st_nlink} "
            f"size {size} rdev {st.st_rdev}")


class Trace:
    def __init__(self):
        self.lines = []         # (section, what was done, what came of it)
        self.name = ""
        self.every = 1          # of a matrix's cases do one in so many

    def note(self, what, value):
        self.lines.append((self.name, what, words(value)))
        return value

    def __call__(self, what, fn, *args, **kw):
        """Note what fn gives; its value, or None after an error."""
        try:
            return self.note(what, fn(*args, **kw))
        except OSError as e:
            self.note(what, e)
            return None

    def fd(self, what, *args, **kw):
        """Open; noted is that it could be opened. The descriptor, or None."""
        try:
            fd = os.open(*args, **kw)
        except OSError as e:
            self.note(what, e)
            return None
        self.note(what, "open")
        return fd

    def as_user(self, who, fn):
        """Have a process of this user's do fn(), and note what it notes."""
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            self.lines = []
            try:
                become(who)
                fn()
            except BaseException:
                self.note(BROKEN, traceback.format_exc(limit=-3))
            with os.fdopen(w, "wb") as f:
                pickle.dump(self.lines, f)
            os._exit(0)
        os.close(w)
        with os.fdopen(r, "rb") as f:
            data = f.read()
        os.waitpid(pid, 0)
        self.lines += pickle.loads(data)

    def some(self, cases):
        """All cases of a matrix, or those that this run does."""
        return list(cases)[::self.every]

    def tree(self, top=b"."):
        """Everything below a directory, noted."""
        inodes = {}
        for path in sorted(walk(top)):
            self.note(f"tree {path!r:.60}", look(path, inodes))


def become(who):
    if who is not None:
        uid, gid, groups = who
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def walk(top):
    for entry in os.scandir(top):
        yield entry.path
        if entry.is_dir(follow_symlinks=False) and os.access(entry.path, os.X_OK | os.R_OK):
            yield from walk(entry.path)


def look(path, inodes):
    """A file as everybody sees it: status, content, attributes."""
    st = os.lstat(path)
    number = inodes.setdefault(st.st_ino, len(inodes))
    parts = [stat_words(st), f"inode {number}"]
    if stat.S_ISLNK(st.st_mode):
        parts.append(digest(os.fsencode(os.readlink(path))))
    elif stat.S_ISREG(st.st_mode) and os.access(path, os.R_OK):
        with open(path, "rb") as f:
            parts.append(digest(f.read()))
    if st.st_mtime_ns < NEW:
        parts.append(f"mtime {st.st_mtime_ns}")
    parts += [f"{n}={digest(os.getxattr(path, n, follow_symlinks=False))}"
              for n in sorted(attributes(path))]
    return "; ".join(parts)


def attributes(path):
    return [n for n in os.listxattr(path, follow_symlinks=False)
            if not n.startswith("user.frondfs.")]


def clear(path):
    """Nothing is there any more."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)
            for entry in os.scandir(path):
                clear(entry.path)
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


def put(path, data=b"", mode=0o644):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def blob(n, seed=1):
    import random
    return random.Random(seed).randbytes(n)


def run(top, some, only=()):
    """The whole script below top, every section as root and as a user; lines."""
    lines = []
    for name, fn, needs_root in _sections:
        if only and name not in only or needs_root and os.geteuid():
            continue
        people = {"root": None} if os.geteuid() == 0 else {"user": None}
        if os.geteuid() == 0 and not needs_root:
            people["user"] = ANNS
        for title, who in people.items():
            trace = Trace()
            trace.name, trace.every = f"{name} ({title})", some
            trace.as_user(None, lambda: _section(trace, top, fn, title, who))
            lines += trace.lines
    return lines


def _section(trace, top, fn, title, who):
    here = os.path.join(top, f"{fn.__name__}.{title}")
    os.umask(0o022)
    os.mkdir(here, 0o755)
    os.chdir(here)
    if who:
        os.chown(".", who[0], who[1])
    become(who)
    fn(trace)
    trace.tree()
