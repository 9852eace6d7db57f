#!/usr/bin/python3
"""
Sharing under attack. Each check plays somebody who wants what is not theirs,
and looks at three things: what they get (nothing), what the log says of it,
and that what honest people send still arrives.
"""
import errno
import os
import re
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
import post
import share
import sharing
import tokens
from frond import blob, check, eq, get, put, raises, run, scale, until
from post import Granting, Met, Person, attach, attribute, shared

STRANGER = 4321


def refusals(m, by=None):
    """What the log says was refused, of this sender."""
    return [text for event, text, r in control.log(m.path) if event == "refused" and
            (by is None or bytes(r.peer) == (by.public if by else bytes(64)))]


def refused(m, words, by=None, times=1):
    """The log names it, so often."""
    found = [t for t in refusals(m, by) if words in t]
    eq(len(found), times, f"{words!r} in {refusals(m)}")


_sent = [0]


def arrives(m, alice):
    """What an honest person sends now opens, and the log is whole."""
    _sent[0] += 1
    name, data = f"honest {_sent[0]}", blob(9000, _sent[0])
    s = alice.send(m, name, data, k=2, n=3)
    s.post_share(3)
    s.post_parts()
    s.post_manifest()
    s.post_share(1)
    control.scan(m.path)
    eq(get(shared(m, alice.name, name)), data)
    eq(control.log_verify(m.path).fault, 0)


def envelope(s, kind, payload, index=0, sender=None, to=None, set_id=None):
    """Of a set, unless something about it is said to be otherwise."""
    return sharing.seal((sender or s.sender).identity, to or s.to, kind, index,
                        set_id or s.id, int(time.time()), payload)


def share_of(s, index, **lie):
    return envelope(s, sharing.SHARE, s.shares[index - 1], index, **lie)


def manifest_of(s, **lie):
    return envelope(s, sharing.MANIFEST, sharing.manifest(s.manifest), **lie)


def spooled(m):
    inbox = os.path.join(m.vault, ".frondfs/inbox")
    return {n for n in os.listdir(inbox) if n.endswith((".env", ".part"))}


def locked(path):
    raises(errno.ENOKEY, get, path)


@contextmanager
def crowd(*names):
    everybody = share.people(*names)
    try:
        yield everybody
        for person in everybody:
            person.mount.umount()
    finally:
        for person in everybody:
            person.mount.drop()


# The post office

@check
def a_post_office_alters_and_swaps():
    with Met() as (m, alice):
        data = blob(50_000)
        s = alice.send(m, "report.pdf", data, part=20_000)
        other = alice.send(m, "other.pdf", data, part=20_000)
        true = manifest_of(s)
        for at in (0, 20, 60, 200, len(true) - 1):
            bad = bytearray(true)
            bad[at] ^= 1
            post.spool(m.vault, bytes(bad), ".env")
        # (the routing id, bytes 1 to 16, is nobody's to protect)
        # one's bytes under the name of another
        os.rename(post.spool(m.vault, share_of(other, 1), ".env"),
                  post.spool(m.vault, share_of(s, 1), ".env"))
        control.scan(m.path)
        assert not os.path.exists(os.path.join(m.path, "Shared"))
        eq(len(refusals(m, by=False)), 6, refusals(m))
        eq(spooled(m), set())
        s.post_manifest()
        s.post_share(1)
        paths = s.post_parts()
        eq(len(paths), 3)
        os.rename(paths[0], paths[0] + "x")
        os.rename(paths[1], paths[0])
        os.rename(paths[0] + "x", paths[1])
        bad = bytearray(get(paths[2]))
        bad[100] ^= 1
        put(paths[2], bad)
        control.scan(m.path)
        locked(shared(m))
        # each is found out, thrown away, and may come again
        for _ in range(3):
            s.post_parts()
            control.scan(m.path)
        eq(get(shared(m)), data)
        assert [t for t in refusals(m, alice) if "not what its name says" in t]
        arrives(m, alice)


@check
def a_post_office_replays_withholds_and_reorders():
    with Met() as (m, alice):
        data = blob(20_000)
        s = alice.send(m, "report.pdf", data, k=2, n=3)
        late = alice.send(m, "late.pdf", data)
        everything = [(share_of(s, 2), ".env"), (share_of(s, 1), ".env"),
                      (s.pieces[0], ".part"), (manifest_of(s), ".env"),
                      (share_of(s, 1), ".env")]      # sealed anew: another envelope
        for bytes_, suffix in everything:
            post.spool(m.vault, bytes_, suffix)
            control.scan(m.path)
        eq(get(shared(m)), data)
        # withheld: the content of this one
        late.post_manifest()
        late.post_share(1)
        control.scan(m.path)
        locked(shared(m, name="late.pdf"))
        put(shared(m), b"mine now")
        for _ in range(2):
            for bytes_, suffix in everything:
                post.spool(m.vault, bytes_, suffix)
            control.scan(m.path)
            m.remount()
        eq(sorted(os.listdir(os.path.dirname(shared(m)))), ["late.pdf", "report.pdf"])
        eq(get(shared(m)), b"mine now")
        refused(m, "was finished before", alice, 9)   # the fifth came after it opened
        late.post_parts()
        control.scan(m.path)
        eq(get(shared(m, name="late.pdf")), data)
        arrives(m, alice)


@check
def a_withdrawal_and_a_declined_set_cannot_be_undone_by_replaying():
    with Met() as (m, alice):
        gone = alice.send(m, "withdrawn", b"w", k=2, n=2)
        gone.post_manifest()
        control.scan(m.path)
        gone.revoke(2)
        control.scan(m.path)
        unwanted = alice.send(m, "unwanted", b"u", k=2, n=2)
        unwanted.post_manifest()
        control.scan(m.path)
        os.unlink(shared(m, name="unwanted"))
        gone.post_all()
        unwanted.post_all()
        control.scan(m.path)
        assert not os.path.exists(shared(m, name="unwanted"))
        raises(errno.EKEYREVOKED, get, shared(m, name="withdrawn"))
        refused(m, "of a set that was withdrawn", alice, 3)
        refused(m, "was finished before", alice, 1)
        # of which there had been no shares
        refused(m, "it came after the set had ended", alice, 2)
        arrives(m, alice)


# A former addressee, somebody in between

