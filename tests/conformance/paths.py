"""Paths: every call that takes one, on everything that can stand there."""
import os
import socket
import stat
from itertools import product

import calls
from notebook import clear, get, put, section, stat_words

KINDS = ("none", "file", "empty", "full", "link", "dirlink", "dangling", "loop",
         "fifo", "socket")


def make(kind, name):
    """One thing of a kind, called name."""
    if kind == "file":
        put(name, b"the file " + os.fsencode(name))
    elif kind in ("empty", "full"):
        os.mkdir(name)
        if kind == "full":
            put(f"{name}/inside", b"inside")
    elif kind == "fifo":
        os.mkfifo(name)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(name)
    elif kind == "hard":
        put(name + ".other", b"two names")
        os.link(name + ".other", name)
    elif kind != "none":
        os.symlink({"link": "a-file", "dirlink": "a-dir", "loop": name,
                    "dangling": "nowhere"}[kind], name)


def targets():
    """What links of make() lead to."""
    put("a-file", b"content of the link's target")
    os.mkdir("a-dir")


def open_flags():
    o = os
    extra = [0, o.O_CREAT, o.O_CREAT | o.O_EXCL, o.O_TRUNC, o.O_CREAT | o.O_TRUNC,
             o.O_APPEND, o.O_CREAT | o.O_APPEND, o.O_DIRECTORY, o.O_NOFOLLOW,
             o.O_CREAT | o.O_NOFOLLOW, o.O_CREAT | o.O_EXCL | o.O_TRUNC,
             o.O_DIRECTORY | o.O_NOFOLLOW, o.O_PATH, o.O_PATH | o.O_NOFOLLOW,
             o.O_PATH | o.O_DIRECTORY, o.O_NOATIME, o.O_SYNC, o.O_DSYNC,
             o.O_TRUNC | o.O_DIRECTORY, o.O_TMPFILE, o.O_TMPFILE | o.O_EXCL,
             o.O_TRUNC | o.O_APPEND]
    for access in (o.O_RDONLY, o.O_WRONLY, o.O_RDWR, 3):
        for more in extra:
            yield access | more | o.O_NONBLOCK


def use(fd):
    """What can be done with a descriptor, in words."""
    did = [stat_words(os.fstat(fd))]
    for what in (lambda: os.read(fd, 3), lambda: os.write(fd, b"ab"),
                 lambda: os.lseek(fd, 0, os.SEEK_CUR), lambda: os.ftruncate(fd, 5)):
        try:
            did.append(repr(what()))
        except OSError as e:
            did.append(str(e.errno))
    return did


@section
def every_flag_of_open_on_every_kind(t):
    targets()
    for kind, suffix, flags in t.some(product(KINDS, ("", "/"), open_flags())):
        clear("x")
        clear("nowhere")
        put("a-file", b"content of the link's target")
        make(kind, "x")
        what = f"open {kind}{suffix} {flags:o}"
        fd = t.fd(what, "x" + suffix, flags, 0o640)
        t.note(what, use(fd) if fd is not None else [])
        if fd is not None:
            os.close(fd)
        t.note(what, sorted(os.listdir(".")))
    clear("x")


