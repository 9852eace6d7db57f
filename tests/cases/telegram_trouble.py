#!/usr/bin/env python3
"""Troubles on the way over Telegram: what is told, what is tried again and how
often, and what is left in the chats."""
import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, fresh, get, put, raises, until
from share import QUEUED, TGSHARE, readable
from telegram import town

ARMOUR = re.compile(r"tgshare1\.[A-Za-z0-9_-]+")


def start(person, *argv, **env):
    """tgshare, with what it says in a file."""
    said = fresh("said")
    with open(said, "wb") as f:
        p = subprocess.Popen([TGSHARE, *argv], stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                             env=dict(os.environ, TGSHARE_VAULT=person.mount.path, **env))
    p.said = lambda: get(said).decode()
    return p


class agent:
    """with agent(bob) as a: its a.said()."""

    def __init__(self, person, **env):
        self.process = start(person, "agent", **env)

    def __enter__(self):
        return self.process

    def __exit__(self, kind, *_):
        if self.process.poll() is not None:
            return  # the check has looked at that
        self.process.send_signal(signal.SIGKILL if kind else signal.SIGTERM)
        status = self.process.wait(30)
        assert kind or status == 0, self.process.said()


def keeper(api, alice, name):
    """Somebody who pressed Start and may keep shares."""
    user = api.do("add_user", name=name)["id"]
    alice.tg("contact", "chat", name, str(user))
    api.do("start", user=user, bot="alice_bot")
    return user


def chat(api, user, bot="alice_bot"):
    """What the user sees of the bot."""
    return [m for m in api.do("inbox", user=user, bot=bot)["messages"]
            if m["from"]["username" if "username" in m["from"] else "first_name"] == bot]


def polls(api):
    return api.do("counts")["requests"].get("getUpdates", 0)


def lines(person, word):
    """What journals tell."""
    top, told = person.path(".tgshare/outbox"), []
    for n in os.listdir(top):
        path = os.path.join(top, n, "journal")
        if os.path.exists(path):
            told += [line for line in get(path).decode().splitlines()
                     if line.split()[0] == word]
    return told


def shares(api, user):
    return [m for m in chat(api, user) if ARMOUR.search(m.get("text", ""))]


def documents(api):
    return [m["document"]["file_name"] for m in chat(api, "bob_bot") if "document" in m]


@check(plain=False)
def an_envelope_that_is_cut_anywhere_arrives():
    with town("alice", "bob") as (api, alice, bob):
        users = [keeper(api, alice, n) for n in ("carol", "dave")]
        eve = api.do("add_user", name="eve")["id"]
        for n, spoil in enumerate((
                lambda a, b: ((a + "\n\n" + b)[:len(a) + 60], (a + "\n\n" + b)[len(a) + 60:]),
                lambda a, b: (a + " and tgsha", b[len("tgsha"):]),
                lambda a, b: ("I begin: tgshare1.AAAA", *["chatter " * 500] * 9, a,
                              b[:60], b[60:]))):
            path = put(alice.path(f"f{n}"), b"x")
            alice.send("send", path, "--to", "bob", "--shares", "2", "--threshold", "2",
                       "--via", "carol,dave")
            a, b = (ARMOUR.search(chat(api, u)[-1]["text"])[0] for u in users)
            for piece in spoil(a, b):
                api.do("say", user=eve, to="bob_bot", text=piece)
            bob.receive()
            eq(get(bob.shared(f"alice/f{n}")), b"x", n)


@check(plain=False)
def what_cannot_be_taken_back_yet_is_told_and_tried_again():
    with town("alice", "bob") as (api, alice, bob):
        carol = keeper(api, alice, "carol")
        (number, *_), = alice.send("send", put(alice.path("a"), b"x"), "--to", "bob", "--shares",
                                   "2", "--threshold", "2", "--via", "bob,carol")
        api.do("faults", every=1, kinds=["429"], methods=["deleteMessage"])
        alice.tg("revoke", number[:8], status=QUEUED, says="in a chat yet")
        assert shares(api, carol)
        api.do("faults", every=0)
        alice.receive()
        eq(shares(api, carol), [])
        bob.receive()
        raises(errno.EKEYREVOKED, get, bob.shared("alice/a"))


