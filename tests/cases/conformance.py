#!/usr/bin/python3
"""
The same script of calls on a mount and on a plain directory beside its backing
directory: result by result the same. tests/conformance has the script.

FROND_CONFORMANCE=long  with every kind of mount
"""
import atexit
import errno
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conformance"))
import frond
import data, paths, rest, rights  # noqa: each adds its sections
import notebook
from frond import check, eq, put, raises, run

LONG = os.environ.get("FROND_CONFORMANCE") == "long"
ONLY = os.environ.get("FROND_SECTIONS", "").split()

# What is another result, and why. Most of it FUSE itself prevents. The pattern
# is sought in "section (who): call: result; should be result".
EXCUSED = (
    (r"tmpfile|open (empty|full|dirlink)/? 202\d+: |^nameless_files.*tree",
     "libfuse before 3.17 knows no FUSE_TMPFILE; programs fall back on EOPNOTSUPP"),
    (r"^what_takes_set_id_bits_away.* (2767|6666) \w+ left: ",
     "FUSE_HANDLE_KILLPRIV_V2 takes set-group-id only with the group's execute bit"),
    (r"^set_id_bits_come_and_go.*tree 'd/(d0?644|[dfn]2644)'",
     "who is outside the group cannot give set-group-id back once the header is written"),
    (r"^what_takes_set_id_bits_away.*chown nothing",
     "the kernel sends no SETATTR for chown(-1, -1)"),
    (r"^times_that_are_set.*times of l",
     "reading a link's length reads its target, which moves its access time"),
    (r"^mappings.*what was behind the end",
     "the kernel clears nothing that a mapping wrote behind the end when a file grows"),
    (r"^what_moves_which_times.*truncate same: ",
     "a kernel that collects writes believes its own times"),
    (r"^what_moves_which_times.* ctime: True; should be False$",
     "times that the kernel hands over late move the backing file's"),
)


def script(top, some):
    """section -> [(what was done, what came of it)]"""
    found = {}
    for section, what, result in notebook.run(top, some, ONLY):
        found.setdefault(section, []).append((what, result))
    return found


def backing():
    """A vault in memory where that will do: each mkdir is made durable."""
    try:
        aside = tempfile.mkdtemp(prefix="frond test ", dir="/dev/shm")
        atexit.register(shutil.rmtree, aside, True)
        os.setxattr(aside, "user.test", b"")
    except OSError:
        return frond.new_vault()
    os.chmod(aside, 0o755)
    vault = os.path.join(aside, "backing")
    shutil.move(frond.new_vault(), vault)
    return vault


def excused(line):
    return any(re.search(pattern, line) for pattern, _ in EXCUSED)


def compare_section(section, got, should):
    wrong, excuse = [], False
    for (what, result), (what2, result2) in zip(got, should):
        where = f"{section}: {what}"
        if what != what2:
            # after another result the script may have to go on otherwise
            return wrong if excuse else wrong + [f"{where}: but there {what2}"]
        if result != result2:
            line = f"{where}: {result}; should be {result2}"
            excuse = excused(line)
            if not excuse:
                wrong.append(line)
    if len(got) != len(should):
        wrong.append(f"{section}: {len(got)} results of {len(should)}")
    return wrong


def compare(options, some):
    plain = frond.fresh("plain")
    os.mkdir(plain)
    with frond.Mount(options, vault=backing()) as m:
        os.chmod(m.path, 0o755)
        want = script(plain, some)
        got = script(m.path, some)
        wrong = [line for section in want
                 for line in compare_section(section, got[section], want[section])]
        wrong += [f"{section}: {lines[-1][1]}" for section, lines in want.items()
                  for what, _ in lines if what == notebook.BROKEN]
        print(f"{sum(map(len, got.values()))} results, {len(wrong)} differ", flush=True)
        if wrong:
            raise AssertionError("\n".join(wrong[:40]))


@check(plain=False)
def a_mount_gives_what_a_plain_directory_gives():
    others = "allow_other" if os.geteuid() == 0 else ""
    compare(others, 1 if LONG else 13)
    if LONG:
        for option in ("writeback=off", "shared"):
            compare(",".join(filter(None, (others, option))), 1)


@check(plain=False, root=True)
def a_read_only_mount_refuses_what_a_read_only_directory_refuses():
    with frond.Mount() as m:
        plain = frond.fresh("plain")
        os.mkdir(plain)
        for top in (plain, m.path):
            os.mkdir(os.path.join(top, "d"))    # ".." is what it has there
            os.chdir(os.path.join(top, "d"))
            paths.small_tree()
        os.chdir("/")
        m.remount("ro")
        run("mount", "--bind", plain, plain)
        try:
            run("mount", "-o", "remount,bind,ro", plain)
            results = []
            for top in (plain, m.path):
                t = notebook.Trace()
                os.chdir(os.path.join(top, "d"))
                for call, fn in paths.path_calls().items():
                    for title, path in paths.odd_paths().items():
                        t(f"{call}: {title}", fn, path)
                t.tree()
                results.append([(what, result) for _, what, result in t.lines])
                os.chdir("/")
        finally:
            run("umount", plain)
        wrong = compare_section("read-only", results[1], results[0])
        assert not wrong, "\n".join(wrong[:40])


@check(plain=False)
def nothing_is_linked_or_moved_out_of_a_mount():
    with frond.Mount() as m:
        put(m / "f")
        os.mkdir(m / "d")
        outside = frond.fresh("outside")
        put(outside)
        for call in (os.link, os.rename):
            raises(errno.EXDEV, call, m / "f", frond.fresh("new"))
            raises(errno.EXDEV, call, outside, m / "new")
        raises(errno.EXDEV, os.rename, m / "d", frond.fresh("new"))
        eq(sorted(os.listdir(m.path)), ["d", "f"])


frond.main()
