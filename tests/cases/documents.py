#!/usr/bin/python3
"""What the documents point at is there: files, and the tests that play attackers."""
import glob
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import ROOT, check, eq, get

DOCUMENTS = [os.path.join(ROOT, "README.md"), *sorted(glob.glob(f"{ROOT}/docs/*.md"))]
PLACES = "", "tests/cases", "tests/unit", "tests/bench"


def quoted(path):
    """What stands between back quotes, each piece on one line."""
    text = re.sub(r"(?ms)^```.*?^```", "", get(path).decode())
    return [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", text)]


def found(path):
    return any(os.path.exists(os.path.join(ROOT, place, path)) for place in PLACES)


@check
def files_that_are_named_are_there():
    missing = []
    for document in DOCUMENTS:
        for piece in quoted(document):
            for path in re.findall(r"\b(?:(?:fs|tests|tools|contrib|docs)/[\w./-]*\w|\w+\.py)",
                                   piece):
                if not found(path):
                    missing.append(f"{os.path.basename(document)}: {path}")
    eq(missing, [])


def checks():
    """case -> the names of its checks"""
    return {os.path.basename(path): set(re.findall(r"(?m)^def (\w+)\(", get(path).decode()))
            for path in glob.glob(f"{ROOT}/tests/cases/*.py")}


@check
def each_attacker_is_played_by_a_test_that_exists():
    have = checks()
    every = set().union(*have.values())
    missing, named = [], 0
    for piece in quoted(f"{ROOT}/docs/THREATS.md"):
        case, _, name = piece.rpartition(": ")
        if not (case in have or re.fullmatch(r"[.]*\w+_\w+_\w+[.]*", name)):
            continue
        named += 1
        shape = re.escape(name).replace(r"\.\.\.", ".*")
        if not any(re.fullmatch(shape, known) for known in have.get(case, every)):
            missing.append(piece)
    eq(missing, [])
    assert named > 20, f"only {named} were found: the document looks otherwise now"


def section(manual, name):
    """What frondfs(1) has under that heading, as it is read."""
    text = re.search(rf"(?ms)^\.SH {name}\n(.*?)(?=^\.SH )", manual)[1]
    return re.sub(r"(?m)^\.[A-Z]{1,2} ?", "", text.replace("\\-", "-")).replace(" .", ".")


@check
def the_manual_has_all_statuses_files_and_options():
    manual = get(f"{ROOT}/docs/man/frondfs.1").decode()
    source = "".join(get(path).decode() for path in glob.glob(f"{ROOT}/tools/frondfs/*.[ch]"))
    statuses = re.findall(r"\bCMD_[A-Z_]+ = (\d+),", source)
    assert len(statuses) > 10, statuses
    eq(re.findall(r"(?m)^(\d+)$", section(manual, "EXIT STATUS")), statuses)
    files = section(manual, "FILES")
    named = re.findall(r'SUFFIX "(\.\w+)"', "".join(
        get(f"{ROOT}/fs/vault/{name}").decode() for name in ("seen.c", "memory.h",
                                                             "memory_internal.h")))
    eq(sorted(named), [".files", ".sessions"])
    for text in named + ["$XDG_STATE_HOME/frondfs", "~/.local/state/frondfs", "/var/lib/frondfs"]:
        assert text in files, f"{text} is not under FILES"
    options = set(re.findall(r'\{"([a-z-]+)", \w+_argument', source))
    assert len(options) > 10, options
    eq([o for o in sorted(options) if f"--{o}" not in manual.replace("\\-", "-")], [])


@check
def the_manual_has_all_that_info_tells():
    manual = get(f"{ROOT}/docs/man/frondfs.1").decode()
    about = re.search(r"(?ms)^\.SS info\n(.*?)(?=^\.SS )", manual)[1].replace("\\-", "-")
    source = "".join(get(f"{ROOT}/tools/frondfs/{name}").decode()
                     for name in ("cmd_info.c", "mount_counters.c"))
    members = set(re.findall(r'\\"(\w+)\\":', source)
                  + re.findall(r'put_json_text\("(\w+)"', source))
    assert len(members) > 20, members
    eq([name for name in sorted(members) if not re.search(rf"\b{name}\b", about)], [])


def script(path, *argv):
    return subprocess.run([f"{ROOT}/{path}", *argv], cwd="/", stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)


@check
def scripts_that_are_named_tell_what_they_take():
    assert "`tests/run.sh --help`" in get(DOCUMENTS[0]).decode()
    for path, wants in ("tests/run.sh", "-k PATTERN"), ("contrib/install-deps.sh", "[recover]"):
        for option in "-h", "--help":
            p = script(path, option)
            eq((p.returncode, p.stderr), (0, ""), f"{path} {option}")
            assert os.path.basename(path) in p.stdout and wants in p.stdout, p.stdout
        p = script(path, "no-such-one")
        eq((p.returncode, p.stdout), (2, ""))
        assert "is called 'no-such-one'; there are: " in p.stderr, p.stderr
    p = script("tests/run.sh", "-x")
    eq((p.returncode, p.stdout), (2, ""))
    assert "-k PATTERN" in p.stderr, p.stderr


frond.main()