@check
def an_envelope_is_of_no_use_to_anybody_else():
    with Met() as (m, alice):
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        bob = sharing.Identity(os.urandom(32))
        for_bob = share_of(s, 1, to=bob.public)
        post.spool(m.vault, for_bob, ".env")
        # bob opens it and seals the very same to us
        inner = sharing.sodium.crypto_box_seal_open(for_bob[17:], bob.box_public,
                                                    bob.box_secret)
        post.spool(m.vault, sharing.seal_inner(inner, s.to), ".env")
        # or takes the signature off and puts his own there, in alice's name
        stripped = inner[:-64] + bob.sign(sharing.SHARE, 1, s.id, s.to,
                                          int.from_bytes(inner[82:90], "big"),
                                          s.shares[0])
        post.spool(m.vault, sharing.seal_inner(stripped, s.to), ".env")
        control.scan(m.path)
        refused(m, "not for us, or altered", False, 3)
        s.post_manifest()
        s.post_parts()
        s.post_share(2)
        control.scan(m.path)
        locked(shared(m))
        s.post_share(1)
        control.scan(m.path)
        eq(get(shared(m)), b"data")
        arrives(m, alice)


@check
def a_custodian_can_neither_read_nor_readdress():
    with Met() as (m, alice):
        carol, dave = sharing.Identity(os.urandom(32)), frond.Mount()
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        inner = share_of(s, 2)
        kept = envelope(s, sharing.CUSTODY, sharing.custody(
            0, sharing.card(sharing.Identity(os.urandom(32)), "bob"), inner), 2,
            to=carol.public)
        opened = sharing.open_envelope(carol, kept)
        assert s.shares[1] not in opened["payload"] + kept
        _, _, found = sharing.parse_custody(opened["payload"])
        eq(found, inner)
        raises_any(sharing.open_envelope, carol, found)
        with dave:
            control.identity(dave.path)
            alice.meet(dave)
            # passed on to somebody else, and as it came
            post.spool(dave.vault, found, ".env")
            post.spool(dave.vault, kept, ".env")
            control.scan(dave.path)
            refused(dave, "not for us, or altered", False, 2)
            eq(control.sets(dave.path), [])
            arrives(dave, alice)
        # passed on with a bit changed, then three times
        bad = bytearray(found)
        bad[90] ^= 1
        post.spool(m.vault, bytes(bad), ".env")
        s.post_manifest()
        s.post_parts()
        s.post_share(1)
        control.scan(m.path)
        refused(m, "not for us, or altered", False)
        locked(shared(m))
        post.spool(m.vault, found, ".env")
        control.scan(m.path)
        eq(get(shared(m)), b"data")
        for _ in range(2):
            post.spool(m.vault, found, ".env")
            control.scan(m.path)
        refused(m, "was finished before", alice, 2)
        arrives(m, alice)


def raises_any(fn, *args):
    try:
        fn(*args)
    except Exception:
        return
    raise AssertionError("it opened")


@check
def a_custody_is_released_once_and_to_nobody_else():
    with Met() as (m, alice):
        mallory = Person("mallory")
        mallory.meet(m)
        bob = Person("bob")
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        inner = share_of(s, 2, to=bob.public)

        def keep(sender, whom, what, set_id=None):
            return envelope(s, sharing.CUSTODY, sharing.custody(
                0, sharing.card(whom.identity, whom.name), what), 2, sender=sender,
                set_id=set_id)
        first = keep(alice, bob, inner)
        post.spool(m.vault, first, ".env")
        control.scan(m.path)
        # alice's again for somebody else; mallory under the same number
        post.spool(m.vault, keep(alice, mallory, inner), ".env")
        lure = share_of(s, 2, sender=mallory, to=mallory.public)
        post.spool(m.vault, keep(mallory, mallory, lure), ".env")
        control.scan(m.path)
        refused(m, "came again", alice)
        for sender, what, whom in (mallory, lure, mallory), (alice, inner, bob):
            for index in (0, 1, 3, 17, 258):
                raises(errno.ENOENT, control.release, m.path, sender.public, s.id, index)
            sent, card = control.release(m.path, sender.public, s.id, 2)
            eq((sent, bytes(card.pub)), (what, whom.public))
            control.released(m.path, sender.public, s.id, 2)
            raises(errno.ENOENT, control.released, m.path, sender.public, s.id, 2)
        raises(errno.ENOENT, control.release, m.path, alice.public, s.id, 2)
        control.scan(m.path)
        post.spool(m.vault, first, ".env")
        control.scan(m.path)
        raises(errno.ENOENT, control.release, m.path, alice.public, s.id, 2)
        refused(m, "was finished before", alice)
        # what is inside must at least be an envelope, and the card a card
        for payload in (sharing.custody(0, "tgcard1.AAAA", inner),
                        sharing.custody(0, sharing.card(bob.identity, "bob"), b"x" * 300),
                        b""):
            post.spool(m.vault, envelope(s, sharing.CUSTODY, payload, 1), ".env")
        control.scan(m.path)
        assert len(refusals(m, alice)) >= 4, refusals(m, alice)
        arrives(m, alice)


# A malicious sender, and one who meddles with what others sent

@check
def somebody_else_can_neither_revoke_nor_replace():
    with Granting() as g:
        path, mallory, stranger = g.open(), Person("mallory"), Person("stranger")
        mallory.meet(g.b)
        eq(get(path), b"first")
        waiting = g.alice.send(g.b, "waiting", b"w", k=2, n=2)
        waiting.post_manifest()
        control.scan(g.b.path)
        for who in mallory, stranger:
            for s in g.set, waiting:
                post.spool(g.b.vault, envelope(s, sharing.REVOKE, b"\1", sender=who), ".env")
        control.scan(g.b.path)
        refused(g.b, "somebody else", mallory, 2)
        refused(g.b, "somebody else", stranger, 2)
        eq(get(path), b"first")
        locked(shared(g.b, name="waiting"))
        # a set in place of alice's, for a file of mallory's
        with frond.Mount() as evil:
            put(evil / "plan", b"evil!")
            attach(g.b, "mallory", evil.vault)
            for name, replaces in (("plan", g.set.id), ("waiting", waiting.id)):
                put(evil / name, b"evil!")
                mallory.grant(g.b, evil, name, replaces=replaces).post_all()
            control.scan(g.b.path)
            eq(get(shared(g.b, "mallory", "plan")), b"evil!")
            eq(get(path), b"first")
            locked(shared(g.b, name="waiting"))
        waiting.post_all()
        control.scan(g.b.path)
        eq(get(shared(g.b, name="waiting")), b"w")
        g.b.remount()
        eq(get(path), b"first")
        arrives(g.b, g.alice)


