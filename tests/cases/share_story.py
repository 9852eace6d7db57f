#!/usr/bin/python3
"""Sharing from end to end: people with vaults, mounts and a folder for messages."""
import base64
import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, fresh, get, put, raises, scale, until
from share import FAILED, QUEUED, TGSHARE, UNKNOWN, people, readable, same_tree, tg


class crowd:
    """with crowd("alice", "bob") as (alice, bob): unmounted afterwards."""

    def __init__(self, *names):
        self.everybody = people(*names)

    def __enter__(self):
        return self.everybody

    def __exit__(self, kind, *_):
        for person in self.everybody:
            person.mount.drop() if kind else person.mount.umount()


def share_of(path):
    return os.getxattr(path, "user.frondfs.share").decode()


@check(plain=False)
def the_story():
    with crowd("alice", "bob", "carol", "dave") as (alice, bob, carol, dave):
        data = blob(3_000_017)
        report = put(alice.path("report.pdf"), data)
        os.utime(report, ns=(1_600_000_000_123_456_789,) * 2)
        (set_id, state, name, to, code), = alice.send(
            "send", report, "--to", "bob", "--shares", "3", "--threshold", "2",
            "--via", "bob,carol,dave", "--note", "As promised.")
        eq((state, name, to), ("sent", "report.pdf", "bob"))
        eq([s["holder"] for s in alice.given(set_id)["shares"]], ["bob", "carol", "dave"])

        # at once, with its true size and time, and a lock
        said = bob.receive()
        assert "1 of 2 shares, waiting for carol or dave" in said, said
        theirs = bob.shared("alice", "report.pdf")
        st = os.stat(theirs)
        eq((st.st_size, st.st_mtime_ns), (len(data), 1_600_000_000_123_456_789))
        raises(errno.ENOKEY, get, theirs)
        text = share_of(theirs)
        for what in "carol", "dave", code:
            assert what in text, text
        came = bob.came(set_id)
        eq((came["have"], came["need"], came["from"], came["note"], came["code"]),
           (1, 2, "alice", "As promised.", code))
        eq([m["holder"] for m in came["missing"]], ["carol", "dave"])
        alice.receive()
        eq(alice.given(set_id)["state"], "received")
        tg("send", theirs, "--to", "carol", env={"TGSHARE_VAULT": bob.mount.path},
           status=FAILED, says="shared with you")

        # nobody in between can read it, and carol decides
        carol.receive()
        assert not os.path.exists(carol.shared("alice"))
        raises(errno.ENOKEY, get, theirs)
        kept, = carol.status()["came"]
        eq((kept["state"], kept["index"]), ("kept for another", 2))
        carol.tg("release", set_id[:8], says="goes to bob")
        eq(carol.status()["came"], [])
        said = bob.receive()
        assert "report.pdf is open, from alice" in said, said
        eq(get(theirs), data)
        eq(os.stat(theirs).st_mtime_ns, 1_600_000_000_123_456_789)
        raises(OSError(errno.ENODATA, "").errno, os.getxattr, theirs, "user.frondfs.share")
        eq(os.getxattr(theirs, "user.xdg.comment"), b"As promised.")
        with open(theirs, "ab") as f:
            f.write(b"mine now")
        eq(get(theirs), data + b"mine now")
        eq(get(report), data)

        alice.receive()
        given = alice.given(set_id)
        eq(given["state"], "opened")
        eq([s["state"] for s in given["shares"]], ["received", "passed on", "sent"])
        # a share too many changes nothing
        dave.receive()
        dave.tg("release", "--all")
        bob.receive()
        eq(sorted(os.listdir(bob.shared("alice"))), ["report.pdf"])
        eq(get(theirs), data + b"mine now")
        for person, events in ((alice, {"sent", "acknowledged"}),
                               (bob, {"received", "opened"}),
                               (carol, {"kept", "released"})):
            person.tg("log", "--verify", says="whole")
            assert events <= {r["event"] for r in person.log()}, person.log()
        alice.tg("revoke", report, status=UNKNOWN, says="theirs now")
        bob.mount.remount()
        eq(get(theirs), data + b"mine now")
        spooled = os.listdir(os.path.join(bob.mount.vault, ".frondfs/inbox"))
        eq([n for n in spooled if n.endswith((".part", ".env", ".tmp"))], [])
        copies = os.listdir(os.path.join(alice.mount.vault, ".frondfs/outbox"))
        eq([n for n in copies if re.fullmatch("[0-9a-f]{32}", n)], [])


@check(plain=False)
def a_name_that_is_taken_becomes_another_and_is_told():
    with crowd("alice", "bob") as (alice, bob):
        for i in 1, 2:
            file = put(alice.path("report.pdf"), b"%d" % i)
            (set_id, *_), = alice.send("send", file, "--to", "bob")
            said = bob.receive()
        assert "(2).pdf is open, from alice: Shared/alice/report (2).pdf\n" in said, said
        eq(bob.log("opened")[-1]["text"], "Shared/alice/report (2).pdf")
        assert "report (2).pdf from alice, in Shared/alice/report (2).pdf\n" in \
            bob.tg("status"), bob.tg("status")
        eq(get(bob.shared("alice/report (2).pdf")), b"2")


@check(plain=False)
def what_is_locked_under_another_name_is_told_by_that():
    with crowd("alice", "bob", "carol") as (alice, bob, _):
        theirs = ["--shares", "2", "--threshold", "2", "--via", "bob,carol"]
        put(alice.path("plan.odt"), b"1")
        alice.send("send", alice.path("plan.odt"), "--to", "bob")
        bob.receive()
        (set_id, *_), = alice.send("send", alice.path("plan.odt"), "--to", "bob", *theirs)
        place = "Shared/alice/plan (2).odt"
        line = f"{set_id[:8]}  plan.odt from alice, in {place}: locked: 1 of 2 shares"
        for said in bob.receive(), bob.tg("status"):
            assert line in said, said
        eq(bob.came(set_id)["path"], place)
        # what lies under its own name needs no more words
        other = put(alice.path("other.odt"), b"x")
        (set_id2, *_), = alice.send("send", other, "--to", "bob", *theirs)
        said = bob.receive()
        assert f"{set_id2[:8]}  other.odt from alice: locked" in said, said
        eq(bob.came(set_id2)["path"], "Shared/alice/other.odt")
        # nor what is somewhere else by now, with another file in its place
        os.rename(bob.path(place), bob.path("mine"))
        for _ in range(2):
            assert f"{set_id[:8]}  plan.odt from alice: locked" in bob.tg("status")
            eq(bob.came(set_id)["path"], "")
            put(bob.path(place), b"no set's")


