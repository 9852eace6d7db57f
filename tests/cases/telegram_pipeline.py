#!/usr/bin/python3
"""A large file is sent while it is being sealed: killed, changed, spoilt in the
middle of that, and how much memory it takes (of 2 GiB with FROND_SCALE=13)."""
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import Skip, blob, check, eq, get, put, scale, until
from share import FAILED, TGSHARE
from telegram import spooled, town

MIB = 1 << 20


class Sending:
    """tgshare send of one file, under way."""

    def __init__(self, person, path):
        self.person, self.before = person, len(sent(person))
        self.process = subprocess.Popen(
            [TGSHARE, "send", path, "--to", "bob"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, TGSHARE_VAULT=person.mount.path))

    def over(self):
        return self.process.poll() is not None

    def tell(self, number):
        self.process.send_signal(number)

    def end(self):
        """(status, all that was said)"""
        out, err = self.process.communicate(timeout=300)
        return self.process.returncode, (out + err).decode()

    def until_sent(self, more):
        """Until so many more messages are out, or it is over."""
        while not self.over() and len(sent(self.person)) < self.before + more:
            time.sleep(0.002)


def outbox(person):
    top = person.path(".tgshare/outbox")
    return [os.path.join(top, n) for n in os.listdir(top) if not n.startswith(".")]


def lines(person, word, only=None):
    """What journals tell, of all sets or of one."""
    told = []
    for item in [only] if only else outbox(person):
        try:
            told += [line.split() for line in
                     get(os.path.join(item, "journal")).decode().splitlines()]
        except FileNotFoundError:
            pass
    return [line[1:] for line in told if line and line[0] == word]


def sent(person):
    return [int(line[0]) for line in lines(person, "sent")]


def parts_known_to_be_out(person):
    """Names of those that were acknowledged, of the only set."""
    parts = [line[1] + ".part" for line in lines(person, "part")]
    return [parts[n] for n in set(sent(person)) if n < len(parts)]


def drafts(person):
    return [i for i in outbox(person)
            if json.loads(get(os.path.join(i, "set.json")))["draft"]]


def sealed(person, draft):
    """How many bytes its copy has by now."""
    copy = json.loads(get(os.path.join(draft, "set.json")))["copy"]
    return os.stat(os.path.join(person.mount.vault, ".frondfs/outbox", copy)).st_size


def copies(person):
    return [n for n in os.listdir(os.path.join(person.mount.vault, ".frondfs/outbox"))
            if "lock" not in n]


def documents(api):
    """Names of the parts that lie in the chat of the two bots."""
    return [m["document"]["file_name"] for m in
            api.do("inbox", user="bob_bot", bot="alice_bot")["messages"]
            if m.get("document", {}).get("file_name", "").endswith(".part")]


def small_parts(*people):
    for person in people:
        person.tg("setup", "--part-size", "1")


def stopped_in_the_middle(alice, name):
    """A Sending that is halted while it seals, and the file it sends. The file
    has so many holes that sealing them takes a while; longer, if that was not
    long enough."""
    size = 32 * MIB
    while size <= 1024 * MIB:
        path = alice.path(f"{name} {size}")
        put(path, blob(300_000))
        os.truncate(path, size)
        sending = Sending(alice, path)
        sending.until_sent(2)
        sending.tell(signal.SIGSTOP)
        if not sending.over() and any(sealed(alice, d) < size for d in drafts(alice)):
            return sending, path
        sending.tell(signal.SIGCONT)
        sending.end()
        size *= 2
    raise AssertionError("sealing is never slower than looking")


def is_told(person):
    """Has somebody been told that it is out? The process that did so may be killed
    even then; or before it has written anything."""
    journals = (os.path.join(d, "journal") for d in outbox(person))
    return any(get(j).endswith(b"told\n") for j in journals if os.path.exists(j))


