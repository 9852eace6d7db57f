#!/usr/bin/python3
"""frondfs check finds every kind of damage, and says what it is and where."""
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from command import Terminal
from frond import FRONDFS, blob, check, eq, fresh, get, passfile, put, run, until
from vaultcheck import (HEADER, SLOT, dirid, edit, findings, flip, frondfs_check, vault)


# ---- nothing wrong

@check(plain=False)
def a_healthy_vault_is_called_so_and_stays_as_it_is():
    top, where = vault()
    before = run("find", top, "-printf", "%p %s %T@ %C@ %m %l\\n")
    for args in ((), ("--jobs", "1"), ("--jobs", "5")):
        out = frondfs_check(top, *args)
        assert re.fullmatch(r"checked: 11 files, 6 directories, 2 links, [\d.]+ MiB; "
                            "nothing is damaged\n", out), out
    found, doc = findings(top)
    eq(found, [])
    eq((doc["files"], doc["directories"], doc["links"], doc["others"]), (11, 6, 2, 1))
    eq(run("find", top, "-printf", "%p %s %T@ %C@ %m %l\\n"), before)
    eq(findings(top, "--repair")[0], [])
    with frond.Mount(vault=top) as m:
        for path in (top, m.path):
            eq(findings(path)[0], [])


# ---- chunks and headers

def damaged(change, *want, name="big"):
    """The change must be found, as this, in chunks first to last, and nothing else."""
    top, where = vault()
    change(where[name])
    _, doc = findings(top, status=4)
    eq([(f["what"], f["first"], f["last"]) for f in doc["findings"]], list(want))
    for f in doc["findings"]:
        eq((f["state"], f["path"], f["backing"]),
           ("damaged", name, os.path.relpath(where[name], top)))
    before = get(where[name])
    findings(top, "--repair", status=4)
    eq(get(where[name]), before, "a damaged file that a repair changed")


@check(plain=False)
def each_damage_of_a_file_is_found_and_named():
    def swap(p):
        data = get(p)
        one, two = data[HEADER:HEADER + SLOT], data[HEADER + SLOT:HEADER + 2 * SLOT]
        edit(p, HEADER, two + one)

    for chunk in range(4):
        damaged(lambda p: flip(p, HEADER + chunk * SLOT + 30), ("token", chunk, chunk))
    damaged(lambda p: edit(p, HEADER, bytes(SLOT)), ("zeroed", 0, 0))
    damaged(lambda p: edit(p, HEADER + SLOT, bytes(2 * SLOT)), ("zeroed", 1, 2))
    damaged(swap, ("moved", 0, 1))
    damaged(lambda p: os.truncate(p, HEADER + 2 * SLOT), ("cut", 1, 1))
    damaged(lambda p: os.truncate(p, HEADER + 2 * SLOT + 5), ("cut", 1, 1))
    damaged(lambda p: os.truncate(p, HEADER + 2 * SLOT + 99), ("token", 2, 2))
    damaged(lambda p: os.truncate(p, HEADER + SLOT), ("cut", 0, 0), name="edge")
    damaged(lambda p: os.truncate(p, HEADER + 20), ("length", 0, 0))
    damaged(lambda p: put(p, get(p) + b"tail"), ("token", 3, 3))
    damaged(lambda p: flip(p, HEADER + 3 * SLOT + 5 + 80), ("padding", 3, 3))
    damaged(lambda p: put(p, get(p) + get(p)[HEADER + SLOT:HEADER + 2 * SLOT]),
            ("mark", 1, 1), ("token", 2, 2), name="edge")
    for at in (0, 9, 30, 60, 170):
        top, where = vault()
        flip(where["big"], at)
        # the id of the directory is a hint, and nothing depends on it
        want = [("damaged", "header", "big")] if at != 30 else []
        eq(findings(top, status=4 if want else 0)[0], want)
    for size in (0, 10, HEADER - 1):
        top, where = vault()
        os.truncate(where["small"], size)
        # it has two names
        eq(findings(top, status=4)[0],
           [("damaged", "header", "d/linked"), ("damaged", "header", "small")])


@check(plain=False)
def damage_of_a_big_file_is_told_in_one_line_each():
    top, where = vault()
    for first, count in ((0, 3), (200, 1), (300, 300), (767, 1)):
        for i in range(first, first + count):
            edit(where["huge"], HEADER + i * SLOT + 100, b"damage")
    for jobs in ("1", "4"):
        eq(frondfs_check(top, "--jobs", jobs, status=4).splitlines()[:-1],
           ["huge: chunks 0 to 2 (bytes 0 to 12287): the token does not verify",
            "huge: chunk 200 (byte 819200 on): the token does not verify",
            "huge: chunks 300 to 599 (bytes 1228800 to 2457599): the token does not verify",
            "huge: chunk 767 (byte 3141632 on): the token does not verify"])