@check(plain=False)
def a_grant_is_open_when_it_can_be_read():
    with crowd("alice", "bob") as (alice, bob):
        file = put(alice.path("plan"), b"plan")
        (set_id, *_), = alice.send("grant", file, "--to", "bob")
        said = bob.receive()
        assert "is open" not in said and "'frondfs attach" in said, said
        alice.receive()
        eq(alice.given(set_id)["state"], "received")
        bob.attach(alice)
        readable(bob.shared("alice/plan"), b"plan")
        bob.receive()
        alice.receive()
        eq(alice.given(set_id)["state"], "opened")


@check(plain=False)
def who_is_unknown_waits_until_the_card_is_there():
    with crowd("alice", "bob") as (alice, bob):
        bob.tg("contact", "remove", "alice")
        alice.send("send", put(alice.path("name of my choosing"), b"x"), "--to", "bob")
        bob.receive()
        unknown, = os.listdir(bob.shared())
        assert unknown.startswith("unverified-"), unknown
        entry, = os.listdir(bob.shared(unknown))
        assert "name" not in entry, entry
        raises(errno.ENOKEY, get, bob.shared(unknown, entry))
        bob.tg("contact", "add", "alice", alice.card)
        bob.receive()
        readable(bob.shared("alice/name of my choosing"), b"x")
        assert not os.path.exists(bob.shared(unknown, entry))


@check(plain=False)
def a_folder_arrives_as_it_is():
    with crowd("alice", "bob") as (alice, bob):
        top = alice.path("folder")
        for i in range(scale(200, 30)):
            where = os.path.join(top, *f"{i % 7}/deep"[:1 + i % 6].strip("/").split("/"))
            os.makedirs(where, exist_ok=True)
            put(os.path.join(where, f"file {i} ü"), blob(random.Random(i).randrange(20000), i))
        put(os.path.join(top, "empty"))
        os.mkdir(os.path.join(top, "nothing in it"))
        os.symlink("empty", os.path.join(top, "link"))
        (set_id, *_), = alice.send("send", top, "--to", "bob", says="left out")
        bob.receive()
        os.unlink(os.path.join(top, "link"))
        readable(bob.shared("alice/folder/empty"), b"")
        same_tree(top, bob.shared("alice/folder"))
        alice.receive()
        eq(alice.given(set_id)["state"], "opened")


@check(plain=False)
def sixteen_of_sixteen_and_several_recipients():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        data = blob(5000)
        file = put(alice.path("all of them"), data)
        sets = alice.send("send", file, "--to", "bob,carol", "--shares", "16",
                          "--threshold", "16")
        eq([(s[1], s[3]) for s in sets], [("sent", "bob"), ("sent", "carol")])
        assert sets[0][4] != sets[1][4] and sets[0][0] != sets[1][0]
        for person in bob, carol:
            person.receive()
            readable(person.shared("alice/all of them"), data)
        # two files are two sets, two of one name are both kept
        os.mkdir(alice.path("other"))
        other = put(alice.path("other/all of them"), b"other")
        eq(len(alice.send("send", file, other, "--to", "bob")), 2)
        bob.receive()
        eq(sorted(os.listdir(bob.shared("alice"))),
           ["all of them", "all of them (2)", "all of them (3)"])


@check(plain=False)
def an_empty_file_and_one_of_many_parts():
    with crowd("alice", "bob") as (alice, bob):
        data = blob(scale(90, 70) << 20, 3)
        alice.send("send", put(alice.path("none")), put(alice.path("much"), data),
                   "--to", "bob")
        bob.receive()
        eq(get(bob.shared("alice/none")), b"")
        eq(get(bob.shared("alice/much")), data)


@check(plain=False)
def what_is_not_opened_can_be_withdrawn():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        file = put(alice.path("mistake"), b"x")
        (set_id, *_), = alice.send("send", file, "--to", "bob", "--shares", "2",
                                   "--threshold", "2", "--via", "bob,carol")
        bob.receive()
        carol.receive()
        assert os.path.exists(bob.shared("alice/mistake"))
        alice.tg("revoke", file, says="withdrew mistake from bob")
        eq(alice.given(set_id)["state"], "withdrawn")
        said = bob.receive()
        assert "withdrawn by alice" in said, said
        carol.receive()
        carol.tg("release", "--all", says="no share")
        eq(fails_with(bob.shared("alice/mistake")), errno.EKEYREVOKED)
        eq(bob.came(set_id)["state"], "revoked")
        os.unlink(bob.shared("alice/mistake"))
        bob.receive()
        eq(bob.came(set_id), None)
        eq(bob.log("withdrawn")[0]["text"], "mistake")
        # one that nobody collected leaves the mailboxes again
        (set_id, *_), = alice.send("send", file, "--to", "bob")
        alice.tg("revoke", set_id[:8], "--from", "carol", status=5)
        alice.tg("revoke", set_id[:8], "--from", "bob")
        bob.receive()
        assert not os.path.exists(bob.shared("alice/mistake"))


def backing_file(mount, path):
    text = frond.run(frond.FRONDFS, "info", path)
    return os.path.join(mount.vault, re.search(r"(?m)^backing file: *(.*)$", text)[1])


@check(plain=False)
def what_was_withdrawn_is_listed_until_it_is_removed():
    with crowd("alice", "bob", "dave") as (alice, bob, _):
        sets = {}
        for name in "stays", "moved", "gone", "far":
            os.mkdir(alice.path("folder " + name))
            for n in "a", "b":
                put(alice.path("folder " + name, n), n.encode())
            for path in put(alice.path(name), b"x"), alice.path("folder " + name):
                (sets[os.path.basename(path)], *_), = alice.send(
                    "send", path, "--to", "bob", "--shares", "2", "--threshold", "2",
                    "--via", "bob,dave")
        bob.receive()
        for set_id in sets.values():
            alice.tg("revoke", set_id)
        bob.receive()
        for name in "moved", "folder moved":
            os.rename(bob.shared("alice", name), bob.path(name))
        bob.mount.remount()
        names = {os.path.basename(p["path"]) or p["name"] for p in bob.status()["came"]}
        eq(names, set(sets))
        # where no mount sees it
        gone = [backing_file(bob.mount, bob.shared("alice", n))
                for n in ("gone", "folder gone/a", "folder gone/b")]
        folder = os.path.dirname(gone[1])
        # and where one does
        os.unlink(bob.shared("alice/far"))
        frond.run("rm", "-r", bob.shared("alice/folder far"))
        bob.mount.umount()
        frond.run("rm", "-r", gone[0], folder)
        bob.mount.mount()
        bob.receive()
        eq({p["set"] for p in bob.status()["came"]},
           {s for n, s in sets.items() if n.split()[-1] in ("stays", "moved")})
        frond.run("rm", "-r", bob.path("moved"), bob.path("folder moved"),
                  bob.shared("alice"))
        eq((bob.tg("status"), bob.receive()), ("Nothing is under way.\n", ""))
        alice.receive()
        eq({alice.given(s)["state"] for s in sets.values()}, {"withdrawn"})


