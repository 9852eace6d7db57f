#!/usr/bin/python3
"""frondfs check says what was put back to an older state, where the newer was seen."""
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import FRONDFS, blob, check, eq, fresh, get, passfile, put
from vaultcheck import HEADER, SLOT, edit, findings, frondfs_check

CHUNK = 4096


def later():
    time.sleep(1.1)     # tokens count seconds


def files():
    """A vault as it was, and how it is now: all that is in it is newer, or gone."""
    m = frond.Mount()
    os.makedirs(m / "d/e")
    for name in ("big", "d/small", "d/gone", "replaced", "moved"):
        put(m / name, blob(CHUNK * 5 + 100 if name == "big" else 300, name))
    put(m / "empty", b"")
    os.mkdir(m / "d/dir")
    os.symlink("somewhere", m / "link")
    where = {name: os.path.relpath(os.fsdecode(m.backing(m / name)), m.vault)
             for name in ("big", "d/small", "d/gone", "replaced", "moved", "empty", "d/dir")}
    where["link"] = next(e.name for e in os.scandir(m.vault) if e.is_symlink())
    m.umount()
    before = fresh("before")
    shutil.copytree(m.vault, before, symlinks=True)
    later()
    m.mount()
    with open(m / "big", "r+b") as f:
        f.seek(CHUNK)
        f.write(blob(3 * CHUNK, "newer"))
    put(m / "d/small", b"newer")
    put(m / "empty", b"not empty")
    os.unlink(m / "d/gone")
    put(m / "new", b"in its place")
    os.rename(m / "new", m / "replaced")
    os.rename(m / "moved", m / "d/moved")
    os.rmdir(m / "d/dir")
    os.unlink(m / "link")
    m.umount()
    return m.vault, before, where


def bring_back(vault, before, path):
    """As whoever has the backing directory can."""
    old, new = os.path.join(before, path), os.path.join(vault, path)
    if os.path.isdir(old):
        shutil.copytree(old, new)
    elif os.path.islink(old):
        os.symlink(os.readlink(old), new)
    else:
        put(new, get(old))


@check(plain=False)
def a_vault_that_nobody_touched_is_healthy():
    vault, _, _ = files()
    found, doc = findings(vault)
    eq((found, doc["seen"]), ([], "compared"))
    eq(findings(vault, "--repair")[0], [])
    eq(findings(vault, "--jobs", "1")[0], [])


@check(plain=False)
def an_older_chunk_is_named_with_its_place():
    vault, before, where = files()
    old = get(os.path.join(before, where["big"]))
    now = os.path.join(vault, where["big"])
    edit(now, HEADER + 2 * SLOT, old[HEADER + 2 * SLOT:HEADER + 3 * SLOT])
    found, doc = findings(vault, status=4)
    eq(found, [("damaged", "older", "big")])
    eq([(f["first"], f["last"], f["backing"]) for f in doc["findings"]], [(2, 2, where["big"])])
    edit(now, HEADER + 3 * SLOT, old[HEADER + 3 * SLOT:HEADER + 4 * SLOT])
    text = frondfs_check(vault, status=4)
    assert text.startswith("big: chunks 2 to 3 (bytes 8192 to 16383): older than what this "
                           "machine has seen there"), text
    # a chunk that nobody has written since is as old as it was
    edit(now, HEADER, old[HEADER:HEADER + SLOT])
    eq(findings(vault, status=4)[0], [("damaged", "older", "big")])
    wanted = get(now)
    eq(findings(vault, "--repair", status=4)[0], [("damaged", "older", "big")])
    eq(get(now), wanted, "an older file that a repair changed")