@check
def one_set_id_of_two_senders():
    """Who keeps a share knows the set's id, and may send a set of that id."""
    with Met() as (m, alice):
        mallory, stranger = Person("mallory"), Person("stranger")
        mallory.meet(m)
        for i, who in enumerate((mallory, stranger)):
            for first in True, False:
                name = f"{who.name} {first}"
                s = alice.send(m, name, b"true", k=2, n=2)
                false = who.send(m, name, b"false", k=2, n=2)
                false.id = s.id
                nonce, lie = false.manifest["nonce"], false.manifest
                lie["shares"] = [(sharing.commit_share(nonce, s.id, i + 1, p), True, "")
                                 for i, p in enumerate(false.shares)]
                if first:
                    false.post_manifest()
                    control.scan(m.path)
                # alice's shares come before her manifest does
                s.post_share(1)
                control.scan(m.path)
                if not first:
                    false.post_manifest()
                    control.scan(m.path)
                # a share of alice's set that alice did not sign
                post.spool(m.vault, share_of(s, 2, sender=who), ".env")
                control.scan(m.path)
                s.post_share(2)
                s.post_parts()
                s.post_manifest()
                control.scan(m.path)
                eq(get(shared(m, name=name)), b"true", name)
            if who is mallory:
                locked(shared(m, "mallory", "mallory True"))
                refused(m, "not the one that was announced", mallory, 2)
        assert not os.path.exists(shared(m, "stranger"))
        arrives(m, alice)


@check
def shares_of_another_set_and_of_nobody_are_left_out():
    with Met() as (m, alice):
        mallory, stranger = Person("mallory"), Person("stranger")
        mallory.meet(m)
        s = alice.send(m, "report.pdf", b"data", k=3, n=3)
        other = alice.send(m, "other.pdf", b"data", k=3, n=3)
        easy = post.split(os.urandom(32), 2, 3)
        s.post_manifest()
        control.scan(m.path)
        for payload, index in ((other.shares[0], 1),    # mixed
                               (s.shares[1], 1),        # its neighbour's
                               (easy[0], 1),            # another threshold
                               (os.urandom(42), 1), (s.shares[0][:41], 1),
                               (s.shares[0], 3)):
            post.spool(m.vault, envelope(s, sharing.SHARE, payload, index), ".env")
        for who in mallory, stranger:
            post.spool(m.vault, share_of(s, 1, sender=who), ".env")
        control.scan(m.path)
        eq(len(refusals(m, alice)), 6, refusals(m, alice))
        refused(m, "not the one that was announced", alice, 2)
        refused(m, "somebody else", mallory)
        refused(m, "somebody else", stranger)
        eq([c.have_mask for c in control.sets(m.path)
            if bytes(c.sender) == alice.public], [0])
        s.post_all()
        control.scan(m.path)
        eq(get(shared(m)), b"data")
        arrives(m, alice)


@check
def shares_that_do_not_go_together_open_nothing():
    with Met() as (m, alice):
        a, b = (alice.send(m, n, b"data", k=2, n=2) for n in ("a", "b"))
        # committed to, but of two splittings: their SLIP-39 ids differ
        a.shares[1] = b.shares[1]
        nonce = a.manifest["nonce"]
        a.manifest["shares"] = [(sharing.commit_share(nonce, a.id, i + 1, p), True, "")
                                for i, p in enumerate(a.shares)]
        # says k is 2, but its shares want 3
        c = alice.send(m, "c", b"data", k=3, n=3)
        c.manifest["k"] = 2
        # commits to another secret
        d = alice.send(m, "d", b"data")
        d.manifest["secret_commitment"] = os.urandom(32)
        for s in a, c, d:
            s.post_all()
        control.scan(m.path)
        m.remount()
        control.scan(m.path)
        for name in "acd":
            raises((errno.ENOKEY, errno.EKEYREJECTED), get, shared(m, name=name))
        refused(m, "a: the shares do not make", alice)
        refused(m, "d: the shares do not make", alice)
        refused(m, "not the one that was announced", alice, 2)
        b.post_all()
        control.scan(m.path)
        eq(get(shared(m, name="b")), b"data")
        arrives(m, alice)


def entry(path, **fields):
    return dict(dict(type=sharing.FILE, path=path, size=0, mode=0o644, mtime_s=1,
                     file_id=os.urandom(16), parts=[(257, os.urandom(32))]), **fields)


@check
def manifests_that_lie_are_refused():
    with Met() as (m, alice):
        lies = 0

        def lie(**fields):
            nonlocal lies
            s = alice.send(m, "x", b"data")
            s.manifest.update(fields)
            post.spool(m.vault, envelope(s, sharing.MANIFEST,
                                         sharing.manifest(s.manifest, sort=False)), ".env")
            lies += 1
        for name in ("../x", "/etc/passwd", "..", ".", "a/b", "", "a\nb", "\x1b[2J", "a\0b"):
            lie(name=name, entries=[entry(name)])
        token = bytes(121)
        for paths in (("../up",), ("a", "a"), ("b", "a"), ("d/x",), ("a//b",), ("x/../../y",), ("n" * 256,)):
            lie(folder=True, entries=[entry(p, key_token=token) for p in paths])
        lie(folder=True, entries=[entry("f", key_token=token), entry("f/g", key_token=token)])
        lie(entries=[entry("x"), entry("y", key_token=token)])
        lie(folder=True, entries=[entry("a"), entry("b")])    # two files under one key
        for fields in (dict(size=1), dict(size=1 << 63), dict(size=(1 << 64) - 1),
                       dict(parts=[]), dict(parts=[((1 << 64) - 1, bytes(32)),
                                                   (258, bytes(32))]),
                       dict(mode=0o4777), dict(type=3), dict(mtime_ns=10**9),
                       dict(key_token=b"short")):
            lie(name="x", entries=[entry("x", **fields)])
        lie(k=0)
        lie(k=2)
        lie(shares=[(bytes(32), True, "\x1b]0;x\x07")])
        lie(note="\x1b[31m")
        # 100000 entries
        many = [entry(f"{i:06}", type=sharing.DIR, mode=0o755) for i in range(100_000)]
        lie(folder=True, entries=many)
        control.scan(m.path)
        refused(m, "a manifest that cannot be", alice, lies)
        assert not os.path.exists(os.path.join(m.path, "Shared"))
        eq(spooled(m), set())
        arrives(m, alice)