@check(plain=False)
def a_grant_shows_the_file_as_it_is_until_it_is_revoked():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        plan = put(alice.path("plan.odt"), b"first\n")
        first, second = alice.send("grant", plan, "--to", "bob,carol")
        bob.receive()
        theirs = bob.shared("alice/plan.odt")
        eq(bob.came(first[0])["state"], "not attached")
        for person in bob, carol:
            person.attach(alice)
            person.receive()
            readable(person.shared("alice/plan.odt"), b"first\n")
        raises((errno.EROFS, errno.EACCES, errno.EPERM), put, theirs, b"x")
        put(plan, b"second, longer\n")
        readable(theirs, b"second, longer\n", 3)
        until(lambda: os.stat(theirs).st_size == 15, 3, "the new size")
        alice.receive()
        eq({alice.given(s[0])["state"] for s in (first, second)}, {"opened"})
        # granting it again to who has it makes nothing new
        eq(alice.send("grant", plan, "--to", "bob")[0][0], first[0])

        link = alice.path("hard link")
        os.link(plan, link)
        before = get(alice.mount.backing(plan))[:176]
        said = alice.tg("revoke", plan, "--from", "bob")
        assert "already stays read" in said, said
        assert get(alice.mount.backing(plan))[:176] != before
        eq(get(link), b"second, longer\n")
        eq(os.stat(plan).st_ino, os.stat(link).st_ino)
        bob.receive()
        until(lambda: fails_with(theirs) == errno.EKEYREVOKED, what="EKEYREVOKED")
        carol.receive()
        put(plan, b"third\n")
        readable(carol.shared("alice/plan.odt"), b"third\n", 5)
        eq(os.listdir(carol.shared("alice")), ["plan.odt"])
        eq(fails_with(theirs), errno.EKEYREVOKED)
        eq((alice.given(first[0])["state"], alice.given(second[0])["state"]),
           ("revoked", "replaced"))
        alice.tg("revoke", plan)
        carol.receive()
        until(lambda: fails_with(carol.shared("alice/plan.odt")) == errno.EKEYREVOKED,
              what="EKEYREVOKED")
        alice.tg("revoke", plan, status=5, says="nothing")
        eq(get(plan), b"third\n")
        for person in alice, bob, carol:
            person.tg("log", "--verify", says="whole")


@check(plain=False)
def a_copy_from_before_a_new_key_is_named_as_such():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        plan = put(alice.path("plan"), b"first\n")
        alice.send("grant", plan, "--to", "bob,carol")
        copy = frond.fresh("copy")
        frond.run("cp", "-a", alice.mount.vault, copy)
        frond.run(frond.FRONDFS, "attach", bob.mount.path, "alice", copy)
        bob.receive()
        theirs = bob.shared("alice/plan")
        readable(theirs, b"first\n")
        alice.tg("revoke", plan, "--from", "carol")
        bob.receive()
        until(lambda: fails_with(theirs) == errno.EIO, what="EIO")
        assert "alice/plan: damaged, or read from a copy" in bob.mount.log(), bob.mount.log()
        # as the manual says; rsync would need --checksum
        frond.run("cp", "-a", f"{alice.mount.vault}/.", copy)
        readable(theirs, b"first\n")


@check(plain=False)
def granted_files_that_were_replaced_or_removed_are_told():
    with crowd("alice", "bob") as (alice, bob):
        bob.attach(alice)
        os.makedirs(alice.path("folder/deeper"))
        for name in "doc", "folder/a", "folder/b", "folder/deeper/c":
            put(alice.path(name), b"first")
        (doc, *_), = alice.send("grant", alice.path("doc"), "--to", "bob")
        (folder, *_), = alice.send("grant", alice.path("folder"), "--to", "bob")
        bob.receive()
        alice.receive()

        def gone():
            return [(alice.given(s)["gone"], bob.came(s)["gone"]) for s in (doc, folder)]
        # nothing of that ends a grant
        put(alice.path("doc"), b"second")
        os.rename(alice.path("folder/b"), alice.path("folder/deeper/b"))
        readable(bob.shared("alice/folder/b"), b"first")
        eq(gone(), [(0, 0), (1, 0)])
        assert "folder/b: not there any more; what was moved stays" in alice.tg("status")
        assert "any more" not in bob.tg("status")
        os.rename(alice.path("folder/deeper/b"), alice.path("folder/b"))
        eq(gone(), [(0, 0), (0, 0)])
        # and this does, as many programs save
        os.rename(put(alice.path("new"), b"third"), alice.path("doc"))
        os.unlink(alice.path("folder/a"))
        os.rename(put(alice.path("new"), b"third"), alice.path("folder/deeper/c"))
        eq(fails_with(bob.shared("alice/doc")), errno.ENOENT)
        eq(gone(), [(1, 1), (2, 2)])
        says = alice.tg("status")
        assert "doc: a new file is in its place, which is not granted" in says, says
        assert "and 1 more: a new file" in says, says
        says = bob.tg("status")
        assert "doc from alice: granted; " in says, says
        assert "folder from alice: may be read; " in says, says
        assert "Shared/alice/doc: not in the vault of alice any more" in says, says
        assert "and 1 more: not in the vault of alice" in says, says
        (again, *_), = alice.send("grant", alice.path("doc"), "--to", "bob")
        assert again != doc
        bob.receive()
        eq((alice.given(again)["gone"], bob.came(again)["gone"]), (0, 0))