@check(plain=False)
def a_locked_file_is_counted_and_costs_nothing():
    top, where = vault()
    size = os.stat(where["big"]).st_size
    edit(where["big"], 40, bytes(121))
    os.truncate(where["big"], HEADER)
    os.truncate(where["big"], size)
    found, doc = findings(top)
    eq((found, doc["locked"]), ([], 1))


# ---- names, links, attributes

@check(plain=False)
def damaged_links_and_attributes_are_named():
    top, where = vault()
    links = {len(os.readlink(e.path)): e.path for e in os.scandir(top) if e.is_symlink()}
    eq(sorted(links)[0], 33)
    for e in os.scandir(top):
        if e.name.endswith(".link"):
            flip(e.path, 2000)
    text = os.readlink(links[max(links)])
    os.unlink(links[max(links)])
    os.symlink(text[:40] + ("A" if text[40] != "A" else "B") + text[41:], links[max(links)])
    for name in ("d", "big"):
        stored_name = max(a for a in os.listxattr(where[name]) if "frondfs" in a)
        value = bytearray(os.getxattr(where[name], stored_name))
        value[30] ^= 1
        os.setxattr(where[name], stored_name, bytes(value))
    wanted = [("damaged", "link", "link"), ("damaged", "link", "long link"),
              ("damaged", "xattr", "big"), ("damaged", "xattr", "d")]
    eq(findings(top, status=4)[0], wanted)
    eq(findings(top, "--repair", status=4)[0], wanted)


@check(plain=False)
def copies_of_vault_ini_are_named():
    top, _ = vault()
    meta = os.path.join(top, ".frondfs")
    text = get(os.path.join(meta, "vault.ini"))
    names = ["vault (conflicted copy).ini", "vault.ini~", "old",
             "vault.sync-conflict-20261121-120000-ABCDEFG.ini"]
    for name in names:
        put(os.path.join(meta, name), text)
    # that of another vault opens nothing here, and this opens nothing at all
    put(os.path.join(meta, "vault (1).ini"), get(os.path.join(frond.new_vault(),
                                                              ".frondfs/vault.ini")))
    put(os.path.join(meta, "vault.ini.part"), text[:-9])
    os.symlink("vault.ini", os.path.join(meta, "link"))

    def named(where):
        found, doc = findings(where)
        eq(found, [("note", "vault-ini-copy", None)] * len(names))
        eq(sorted(f["backing"] for f in doc["findings"]),
           sorted(f".frondfs/{name}" for name in names))
    named(top)
    with frond.Mount(vault=top) as m:
        named(m.path)
    assert f".frondfs/{names[0]} (in the backing directory): a copy of vault.ini" in \
        frondfs_check(top)
    findings(top, "--repair")
    eq(get(os.path.join(meta, "old")), text)


@check(plain=False)
def what_is_damaged_is_told_with_what_to_do():
    top, where = vault()

    def advice(*args):
        p = subprocess.run([FRONDFS, "check", "--passfile", passfile(), *args, top],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=60)
        return p.stderr
    eq(advice(), "")
    for name in ("big", "huge"):
        flip(where[name], HEADER + SLOT + 30)
    said = advice()
    assert said.count("\n") == 1 and "restore them from a backup" in said, said
    frond.lose_dirid(dirid(where["bare"]))
    put(os.path.join(top, ".frondfs", "log"), b"y" * 457)
    put(os.path.join(top, ".frondfs", "identity"), b"x" * 105)
    for said in advice(), advice("--json"):
        for words in ("restore them from a backup", "'frondfs check --repair'",
                      "move both away", ".frondfs/identity"):
            assert words in said, said
    said = advice("--repair")
    assert "--repair" not in said and "restore them from a backup" in said, said
    # and as it says, without a backup
    for name in ("log", "log.head", "identity"):
        if os.path.exists(path := os.path.join(top, ".frondfs", name)):
            os.unlink(path)
    flip(where["big"], HEADER + SLOT + 30)
    flip(where["huge"], HEADER + SLOT + 30)
    eq(findings(top)[0], [])
    with frond.Mount(vault=top):
        pass
    eq(findings(top)[0], [])


@check(plain=False)
def what_lies_in_the_vaults_own_directory_is_verified():
    top, _ = vault()
    meta = os.path.join(top, ".frondfs")
    name = hashlib.blake2b(b"a part", digest_size=32).hexdigest()
    os.makedirs(os.path.join(meta, "inbox"), exist_ok=True)
    put(os.path.join(meta, "inbox", name + ".part"), b"a part")
    with frond.Mount(vault=top):
        pass
    eq(findings(top)[0], [])
    put(os.path.join(meta, "inbox", "0" * 64 + ".part"), b"not that")
    for record in "0" * 32 + ".set", "0" * 32 + ".grant", "shared.dir":
        put(os.path.join(meta, "inbox", record), b"z" * 201)
    put(os.path.join(meta, "identity"), b"x" * 105)
    put(os.path.join(meta, "log"), b"y" * 457)
    found, doc = findings(top, status=4)
    eq([f[1] for f in found], ["identity", "log"] + 3 * ["record"] + ["spooled"])
    eq(findings(top, "--repair", status=4)[0], found)