@check
def contents_that_lie_open_nothing():
    with Met() as (m, alice):
        true, other = (alice.send(m, n, blob(9000, i)) for i, n in enumerate("to"))
        # another file's content under its own name; a key that opens nothing;
        # bytes that are not what was sealed
        swapped, wrong, noise = (alice.send(m, n, blob(9000, 1)) for n in
                                 ("swapped", "wrong", "noise"))
        swapped.pieces = other.pieces
        swapped.manifest["entries"][0]["parts"] = other.manifest["entries"][0]["parts"]
        wrong.manifest["entries"][0]["file_id"] = os.urandom(16)
        sealed = bytearray(noise.pieces[0])
        sealed[5000] ^= 1
        noise.manifest["entries"][0]["parts"], noise.pieces = \
            sharing.cut(bytes(sealed), post.PART)
        never = alice.send(m, "never", b"n")
        never.manifest["entries"][0]["parts"] = [
            (sharing.backing_len(1), os.urandom(32))]
        for s in swapped, wrong, noise, never, true:
            s.post_all()
        control.scan(m.path)
        for name in "swapped", "wrong", "noise":
            raises(errno.EKEYREJECTED, get, shared(m, name=name))
            refused(m, f"{name}: the content is not what was announced", alice)
        locked(shared(m, name="never"))
        eq(get(shared(m, name="t")), blob(9000, 0))
        arrives(m, alice)


@check
def quotas_stop_one_sender_and_nobody_else():
    with Met() as (m, alice):
        mallory, stranger = Person("mallory"), Person("stranger")
        mallory.meet(m)
        model = mallory.send(m, "x", b"x", k=2, n=2)
        for who, n in (mallory, 270), (stranger, 20):
            for _ in range(n):
                post.spool(m.vault, share_of(model, 1, sender=who,
                                             set_id=os.urandom(16)), ".env")
        one = mallory.send(m, "x", b"x", k=2, n=2)
        control.scan(m.path)
        refused(m, "too many sets wait already", mallory, 14)
        refused(m, "too many sets wait already", stranger, 4)
        one.post_manifest()
        control.scan(m.path)
        refused(m, "too many sets wait already", mallory, 15)
        arrives(m, alice)
        m.remount()
        arrives(m, alice)


@check
def strangers_who_send_shares_alone_keep_no_stranger_out():
    with Met() as (m, alice):
        rude, bob = Person("rude"), Person("bob")
        model = rude.send(m, "x", b"x", k=2, n=2)
        for _ in range(20):
            post.spool(m.vault, share_of(model, 1, set_id=os.urandom(16)), ".env")
        control.scan(m.path)
        # nothing of it is to be seen, so nobody could remove it
        assert not os.path.exists(os.path.join(m.path, "Shared"))
        s = bob.send(m, "from bob", b"hello")
        s.post_all()
        control.scan(m.path)
        eq(len(os.listdir(os.path.join(m.path, "Shared"))), 1)
        bob.meet(m)
        s.post_share(1)     # which may have been one too many before
        control.scan(m.path)
        eq(get(shared(m, "bob", "from bob")), b"hello")
        arrives(m, alice)