@check(plain=False)
def what_is_granted_again_takes_the_old_place():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        bob.attach(alice)

        def save(name, data):
            os.rename(put(alice.path("new"), data), alice.path(name))

        def grant(name, to="bob"):
            (set_id, *_), = alice.send("grant", alice.path(name), "--to", to)
            for person in bob, carol, alice:
                person.receive()
            return set_id
        put(alice.path("doc"), b"first")
        sets = [grant("doc")]
        hers = grant("doc", "carol")
        readable(bob.shared("alice/doc"), b"first")
        for data in b"second", b"third":
            save("doc", data)
            sets.append(grant("doc"))
            readable(bob.shared("alice/doc"), data)
            eq(os.listdir(bob.shared("alice")), ["doc"])
            eq([alice.given(s)["state"] for s in sets],
               ["replaced"] * (len(sets) - 1) + ["opened"])
            eq([c["set"] for c in bob.status()["came"]], sets[-1:])
            # and the same once more is the same
            eq(grant("doc"), sets[-1])
        for person in alice, bob:
            says = person.tg("status", "--all")
            assert "ask to be" not in says, says
            eq(says.count("in its place"), int(person is alice), says)  # carol's
        eq(alice.given(hers)["gone"], 1)
        eq(bob.log("refused"), [])
        # bob is away
        for data in b"between", b"last":
            save("doc", data)
            alice.send("grant", alice.path("doc"), "--to", "bob")
        bob.receive()
        readable(bob.shared("alice/doc"), b"last")
        eq(os.listdir(bob.shared("alice")), ["doc"])
        eq(len(bob.status()["came"]), 1)
        # what was moved can be read, and keeps its name
        os.rename(alice.path("doc"), alice.path("moved"))
        put(alice.path("doc"), b"fourth")
        sets.append(grant("doc"))
        eq((get(bob.shared("alice/doc")), get(bob.shared("alice/doc (2)"))),
           (b"last", b"fourth"))
        alice.tg("revoke", hers)
        says = alice.tg("status")
        assert "doc: not there any more; what was moved" in says, says
        assert "in its place" not in says, says


@check(plain=False)
def what_was_granted_and_removed_can_be_granted_again():
    with crowd("alice", "bob") as (alice, bob):
        bob.attach(alice)
        command = ["grant", put(alice.path("doc"), b"1"), "--to", "bob"]
        (set_id, *line), = alice.send(*command)
        eq(line[0], "sent")
        for person in bob, alice:
            person.receive()
        for removed in False, True:
            if removed:
                os.unlink(bob.shared("alice/doc"))
            out, err = tg(*command)
            eq(out, "\t".join([set_id, "there already", *line[1:]]) + "\n")
            assert err.startswith(f"tgshare: bob has the set {set_id[:8]} of the same already, "
                                  "and nothing is sent; if bob removed it, 'tgshare receive'"), err
            eq(post_of(alice, bob), [])
        # as it says
        for person in bob, alice:
            person.receive()
        out, err = tg(*command)
        assert out.split("\t")[1] == "sent" and not out.startswith(set_id), out
        eq(err, "")
        bob.receive()
        readable(bob.shared("alice/doc"), b"1")


@check(plain=False)
def a_folder_that_is_granted_again_loses_nothing():
    with crowd("alice", "bob") as (alice, bob):
        bob.attach(alice)
        os.mkdir(alice.path("folder"))
        for name in "kept", "saved", "out":
            put(alice.path("folder", name), name.encode())

        def grant(*argv):
            (set_id, *_), = alice.send("grant", alice.path("folder"), "--to", "bob", *argv)
            bob.receive()
            return set_id
        first = grant()
        os.rename(put(alice.path("new"), b"anew"), alice.path("folder/saved"))
        os.unlink(alice.path("folder/out"))
        # an end that the old one does not have
        other = grant("--expires", "1h")
        eq(alice.given(first)["state"], "sent")
        eq(sorted(os.listdir(bob.shared("alice"))), ["folder", "folder (2)"])
        alice.tg("revoke", other)
        bob.receive()
        put(alice.path("folder/more"), b"more")
        second = grant()
        readable(bob.shared("alice/folder/saved"), b"anew")
        eq({n: get(bob.shared("alice/folder", n)) for n in
            os.listdir(bob.shared("alice/folder"))},
           {"kept": b"kept", "saved": b"anew", "more": b"more"})
        eq(alice.given(first)["state"], "replaced")
        # a file that has left the folder, and stays granted
        os.rename(alice.path("folder/kept"), alice.path("kept"))
        third = grant()
        eq(get(bob.shared("alice/folder/kept")), b"kept")
        eq([alice.given(s)["state"] for s in (second, third)], ["sent", "sent"])


@check(plain=False)
def another_vault_than_that_of_the_grant_is_not_attached():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        def attach(vault, status, says=""):
            p = subprocess.run([frond.FRONDFS, "attach", bob.mount.path, "alice", vault],
                               capture_output=True, text=True, check=False)
            eq(p.returncode, status, p.stderr)
            assert says in p.stderr, p.stderr
            return frond.run(frond.FRONDFS, "attach", bob.mount.path, "--list")

        (set_id, *_), = alice.send("grant", put(alice.path("plan"), b"plan"), "--to", "bob")
        # before anything was granted nobody can know
        assert carol.mount.vault in attach(carol.mount.vault, 0)
        says = bob.receive()
        assert f"another vault: {carol.mount.vault}" in says and "attach" in says, says
        assert f"another vault: {carol.mount.vault}" in bob.tg("status")
        eq(attach(bob.post, 3), f"alice\t{carol.mount.vault}\n")
        eq(attach(carol.mount.vault, 1, "'plan' from alice"),
           f"alice\t{carol.mount.vault}\n")
        eq(attach(alice.mount.vault, 0), f"alice\t{alice.mount.vault}\n")
        readable(bob.shared("alice/plan"), b"plan")
        eq(attach(carol.mount.vault, 1, "'plan' from alice"),
           f"alice\t{alice.mount.vault}\n")
        readable(bob.shared("alice/plan"), b"plan")
        frond.run(frond.FRONDFS, "attach", bob.mount.path, "--remove", "alice")
        eq(attach(carol.mount.vault, 1, "not the vault"), "")
        eq(bob.came(set_id)["state"], "not attached")
        attach(alice.mount.vault, 0)
        os.rename(alice.mount.vault, alice.mount.vault + " away")
        bob.receive()
        assert "not there now: " in bob.tg("status")
        os.rename(alice.mount.vault + " away", alice.mount.vault)