def path_calls():
    """name -> call(path)"""
    def closing(fn):
        return lambda p: os.close(fn(p))
    return {
        "stat": os.stat, "lstat": os.lstat,
        "statx": lambda p: calls.statx_mask(p)[4],
        "open": closing(lambda p: os.open(p, os.O_RDONLY | os.O_NONBLOCK)),
        "opendir": lambda p: sorted(os.listdir(p)),
        "access": lambda p: calls.faccessat(p, os.R_OK),
        "eaccess": lambda p: calls.faccessat(p, os.X_OK, calls.AT_EACCESS),
        "chmod": lambda p: os.chmod(p, 0o750),
        "chown": lambda p: os.chown(p, -1, os.getegid()),
        "lchown": lambda p: os.lchown(p, -1, os.getegid()),
        "truncate": lambda p: calls.truncate(p, 4),
        "utimensat": lambda p: os.utime(p, ns=(1, 2)),
        "lutimes": lambda p: os.utime(p, ns=(1, 2), follow_symlinks=False),
        "readlink": os.readlink, "statvfs": lambda p: os.statvfs(p).f_namemax,
        "getxattr": lambda p: os.getxattr(p, "user.none"),
        "setxattr": lambda p: os.setxattr(p, "user.some", b"thing"),
        "lsetxattr": lambda p: os.setxattr(p, "user.some", b"t", follow_symlinks=False),
        "removexattr": lambda p: os.removexattr(p, "user.none"),
        "listxattr": lambda p: [n for n in os.listxattr(p) if "frondfs" not in n],
        "mkdir": os.mkdir, "mkfifo": os.mkfifo,
        "mknod": lambda p: calls.mknod(p, stat.S_IFREG | 0o600),
        "symlink": lambda p: os.symlink("to", p),
        "link from": lambda p: os.link(p, "new", follow_symlinks=False),
        "link through": lambda p: calls.linkat(p, "new", calls.AT_SYMLINK_FOLLOW),
        "link to": lambda p: os.link("a-file", p),
        "rename from": lambda p: os.rename(p, "new"),
        "rename to": lambda p: os.rename("spare", p),
        "rename dir to": lambda p: os.rename("spare-dir", p),
        "exchange": lambda p: calls.renameat2(p, "spare", calls.EXCHANGE),
        "noreplace": lambda p: calls.renameat2("spare", p, calls.NOREPLACE),
        "unlink": os.unlink, "rmdir": os.rmdir,
    }


def odd_paths():
    """Paths that are no plain name of a thing."""
    return {
        "nothing": "", ".": ".", "..": "..", "./.": "./.", "x/.": "a-dir/.",
        "x/..": "a-dir/..", "missing": "missing", "missing/below": "missing/below",
        "missing/": "missing/", "missing/..": "missing/..",
        "through a file": "a-file/below", "a file/": "a-file/", "a file/.": "a-file/.",
        "a file/..": "a-file/..", "through a link": "to-dir/below",
        "through dangling": "to-nowhere/below", "through a loop": "round/below",
        "loop/": "round/", "dangling/": "to-nowhere/", "link to dir/": "to-dir/",
        "link to file/": "to-file/", "name of 255": "n" * 255, "name of 256": "n" * 256,
        "256 below": "a-dir/" + "n" * 256, "below 256": "n" * 256 + "/below",
        "path of 4095": "./" * 2044 + "missing", "path of 4096": "a-dir/" + "./" * 2045,
        "many slashes": ".////a-dir///inside", "chain of 40": "../chain/39",
        "chain of 41": "../chain/40", "fifo/": "a-fifo/",
    }


def small_tree():
    targets()
    put("a-dir/inside", b"inside")
    put("spare", b"spare")
    os.mkdir("spare-dir")
    os.mkfifo("a-fifo")
    os.symlink("a-dir", "to-dir")
    os.symlink("a-file", "to-file")
    os.symlink("nowhere", "to-nowhere")
    os.symlink("round", "round")


def around(t, what, path):
    """One call amid the same small tree, and what it leaves of it."""
    if not os.path.isdir("case"):
        os.mkdir("case")
        os.chdir("case")
        small_tree()
        os.chdir("..")
    os.chdir("case")
    before = listing()
    t(what, path_calls()[what.split(":")[0]], path)
    after = t.note(what + " left", listing())
    os.chdir("..")
    if after != before or what.startswith("ch"):
        clear("case")


def listing():
    found = []
    for d, dirs, files in os.walk("."):
        for name in dirs + files:
            st = os.lstat(os.path.join(d, name))
            found.append(f"{d}/{name} {st.st_mode:o} {st.st_nlink} "
                         f"{0 if stat.S_ISDIR(st.st_mode) else st.st_size}")
    return sorted(found)


@section
def every_call_on_every_odd_path(t):
    os.mkdir("chain")
    for i in range(1, 41):
        os.symlink(str(i - 1) if i > 1 else "../case/a-file", f"chain/{i}")
    for call, (title, path) in t.some(product(path_calls(), odd_paths().items())):
        around(t, f"{call}: {title}", path)
        if "chain" in title:        # its end may be gone now
            for i in (39, 40):
                clear(f"chain/{i}")
                os.symlink(str(i - 1), f"chain/{i}")