@check(plain=False)
def what_is_sent_again_replaces_what_lay_there():
    with town("alice", "bob") as (api, alice, bob):
        path = put(alice.path("a"), blob(3000))
        alice.send("send", path, "--to", "bob")
        once = len(chat(api, "bob_bot"))
        (_, state, *_), = alice.send("send", path, "--to", "bob")
        eq(state, "sent again")
        eq(len(chat(api, "bob_bot")), once)
        bob.receive()
        eq(get(bob.shared("alice/a")), blob(3000))
        alice.receive()
        # what is left are acknowledgements' and the like
        eq(documents(api), [])
        eq(shares(api, "bob_bot"), [])


@check(plain=False)
def two_sends_at_once_send_once():
    with town("alice", "bob") as (api, alice, bob):
        path = put(alice.path("a"), blob(100_000))
        alice.send("send", put(alice.path("b"), b"x"), "--to", "bob")
        lock = os.path.join(alice.mount.vault, ".frondfs/outbox/lock")
        with open(lock, "rb+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            both = [start(alice, "send", path, "--to", "bob") for _ in range(2)]
            until(lambda: all(any(link == os.path.realpath(lock) for link in fds(p.pid))
                              for p in both), 20, "both wait")
            time.sleep(0.1)
            api.do("inbox", user="bob_bot", bot="alice_bot")
            before = len(chat(api, "bob_bot"))
        for p in both:
            eq(p.wait(60), 0, p.said())
            assert "again" not in p.said().replace("may be", ""), p.said()
        names = documents(api)
        eq(len(names), len(set(names)), names)
        sent = api.do("counts")["requests"]
        assert "deleteMessage" not in sent, sent  # no copy was replaced
        assert len(chat(api, "bob_bot")) > before
        bob.receive()
        eq(get(bob.shared("alice/a")), blob(100_000))


def fds(pid):
    """What its descriptors are of."""
    top, found = f"/proc/{pid}/fd", []
    try:
        for n in os.listdir(top):
            found.append(os.path.realpath(os.path.join(top, n)))
    except OSError:
        pass
    return found


@check(plain=False)
def a_full_disk_is_named_and_waited_for():
    if os.geteuid():
        raise frond.Skip("only root mounts a small disk")
    with town("alice", "bob") as (_, alice, bob):
        for p in (alice, bob):
            p.tg("setup", "--part-size", "1")
        data = blob(3 << 20)
        alice.send("send", put(alice.path("a"), data), "--to", "bob")
        bob.tg("status")
        inbox = os.path.join(bob.mount.vault, ".frondfs/inbox")
        os.makedirs(inbox, 0o700, exist_ok=True)
        frond.run("mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "frond-test", inbox)
        try:
            said = bob.tg("receive", status=QUEUED, says="No space left")
            assert "Bot API" not in said
            # the same twice: nothing was lost
            bob.tg("receive", status=QUEUED, says=bob.mount.vault)
        finally:
            frond.run("umount", "-l", inbox)
        bob.receive()
        readable(bob.shared("alice/a"), data)


@check(plain=False)
def what_was_acknowledged_is_read_before_anything_is_sent_again():
    with town("alice", "bob") as (api, alice, bob):
        alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
        bob.receive()
        # it would be due long since
        top = alice.path(".tgshare/outbox")
        journal, = (os.path.join(top, n, "journal") for n in os.listdir(top) if n[0] != ".")
        put(journal, re.sub(rb"(sent \d+) \d+", rb"\1 1000000000", get(journal)))
        before = api.do("counts")["requests"]
        alice.receive()
        after = api.do("counts")["requests"]
        for method in ("sendMessage", "sendDocument"):
            eq(after.get(method, 0), before.get(method, 0), method)
        assert b"ack 0 2" in get(journal) or not os.path.exists(journal)


@check(plain=False)
def an_agent_notices_a_new_setup():
    with town("alice", "bob") as (api, alice, bob), agent(bob) as a:
        until(lambda: polls(api), 10, "it collects")
        other = api.do("add_bot", username="bob2_bot", bot_to_bot=True)
        token = put(fresh("token"), other["token"].encode())
        bob.tg("setup", "--bot-token-file", token)
        until(lambda: "going on as @bob2_bot" in a.said(), 20, "a word")
        alice.tg("contact", "add", "bob", bob.tg("card").strip())
        alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
        readable(bob.shared("alice/a"), b"x", 20)
        # and what replaces a token that is revoked
        api.do("revoke_token", bot="bob2_bot")
        eq(a.wait(120), 4)
        assert "tgshare setup" in a.said() and "the agent ends" in a.said(), a.said()


@check(plain=False)
def the_same_trouble_is_told_once_however_it_comes_and_goes():
    with town("bob") as (api, bob):
        def webhook(url):
            request = f"{api.root}/bot{bob.bot['token']}/setWebhook?url={url}"
            urllib.request.urlopen(request, timeout=10).close()
        with agent(bob) as a:
            for _ in range(2):
                webhook("https://elsewhere")
                user = api.do("add_user", name="x")["id"]
                api.do("say", user=user, to="bob_bot", text="hello")
                until(lambda: "webhook" in a.said(), 20, "a word")
                time.sleep(0.2)
                webhook("")
                before = polls(api)
                until(lambda: polls(api) > before, 20, "it goes on")
            eq(a.said().count("webhook"), 1, a.said())


@check(plain=False)
def what_was_refused_rests_and_is_named_by_the_contact():
    with town("alice", "bob") as (api, alice, bob):
        carol = keeper(api, alice, "carol")
        alice.receive()
        api.do("block", user=carol, bot="alice_bot")
        alice.tg("send", put(alice.path("a"), b"x"), "--to", "bob", "--via", "carol",
                 status=QUEUED, says="carol has blocked")
        with agent(alice) as a:
            until(lambda: polls(api), 10, "a round")
            refused = len(lines(alice, "fail"))
            # somebody else's news: it has another look, and leaves this alone
            bob.send("send", put(bob.path("b"), b"y"), "--to", "alice")
            readable(alice.shared("bob/b"), b"y", 20)
            bob.receive("--wait", "20")
            eq(len(lines(alice, "fail")), refused)
            eq(shares(api, carol), [])
            # they press Start: now it goes at once
            api.do("start", user=carol, bot="alice_bot")
            until(lambda: shares(api, carol), 20, "the share")
            assert a.said().count("blocked") <= 1 and str(carol) not in a.said(), a.said()


@check(plain=False)
def who_was_not_reached_is_named_when_the_recipient_was():
    with town("alice", "bob") as (api, alice, bob):
        api.do("block", user=keeper(api, alice, "carol"), bot="alice_bot")
        path = put(alice.path("a"), b"x")
        number = alice.tg("send", path, "--to", "bob", "--shares", "2", "--threshold", "2",
                          "--via", "bob,carol", status=QUEUED).split("\t")[0]
        bob.receive()
        alice.tg("receive", status=QUEUED, says="bob has received a")
        assert "bob (received), carol (not delivered)" in alice.tg("status")
        mine, carols = alice.given(number)["shares"]
        eq((mine["state"], mine["reason"]), ("received", ""))
        assert carols["state"] == "not delivered" and "blocked" in carols["reason"], carols


@check(plain=False)
def a_clock_that_was_ahead_holds_nothing_up():
    if frond.SLOW:
        raise frond.Skip("a sanitizer wants to be loaded first")
    frond.tool("faketime")
    clock = put(fresh("clock"), b"+20h")
    preload = subprocess.run(["faketime", "-f", "+1d", "printenv", "LD_PRELOAD"], check=True,
                             stdout=subprocess.PIPE).stdout.decode().strip()
    ahead = {"LD_PRELOAD": preload, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
             "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with town("alice", "bob") as (api, alice, bob):
        # sent, and lost on the way, nearly a day from now
        with start(alice, "send", put(alice.path("lost"), b"1"), "--to", "bob", **ahead) as p:
            eq(p.wait(60), 0)
        api.do("advance", seconds=2 * 86400)
        eq(bob.receive(), "")
        # a try that is refused, and put off, then
        api.do("set_bot_to_bot", bot="bob_bot", on=False)
        with start(alice, "send", put(alice.path("new"), b"2"), "--to", "bob", **ahead) as p:
            eq(p.wait(60), QUEUED)
        with agent(alice, **ahead) as a:
            until(lambda: polls(api) > 2, 10, "it collects")
            assert len(lines(alice, "fail")) == 3 and not a.said(), a.said()
            api.do("set_bot_to_bot", bot="bob_bot", on=True)
            put(clock, b"+0d")
            until(lambda: len(lines(alice, "sent")) == 9, 30, "all of both")
        bob.receive()
        eq((get(bob.shared("alice/lost")), get(bob.shared("alice/new"))), (b"1", b"2"))


@check(plain=False)
def what_comes_opens_while_another_tgshare_works():
    with town("alice", "bob") as (api, alice, bob), agent(bob) as a:
        until(lambda: polls(api), 10, "it collects")
        with open(os.path.join(bob.mount.vault, ".frondfs/outbox/lock"), "w") as lock:
            # as a send does, which may take hours
            fcntl.flock(lock, fcntl.LOCK_EX)
            for n in "first", "second":
                alice.send("send", put(alice.path(n), n.encode()), "--to", "bob")
                readable(bob.shared("alice", n), n.encode(), 30)
        until(lambda: "second is open" in a.said(), 30, "a word")
        alice.receive("--wait", "20")
        assert "waiting for another" not in a.said(), a.said()


@check(plain=False)
def what_nobody_sends_the_rest_of_is_forgotten():
    with town("bob") as (api, bob):
        for name in "old", "new":
            api.do("say", user=api.do("add_user", name=name)["id"], to="bob_bot",
                   text="tgshare1.AbSX" + name)
            bob.receive()
            if name == "old":
                piece, = os.listdir(bob.path(".tgshare/pieces"))
                os.utime(bob.path(".tgshare/pieces", piece), (0, time.time() - 8 * 86400))
        left, = os.listdir(bob.path(".tgshare/pieces"))
        assert left != piece and b"new" in get(bob.path(".tgshare/pieces", left))


@check(plain=False)
def a_set_that_is_gone_on_with_says_how_long_it_lasts():
    with town("alice", "bob") as (api, alice, bob):
        api.do("set_bot_to_bot", bot="bob_bot", on=False)
        send = ["send", put(alice.path("a"), b"x"), "--to", "bob", "--expires"]
        alice.tg(*send, "2030-01-31", status=QUEUED)
        alice.tg(*send, "1d", status=QUEUED, says="made before of the same and expires 2030-01-31")


@check(plain=False)
def what_is_here_is_not_fetched_again():
    with town("alice", "bob", "carol") as (api, alice, bob, carol):
        alice.tg("setup", "--part-size", "1")
        send = ["send", put(alice.path("a"), blob(3 << 20)), "--to", "bob", "--via", "carol"]

        def fetched():
            bob.receive()
            return api.do("counts")["requests"].get("getFile", 0)
        alice.tg(*send)
        first = fetched()
        assert first > 2, first
        alice.tg(*send, says="sent again")
        eq(fetched(), first)
        # what was altered meanwhile goes when that is seen, and comes again
        spool = os.path.join(bob.mount.vault, ".frondfs/inbox")
        part = next(n for n in os.listdir(spool) if n.endswith(".part"))
        os.truncate(os.path.join(spool, part), 100)
        alice.tg(*send)
        eq(fetched(), first + 1)
        carol.receive()
        carol.tg("release", "--all")
        bob.receive()
        readable(bob.shared("alice/a"), get(alice.path("a")))


frond.main()