@check(plain=False)
def a_grant_with_a_new_key_is_told_once_to_who_was_away():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        carol.attach(alice)
        for i in range(scale(10, 5)):
            name = f"plan{i}.odt"
            put(alice.path(name), b"the plan")
            alice.send("grant", alice.path(name), "--to", "bob,carol")
            kept = {n: get(os.path.join(alice.post, n)) for n in post_of(alice)}
            alice.tg("revoke", alice.path(name), "--from", "bob")
            # what is not taken back comes as well
            if i % 2:
                for n in kept:
                    put(os.path.join(alice.post, n), kept[n])
            says = carol.receive()
            eq(says.count("is open"), 1, says)
            assert "(2)" not in says and "refused" not in says, says
            eq(os.listdir(carol.shared("alice")).count(name), 1)
            eq(get(carol.shared("alice", name)), b"the plan")
            eq([c["name"] for c in carol.status()["came"] if c["name"].startswith(name[:5])
                and c["state"] != "granted"], [])
        eq(len(os.listdir(carol.shared("alice"))), scale(10, 5))
        eq(carol.log("refused"), [])


def fails_with(path):
    try:
        get(path)
        return 0
    except OSError as e:
        return e.errno


@check(plain=False)
def who_keeps_a_grant_is_not_told_that_it_was_revoked():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        plan = put(alice.path("plan"), b"plan")
        alice.send("grant", plan, "--to", "bob,carol")
        for person in bob, carol:
            person.attach(alice)
            person.receive()
        readable(carol.shared("alice/plan"), b"plan")
        alice.tg("revoke", plan, "--from", "bob")
        # carol looks before she is told of the new key
        eq(fails_with(carol.shared("alice/plan")), errno.EKEYREVOKED)
        until(lambda: carol.log("key revoked"), what="the log")
        says = carol.receive()
        assert "plan is open" in says and "revoked" not in says, says
        assert "was revoked by alice" in bob.receive()
        readable(carol.shared("alice/plan"), b"plan")


@check(plain=False)
def a_granted_folder_is_revoked_as_a_whole():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        top = alice.path("project")
        os.makedirs(top + "/sub")
        put(top + "/a", b"a")
        put(top + "/sub/b", b"b")
        (set_id, *_), = alice.send("grant", top, "--to", "bob")
        (other, *_), = alice.send("grant", top + "/a", "--to", "carol")
        for person in bob, carol:
            person.attach(alice)
            person.receive()
        readable(bob.shared("alice/project/sub/b"), b"b")
        readable(bob.shared("alice/project/a"), b"a")
        readable(carol.shared("alice/a"), b"a")
        alice.tg("revoke", top + "/sub/b", status=FAILED, says="folder 'project'")
        os.rename(top + "/sub/b", alice.path("moved"))
        alice.tg("revoke", set_id)
        bob.receive()
        carol.receive()
        for name in "a", "sub/b":
            until(lambda: fails_with(bob.shared("alice/project", name)) ==
                  errno.EKEYREVOKED, what=f"EKEYREVOKED of {name}")
        readable(carol.shared("alice/a"), b"a", 5)
        eq(alice.given(other)["state"], "replaced")
        eq(get(alice.path("moved")), b"b")


@check(plain=False)
def who_was_away_while_others_lost_a_grant_and_then_he_is_told():
    with crowd("alice", "bob", "carol", "dave") as (alice, bob, carol, dave):
        os.mkdir(alice.path("folder"))
        for name in "file", "folder/a":
            put(alice.path(name), name.encode())
        away = bob, carol
        for person in away:
            person.attach(alice)
        granted = {}
        for name in "file", "folder":
            for set_id, _, _, to, _ in alice.send("grant", alice.path(name), "--to",
                                                  "bob,carol,dave"):
                granted[name, to] = set_id
        for person in bob, carol, alice:
            person.receive()
        # carol does not even have the last but one
        for name in "file", "folder":
            for who in "dave", "bob", "carol":
                alice.tg("revoke", alice.path(name), "--from", who)
        for person in away:
            said = person.receive()
            eq(sorted(said.splitlines()), ["file was revoked by alice",
                                           "folder was revoked by alice"])
            eq({(p["name"], p["set"], p["state"]) for p in person.status()["came"]},
               {(n, s, "revoked") for (n, to), s in granted.items() if to == person.name})
            for path in "file", "folder/a":
                eq(fails_with(person.shared("alice", path)), errno.EKEYREVOKED)
            eq((person.receive(), person.log("refused")), ("", []))


@check(plain=False)
def what_has_expired_says_so():
    with crowd("alice", "bob") as (alice, bob):
        bob.attach(alice)
        plan = put(alice.path("brief"), b"x")
        # the name is taken
        alice.send("send", plan, "--to", "bob")
        bob.receive()
        end = int(time.time()) + 12
        soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(end))
        (set_id, *_), = alice.send("grant", plan, "--to", "bob", "--expires", soon)
        said = bob.receive()
        if time.time() < end - 5:
            readable(bob.shared("alice/brief (2)"), b"x")
        until(lambda: time.time() >= end, 15, "the end")
        until(lambda: fails_with(bob.shared("alice/brief (2)")) == errno.EKEYEXPIRED, 10,
              "EKEYEXPIRED")
        until(lambda: bob.log("expired"), what="its place in the log")
        said += bob.receive()
        assert "brief from alice, in Shared/alice/brief (2) has expired\n" in said, said
        line = f"{set_id[:8]}  brief from alice, in Shared/alice/brief (2): expired "
        assert line in bob.tg("status"), bob.tg("status")
        eq(bob.came(set_id)["state"], "expired")
        eq(alice.given(set_id)["state"], "expired")
        # also when the word that it had been opened is late
        alice.receive()
        eq(alice.given(set_id)["state"], "expired")