@section
def every_call_on_every_kind(t):
    targets()
    put("spare", b"spare")
    os.mkdir("spare-dir")
    for (call, fn), kind, name in t.some(product(path_calls().items(), KINDS,
                                                 ("x", "x/"))):
        for old in ("x", "new", "nowhere"):
            clear(old)
        make(kind, "x")
        t(f"{call} {kind} {name}", fn, name)
        t.note(f"{call} {kind} {name} left", sorted(os.listdir(".")))
        for lost, remake in (("spare", put), ("a-file", put), ("a-dir", os.mkdir),
                             ("spare-dir", os.mkdir)):
            if not os.path.lexists(lost) or os.path.isdir(lost) != ("dir" in lost):
                clear(lost)
                remake(lost)
    clear("x")
    clear("new")


@section
def every_rename_of_every_kind_to_every_kind(t):
    kinds = ("none", "file", "empty", "full", "link", "dirlink", "dangling", "fifo",
             "socket", "hard")
    flags = (0, calls.NOREPLACE, calls.EXCHANGE, calls.NOREPLACE | calls.EXCHANGE, 8)
    targets()
    for a, b, flag in t.some(product(kinds, kinds, flags)):
        for name in os.listdir("."):
            if not name.startswith("a-"):
                clear(name)
        make(a, "x")
        make(b, "y")
        what = f"rename {a} {b} {flag}"
        t(what, calls.renameat2, "x", "y", flag)
        t.note(what, [f"{n} {os.lstat(n).st_mode:o} {os.lstat(n).st_nlink}"
                      for n in sorted(os.listdir("."))])
        if os.path.isfile("y"):
            t.note(what, get("y"))


@section
def renames_around_directories(t):
    os.makedirs("a/b/c")
    put("a/f", b"f")
    os.symlink("a", "l")
    for flag in (0, calls.NOREPLACE, calls.EXCHANGE):
        for source, target in (
                ("a", "a/b"), ("a", "a/b/new"), ("a", "a/b/c"), ("a/b", "a"),
                ("a/b/c", "a"), ("a", "a"), ("a/f", "a/f"), ("a/.", "z"), ("a/..", "z"),
                ("z", "a/."), ("a/f", "a/.."), (".", "z"), ("..", "z"), ("a/f", "."),
                ("a/", "z/"), ("z/", "a/"), ("a/f/", "a/g"), ("a/f", "a/g/"),
                ("l", "l/b/x"), ("l/b", "l/z"), ("a/z", "a/b"), ("l/", "z"),
                ("a", "l"), ("a/f", "l/f")):
            what = f"rename {source} {target} {flag}"
            t(what, calls.renameat2, source, target, flag)
            t.note(what, sorted(os.path.join(d, n) for d, ds, fs in os.walk(".")
                                for n in ds + fs))


@section
def names_of_every_length(t):
    edges = {1, 2, 3, 143, 144, 175, 176, 177, 254, 255, 256, 257, 1000}
    for n in sorted(edges | set(t.some(range(1, 258)))):
        name = (b"Names \xc3\xa4nd bytes/" * 60).replace(b"/", b"_")[:n]
        kinds = (put, os.mkdir, lambda p: os.symlink("x", p), os.mkfifo)
        t(f"make {n}", kinds[n % 4], name)
        t(f"link {n}", lambda p: os.link(p, p[:-1] + b"L"), name)
        t(f"rename {n}", lambda p: os.rename(p, p[:-1] + b"R"), name)
        t(f"stat {n}", lambda p: os.lstat(p[:-1] + b"R"), name)
    t.note("all", sorted(os.listdir(b".")))


@section
def names_of_every_byte(t):
    for byte in sorted({0, 1, 10, 46, 47, 127, 128, 255} | set(t.some(range(256)))):
        for name in (bytes([byte]), b"a%cb" % byte, b".%c" % byte, b"%c." % byte):
            try:
                put(name, name)
                t.note(f"put {name!r}", get(name))
            except ValueError:      # NUL: Python does not even ask
                pass
            except OSError as e:
                t.note(f"put {name!r}", e)
    t.note("all", sorted(os.listdir(b".")))


@section
def names_that_the_vault_uses_itself(t):
    for name in (".dirid", ".frondfs", "@" + "A" * 43, "@" + "A" * 43 + ".name",
                 "@" + "0" * 32 + ".link", ".tmp-0", ".fuse_hidden0001", "A" * 30,
                 ".nfs0001", "lost+found", ".tgshare"):
        t(f"put {name}", put, name, b"mine")
        t(f"get {name}", get, name)
        t(f"mkdir {name}.d", os.mkdir, name + ".d")
        t(f"rename {name}", os.rename, name, name + "~")