@check
def rubbish_costs_little():
    with Met() as (m, alice):
        n = scale(10_000, 200)
        mallory, strangers = Person("mallory"), [Person(f"s{i}") for i in range(20)]
        mallory.meet(m)
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        s.post_manifest()
        inbox = os.path.join(m.vault, ".frondfs/inbox")
        before = rss_kib(m.pid)
        for i in range(n):
            data = os.urandom(300)
            put(os.path.join(inbox, sharing.blake2b(data).hex() + ".env"), data)
        # signed, too: nobody has to know whoever made a key a moment ago
        for i in range(n // 10):
            who = mallory if i % 10 == 0 else strangers[i % 20]
            data = envelope(s, sharing.MANIFEST, b"\1none", sender=who, set_id=os.urandom(16))
            put(os.path.join(inbox, sharing.blake2b(data).hex() + ".env"), data)
        s.post_parts()
        s.post_share(1)
        s.post_share(2)
        start = time.monotonic()
        control.scan(m.path)
        took = time.monotonic() - start
        eq(get(shared(m)), b"data")
        assert took < (60 if sanitized() else 20), f"{took:.1f} s"
        eq(spooled(m), set())
        log = control.log(m.path)
        assert len(log) < 300, f"{len(log)} records"
        assert [t for t in refusals(m) if "more of the kind" in t], refusals(m)[-5:]
        assert [t for t in refusals(m, mallory) if "cannot be" in t], refusals(m, mallory)
        if not sanitized():
            grown = rss_kib(m.pid) - before
            assert grown < 32 << 10, f"{grown} KiB more"
        arrives(m, alice)


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def sanitized():
    return b"__asan_init" in get(frond.FRONDFS)


@check
def what_is_no_file_in_the_spool_does_no_harm():
    with Met() as (m, alice):
        inbox = os.path.join(m.vault, ".frondfs/inbox")
        target = put(frond.fresh("target"), b"somebody's")
        os.makedirs(inbox, exist_ok=True)

        def name(suffix):
            return os.path.join(inbox, os.urandom(32).hex() + suffix)
        for suffix in ".env", ".part", ".tmp", ".junk":
            os.symlink(target, name(suffix))
            os.symlink("/dev/zero", name(suffix))
            os.mkfifo(name(suffix))
            os.mkdir(name(suffix))
            put(name(suffix))
        for junk in ("x", "lock", ".env", "..env", "a" * 255, "\n", "x.set", "y" * 32 + ".set",
                     "0" * 32 + ".set", "0" * 32 + ".grant"):
            put(os.path.join(inbox, junk), b"junk")
        # longer than all that may wait, and no part of it
        os.truncate(put(name(".junk")), 2 << 40)
        # a content that is there, but not as a file
        s = alice.send(m, "report.pdf", b"data")
        path = s.post_parts()[0]
        os.rename(path, path + ".away")
        os.symlink(path + ".away", path)
        os.truncate(put(name(".env"), b""), 1 << 40)
        s.post_manifest()
        s.post_share(1)
        control.scan(m.path)
        locked(shared(m))
        os.unlink(path)
        os.mkfifo(path)
        control.scan(m.path)
        locked(shared(m))
        os.unlink(path)
        os.rename(path + ".away", path)
        control.scan(m.path)
        eq(get(shared(m)), b"data")
        eq(get(target), b"somebody's")
        # nothing is refused again at every scan
        count = len(control.log(m.path))
        for _ in range(3):
            control.scan(m.path)
        eq(len(control.log(m.path)), count, control.log(m.path)[-3:])
        arrives(m, alice)
        m.remount()
        arrives(m, alice)


# A hostile directory, attached

def reads(path):
    """Reading it ends, one way or another; the bytes or the error."""
    try:
        return get(path)
    except OSError as e:
        return e.errno


@check
def an_attached_directory_may_be_hostile():
    with Granting(blob(100_000)) as g:
        path = g.open()
        eq(get(path), g.data)
        backing = os.fsdecode(g.a.backing(g.a / "plan"))
        outside = put(frond.fresh("outside"), get(backing))
        true, aside = get(backing), backing + "-aside"
        gone = (errno.ENOENT, errno.ESTALE)
        g.a.umount()
        os.rename(backing, aside)
        aside_out = os.path.join(frond.work(), "aside")
        os.rename(aside, aside_out)

        def play(make):
            make()
            start = time.monotonic()
            got = reads(path)
            assert time.monotonic() - start < 10
            (os.rmdir if os.path.isdir(backing) and not os.path.islink(backing)
             else os.unlink)(backing)
            return got
        # the very file, but by a link that leads out of the directory
        assert play(lambda: os.symlink(outside, backing)) in gone
        assert play(lambda: os.symlink("/dev/zero", backing)) in gone
        assert play(lambda: os.mkfifo(backing)) in gone
        assert play(lambda: os.mkdir(backing)) in gone
        if os.geteuid() == 0:
            assert play(lambda: os.mknod(backing, stat.S_IFCHR | 0o644, os.makedev(1, 5))) \
                in gone
        assert play(lambda: put(backing)) in gone
        assert play(lambda: put(backing, true[:100])) != g.data
        assert play(lambda: put(backing, bytes(24) + true[24:])) in gone
        bad = bytearray(true)
        bad[50_000] ^= 1
        eq(play(lambda: put(backing, bad)), errno.EIO)
        # a header of another key: as after a new key
        assert isinstance(play(lambda: put(backing, true[:24] + os.urandom(152) + true[176:])),
                          int)
        assert isinstance(play(lambda: os.truncate(put(backing, true), 1 << 40)), int)
        assert isinstance(play(lambda: os.truncate(put(backing, true), 60_000)), int)
        arrives(g.b, g.alice)
        assert len(control.log(g.b.path)) < 40


@check
def an_attached_directory_may_change_under_us():
    with Granting(blob(100_000)) as g:
        path = g.open()
        eq(get(path), g.data)
        backing = os.fsdecode(g.a.backing(g.a / "plan"))
        g.a.umount()
        true, stop, other = get(backing), threading.Event(), backing + ".x"

        def change():
            n = 0
            while not stop.is_set():
                n += 1
                if n % 4 == 0:
                    os.symlink("/etc/passwd", other)
                else:
                    put(other, true if n % 4 == 1 else true[:n * 977 % len(true)])
                os.rename(other, backing)
                with open(backing, "r+b") if n % 4 == 1 else open(os.devnull, "wb") as f:
                    f.truncate(n * 7919 % len(true)) if n % 4 == 1 else None
        changer = threading.Thread(target=change)
        changer.start()
        try:
            end = time.monotonic() + scale(4, 1)
            while time.monotonic() < end:
                try:
                    got = get(path)
                    assert g.data.startswith(got) or got == g.data, "bytes of nobody"
                    os.stat(path)
                except OSError as e:
                    assert e.errno in (errno.ENOENT, errno.EIO, errno.ESTALE,
                                       errno.EKEYREVOKED, errno.ELOOP), e
        finally:
            stop.set()
            changer.join()
        arrives(g.b, g.alice)


@check
def a_grant_names_no_path_of_its_own():
    with Granting() as g:
        attach(g.b, "alice", g.a.vault)
        put(g.a / "secret", b"not granted")
        secret = os.fsdecode(os.path.relpath(os.fsencode(g.a.backing(g.a / "secret")),
                                             os.fsencode(g.a.vault)))
        os.symlink("/etc", os.path.join(g.a.vault, "etc"))
        lies = ("../x", "/etc/passwd", ".frondfs/vault.ini", "a/../b", "", "./x",
                "x/.frondfs/identity", "a//b")
        for backing_path in lies:
            s = g.alice.grant(g.b, g.a, "plan")
            s.manifest["entries"][0]["backing_path"] = backing_path
            s.post_all()
        control.scan(g.b.path)
        refused(g.b, "a manifest that cannot be", g.alice, len(lies))
        eq(os.path.exists(shared(g.b, name="plan")), False)
        # by a link; another file than the id says; the keys of another file
        names = []
        for i, (backing_path, file_id) in enumerate((
                ("etc/passwd", None), (secret, None), (secret, "secret"))):
            s = g.alice.grant(g.b, g.a, "plan")
            name = f"lie {i}"
            e = s.manifest["entries"][0]
            s.manifest["name"] = e["path"] = name
            e["backing_path"] = backing_path
            if file_id:
                e["file_id"] = get(os.path.join(g.a.vault, secret))[8:24]
            s.post_all()
            names.append(name)
        control.scan(g.b.path)
        # found by its id where it is; never what the path says
        for name in names[:2]:
            eq(get(shared(g.b, name=name)), b"first")
        e = reads(shared(g.b, name=names[2]))
        assert e in (errno.EIO, errno.EKEYREVOKED, errno.EKEYREJECTED), e
        os.unlink(os.path.join(g.a.vault, "etc"))
        arrives(g.b, g.alice)
        eq(get(g.a / "secret"), b"not granted")


@check
def a_former_recipient_reads_nothing_new():
    with Granting(blob(20_000)) as g:
        path = g.open()
        eq(get(path), g.data)
        backing = os.fsdecode(g.a.backing(g.a / "plan"))
        fd = os.open(g.a / "plan", os.O_RDWR)
        old_key, old = control.file_key(fd)[1], get(backing)
        control.rekey(fd)
        os.pwrite(fd, b"new secret", 0)
        os.fsync(fd)
        os.close(fd)
        new = get(backing)
        eq(chunks(old, old_key), len(old) // tokens.TOKEN + 1)
        eq(chunks(new, old_key), 0)
        eq(new[8:24], old[8:24])
        # the old ciphertext in the new one's place brings only what he had
        raises(errno.EKEYREVOKED, get, path)
        # the old set once more
        g.set.post_all()
        control.scan(g.b.path)
        refused(g.b, "came again", g.alice, 2)
        raises(errno.EKEYREVOKED, get, path)
        assert b"new secret" in get(g.a / "plan")
        arrives(g.b, g.alice)


def chunks(data, key):
    """How many chunks of a backing file the key opens."""
    from cryptography.fernet import Fernet, InvalidToken
    import base64
    fernet, good = Fernet(base64.urlsafe_b64encode(key)), 0
    for at in range(176, len(data), tokens.TOKEN):
        piece = data[at:at + tokens.TOKEN]
        while piece:
            try:
                fernet.decrypt(base64.urlsafe_b64encode(piece))
                good += 1
                break
            except InvalidToken:
                piece = piece[:-1] if len(piece) > len(data[at:at + tokens.TOKEN]) - 16 \
                    else b""
    return good


# With tgshare

@check
def acknowledgements_of_others_say_nothing():
    with crowd("alice", "bob", "carol") as (alice, bob, carol):
        mallory = Person("mallory")
        alice.tg("contact", "add", "mallory",
                 sharing.card(mallory.identity, "mallory", "dir:" + alice.post))
        (set_id, *_), = alice.send(
            "send", put(alice.path("report"), b"data"), "--to", "bob", "--shares", "2",
            "--threshold", "2", "--via", "bob,carol")
        before = alice.given(set_id)
        me, number = control.identity(alice.mount.path), bytes.fromhex(set_id)
        for state, index in ((1, 0), (2, 0), (3, 2), (4, 2), (5, 0), (5, 2), (4, 1)):
            for of in number, os.urandom(16):
                post.spool(alice.mount.vault, sharing.seal(
                    mallory.identity, me, sharing.ACK, 0, of, int(time.time()),
                    sharing.ack(state, index)), ".env")
        said = alice.receive()
        assert "mallory has" not in said and "mallory does" not in said, said
        eq(alice.given(set_id), before)
        # custodians are not in the log: of these tgshare knows better
        refused(alice.mount, "of what they were not sent", mallory, 10)
        # that one is kept says nothing new after it was passed on
        assert said.count("mallory acknowledged what they were not sent") in (3, 4), said
        stranger = Person("stranger")
        post.spool(alice.mount.vault, sharing.seal(
            stranger.identity, me, sharing.ACK, 0, number, int(time.time()),
            sharing.ack(2)), ".env")
        alice.receive()
        eq(alice.given(set_id), before)
        refused(alice.mount, "by a stranger", stranger)
        # so it is sent again
        for d, _, files in os.walk(alice.post):
            for name in files:
                os.unlink(os.path.join(d, name))
        journal = alice.path(".tgshare/outbox", set_id, "journal")
        put(journal, re.sub(rb"(?m)^(sent \d+) (\d+)",
                            lambda found: b"%s %d" % (found[1], int(found[2]) - 3601),
                            get(journal)))
        alice.receive()
        bob.receive()
        carol.receive()
        carol.tg("release", "--all")
        bob.receive()
        share.readable(bob.shared("alice/report"), b"data")
        alice.receive()
        eq(alice.given(set_id)["state"], "opened")


UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
                   "\ufeff\udc80-\udcff]")


@check
def names_do_not_write_on_terminals():
    with crowd("bob") as (bob,):
        alice, rude = Person("alice"), Person("rude")
        alice.meet(bob.mount)
        names = ["invoice\u202efdp.exe", "\u2066x\u2069", "raw\udc9b31m\udcff",
                 "line\u2028break", "zero\u200bwidth"]
        for i, name in enumerate(names):
            s = alice.send(bob.mount, name, b"data", k=2, n=2)
            s.post_manifest()
            s.post_share(1)
            post.spool(bob.mount.vault, envelope(s, sharing.SHARE, os.urandom(42), 2), ".env")
            bad = alice.send(bob.mount, name, b"data")
            bad.manifest["secret_commitment"] = bytes(32)
            bad.post_all()
            rude.send(bob.mount, name, b"data").post_manifest()
        for argv in ("receive",), ("status",), ("log",), ("status", "--json"), ("log", "--json"):
            # alice has no address: what is for her waits
            said = bob.tg(*argv, status=share.QUEUED if argv[0] == "receive" else share.OK)
            eq(UNFIT.findall(said), [], argv)
        came = {sharing.raw(s["name"]) for s in bob.status()["came"]}
        assert {sharing.raw(n) for n in names} <= came, came
        assert len([r for r in bob.log("refused")]) >= 2 * len(names)
        arrives(bob.mount, alice)


@check
def a_post_office_sends_what_is_no_mail():
    with crowd("alice", "bob") as (alice, bob):
        box = next(os.path.join(bob.post, d) for d in os.listdir(bob.post)
                   if d in bob_box(bob))
        for name in os.urandom(32).hex() + ".part", "x.part", "y.env", "z.txt":
            os.truncate(put(os.path.join(box, name)), 1 << 40)
        for name in "dir.txt", "dir.env":
            os.mkdir(os.path.join(box, name))
        os.symlink("/dev/zero", os.path.join(box, "zero.part"))
        os.symlink("/etc/shadow", os.path.join(box, "shadow.part"))
        os.mkfifo(os.path.join(box, "pipe.env"))
        put(os.path.join(box, "name\x1b[2J.txt"), b"x")
        alice.send("send", put(alice.path("report"), b"data"), "--to", "bob")
        start = time.monotonic()
        bob.receive()
        assert time.monotonic() - start < 30
        share.readable(bob.shared("alice/report"), b"data")
        inbox = os.path.join(bob.mount.vault, ".frondfs/inbox")
        assert sum(os.lstat(os.path.join(inbox, n)).st_size
                   for n in os.listdir(inbox)) < 1 << 20


@check
def a_thief_puts_links_where_sealed_copies_lay():
    secret = put(frond.fresh("private key"), b"what is nobody's business\n" * 4000)
    with crowd("alice", "bob") as (alice, bob):
        os.rename(alice.post, alice.post + ".away")
        report = put(alice.path("report"), blob(30000))
        alice.tg("send", report, "--to", "bob", status=share.QUEUED)
        os.rename(alice.post + ".away", alice.post)
        outbox = os.path.join(alice.mount.vault, ".frondfs/outbox")
        copy, = (os.path.join(outbox, n) for n in os.listdir(outbox)
                 if re.fullmatch("[0-9a-f]{32}", n))
        os.rename(copy, copy + ".aside")
        for put_there in (lambda: os.symlink(secret, copy), lambda: os.mkfifo(copy),
                          lambda: os.mkdir(copy)):
            put_there()
            bundle = frond.fresh("bundle")
            alice.tg("receive", status=share.QUEUED, says="cannot read the message")
            alice.tg("export", set_of(alice), "-o", bundle, status=share.FAILED,
                     says="cannot write the bundle")
            alice.tg("send", report, "--to", "bob", status=share.QUEUED,
                     says="cannot read the message")
            assert not os.path.exists(bundle)
            for name in os.listdir(mailbox(bob)):
                assert b"nobody's business" not in get(os.path.join(mailbox(bob), name)), name
            (os.rmdir if os.path.isdir(copy) else os.unlink)(copy)
        os.rename(copy + ".aside", copy)
        meta, elsewhere = os.path.join(alice.mount.vault, ".frondfs"), frond.fresh("elsewhere")
        os.mkdir(elsewhere)
        os.rename(meta, meta + ".aside")
        os.symlink(elsewhere, meta)
        alice.tg("receive", status=share.FAILED, says="cannot use .frondfs")
        eq(os.listdir(elsewhere), [])
        os.unlink(meta)
        os.rename(meta + ".aside", meta)
        alice.receive()
        bob.receive()
        share.readable(bob.shared("alice/report"), get(report))


def set_of(person):
    return person.status()["given"][0]["set"]


def mailbox(person):
    return os.path.join(person.post, os.path.basename(sharing.parse_card(person.card)[1]))


def long_ago(path):
    """As if it had lain there for a while: nothing is on its way any more."""
    os.utime(path, (1, 1))
    return path


def alter(path, at):
    raw = get(path)
    put(path, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])