@check(plain=False)
def what_was_opened_is_told_as_it_is_now():
    with crowd("alice", "bob") as (alice, bob):
        bob.attach(alice)
        sets = {}
        for name in "stays", "moves", "goes", "kept", "ended", "left":
            put(alice.path(name), name.encode())
            how = "grant" if name in ("kept", "ended", "left") else "send"
            (sets[name], *_), = alice.send(how, alice.path(name), "--to", "bob")
        bob.receive()
        alice.tg("revoke", sets["ended"])
        bob.receive()
        os.rename(bob.shared("alice/moves"), bob.path("mine"))
        for name in "goes", "ended", "left":
            os.unlink(bob.shared("alice", name))

        def told():
            text = bob.tg("status").split("What came, and was opened:\n")[1]
            return {line.split()[2]: (line.split()[1], line.split(" from alice")[1])
                    for line in text.splitlines()}
        copies = {"stays": ("opened", ", in Shared/alice/stays"),
                  "moves": ("opened", ", not any more in Shared/alice/moves"),
                  "goes": ("opened", ", not any more in Shared/alice/goes")}
        want = {**copies, "ended": ("revoked", ""), "left": ("removed", "")}
        for _ in range(2):
            eq(told(), want)
            eq({n: (bob.came(s)["state"], bob.came(s)["path"]) for n, s in sets.items()},
               {"stays": ("open", "Shared/alice/stays"), "moves": ("open", ""),
                "goes": ("open", ""), "kept": ("granted", "Shared/alice/kept"),
                "ended": ("revoked", ""), "left": ("removed", "")})
            bob.receive()
        # what stands there now is another set's
        (again, *_), = alice.send("send", put(alice.path("goes"), b"2"), "--to", "bob")
        bob.receive()
        eq((bob.came(sets["goes"])["path"], bob.came(again)["path"]), ("", "Shared/alice/goes"))


@check(plain=False)
def words_alone_open_the_backing_file():
    from cryptography.fernet import Fernet
    with crowd("alice") as (alice,):
        data = blob(50001)
        path = put(alice.path("heirloom"), data)
        backing = os.fsdecode(alice.mount.backing(path))
        shares = tg("split", path, "--shares", "3", "--threshold", "2")[0].splitlines()
    key = tg("combine", stdin="\n".join(shares[1:]).encode())[0].strip()
    raw, plain, at = get(backing), b"", 176
    while at < len(raw):
        left = len(raw) - at
        size = 4169 if left > 4177 else left - (left - 57) % 16
        token = Fernet(key).decrypt(base64.urlsafe_b64encode(raw[at:at + size]))
        plain += token[8:]
        at += 4169 if left > 4177 else left
    eq(plain, data)


@check(plain=False)
def the_page_about_paper_is_right():
    page = get(os.path.join(frond.ROOT, "docs/PAPER.md")).decode()
    program, = re.findall("```python\n(.*?)```", page, re.S)
    with crowd("alice") as (alice,):
        data = bytearray(blob(30001))
        data[8192:16384] = bytes(8192)
        path = put(alice.path("heirloom"), b"")
        with open(path, "wb") as f:  # with a hole where there are zeros
            f.write(data[:8192])
            f.seek(16384)
            f.write(data[16384:])
        shares = tg("split", path, "--shares", "3", "--threshold", "2")[0].splitlines()
        backing = os.fsdecode(alice.mount.backing(path))
        os.sync()
    words, key, out = fresh("words"), fresh("key"), fresh("out")
    put(words, "\n".join(shares[:2]).encode())
    tg("combine", "-o", key, words)
    frond.run("/usr/bin/python3", "-c", program, key, backing, out)
    eq(get(out), bytes(data))


@check(plain=False)
def what_comes_again_or_late_is_harmless():
    with crowd("alice", "bob", "carol", "dave") as (alice, bob, carol, dave):
        bob.attach(alice)
        bundle = os.path.join(alice.post, "bundle")
        alice.tg("export", put(alice.path("carried"), b"x"), "-o", bundle, "--to", "bob")
        bob.tg("import", bundle)
        assert "refused" not in bob.tg("import", bundle)
        # a grant whose acknowledgement has not come
        alice.send("grant", put(alice.path("plan"), b"x"), "--to", "bob")
        bob.receive()
        alice.send("grant", alice.path("plan"), "--to", "bob")
        assert "refused" not in bob.receive()
        # two of three are enough, and the third comes late
        alice.send("send", put(alice.path("split"), b"x"), "--to", "bob", "--shares", "3",
                   "--threshold", "2", "--via", "bob,carol,dave")
        for keeper in carol, dave:
            keeper.receive()
            keeper.tg("release", "--all")
            assert "refused" not in bob.receive()
        readable(bob.shared("alice/split"), b"x")
        records = bob.log("refused")
        assert len(records) >= 3, records
        eq({r["detail"] for r in records}, {"harmless"})
        assert "came after the set had ended; harmless" in bob.tg("log"), bob.tg("log")


def log_files(who):
    return [os.path.join(who.mount.vault, ".frondfs", n) for n in ("log", "log.head")]


def begin_new_log(who):
    """What 'frondfs check' advises without a backup."""
    who.mount.umount()
    for file in log_files(who):
        os.rename(file, file + ".away")
    who.mount.mount()


def put_logs(who, kept):
    who.mount.umount()
    for file, data in zip(log_files(who), kept):
        put(file, data)
    who.mount.mount()


class history:
    """Files that ann gave bob, each of which he has; and the next one, which one
    of them does not know of when it comes."""

    def __init__(self, ann, bob):
        self.ann, self.bob, self.count = ann, bob, 0

    def give(self):
        self.count += 1
        name = f"f{self.count}"
        (set_id, *_), = self.ann.send("send", put(self.ann.path(name), name.encode()),
                                      "--to", "bob")
        return name, set_id

    def arrives(self, name, set_id, bob_says="is open"):
        said = self.bob.receive()
        eq(said.count("\n"), 1, said)
        assert f"{name} {bob_says}" in said, said
        said = self.ann.receive()
        eq(said, f"bob has opened {name}\n")
        eq(self.ann.given(set_id)["state"], "opened")
        eq((self.ann.receive(), self.bob.receive()), ("", ""))
        for person in self.ann, self.bob:
            person.tg("log", "--verify", says="whole")

    def go_on(self, files):
        for _ in range(files):
            self.arrives(*self.give())


@check(plain=False)
def a_new_log_is_gone_on_with():
    with crowd("ann", "bob") as (ann, bob):
        story = history(ann, bob)
        story.go_on(2)
        for who in ann, bob:
            begin_new_log(who)
            story.go_on(2)
            # longer than the one before when that is looked at
            begin_new_log(who)
            on_its_way = [story.give() for _ in range(6)]
            said = bob.receive()
            eq((said.count("\n"), said.count("is open")), (6, 6), said)
            said = ann.receive()
            eq((said.count("\n"), said.count("bob has opened")), (6, 6), said)
            eq({ann.given(s)["state"] for _, s in on_its_way}, {"opened"})
            story.go_on(1)
        eq([p.log("refused") for p in (ann, bob)], [[], []])


