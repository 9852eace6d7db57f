#!/usr/bin/python3
"""What was removed, moved or replaced does not come back by itself."""
import ctypes
import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import FRONDFS, Mount, Skip, check, eq, fresh, get, put, raises, run, scale

SEED = int(os.environ.get("FROND_SEED") or time.time_ns() // 1000000 % 10**9)
RENAME_EXCHANGE = 2
ADVICE = 'run "frondfs accept-old" on it'


def tick():
    """Until the next second: times are told apart by seconds."""
    time.sleep(1.1)


def backing(m, path):
    return os.fsdecode(m.backing(path))


def only_link(directory):
    """The backing entry of the one symbolic link in a backing directory."""
    links = [e.path for e in os.scandir(directory) if e.is_symlink()]
    eq(len(links), 1, "links")
    return links[0]


def copy(path):
    """A copy of a backing entry as somebody might keep one."""
    kept = fresh("kept")
    run("cp", "-a", path, kept)
    return kept


def put_back(kept, path):
    if os.path.lexists(path):
        run("rm", "-rf", path)
    run("cp", "-a", kept, path)


def is_old(m, fn, *args, said=1):
    """It is refused, and the log says so once (each time it is new)."""
    for _ in range(2):
        raises(errno.ESTALE, fn, *args)
    eq(m.log().count(ADVICE), said, m.log())


def is_quiet(m):
    assert "accept-old" not in m.log(), m.log()


def accept(*paths, status=0, says=""):
    p = subprocess.run([FRONDFS, "accept-old", *paths], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    eq(p.returncode, status, p.stdout)
    assert says in p.stdout, p.stdout
    if says:
        eq(p.stdout.count("\n"), 1, p.stdout)
    else:
        eq(p.stdout, "")


def exchange(a, b):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def put_back_later(m, act, path, *more):
    """act() in this mount, and what lay there again in the next one."""
    at = backing(m, path)
    tick()
    kept = copy(at)
    act()
    m.umount()
    put_back(kept, at)
    m.mount()


@check
def a_removed_file_stays_away():
    with Mount() as m:
        put(m / "plans", b"secret")
        put(m / "other", b"kept")
        put_back_later(m, lambda: os.unlink(m / "plans"), m / "plans")
        eq(sorted(os.listdir(m.path)), ["other", "plans"])
        eq(os.stat(m / "plans").st_size, 6)
        is_old(m, get, m / "plans")
        raises(errno.ESTALE, open, m / "plans", "r+b")
        assert "plans: " in m.log() and "replaced: remove it, or" in m.log(), m.log()
        eq(get(m / "other"), b"kept")
        os.unlink(m / "plans")
        eq(os.listdir(m.path), ["other"])
        put(m / "plans", b"new")
        eq(get(m / "plans"), b"new")
        m.remount()
        eq(get(m / "plans"), b"new")
        is_quiet(m)


@check
def what_was_put_back_gets_no_other_name():
    """It would be taken for right under that, without a word."""
    with Mount() as m:
        for name in "f", "g", "fine":
            put(m / name, name.encode())
        os.symlink("/evil", m / "l")
        os.makedirs(m / "d/sub")
        at = [*(backing(m, m / name) for name in ("f", "g", "d")), only_link(m.vault)]
        tick()
        kept = [copy(path) for path in at]
        shutil.rmtree(m / "d")
        for name in "f", "g", "l":
            os.unlink(m / name)
        m.umount()
        for k, path in zip(kept, at):
            put_back(k, path)
        m.mount()
        for n, name in enumerate(("f", "l", "d")):
            raises(errno.ESTALE, os.rename, m / name, m / "new")
            eq(m.log().count(ADVICE), n + 1, m.log())
            raises(errno.ESTALE, exchange, m / name, m / "fine")
            raises(errno.ESTALE, exchange, m / "fine", m / name)
            if name != "d":
                raises(errno.ESTALE, os.link, m / name, m / "new", follow_symlinks=False)
        eq(sorted(os.listdir(m.path)), ["d", "f", "fine", "g", "l"])
        eq(get(m / "fine"), b"fine")
        os.rename(m / "fine", m / "f")      # over it
        os.unlink(m / "l")
        accept(m / "g")
        os.rename(m / "g", m / "new")
        eq(get(m / "f") + get(m / "new"), b"fineg")
        raises(errno.ENOTEMPTY, os.rmdir, m / "d")
        assert "d: put back" in m.log() and "to be able to remove it" in m.log(), m.log()
        accept(m / "d")
        os.rename(m / "d", m / "e")
        shutil.rmtree(m / "e")
        eq(sorted(os.listdir(m.path)), ["f", "new"])


@check
def nor_does_it_come_back_while_mounted():
    with Mount() as m:
        put(m / "plans", b"secret")
        at = backing(m, m / "plans")
        tick()
        kept = copy(at)
        os.unlink(m / "plans")
        put_back(kept, at)
        eq(os.listdir(m.path), ["plans"])
        is_old(m, get, m / "plans")
        accept(m / "plans")
        eq(get(m / "plans"), b"secret")
        tick()
        os.unlink(m / "plans")
        put_back(kept, at)
        eq(os.listdir(m.path), ["plans"])
        is_old(m, get, m / "plans", said=2)
        os.unlink(m / "plans")
        put(m / "plans", b"new")
        eq(get(m / "plans"), b"new")


@check
def a_directory_does_not_move_back_while_mounted():
    with Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/file", b"x")
        at = backing(m, m / "d")
        os.rename(m / "d", m / "e")
        eq(os.listdir(m / "e"), ["file"])
        os.rename(backing(m, m / "e"), at)
        eq(os.listdir(m.path), ["d"])
        is_old(m, os.listdir, m / "d")


@check
def a_file_with_an_older_chunk_is_accepted_too():
    with Mount() as m:
        put(m / "f", b"first")
        at = backing(m, m / "f")
        m.umount()
        kept = get(at)
        tick()
        m.mount()
        with open(m / "f", "r+b") as f:
            f.write(b"later")
        m.umount()
        with open(at, "r+b") as f:
            f.write(kept)
        m.mount()
        is_old(m, get, m / "f")
        accept(m / "f")
        eq(get(m / "f"), b"first")
        m.remount()
        eq(get(m / "f"), b"first")
        is_quiet(m)


@check
def nor_after_a_crash_of_a_later_mount():
    with Mount() as m:
        put(m / "plans", b"secret")
        put_back_later(m, lambda: os.unlink(m / "plans"), m / "plans")
        m.kill9()
        m.mount()
        is_old(m, get, m / "plans")


@check
def a_moved_file_is_not_at_its_old_place_too():
    with Mount() as m:
        put(m / "draft", b"1")
        put_back_later(m, lambda: os.rename(m / "draft", m / "final"), m / "draft")
        eq(get(m / "final"), b"1")
        is_old(m, get, m / "draft")
        eq(get(m / "final"), b"1")


@check
def what_was_replaced_stays_so():
    def save():
        put(m / "page.tmp", b"second")
        os.rename(m / "page.tmp", m / "page")

    with Mount() as m:
        put(m / "page", b"first")
        put_back_later(m, save, m / "page")
        is_old(m, get, m / "page")
        save()
        eq(get(m / "page"), b"second")
        m.remount()
        eq(get(m / "page"), b"second")
        is_quiet(m)


@check
def what_was_exchanged_stays_so():
    with Mount() as m:
        put(m / "a", b"older")
        tick()
        put(m / "b", b"newer")
        a, b = backing(m, m / "a"), backing(m, m / "b")
        old_a, old_b = copy(a), copy(b)
        exchange(m / "a", m / "b")
        m.remount()
        eq((get(m / "a"), get(m / "b")), (b"newer", b"older"))
        m.umount()
        put_back(old_a, a)
        put_back(old_b, b)
        m.mount()
        is_old(m, get, m / "a")


@check
def a_removed_directory_stays_away():
    with Mount() as m:
        os.makedirs(m / "d/sub")
        put(m / "d/sub/file", b"x")
        put_back_later(m, lambda: shutil.rmtree(m / "d"), m / "d")
        eq(os.listdir(m.path), ["d"])
        assert os.path.isdir(m / "d")
        is_old(m, os.open, m / "d", os.O_RDONLY | os.O_DIRECTORY)
        raises(errno.ESTALE, os.stat, m / "d/sub")
        raises(errno.ESTALE, put, m / "d/new")
        accept(m / "d")
        eq(get(m / "d/sub/file"), b"x")
        shutil.rmtree(m / "d")
        os.mkdir(m / "d")
        eq(os.listdir(m / "d"), [])


@check
def a_moved_directory_is_not_at_its_old_place_too():
    with Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/file", b"x")
        put_back_later(m, lambda: os.rename(m / "d", m / "e"), m / "d")
        eq(get(m / "e/file"), b"x")
        is_old(m, os.listdir, m / "d")
        eq(get(m / "e/file"), b"x")


@check
def a_removed_link_stays_away():
    with Mount() as m:
        os.mkdir(m / "d")
        inside = backing(m, m / "d")
        for act in (lambda: os.unlink(m / "d/l"),
                    lambda: (os.unlink(m / "d/l"), os.symlink("safe", m / "d/l")),
                    lambda: (os.symlink("safe", m / "d/t"), os.rename(m / "d/t", m / "d/l"))):
            if os.path.lexists(m / "d/l"):
                os.unlink(m / "d/l")
            os.symlink("/evil", m / "d/l")
            at = only_link(inside)
            tick()
            kept = copy(at)
            act()
            m.umount()
            put_back(kept, at)
            m.mount()
            is_old(m, os.readlink, m / "d/l")
            assert stat.S_ISLNK(os.lstat(m / "d/l").st_mode)
        accept(m / "d/l")
        eq(os.readlink(m / "d/l"), "/evil")


@check
def a_file_that_was_restored_is_accepted_once():
    with Mount() as m:
        for name in "one", "two":
            put(m / name, name.encode())
        at = [backing(m, m / n) for n in ("one", "two")]
        tick()
        kept = [copy(p) for p in at]
        os.unlink(m / "one")
        os.unlink(m / "two")
        m.umount()
        for k, p in zip(kept, at):
            put_back(k, p)
        m.mount()
        is_old(m, get, m / "one")
        accept(m / "one")
        eq(get(m / "one"), b"one")
        raises(errno.ESTALE, get, m / "two")
        m.remount()
        eq(get(m / "one"), b"one")
        is_old(m, get, m / "two")
        tick()
        os.unlink(m / "one")
        m.umount()
        put_back(kept[0], at[0])
        m.mount()
        is_old(m, get, m / "one")
        accept(m / "one", m / "two")
        eq(get(m / "one") + get(m / "two"), b"onetwo")


@check
def a_backup_that_was_restored_is_accepted_once():
    with Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/x", b"x")
        put(m / "y", b"y")
        d, y = backing(m, m / "d"), backing(m, m / "y")
        tick()
        kept = copy(d), copy(y)
        shutil.rmtree(m / "d")
        os.unlink(m / "y")
        m.umount()
        put_back(kept[0], d)
        put_back(kept[1], y)
        m.mount()
        raises(errno.ESTALE, get, m / "y")
        for options in "accept-old", "":
            m.remount(options)
            eq(get(m / "d/x") + get(m / "y"), b"xy")
            is_quiet(m)
        tick()
        os.unlink(m / "y")
        m.umount()
        put_back(kept[1], y)
        m.mount()
        is_old(m, get, m / "y")
        eq(get(m / "d/x"), b"x")


@check
def nothing_is_said_where_nothing_was_seen():
    elsewhere = fresh("another machine")
    os.mkdir(elsewhere)
    here = os.environ["XDG_STATE_HOME"]
    try:
        for options, state in ("remember=off", here), ("", elsewhere), ("shared", here):
            m = Mount()
            put(m / "f", b"x")
            put_back_later(m, lambda: os.unlink(m / "f"), m / "f")
            is_old(m, get, m / "f")
            os.environ["XDG_STATE_HOME"] = state
            m.remount(options)
            eq(get(m / "f"), b"x")
            is_quiet(m)
            if options:
                accept(m / "f", status=1, says="remembers nothing")
            m.umount()
            os.environ["XDG_STATE_HOME"] = here
    finally:
        os.environ["XDG_STATE_HOME"] = here


@check
def who_remembers_nothing_may_move_things():
    with Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/x", b"x")
        put(m / "f", b"f")
        tick()
        os.rename(m / "d", m / "e")
        os.rename(m / "f", m / "g")
        m.remount("remember=off")
        os.rename(m / "e", m / "d")
        os.rename(m / "g", m / "f")
        m.remount("")
        eq(get(m / "d/x") + get(m / "f"), b"xf")
        is_quiet(m)


@check
def other_names_of_a_file_stay_as_they_are():
    with Mount() as m:
        put(m / "p", b"x")
        os.link(m / "p", m / "q")
        at, other = backing(m, m / "p"), backing(m, m / "q")
        at = next(e.path for e in os.scandir(m.vault)
                  if e.inode() == os.stat(at).st_ino and e.path != other) if at == other else at
        tick()
        os.unlink(m / "p")
        eq(get(m / "q"), b"x")
        m.remount()
        eq(get(m / "q"), b"x")
        m.umount()
        os.link(other, at)
        m.mount()
        is_old(m, get, m / "p")
        eq(get(m / "q"), b"x")
        m.remount()
        eq(get(m / "q"), b"x")
        os.stat(m / "p")
        eq(get(m / "q"), b"x")
        is_quiet(m)
        os.unlink(m / "p")
        os.link(m / "q", m / "p")
        m.remount()
        eq(get(m / "p"), b"x")
        os.unlink(m / "q")
        os.rename(m / "p", m / "q")
        m.remount()
        eq(get(m / "q"), b"x")
        is_quiet(m)


@check
def copies_of_synchronising_services_come_and_go():
    with Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/x", b"first")
        d = backing(m, m / "d")
        at = backing(m, m / "d/x")
        tick()
        kept = copy(at)
        put(m / "d/x", b"second")
        m.umount()
        mine, tree = at + " (conflicted copy)", d + " (conflicted copy)"
        for _ in range(2):
            put_back(kept, mine)
            put_back(d, tree)
            m.mount()
            eq(get(m / "d/x"), b"second")
            eq(get(m / "d/x (conflicted copy)"), b"first")
            eq(get(m / "d (conflicted copy)/x"), b"second")
            os.unlink(m / "d/x (conflicted copy)")
            os.unlink(m / "d (conflicted copy)/x")
            m.remount()
            eq(get(m / "d/x"), b"second")
            shutil.rmtree(m / "d (conflicted copy)")
            tick()
            is_quiet(m)
            m.umount()
        put_back(kept, mine)
        m.mount()
        eq(get(m / "d/x"), b"second")
        os.rename(m / "d/x (conflicted copy)", m / "d/first")
        for _ in range(2):
            eq(get(m / "d/first") + get(m / "d/x"), b"firstsecond")
            m.remount()
        is_quiet(m)
        m.umount()
        put_back(kept, mine)
        m.mount()
        os.rename(m / "d/x (conflicted copy)", m / "d/x")
        eq(get(m / "d/x"), b"first")
        m.remount()
        eq(get(m / "d/x"), b"first")
        m.umount()
        put_back(d, tree)
        m.mount()
        tick()
        os.unlink(m / "d/x")
        eq(get(m / "d (conflicted copy)/x"), b"first")
        is_quiet(m)


@check
def a_copied_directory_gets_ids_of_its_own():
    with Mount() as m:
        os.makedirs(m / "d/sub")
        put(m / "d/x", b"first")
        put(m / "d/sub/y", b"second")
        d = backing(m, m / "d")
        m.umount()
        put_back(d, d + " (conflicted copy)")
        m.mount()
        copied = m / "d (conflicted copy)"
        for old, new in ((copied, m / "e"), (copied + "/sub", m / "sub"),
                         (copied + "/sub", m / "d/more"), (copied, m / "d (conflicted copy 2)")):
            raises(errno.EXDEV, os.rename, old, new)
        raises(errno.EXDEV, exchange, copied, m / "d")
        raises(errno.EXDEV, exchange, m / "d", copied)
        os.rename(copied + "/sub", copied + "/below")
        run("mv", copied, m / "e")
        tick()
        os.unlink(m / "e/x")
        shutil.rmtree(m / "e/below")
        for _ in range(2):
            eq(get(m / "d/x") + get(m / "d/sub/y"), b"firstsecond")
            m.remount()
        # who keeps the copy alone
        m.umount()
        put_back(d, d + " (conflicted copy)")
        m.mount()
        shutil.rmtree(m / "d")
        run("mv", copied, m / "d")
        for _ in range(2):
            eq(get(m / "d/x") + get(m / "d/sub/y"), b"firstsecond")
            m.remount()
        is_quiet(m)


@check
def what_comes_back_by_this_mount_is_no_alarm():
    """Also when the mount dies before it could keep that in mind."""
    with Mount() as m:
        for name in "f", "g", "h":
            put(m / name, name.encode())
        os.mkdir(m / "d")
        put(m / "d/x", b"x")
        os.symlink("t", m / "l")
        tick()
        for name in "f", "d", "l":
            os.rename(m / name, m / ("away-" + name))
        os.unlink(m / "g")
        m.remount()
        for name in "f", "d", "l":
            os.rename(m / ("away-" + name), m / name)
        os.link(m / "h", m / "g")
        m.kill9()
        m.mount()
        eq((get(m / "f"), get(m / "g"), get(m / "d/x"), os.readlink(m / "l")),
           (b"f", b"h", b"x", "t"))
        for _ in range(3):
            os.unlink(m / "f")
            put(m / "f", b"again")
            os.rmdir(shutil.move(m / "d", m / "e") and (os.unlink(m / "e/x") or m / "e"))
            os.mkdir(m / "d")
            put(m / "d/x", b"again")
            m.remount()
            eq(get(m / "f") + get(m / "d/x"), b"againagain")
        is_quiet(m)


@check
def accept_old_says_what_it_cannot_do():
    plain = put(fresh("plain"), b"x")
    with Mount() as m:
        put(m / "f")
        accept(m / "f")
        accept(m / "nothing", status=1, says=f"there is no '{m / 'nothing'}'")
        accept(m / "no/thing", status=1, says="there is no")
        accept(plain, status=1, says="does not lie in a mounted vault")
        accept("/", status=1, says="does not lie in a mounted vault")
        accept(m.path, status=1, says="is where the vault is mounted")
        accept(m / ("x" * 300), status=1, says="name too long")
        os.mkdir(m / "d")
        os.mkdir(m / "d/sub")
        accept(m / "d/", m / "d/sub/.", m / "d/sub/..")
        put_back_later(m, lambda: os.rename(m / "d", m / "e"), m / "d")
        raises(errno.ESTALE, os.listdir, m / "d")
        accept(m / "d/sub", status=1, says="accept that first")
        accept(m / "d")
        accept(m / "d/sub")


@check
def accept_old_is_for_who_mounted_it():
    if os.geteuid():
        raise Skip("needs root")
    with Mount("allow_other") as m:
        put(m / "f")
        try:
            frond.in_child(lambda: os.stat(FRONDFS), uid=65534, gid=65534)
        except OSError:
            raise Skip("other users cannot reach the program") from None
        frond.in_child(lambda: accept(m / "f", status=1, says="for who mounted the vault"),
                       uid=65534, gid=65534)


class Storm:
    """Random steps, done in a mount and in a plain directory."""

    def __init__(self, m, seed):
        self.m, self.rng = m, random.Random(seed)
        self.plain = fresh("plain")
        os.mkdir(self.plain)
        self.names = [f"{d}{n}" for d in ("", "d1/", "d2/", "d1/sub/") for n in
                      ("a", "b", "c", "l" * 200)] + 3 * ["d1", "d2", "d1/sub", "d3"]
        self.moves = [("d1", "d2")]

    def both(self, step):
        """The step in both places: it does the same, or fails alike."""
        said = []
        for top in self.plain, self.m.path:
            try:
                step(lambda name: os.path.join(top, name))
                said.append(0)
            except OSError as e:
                said.append(e.errno)
        eq(said[1], said[0], "errors of mount and plain directory")

    def step(self):
        rng = self.rng
        a, b, data = rng.choice(self.names), rng.choice(self.names), rng.randbytes(8)

        def write(at, flags):
            fd = os.open(at(a), os.O_WRONLY | os.O_CREAT | flags, 0o600)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)

        def move(at):
            os.rename(at(a), at(b))
            self.moves.append((a, b))

        def move_back(at):
            os.rename(at(former[1]), at(former[0]))

        former = rng.choice(self.moves[-6:])

        def save(at):
            write(lambda _: at(b), os.O_TRUNC)
            os.rename(at(b), at(a))

        self.both(rng.choice([
            lambda at: write(at, os.O_EXCL),
            lambda at: write(at, os.O_TRUNC),
            save,
            lambda at: os.mkdir(at(a)),
            lambda at: os.symlink(data.hex(), at(a)),
            lambda at: os.link(at(a), at(b), follow_symlinks=False),
            lambda at: os.unlink(at(a)),
            lambda at: os.unlink(at(a)),
            lambda at: os.rmdir(at(a)),
            move, move, move_back, move_back,
            lambda at: exchange(at(a), at(b)),
        ]))

    def compare(self):
        """Everything can be opened, and is the same."""
        def look(top):
            found = {}
            for d, dirs, files in os.walk(top, onerror=lambda e: found.update({e.filename: e})):
                for path in (os.path.join(d, n) for n in dirs + files):
                    found[os.path.relpath(path, top)] = \
                        os.readlink(path) if os.path.islink(path) else \
                        "dir" if os.path.isdir(path) else get(path)
            return found
        eq(look(self.m.path), look(self.plain))
        is_quiet(self.m)


@check
def a_storm_of_names_is_no_alarm():
    print(f"seed {SEED}: FROND_SEED={SEED} runs the same again", flush=True)
    with Mount() as m:
        storm = Storm(m, SEED)
        for session in range(scale(8, 4)):
            for _ in range(3):
                for _ in range(scale(300, 150)):
                    storm.step()
                tick()
            if storm.rng.randrange(3) == 0:
                m.kill9()
                m.mount()
            else:
                m.remount()
            storm.compare()


frond.main()