@check
def what_a_post_office_altered_is_named_and_can_be_sent_again():
    with crowd("alice", "bob") as (alice, bob):
        data = frond.blob(100000)
        (set_id, *_), = alice.send("send", put(alice.path("report"), data), "--to", "bob")
        texts = [n for n in os.listdir(mailbox(bob)) if n.endswith(".txt")]
        part, = (n for n in os.listdir(mailbox(bob)) if n.endswith(".part"))
        for name in texts + [part]:
            path = os.path.join(mailbox(bob), name)
            alter(path, get(path).index(b"tgshare1.") + 15 if name in texts else 5000)
        # it may be on its way, and is not lost
        out, err = share.tg("receive", "--vault", bob.mount.path)
        assert "not what its name says" in err and not out, (out, err)
        eq(sorted(os.listdir(mailbox(bob))), sorted(texts + [part]))
        eq(bob.log("refused"), [])
        # the same again replaces what is not the same
        alice.send("send", alice.path("report"), "--to", "bob")
        bob.receive()
        share.readable(bob.shared("alice/report"), data)
        eq(bob.log("refused"), [])
        # and what stays altered is refused and named
        alice.send("send", put(alice.path("other"), data), "--to", "bob")
        names = os.listdir(mailbox(bob))
        kept = {n: get(os.path.join(mailbox(bob), n)) for n in names}
        for name in names:
            path = os.path.join(mailbox(bob), name)
            alter(path, 5000 if name.endswith(".part") else
                  get(path).index(b"tgshare1.") + (3 if name == names[0] else 15))
            # a time to come makes nothing lie there for ever
            os.utime(path, (1, 1) if name == names[0] else (4e9, 4e9))
        says = bob.receive()
        eq(says.count("altered on its way"), len(names))
        eq(len(bob.log("refused")), len(names))
        assert any(part[:64] in r["text"] for r in bob.log("refused")
                   for part in names if part.endswith(".part")), bob.log("refused")
        eq(os.listdir(mailbox(bob)), [])
        # of rubbish without end only so much is named
        for i in range(100):
            long_ago(put(os.path.join(mailbox(bob), f"{i}.txt"), b"rubbish %d" % i))
        bob.receive()
        eq(os.listdir(mailbox(bob)), [])
        assert len(bob.log("refused")) <= 34, len(bob.log("refused"))
        for name in kept:
            put(os.path.join(mailbox(bob), name), kept[name])
        bob.receive()
        share.readable(bob.shared("alice/other"), data)