@check(plain=False)
def an_older_log_is_gone_on_with():
    with crowd("ann", "bob") as (ann, bob):
        story = history(ann, bob)
        story.go_on(2)
        for who in ann, bob:
            kept = [get(file) for file in log_files(who)]
            story.go_on(3)
            put_logs(who, kept)
            # what the log has from before is not told, nor sent, again
            eq((who.receive(), post_of(ann, bob)), ("", []))
            story.go_on(1)
            put_logs(who, kept)
            story.go_on(1)
        eq([p.log("refused") for p in (ann, bob)], [[], []])


@check(plain=False)
def where_tgshare_noted_a_number_it_goes_on_from_there():
    with crowd("ann", "bob") as (ann, bob):
        story = history(ann, bob)
        story.go_on(2)
        for person in ann, bob:
            os.unlink(person.path(".tgshare/log.told"))
            put(person.path(".tgshare/log.seen"), b"%d\n" % len(person.log()))
            eq((person.receive(), post_of(ann, bob)), ("", []))
            assert not os.path.exists(person.path(".tgshare/log.seen"))
        story.go_on(1)


@check(plain=False)
def what_was_sent_before_a_new_log_can_be_acknowledged():
    with crowd("ann", "bob", "carol") as (ann, bob, carol):
        carol.attach(ann)
        (sent, *_), = ann.send("send", put(ann.path("sent"), b"1"), "--to", "bob")
        (granted, *_), = ann.send("grant", put(ann.path("granted"), b"2"), "--to", "carol")
        for both in range(2):
            bob.receive()
            carol.receive()
            begin_new_log(ann)
            said = ann.receive()
            assert ("bob has opened sent\n" in said) != both, said
            eq((ann.given(sent)["state"], ann.given(granted)["state"]), ("opened", "opened"))
            begin_new_log(carol)
        eq(ann.log("refused"), [])


def post_of(*everybody):
    return sorted(os.path.relpath(os.path.join(d, n), everybody[0].post)
                  for d, _, files in os.walk(everybody[0].post) for n in files)


def killed_before_it_was_logged(who, name):
    """What is left of a send to bob; the set."""
    os.rename(who.post, who.post + " away")
    (set_id, *_), = who.send("send", put(who.path(name), b"late"), "--to", "bob", status=QUEUED)
    os.rename(who.post + " away", who.post)
    journal = who.path(".tgshare/outbox", set_id, "journal")
    put(journal, get(journal).replace(b"logged\n", b""))
    who.mount.umount()
    for name in "log", "log.head":
        os.unlink(os.path.join(who.mount.vault, ".frondfs", name))
    who.mount.mount()
    return set_id


@check(plain=False)
def what_was_killed_before_it_was_logged_can_be_acknowledged():
    """Whatever command delivers it then."""
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        (kept, *_), = alice.send("send", put(alice.path("kept"), b"1"), "--to", "bob",
                                 "--shares", "2", "--threshold", "2", "--via", "bob,carol")
        carol.receive()
        late = killed_before_it_was_logged(carol, "of carol")
        carol.tg("release", kept)
        bob.receive()
        carol.receive()
        eq(carol.given(late)["state"], "opened")
        (other, *_), = alice.send("send", put(alice.path("other"), b"2"), "--to", "bob")
        late = killed_before_it_was_logged(alice, "of alice")
        alice.tg("revoke", other)
        bob.receive()
        alice.receive()
        eq(alice.given(late)["state"], "opened")


@check(plain=False)
def a_grant_that_was_killed_before_the_older_one_ended_is_the_one_that_is_replaced():
    with crowd("alice", "bob") as (alice, bob):
        bob.attach(alice)
        plan, sets = alice.path("plan"), []
        for n in range(3):
            os.rename(put(alice.path("new"), b"%d" % n), plan)
            (set_id, *_), = alice.send("grant", plan, "--to", "bob")
            sets.append(set_id)
            if n == 1:
                journal = alice.path(".tgshare/outbox", sets[0], "journal")
                put(journal, b"".join(line for line in get(journal).splitlines(True)
                                      if not line.startswith(b"end ")))
        eq([alice.given(set_id)["state"] for set_id in sets], ["replaced", "replaced", "sent"])
        bob.receive()
        alice.receive()
        readable(bob.shared("alice/plan"), b"2")
        eq(os.listdir(bob.shared("alice")), ["plan"])
        eq(alice.given(sets[2])["state"], "opened")


@check(plain=False)
def what_is_not_acknowledged_is_sent_again():
    with crowd("alice", "bob") as (alice, bob):
        (set_id, *_), = alice.send("send", put(alice.path("lost"), b"lost"), "--to", "bob")
        for name in post_of(alice):
            os.unlink(os.path.join(alice.post, name))
        bob.receive()
        assert not os.path.exists(bob.shared())
        alice.receive()
        eq(post_of(alice), [])          # not yet due
        journal = alice.path(".tgshare/outbox", set_id, "journal")
        put(journal, re.sub(rb"(?m)^(sent \d+) (\d+)",
                            lambda m: b"%s %d" % (m[1], int(m[2]) - 3601), get(journal)))
        alice.receive()
        assert post_of(alice), "nothing was sent again"
        bob.receive()
        readable(bob.shared("alice/lost"), b"lost")
        alice.receive()
        put(journal, re.sub(rb"(?m)^(sent \d+) (\d+)",
                            lambda m: b"%s 1" % m[1], get(journal)))
        alice.receive()
        eq(post_of(alice), [])          # acknowledged: never again