@check(plain=False)
def killed_at_any_instant_it_goes_on_where_it_was():
    with town("alice", "bob") as (api, alice, bob):
        small_parts(alice, bob)
        data = blob(scale(24 * MIB, 16 * MIB))
        film = put(alice.path("film"), data)
        kills, parts = scale(8, 6), len(data) // MIB
        killed, known = [], {}
        for n in range(kills):
            sending = Sending(alice, film)
            # anywhere: before the first part, between two, behind the last
            sending.until_sent(random.randrange(parts // kills + 1) if n else 0)
            time.sleep(random.random() * 0.02)
            sending.tell(signal.SIGKILL)
            status, said = sending.end()
            if status != -signal.SIGKILL:
                eq(status, 0, said)
            if is_told(alice):
                break       # who is told that it is out, and repeats it, means it
            killed.append(n)
            now = documents(api)
            for name in parts_known_to_be_out(alice):
                known.setdefault(name, now.count(name))
            if len(outbox(alice)) == 1 and not drafts(alice) and len(killed) >= kills // 2:
                break
        assert killed
        if not is_told(alice):
            status, said = Sending(alice, film).end()
            eq(status, 0, said)
        until(lambda: "film is open" in bob.receive(), 60, "the film")
        assert get(bob.shared("alice/film")) == data
        # one set, of which nothing was sent again that was known to be out
        eq(len(outbox(alice)), 1)
        numbers = sent(alice)
        eq(len(set(numbers)), len(numbers), f"sent twice: {sorted(numbers)}")
        names = documents(api)
        eq({name: names.count(name) for name in known}, known)
        eq(spooled(bob), [])


@check(plain=False)
def who_was_not_told_that_it_is_out_does_not_send_it_twice():
    with town("alice", "bob") as (api, alice, bob):
        small_parts(alice)
        film = put(alice.path("film"), blob(3 * MIB))
        eq(Sending(alice, film).end()[0], 0)
        once = sent(alice)
        # killed behind its last message, before its last word
        journal = os.path.join(outbox(alice)[0], "journal")
        *before, last = get(journal).splitlines(keepends=True)
        eq(last, b"told\n")
        put(journal, b"".join(before))
        for how, numbers in ("sent", once), ("sent again", 2 * once):
            status, said = Sending(alice, film).end()
            eq((status, said.split("\t")[1]), (0, how), said)
            eq(sorted(sent(alice)), sorted(numbers))


@check(plain=False)
def a_file_that_changes_meanwhile_is_not_shared():
    with town("alice", "bob") as (api, alice, bob):
        small_parts(alice)
        sending, path = stopped_in_the_middle(alice, "plan")
        with open(path, "r+b") as f:
            f.seek(-1, os.SEEK_END)
            f.write(b"!")
        sending.tell(signal.SIGCONT)
        status, said = sending.end()
        eq(status, FAILED, said)
        assert "changed while it was read" in said, said
        eq(drafts(alice), [])
        assert not [n for n in bob.receive().splitlines() if path in n]
        # what was out of it is taken back
        # (bar what a set has that was through before)
        kept = {m[3] for i in outbox(alice)
                for m in json.loads(get(os.path.join(i, "set.json")))["messages"]}
        eq([n for n in documents(api) if n not in kept], [])
        eq(len(copies(alice)), len(outbox(alice)))
        # at rest it can be shared
        status, said = Sending(alice, path).end()
        eq(status, 0, said)
        bob.receive()
        eq(get(bob.shared("alice", os.path.basename(path)))[-1:], b"!")


@check(plain=False)
def what_a_file_holds_tells_whether_it_has_changed():
    with town("alice", "bob") as (_, alice, bob):
        small_parts(alice)
        for changed in True, False:
            sending, path = stopped_in_the_middle(alice, f"film {changed}")
            was = os.stat(path)
            if changed:
                # in what is out already; and as some programs do
                with open(path, "r+b") as f:
                    first = f.read(1)[0]
                    f.seek(0)
                    f.write(bytes([first ^ 1]))
                os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
            else:
                os.chmod(path, 0o600)
            assert os.stat(path).st_ctime_ns > was.st_ctime_ns
            eq(os.stat(path).st_mtime_ns, was.st_mtime_ns)
            sending.tell(signal.SIGCONT)
            status, said = sending.end()
            eq(status, FAILED if changed else 0, said)
            assert not changed or "changed while it was read" in said, said


@check(plain=False)
def what_was_interrupted_and_changed_begins_anew():
    with town("alice", "bob") as (api, alice, bob):
        small_parts(alice)
        for spoil in ("copy", "file", "keys")[:1 if frond.SLOW else scale(2, 1)]:
            sending, path = stopped_in_the_middle(alice, spoil)
            draft, = drafts(alice)
            sending.tell(signal.SIGKILL)
            sending.end()
            parts = [line[1] + ".part" for line in lines(alice, "part", draft)]
            old = {parts[int(line[0])] for line in lines(alice, "sent", draft)}
            assert old and old <= set(documents(api))
            if spoil == "file":
                times = os.stat(path)
                with open(path, "r+b") as f:
                    f.write(b"new")
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            elif spoil == "copy":  # as after a power failure
                copy = json.loads(get(os.path.join(draft, "set.json")))["copy"]
                os.truncate(os.path.join(alice.mount.vault, ".frondfs/outbox", copy), 1000)
            else:
                os.unlink(os.path.join(draft, "keys"))
            status, said = Sending(alice, path).end()
            eq(status, 0, said)
            assert not os.path.exists(draft)
            bob.receive()
            assert get(bob.shared("alice", os.path.basename(path))) == get(path), spoil
            assert not old & set(documents(api)), spoil
            alice.receive()
            for name in (path, bob.shared("alice", os.path.basename(path))):
                os.unlink(name)


@check(plain=False)
def one_that_nobody_goes_on_with_is_given_up():
    with town("alice", "bob") as (api, alice, bob):
        small_parts(alice)
        sending, path = stopped_in_the_middle(alice, "film")
        sending.tell(signal.SIGKILL)
        sending.end()
        alice.receive()
        eq(len(drafts(alice)), 1)  # it may be gone on with yet
        had = len(documents(api))
        record = os.path.join(drafts(alice)[0], "set.json")
        told = json.loads(get(record))
        put(record, json.dumps(dict(told, created=told["created"] - 37 * 3600)).encode())
        alice.receive()
        eq(drafts(alice), [])
        eq(len(copies(alice)), len(outbox(alice)))
        assert len(documents(api)) < had
        bob.receive()
        assert not os.path.exists(bob.shared("alice", os.path.basename(path)))


@check(plain=False)
def a_folder_goes_on_in_the_middle_of_a_file_too():
    with town("alice", "bob") as (_, alice, bob):
        small_parts(alice)
        top = alice.path("photos")
        os.mkdir(top)
        data = {f"{n}.jpg": blob((n * 1_300_000) % 5_000_000, n) for n in range(9)}
        for name, bytes_ in data.items():
            put(os.path.join(top, name), bytes_)
        for _ in range(6):
            sending = Sending(alice, top)
            sending.until_sent(random.randrange(4))
            sending.tell(signal.SIGKILL)
            sending.end()
        status, said = Sending(alice, top).end()
        eq(status, 0, said)
        bob.receive()
        for name, bytes_ in data.items():
            assert get(bob.shared("alice/photos", name)) == bytes_, name
        eq(len(outbox(alice)), 1)
        eq(len(set(sent(alice))), len(sent(alice)))


@check(plain=False)
def no_room_for_the_copy_is_told_and_leaves_nothing():
    with town("alice", "bob") as (api, alice, _):
        small_parts(alice)
        path = alice.path("film")
        put(path, blob(1000))
        os.truncate(path, 40 * MIB)
        disk = os.path.join(alice.mount.vault, ".frondfs/outbox")
        frond.run("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "frond-test", disk)
        try:
            status, said = Sending(alice, path).end()
            eq(status, FAILED, said)
            assert "no room for a sealed copy" in said, said
            eq(copies(alice), [])
        finally:
            frond.run("umount", "-l", disk)
        eq(outbox(alice), [])
        eq(documents(api), [])


@check(plain=False)
def memory_does_not_grow_with_the_file():
    if frond.SLOW:
        raise Skip("a sanitizer's shadow memory is not ours")
    with town("alice", "bob", options=("--no-limits", "--local")) as (_, alice, bob):
        film = alice.path("film")
        put(film, b"x")
        os.truncate(film, scale(160, 128) * MIB)
        watch_memory(alice, "send", film, "--to", "bob")
        watch_memory(bob, "receive")
        eq(os.stat(bob.shared("alice/film")).st_size, os.stat(film).st_size)


def watch_memory(person, *argv):
    process = subprocess.Popen(
        [TGSHARE, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env=dict(os.environ, TGSHARE_VAULT=person.mount.path))
    most = 0
    while process.poll() is None:
        most = max(most, peak(process.pid))
        time.sleep(0.005)
    eq(process.returncode, 0)
    assert 0 < most < 64 << 10, f"{argv[0]}: {most} kB"


def peak(pid):
    """kB that it has had at a time, or 0."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return next((int(line.split()[1]) for line in f if line.startswith("VmHWM")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


frond.main()