def bob_box(person):
    return sharing.parse_card(person.card)[1]


@check
def a_thief_of_the_backing_directory_learns_nothing():
    with crowd("alice", "robert", "carol") as (alice, bob, carol):
        data = b"the words that nobody may see " * 400
        secret = put(alice.path("confidential.txt"), data)
        (sent, *_), = alice.send(
            "send", secret, "--to", "robert", "--shares", "2", "--threshold", "2", "--via",
            "robert,carol", "--note", "remember the garden")
        (granted, *_), = alice.send("grant", secret, "--to", "robert")
        bob.attach(alice)
        needles = [b"words that nobody", b"confidential", b"garden", b"robert", b"carol",
                   b"alice", b"tgcard1", b"tgshare1", b"FRONDBN1", os.fsencode(alice.post)]
        for person in alice, bob, carol:
            person.tg("card")
            public = control.identity(person.mount.path)
            needles += [public[:32], public[32:], bytes.fromhex(sent), sent.encode(),
                        granted.encode(), public[:32].hex().encode()]
        fd = os.open(secret, os.O_RDWR)
        needles.append(control.file_key(fd)[1])
        os.close(fd)
        search(needles, alice, bob, carol)
        for person in bob, carol:
            person.receive()
        search(needles, alice, bob, carol)
        carol.tg("release", "--all")
        bob.receive()
        alice.receive()
        share.readable(bob.shared("alice/confidential.txt"), data)
        search(needles, alice, bob, carol)
        for person in alice, bob, carol:
            person.tg("log", "--verify", says="whole")


def search(needles, *people):
    for person in people:
        top = os.fsencode(person.mount.vault)
        for d, dirs, files in os.walk(top):
            for name in dirs + files:
                path = os.path.join(d, name)
                text = name
                if stat.S_ISREG(os.lstat(path).st_mode):
                    text += b"\n" + get(path)
                for attr in os.listxattr(path, follow_symlinks=False):
                    text += b"\n" + os.getxattr(path, attr, follow_symlinks=False)
                for needle in needles:
                    # what anybody may have: a public key seals, a name is short
                    assert needle not in text, (needle, path)