@check(plain=False)
def older_files_are_named_whole_and_empty():
    for name in ("big", "d/small", "empty"):
        vault, before, where = files()
        bring_back(vault, before, where[name])
        eq(findings(vault, status=4)[0], [("damaged", "older", name)])
        p = subprocess.run([FRONDFS, "check", "--passfile", passfile(), vault],
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        eq(p.returncode, 4)
        assert b"accept-old" in p.stderr, p.stderr


@check(plain=False)
def several_files_with_one_id_are_named_with_what_ends_it():
    m = frond.Mount()
    os.mkdir(m / "d")
    put(m / "a", blob(3 * CHUNK, "a"))
    for name in ("d/b", "kept", "d/c"):
        os.link(m / "a", m / name)
    folder = os.fsdecode(m.backing(m / "d"))
    m.umount()
    stored = [e.path for e in os.scandir(folder) if e.name[0] != "."]
    eq(findings(m.vault)[0], [], "of hard links")
    # a copy that keeps one of them
    shutil.copy2(stored[0], stored[0] + ".new")
    os.rename(stored[0] + ".new", stored[0])
    os.unlink(stored[1])
    os.link(stored[0], stored[1])
    for args in ((), ("--repair",)):
        found, doc = findings(m.vault, *args)
        eq([f[:2] for f in found], [("note", "twin")], args)
        pair = {doc["findings"][0]["path"], doc["findings"][0]["detail"]}
        assert len(pair & {"a", "kept"}) == 1 and len(pair & {"d/b", "d/c"}) == 1, pair
    with m.mount():
        later()
        put(m / "a", blob(3 * CHUNK, "newer"))
        eq([f[:2] for f in findings(m.path)[0]], [("note", "twin")], "while it is mounted")
    p = subprocess.run([FRONDFS, "check", "--passfile", passfile(), m.vault],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60, text=True)
    eq(p.returncode, 4)
    assert ": another file has the same id (" in p.stdout, p.stdout
    eq(p.stderr.count("whatever is accepted"), 1, p.stderr)
    assert "cp -a FILE FILE.new && mv FILE.new FILE" in p.stderr, p.stderr
    assert "put the newer" not in p.stderr, p.stderr
    named = p.stdout.partition(": another file")[0].splitlines()[-1]
    other = "a" if named.startswith("d/") else "d/b"
    twice = {"d/b": "d/c", "d/c": "d/b", "a": "kept", "kept": "a"}
    with m.mount():
        frond.run(FRONDFS, "accept-old", m / named)
        frond.run("cp", "-a", m / named, m / "new")
        os.rename(m / "new", m / named)
        frond.run("ln", "-f", m / named, m / twice[named])
        later()
        put(m / other, blob(3 * CHUNK, "once more"))
    eq(findings(m.vault)[0], [])


@check(plain=False)
def names_that_come_back_are_named():
    for name in ("d/gone", "moved", "d/dir", "link", "replaced"):
        vault, before, where = files()
        bring_back(vault, before, where[name])
        eq(findings(vault, status=4)[0], [("damaged", "put-back", name)])
        eq(findings(vault, "--repair", status=4)[0], [("damaged", "put-back", name)])


@check(plain=False)
def who_accepts_it_is_not_told_again():
    vault, before, where = files()
    bring_back(vault, before, where["d/small"])
    bring_back(vault, before, where["d/gone"])
    eq(len(findings(vault, status=4)[0]), 2)
    with frond.Mount("accept-old", vault=vault) as m:
        for name in ("d/small", "d/gone"):
            eq(len(get(m / name)), 300)
    eq(findings(vault)[0], [])


@check(plain=False)
def a_journal_that_was_put_back_hides_nothing():
    with frond.Mount() as m:
        put(m / "f", blob(CHUNK * 20, "first"))
        os.sync()
        with open(m / "f", "r+b") as f:
            f.write(blob(CHUNK * 10, "second"))
            os.fsync(f.fileno())
        shutil.copytree(m.vault, copy := fresh("while mounted"), symlinks=True)
        later()
        put(m / "f", blob(CHUNK * 20, "third"))
    eq(findings(m.vault)[0], [])
    shutil.rmtree(m.vault)
    shutil.move(copy, m.vault)
    found, _ = findings(m.vault, status=4)
    # and its end may lie in the journal alone
    assert {("damaged", "old-session", None), ("damaged", "older", "f")} <= set(found), found
    p = subprocess.run([FRONDFS, "check", "--passfile", passfile(), m.vault],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60, text=True)
    assert "so delete nothing, copy the vault aside" in p.stderr, p.stderr
    with frond.Mount("accept-old", vault=m.vault) as m:
        eq(get(m / "f")[10 * CHUNK:], blob(CHUNK * 20, "first")[10 * CHUNK:])
    eq(findings(m.vault)[0], [])


@check(plain=False)
def another_machine_has_nothing_to_compare_with():
    vault, before, where = files()
    bring_back(vault, before, where["big"])
    here = os.environ["XDG_STATE_HOME"]
    os.environ["XDG_STATE_HOME"] = fresh("another machine")
    try:
        found, doc = findings(vault)
        eq((found, doc["seen"]), ([], "unknown"))
    finally:
        os.environ["XDG_STATE_HOME"] = here
    eq(findings(vault, status=4)[0], [("damaged", "older", "big")])


@check(plain=False)
def of_a_mounted_vault_the_mount_tells():
    vault, before, where = files()
    bring_back(vault, before, where["big"])
    with frond.Mount(vault=vault) as m:
        for path in (vault, m.path):
            found, doc = findings(path)
            eq((found, doc["seen"]), ([], "mounted"))
            assert "the mount notices by itself" in frondfs_check(path)


@check(plain=False)
def of_a_mount_that_does_not_remember_nobody_tells():
    vault, _, _ = files()
    for options in ("shared", "remember=off"):
        with frond.Mount(options, vault=vault) as m:
            for path in (vault, m.path):
                found, doc = findings(path)
                eq((found, doc["seen"]), ([], "unknown"), options)
                said = frondfs_check(path)
                assert "by itself" not in said and "unmount it and check it then" in said, said
        eq(findings(vault)[1]["seen"], "compared", options)


@check(plain=False)
def a_copy_is_not_taken_for_the_vault_that_is_mounted():
    vault, _, _ = files()
    with frond.Mount(vault=vault) as m:
        copy = shutil.copytree(vault, fresh("copy"), symlinks=True)
        later()
        put(m / "big", blob(CHUNK * 3, "newer still"))
        for args in (), ("--repair",):
            said = frondfs_check(copy, *args, status=(0, 1))
            assert f"{copy} is not compared" in said, said
            assert "another copy of it is mounted" in said and "by itself" not in said, said
            eq(findings(copy, *args)[1]["seen"], "unknown")
        eq(findings(vault)[1]["seen"], "mounted")
    # and then it is what it is: an older state of what was seen here
    found, doc = findings(copy, status=4)
    eq((found, doc["seen"]), ([("damaged", "older", "big")], "compared"))


@check(plain=False)
def a_check_keeps_nothing_and_is_in_nobodys_way():
    vault, before, where = files()
    shutil.rmtree(state := os.path.join(os.environ["XDG_STATE_HOME"], "frondfs"))
    shutil.copytree(before, vault, dirs_exist_ok=True, symlinks=True)
    with frond.Mount(vault=vault) as m:
        get(m / "big")
        os.unlink(m / "moved")      # as d/moved has its id
    with frond.Mount("remember=off", vault=vault) as m:
        later()
        put(m / "big", blob(CHUNK * 4, "unseen"))
    saved = {e.name: get(e.path) for e in os.scandir(state)}
    eq(findings(vault)[0], [])
    eq({e.name: get(e.path) for e in os.scandir(state)}, saved, "after a check")
    bring_back(vault, before, where["big"])
    eq(findings(vault)[0], [], "nobody has seen the newer one")


frond.main()