@check(plain=False)
def what_is_nothing_but_long_in_the_inbox_takes_no_time():
    """Read to its end it would take hours, and cost whoever put it there none."""
    top, _ = vault()
    inbox = os.path.join(top, ".frondfs/inbox")
    os.makedirs(inbox, exist_ok=True)

    def lie(name):
        put(os.path.join(inbox, name))
        os.truncate(os.path.join(inbox, name), 4 << 40)
    lie("1" * 64 + ".env")
    eq([f[1] for f in findings(top, status=4)[0]], ["spooled"])
    # a part may be long: then it can be stopped
    lie("2" * 64 + ".part")
    argv = [frond.FRONDFS, "check", "--passfile", frond.passfile(), top]
    p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(2)
        eq(p.poll(), None, "the part was not read")
        p.send_signal(signal.SIGINT)
        p.wait(60)
    finally:
        p.kill()
        p.wait()


# ---- mounted

class Writers:
    """Change everything about a mount until told to stop."""

    def __init__(self, m):
        self.m, self.stop, self.errors = m, threading.Event(), []
        self.threads = [threading.Thread(target=self.run, args=(f, n)) for n, f in
                        enumerate((self.files, self.names, self.directories, self.grow))]

    def run(self, what, n):
        base = self.m / f"writer {n}"
        os.mkdir(base)
        turn = 0
        while not self.stop.is_set():
            try:
                what(base, turn)
            except OSError as e:
                self.errors.append(e)
                return
            turn += 1

    def files(self, base, turn):
        path = os.path.join(base, f"f{turn % 7}")
        with open(path, "r+b" if os.path.exists(path) else "w+b") as f:
            f.seek((turn * 7919) % 200000)
            f.write(blob(5000, turn))
            if turn % 5 == 0:
                f.truncate((turn * 104729) % 300000)
            if turn % 11 == 0:
                os.fsync(f.fileno())

    def names(self, base, turn):
        path = os.path.join(base, "n" * (turn % 250 + 1))
        put(path, b"x")
        os.setxattr(path, "user.turn", str(turn).encode())
        os.symlink("t" * (turn * 37 % 4000 + 1), path[:-1] + "l")
        os.rename(path, os.path.join(base, "m" * (turn * 7 % 250 + 1)))
        os.unlink(path[:-1] + "l")

    def directories(self, base, turn):
        path = os.path.join(base, "d" * (turn % 240 + 1))
        os.mkdir(path)
        put(os.path.join(path, "in it"), b"x")
        os.rename(path, path + "e")
        os.unlink(os.path.join(path + "e", "in it"))
        os.rmdir(path + "e")

    def grow(self, base, turn):
        with open(os.path.join(base, f"g{turn // 400 % 3}"), "ab") as f:
            f.write(blob(4096 * (turn % 3) + turn % 100 + 1, turn % 50))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        eq(self.errors, [])


@check(plain=False)
def a_mounted_vault_that_is_being_written_is_not_called_damaged():
    for options in ("", "writeback=off"):
        m = frond.Mount(options)
        with m:
            with Writers(m):
                for n in range(frond.scale(3, 1)):
                    found, _ = findings((m.vault, m.path)[n % 2])
                    eq([f for f in found if f[1] not in ("busy", "leftover")], [])
        eq(findings(m.vault)[0], [])


@check(plain=False)
def damage_that_goes_away_was_somebody_at_work():
    """What a check sees in the first moment, and not for long."""
    top, where = vault()
    changes = [(where["huge"], lambda d: d[:9000] + b"!" * 9 + d[9009:]),
               (where["big"], lambda d: b"!" + d[1:]), (where["edge"], lambda d: d[:-700]),
               (dirid(where["d/e"]), lambda d: b""), (where["holes"], lambda d: d[:500])]
    with frond.Mount(vault=top) as m:
        good = [get(path) for path, _ in changes]
        for (path, change), data in zip(changes, good):
            put(path, change(data))
        timer = threading.Timer(1.5, lambda: [put(path, data) for (path, _), data
                                              in zip(changes, good)])
        timer.start()
        eq(findings(m.path)[0], [])
        timer.join()