@check(root=True)
def another_user_gets_nothing_of_a_mount_that_all_may_use():
    try:
        frond.in_child(lambda: os.stat(share.TGSHARE), STRANGER, STRANGER)
    except OSError:
        raise frond.Skip("other users cannot reach the program") from None
    office, alice = frond.fresh("office"), Person("alice")
    os.mkdir(office)
    bob = share.Person("bob", office, "allow_other")
    m = bob.mount
    with m:
        bob.tg("contact", "add", "alice", sharing.card(alice.identity, "alice"))
        os.chmod(m.path, 0o755)
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        s.post_manifest()
        s.post_share(1)
        control.scan(m.path)
        before = len(control.log(m.path))
        for argv in (["setup", "--name", "eve", "--transport", "dir:" + office], ["card"],
                     ["status"], ["receive"], ["log"], ["log", "--verify"],
                     ["release", "--all"], ["contact", "list"],
                     ["send", m.path + "/Shared", "--to", "alice"],
                     ["revoke", s.id.hex()]):
            p = subprocess.run([share.TGSHARE, *argv], user=STRANGER, group=STRANGER,
                               extra_groups=[], stdin=subprocess.DEVNULL, timeout=60,
                               env={"TGSHARE_VAULT": m.path, "HOME": "/nonexistent"},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert p.returncode != 0, (argv, p.stdout)
            assert p.stderr.startswith("tgshare: ") and p.stderr.count("\n") == 1, p.stderr
            assert "report" not in p.stdout and "alice" not in p.stdout, (argv, p.stdout)

        def look():
            for call in control.sets, control.log, control.identity, control.scan:
                raises(errno.EPERM, call, m.path)
            raises(errno.EACCES, os.listdir, os.path.join(m.path, ".tgshare"))
            raises(errno.EACCES, os.listdir, os.path.join(m.path, "Shared"))
        frond.in_child(look, STRANGER, STRANGER)
        eq(len(control.log(m.path)), before)
        arrives(m, alice)


# The user in between

@check
def shared_may_be_something_else():
    for make in (lambda p: put(p, b"my own"), lambda p: os.symlink("elsewhere", p),
                 lambda p: os.symlink("/tmp", p), os.mkdir):
        with Met() as (m, alice):
            own = os.path.join(m.path, "Shared")
            make(own)
            before = os.lstat(own)
            alice.send(m, "report.pdf", b"data").post_all()
            control.scan(m.path)
            eq(os.lstat(own).st_mode, before.st_mode)
            assert not os.path.exists(os.path.join("/tmp", "alice"))
            found = [os.path.join(d, f) for d, _, files in os.walk(m.path) for f in files
                     if f == "report.pdf"]
            eq([get(f) for f in found], [b"data"])
            if not stat.S_ISDIR(before.st_mode):
                eq(os.lstat(own).st_ino, before.st_ino)


@check
def the_tree_is_turned_over_while_things_arrive():
    with Met() as (m, alice):
        n, stop, sent = scale(60, 15), threading.Event(), set()

        def meddle():
            turn = 0
            while not stop.is_set():
                turn += 1
                for act in ((os.rename, shared(m, name="f1"), os.path.join(m.path, f"mv{turn}")),
                            (os.rename, os.path.dirname(shared(m)),
                             os.path.join(m.path, f"d{turn}")),
                            (os.unlink, shared(m, name=f"f{turn % n}")),
                            (os.rename, os.path.join(m.path, "Shared"),
                             os.path.join(m.path, f"s{turn}"))):
                    try:
                        act[0](*act[1:])
                    except OSError as e:
                        assert e.errno in (errno.ENOENT, errno.ENOTEMPTY), e
                    time.sleep(0.003)
        meddler = threading.Thread(target=meddle)
        meddler.start()
        try:
            for i in range(n):
                arriving = alice.send(m, f"f{i}", blob(30_000, i))
                sent.add(arriving.id)
                arriving.post_all()
            control.scan(m.path)
        finally:
            stop.set()
            meddler.join()
        control.scan(m.path)
        # each came to an end, whatever it was called by then
        ended = [bytes(r.set_id) for e, _, r in control.log(m.path)
                 if e in ("opened", "declined")]
        eq(set(ended), sent)
        # every one that is there is whole
        seen = 0
        for d, _, files in os.walk(m.path):
            for f in files:
                if ".tgshare" not in d:
                    data = get(os.path.join(d, f))
                    assert data in {blob(30_000, i) for i in range(n)}
                    seen += 1
        assert seen <= n, seen
        eq(refusals(m), [])
        eq(spooled(m), set())
        # where the directory is that was Shared
        alice.send(m, "the last", b"here").post_all()
        control.scan(m.path)
        eq([get(os.path.join(d, f)) for d, _, files in os.walk(m.path) for f in files
            if f == "the last"], [b"here"])


@check(root=True)
def a_full_disk_only_delays():
    disk = frond.fresh("disk")
    os.mkdir(disk)
    run("mount", "-t", "tmpfs", "-o", "size=24m,mode=0755", "frond-test", disk)
    try:
        vault = os.path.join(disk, "vault")
        os.mkdir(vault)
        run(frond.FRONDFS, "init", "--passfile", frond.passfile(), "--kdf-mem", "8",
            "--kdf-ops", "1", vault)
        with Met(vault=vault) as (m, alice):
            data = blob(8 << 20)
            s = alice.send(m, "big", data)
            s.post_manifest()
            s.post_parts()
            control.scan(m.path)
            filler = put(os.path.join(disk, "filler"))
            room = os.statvfs(disk)
            os.posix_fallocate(fd := os.open(filler, os.O_RDWR), 0,
                               room.f_bavail * room.f_bsize - (2 << 20))
            os.close(fd)
            s.post_share(1)
            raises(errno.ENOSPC, control.scan, m.path)
            locked(shared(m, name="big"))
            eq(os.path.getsize(shared(m, name="big")), len(data))
            # nothing lost, nothing left half done
            raises(errno.ENOSPC, control.scan, m.path)
            small = alice.send(m, "small", b"fits")
            small.post_all()
            raises(errno.ENOSPC, control.scan, m.path)
            eq(get(shared(m, name="small")), b"fits")
            # the mount looks by itself, too, and may be trying just now
            until(lambda: not [n for n in os.listdir(os.path.join(vault, ".frondfs/inbox"))
                               if n.endswith(".new")], 5, "what was begun to be gone")
            m.remount()
            os.unlink(filler)
            control.scan(m.path)
            eq(get(shared(m, name="big")), data)
            eq(refusals(m), [])
            eq(spooled(m), set())
            arrives(m, alice)
    finally:
        run("umount", "-l", disk)


frond.main()