def interrupted(argv, after_s, env):
    """Run tgshare and kill it after a while; did it end by itself?"""
    p = subprocess.Popen([TGSHARE, *argv], env={**os.environ, **env},
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        p.wait(after_s)
        return True
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
        return False


def killed_until_done(argv, at_most_s, rng, env):
    """Run tgshare and kill it, each time a little later, until it ends by itself:
    on a slow machine, too. How often it was killed."""
    kills = 0
    while not interrupted(argv, rng.uniform(0.005, at_most_s) * 1.2 ** kills, env):
        kills += 1
    return kills


@check(plain=False)
def killed_at_any_moment_and_repeated_everything_arrives_once():
    with crowd("alice", "bob") as (alice, bob):
        rng, data = random.Random(7), blob(6 << 20)
        as_alice = {"TGSHARE_VAULT": alice.mount.path}
        as_bob = {"TGSHARE_VAULT": bob.mount.path}
        kills = 0
        for i in range(scale(12, 4)):
            path = put(alice.path(f"f{i}"), data + b"%d" % i)
            kills += killed_until_done(["send", path, "--to", "bob"], 0.1, rng, as_alice)
            kills += killed_until_done(["receive"], 0.1, rng, as_bob)
        bob.receive()
        bob.receive()
        for i in range(scale(12, 4)):
            readable(bob.shared(f"alice/f{i}"), data + b"%d" % i)
        eq(sorted(os.listdir(bob.shared("alice"))),
           sorted(f"f{i}" for i in range(scale(12, 4))))
        alice.receive()
        given = alice.status()["given"]
        eq({g["state"] for g in given}, {"opened"})
        eq(len(given), scale(12, 4), "sets")
        eq(len(alice.log("sent")), scale(12, 4), "entries of the log")
        eq(len(bob.log("opened")), scale(12, 4))
        assert kills > 3, f"only {kills} were killed"
        copies = os.listdir(os.path.join(alice.mount.vault, ".frondfs/outbox"))
        eq([n for n in copies if re.fullmatch("[0-9a-f]{32}", n)], [])
        eq([n for n in os.listdir(alice.path(".tgshare/outbox"))
            if n.startswith(".tmp")], [])


@check(plain=False)
def a_revoke_that_was_killed_is_finished_when_repeated():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        rng = random.Random(3)
        as_alice = {"TGSHARE_VAULT": alice.mount.path}
        for person in bob, carol:
            person.attach(alice)
        size = scale(4 << 20, 1 << 19)
        for i in range(scale(8, 3)):
            path = put(alice.path(f"g{i}"), blob(size, i))
            first, second = alice.send("grant", path, "--to", "bob,carol")
            for person in bob, carol:
                person.receive()
                readable(person.shared(f"alice/g{i}"), blob(size, i))
            killed_until_done(["revoke", path, "--from", "bob"], 0.08, rng, as_alice)
            eq(get(path), blob(size, i))
            alice.receive()
            for person in bob, carol:
                person.receive()
            until(lambda: fails_with(bob.shared(f"alice/g{i}")) == errno.EKEYREVOKED,
                  what="EKEYREVOKED")
            readable(carol.shared(f"alice/g{i}"), blob(size, i))
            eq(alice.given(first[0])["state"], "revoked")
            eq(alice.given(second[0])["state"], "replaced")
            eq(len([r for r in alice.log("revoked") if r["set"] == first[0]]), 1)
        eq([n for n in os.listdir(alice.path(".tgshare/outbox"))
            if n.endswith(".revoke")], [])


@check(plain=False)
def agents_do_it_all_by_themselves():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        agents = [subprocess.Popen([TGSHARE, "agent", "--vault", p.mount.path],
                                   stdout=subprocess.DEVNULL) for p in (alice, bob, carol)]
        try:
            data = blob(1 << 20)
            (set_id, *_), = alice.send(
                "send", put(alice.path("auto"), data), "--to", "bob", "--shares", "2",
                "--threshold", "2", "--via", "bob,carol")
            until(lambda: os.path.exists(bob.shared("alice/auto")), what="the locked file")
            until(lambda: carol.came(set_id), what="the share at carol's")
            raises(errno.ENOKEY, get, bob.shared("alice/auto"))
            carol.tg("release", "--all")
            readable(bob.shared("alice/auto"), data)
            until(lambda: alice.given(set_id)["state"] == "opened", what="the acknowledgement")
        finally:
            for agent in agents:
                agent.send_signal(signal.SIGTERM)
            for agent in agents:
                eq(agent.wait(10), 0)


@check(plain=False)
def an_agent_does_not_keep_its_vault_mounted():
    with crowd("alice", "bob") as (alice, bob):
        agent = subprocess.Popen([TGSHARE, "agent", "--vault", bob.mount.path],
                                 stdout=subprocess.DEVNULL)
        try:
            alice.send("send", put(alice.path("first"), b"1"), "--to", "bob")
            readable(bob.shared("alice/first"), b"1")
            bob.mount.remount()
            alice.send("send", put(alice.path("second"), b"2"), "--to", "bob")
            readable(bob.shared("alice/second"), b"2")
            eq(agent.poll(), None)
            # a folder that is away for a while ends it neither
            os.rename(alice.post, alice.post + " away")
            time.sleep(2.5)
            os.rename(alice.post + " away", alice.post)
            eq(agent.poll(), None)
            bob.mount.umount()
            alice.send("send", put(alice.path("third"), b"3"), "--to", "bob")
            eq(agent.wait(15), 3)
            bob.mount.mount()
            bob.receive()
            readable(bob.shared("alice/third"), b"3")
        finally:
            agent.kill()
            agent.wait()


@check(plain=False)
def the_post_office_may_do_what_it_likes():
    with crowd("alice", "bob") as (alice, bob):
        data = blob(100000)
        rng = random.Random(5)
        names = [f"p{i}" for i in range(scale(10, 4))]
        for name in names:
            alice.send("send", put(alice.path(name), data), "--to", "bob")
        box = os.path.join(bob.post, os.path.dirname(post_of(alice)[0]))
        kept = {n: get(os.path.join(box, n)) for n in os.listdir(box)}
        for name, raw in kept.items():
            at = rng.randrange(len(raw))
            put(os.path.join(box, name), raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
            os.utime(os.path.join(box, name), (1, 1))
        put(os.path.join(box, "junk.txt"), b"buy cheap shares")
        put(os.path.join(box, "junk.part"), os.urandom(5000))
        os.symlink("/etc/hostname", os.path.join(box, "link.txt"))
        os.mkfifo(os.path.join(box, "fifo.txt"))
        os.utime(os.path.join(box, "junk.part"), (1, 1))
        bob.receive()
        for name in names:
            assert fails_with(bob.shared("alice", name)) in (errno.ENOENT, errno.ENOKEY)
        # the true ones, in another order, each twice
        for name in rng.sample(sorted(kept), len(kept)):
            put(os.path.join(box, name), kept[name])
            bob.receive()
        for name in rng.sample(sorted(kept), len(kept)):
            put(os.path.join(box, name), kept[name])
        bob.receive()
        for name in names:
            readable(bob.shared("alice", name), data)
        eq(sorted(os.listdir(bob.shared("alice"))), sorted(names))
        bob.tg("log", "--verify", says="whole")


if __name__ == "__main__":
    frond.main()