@check(plain=False)
def damage_on_a_mounted_vault_is_found_nevertheless():
    top, where = vault()
    with frond.Mount(vault=top) as m:
        flip(where["huge"], HEADER + 300 * SLOT + 77)
        flip(where["big"], 60)
        frond.lose_dirid(dirid(where["bare"]))
        head, tail = os.path.split(where["edge"])
        os.rename(where["edge"], f"{head}/{'B' if tail[0] == 'A' else 'A'}{tail[1:]}")
        flip(next(e.path for e in os.scandir(top) if e.name.endswith(".link")), 2000)
        attribute = max(a for a in os.listxattr(where["d"]) if "frondfs" in a)
        os.setxattr(where["d"], attribute, bytes(os.getxattr(where["d"], attribute)[:-1]))
        put(os.path.join(top, ".frondfs", "log"), b"y" * 457)
        put(os.path.join(top, ".frondfs", "identity"), b"x" * 105)
        want = [("damaged", "dirid", "bare"), ("damaged", "header", "big"),
                ("damaged", "identity", None), ("damaged", "link", "long link"),
                ("damaged", "log", None), ("damaged", "name", None),
                ("damaged", "token", "huge"), ("damaged", "xattr", "d")]
        eq(findings(m.path, status=4)[0], want)
        out = frondfs_check(top, "--repair", status=8)
        eq(out, "")
        frondfs_check(m / "d", status=8)


# ---- how far it is

@check(plain=False, root=True)
def a_terminal_shows_a_bar_with_rate_and_time_left():
    top, _ = vault()
    far = fresh("far")
    os.mkdir(far)
    run(frond.helper("slow_fs"), top, far, "5")
    try:
        watched = Terminal("check", "--jobs", "1", "--passfile", passfile(), far)
        watched.expect("checking [")
        shown = watched.end(says="nothing is damaged")
        bar = re.match(r"(#*) *\] +(\d+)%  [\d.]+ [KM]?i?B/s  \d:\d\d:\d\d left\r\x1b\[K", shown)
        assert bar and int(bar[2]) * 24 // 100 - len(bar[1]) in (0, 1), shown
    finally:
        until(lambda: not subprocess.run(["umount", far], stderr=subprocess.DEVNULL).returncode,
              what="unmounting")


# ---- how it ends

@check(plain=False)
def the_exit_status_is_that_of_fsck():
    top, where = vault()
    frondfs_check(top, "--no-such-option", status=16)
    frondfs_check(top, "--jobs", "0", status=16)
    frondfs_check(fresh("nowhere"), status=8)
    wrong = passfile("wrong")
    eq(subprocess.run([FRONDFS, "check", "--passfile", wrong, top],
                      stderr=subprocess.DEVNULL).returncode, 8)
    frond.lose_dirid(dirid(where["bare"]))
    flip(where["big"], HEADER + 9)
    frondfs_check(top, status=4)
    frondfs_check(top, "--repair", status=5)
    frondfs_check(top, "--repair", status=4)
    os.truncate(os.path.join(top, ".frondfs/vault.ini"), 100)
    frondfs_check(top, status=4)


@check(plain=False)
def what_fails_around_it_does_not_look_like_a_repair():
    top, where = vault()

    def status(*args, out=None, **env):
        with open(out or os.devnull, "w") as f:
            return subprocess.run([FRONDFS, "check", "--passfile", passfile(), *args, top],
                                  stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.DEVNULL,
                                  env=dict(os.environ, **env), timeout=60).returncode
    eq(status(FRONDFS_CRYPTO="none"), 8)
    eq((status(out="/dev/full"), status("--json", out="/dev/full")), (8, 8))
    flip(where["big"], HEADER + 9)
    eq((status(), status("--json", out="/dev/full")), (4, 12))


@check(plain=False)
def an_interrupt_ends_it_with_a_summary():
    top, where = vault()
    for n in range(3000):
        put(os.path.join(top, f"foreign file number {n} of many.txt"), b"")
    # Nobody reads what it says, so that it cannot end by itself.
    p = subprocess.Popen([FRONDFS, "check", "--passfile", passfile(), top],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    eq(p.stdout.read(1), b"f")
    p.send_signal(signal.SIGINT)
    out = p.stdout.read().decode()
    eq(p.wait(60), 32)
    assert out.splitlines()[-1].startswith("ended early: "), out[-300:]


@check(plain=False, root=True)
def what_may_not_be_read_is_said():
    user = 65534
    m = frond.Mount()
    put(m / "f", b"x")
    put(m / "g", b"x")
    backing = os.fsdecode(m.backing(m / "f"))
    m.umount()
    run("chown", "-R", str(user), m.vault)
    os.chown(backing, 0, 0)
    os.chmod(backing, 0o600)
    p = subprocess.run([FRONDFS, "check", "--passfile", passfile(), m.vault], text=True,
                       stdout=subprocess.PIPE, preexec_fn=frond._become(user), timeout=60)
    eq((p.returncode, p.stdout.splitlines()[0]), (8, "f: cannot be read: Permission denied"))


frond.main()