@section
def links_of_every_length(t):
    for n in list(range(1, 70)) + [100, 255, 256, 1000, 2047, 3000, 3100, 4094, 4095, 4096]:
        target = ("t/" * 2100)[:n]
        t(f"symlink {n}", os.symlink, target, f"l{n}")
        t(f"readlink {n}", os.readlink, f"l{n}")
        t(f"lstat {n}", os.lstat, f"l{n}")
    for size in (0, 1, 5, 69, 4096):
        t(f"readlink into {size}", calls.readlink, "l69", size)
    for target in ("", ".", "..", "/", "a//b", "\xe4", "l1"):
        t(f"symlink to {target!r}", os.symlink, target, "x" + target.replace("/", "_"))


@section
def calls_below_a_descriptor(t):
    os.mkdir("d")
    put("d/f", b"f")
    os.symlink("f", "d/l")
    put("g", b"g")
    ways = {"dir": os.open("d", os.O_RDONLY), "path": os.open("d", os.O_PATH),
            "file": os.open("g", os.O_RDONLY), "filepath": os.open("g", os.O_PATH)}
    os.mkdir("gone")
    ways["gone"] = os.open("gone", os.O_RDONLY)
    os.rmdir("gone")
    ways["closed"] = 999
    for title, fd in ways.items():
        for name, fn in (
                ("open", lambda: os.close(os.open("f", os.O_RDONLY, dir_fd=fd))),
                ("creat", lambda: os.close(os.open("n", os.O_CREAT, 0o600, dir_fd=fd))),
                ("stat", lambda: os.stat("f", dir_fd=fd)),
                ("stat ..", lambda: stat.S_ISDIR(os.stat("..", dir_fd=fd).st_mode)),
                ("mkdir", lambda: os.mkdir("m", dir_fd=fd)),
                ("rmdir", lambda: os.rmdir("m", dir_fd=fd)),
                ("symlink", lambda: os.symlink("t", "s", dir_fd=fd)),
                ("readlink", lambda: os.readlink("s", dir_fd=fd)),
                ("mkfifo", lambda: os.mkfifo("p", dir_fd=fd)),
                ("link", lambda: os.link("f", "h", src_dir_fd=fd, dst_dir_fd=fd)),
                ("rename", lambda: os.rename("h", "i", src_dir_fd=fd, dst_dir_fd=fd)),
                ("unlink", lambda: os.unlink("i", dir_fd=fd)),
                ("unlinkat dir", lambda: calls.unlinkat("f", calls.AT_REMOVEDIR, fd)),
                ("unlinkat flags", lambda: calls.unlinkat("f", 0x8000, fd)),
                ("chmod", lambda: os.chmod("f", 0o640, dir_fd=fd)),
                ("chown", lambda: os.chown("f", -1, os.getegid(), dir_fd=fd)),
                ("utime", lambda: os.utime("f", ns=(3, 4), dir_fd=fd)),
                ("access", lambda: calls.faccessat("f", os.W_OK, 0, fd)),
                ("listdir", lambda: sorted(os.listdir(fd))),
                ("fstat", lambda: os.fstat(fd)),
                ("fchmod", lambda: os.fchmod(fd, 0o755)),
                ("fchown", lambda: os.fchown(fd, -1, os.getegid())),
                ("futimens", lambda: os.utime(fd, ns=(5, 6))),
                ("fsync", lambda: os.fsync(fd)),
                ("ftruncate", lambda: os.ftruncate(fd, 1)),
                ("fchdir", lambda: (os.fchdir(fd), os.chdir(here))[0]),
                ("setxattr", lambda: os.setxattr(fd, "user.a", b"b")),
                ("empty stat", lambda: calls.statx_mask("", calls.AT_EMPTY_PATH, fd)[4]),
                ("empty chown", lambda: calls.fchownat("", -1, os.getegid(),
                                                       calls.AT_EMPTY_PATH, fd)),
                ("absolute", lambda: os.stat("/", dir_fd=fd).st_mode)):
            here = os.getcwd()
            t(f"{title}: {name}", fn)
    for fd in list(ways.values())[:-1]:
        os.close(fd)
