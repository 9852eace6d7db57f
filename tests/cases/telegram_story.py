#!/usr/bin/python3
"""Sharing over Telegram from end to end: vaults, mounts, bots, and bad days."""
import errno
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises, scale, until
from share import FAILED, NOT_SET_UP, QUEUED, TGSHARE, UNKNOWN, USAGE, readable, same_tree, tg
from telegram import spooled, town

BAD_DAYS = ["drop", "lost", "reset", "delay", "truncate", "corrupt", "500", "502"]
DAY_AND_A_HALF_S = 36 * 3600


@check(plain=False)
def from_bot_to_bot():
    with town("alice", "bob") as (_, alice, bob):
        data = blob(30_000_000)
        (set_id, state, *_), = alice.send("send", put(alice.path("film"), data), "--to", "bob")
        eq(state, "sent")
        assert "film is open, from alice" in bob.receive()
        eq(get(bob.shared("alice/film")), data)
        alice.receive()
        eq(alice.given(set_id)["state"], "opened")


@check(plain=False)
def custodians_decide():
    with town("alice", "bob", "carol", "dave") as (_, alice, bob, carol, dave):
        data = blob(100_000)
        alice.send("send", put(alice.path("report"), data), "--to", "bob", "--shares", "3",
                   "--threshold", "2", "--via", "bob,carol,dave")
        assert "waiting for carol or dave" in bob.receive()
        raises(errno.ENOKEY, get, bob.shared("alice/report"))
        dave.receive()
        dave.tg("release", "--all", says="goes to bob")
        bob.receive()
        eq(get(bob.shared("alice/report")), data)
        alice.receive()
        assert "passed on" in str(alice.status()), alice.status()
        eq(carol.status()["came"], [])


@check(plain=False)
def sixteen_of_sixteen():
    with town("alice", "bob") as (_, alice, bob):
        alice.send("send", put(alice.path("a"), b"x" * 5000), "--to", "bob",
                   "--shares", "16", "--threshold", "16")
        bob.receive()
        eq(get(bob.shared("alice/a")), b"x" * 5000)


@check(plain=False)
def ten_recipients():
    names = [f"friend{n}" for n in range(scale(10, 3))]
    with town("alice", *names) as (_, alice, *friends):
        data = blob(50_000)
        alice.send("send", put(alice.path("song"), data), "--to", ",".join(names))
        for friend in friends:
            friend.receive()
            eq(get(friend.shared("alice/song")), data)


@check(plain=False)
def a_folder_of_many_files():
    with town("alice", "bob") as (_, alice, bob):
        top = alice.path("photos")
        for n in range(scale(500, 40)):
            where = os.path.join(top, str(n % 20))
            os.makedirs(where, exist_ok=True)
            put(os.path.join(where, f"{n}.jpg"), blob(n * 37 % 9000, n))
        alice.send("send", top, "--to", "bob")
        until(lambda: "is open" in bob.receive(), 120, "the folder")
        same_tree(top, bob.shared("alice/photos"))


@check(plain=False)
def a_large_file_on_bad_days():
    with town("alice", "bob") as (api, alice, bob):
        data = blob(scale(120 << 20, 45 << 20))
        film = put(alice.path("film"), data)
        api.do("faults", every=5, kinds=BAD_DAYS, seed=random.randrange(1 << 30))
        status, tries = QUEUED, 0
        while status == QUEUED and tries < 20:
            status = run(alice, "send", film, "--to", "bob")
            tries += 1
        eq(status, 0)
        until(lambda: run(bob, "receive") is not None and
              os.path.exists(bob.shared("alice/film")) and opened(bob.shared("alice/film")),
              300, "the film")
        assert get(bob.shared("alice/film")) == data
        assert api.do("counts")["faults"] > 3
        api.do("faults", every=0)
        # what was sent twice may come after the film has opened
        until(lambda: run(bob, "receive") == 0 and not spooled(bob), 60, "an empty inbox")


def run(person, *argv):
    """tgshare; its status."""
    return subprocess.run([TGSHARE, *argv], env=dict(os.environ, TGSHARE_VAULT=person.mount.path),
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, timeout=300).returncode


def opened(path):
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False


class Agent:
    def __init__(self, person):
        self.process = subprocess.Popen(
            [TGSHARE, "agent"], env=dict(os.environ, TGSHARE_VAULT=person.mount.path),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def end(self, signal_number=signal.SIGTERM):
        self.process.send_signal(signal_number)
        status = self.process.wait(60)
        errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        return status, errors


@check(plain=False)
def agents_that_are_killed_again_and_again_lose_and_double_nothing():
    with town("alice", "bob") as (_, alice, bob):
        files = {f"file {n}": blob(200_000 + n, n) for n in range(scale(10, 4))}
        for name, data in files.items():
            put(alice.path(name), data)
        kills, unsent = 0, list(files)
        agents = {p: Agent(p) for p in (alice, bob)}
        while kills < scale(30, 8):
            if unsent:
                run(alice, "send", alice.path(unsent.pop()), "--to", "bob")
            time.sleep(random.random() * 0.6)
            person = random.choice([alice, bob])
            agents[person].end(signal.SIGKILL)
            agents[person] = Agent(person)
            kills += 1
        for name in unsent:
            run(alice, "send", alice.path(name), "--to", "bob")
        until(lambda: all(opened(bob.shared("alice", n)) for n in files), 120, "all files")
        time.sleep(1)
        for agent in agents.values():
            eq(agent.end()[0], 0)
        eq(sorted(os.listdir(bob.shared("alice"))), sorted(files))
        for name, data in files.items():
            eq(get(bob.shared("alice", name)), data)
        alice.receive()
        eq({s["state"] for s in alice.status()["given"]}, {"opened"})
        eq(len(bob.log("opened")), len(files))


@check(plain=False)
def who_was_away_too_long_gets_it_again():
    frond.tool("faketime")
    with town("alice", "bob") as (api, alice, bob):
        data = blob(40_000)
        (set_id, *_), = alice.send("send", put(alice.path("late"), data), "--to", "bob")
        api.do("advance", seconds=DAY_AND_A_HALF_S)  # Telegram forgets after a day
        eq(bob.receive(), "")
        assert not os.path.exists(bob.shared())
        subprocess.run(["faketime", "-f", f"+{DAY_AND_A_HALF_S}s", TGSHARE, "receive"],
                       env=dict(os.environ, TGSHARE_VAULT=alice.mount.path), check=True,
                       stdout=subprocess.DEVNULL, timeout=100)
        bob.receive()
        eq(get(bob.shared("alice/late")), data)
        alice.receive()
        eq(alice.given(set_id)["state"], "opened")


def send_long_ago(person, name, to, *argv):
    """A day and a half ago, by the sender's clock; the set."""
    path = put(person.path(name), name.encode())
    out = subprocess.run(["faketime", "-f", f"-{DAY_AND_A_HALF_S}s", TGSHARE, "send", path,
                          "--to", to, *argv], check=True, stdout=subprocess.PIPE, timeout=100,
                         env=dict(os.environ, TGSHARE_VAULT=person.mount.path)).stdout
    return out.decode().split("\t")[0]


@check(plain=False)
def what_has_expired_is_not_sent_again_and_says_so():
    frond.tool("faketime")
    with town("alice", "bob") as (api, alice, bob):
        gone = send_long_ago(alice, "gone", "bob", "--expires", "1d")
        good = send_long_ago(alice, "good", "bob", "--expires", "7d")
        api.do("advance", seconds=DAY_AND_A_HALF_S)
        eq(bob.receive(), "")
        alice.receive()
        bob.receive()
        eq(os.listdir(bob.shared("alice")), ["good"])
        readable(bob.shared("alice/good"), b"good")
        alice.receive()
        eq([alice.given(s)["state"] for s in (gone, good)], ["expired", "opened"])
        # one that did arrive in time
        late = send_long_ago(alice, "late", "bob", "--expires", "1d")
        bob.receive()
        raises(errno.EKEYEXPIRED, get, bob.shared("alice/late"))
        eq(bob.came(late)["state"], "expired")


@check(plain=False)
def who_is_to_be_left_alone_for_long_keeps_no_other_waiting():
    with town("alice", "bob", "carol") as (api, alice, bob, carol):
        api.do("flood", bot="alice_bot", chat="bob_bot", seconds=3600)
        path = put(alice.path("news"), b"news")
        alice.tg("send", path, "--to", "bob,carol", status=QUEUED,
                 says="asks not to write to bob (@bob_bot) for")
        carol.receive()
        readable(carol.shared("alice/news"), b"news")
        eq(bob.receive(), "")
        alice.tg("receive", status=QUEUED, says="asks not to write to bob (@bob_bot) for")
        api.do("advance", seconds=3601)
        alice.receive()
        bob.receive()
        readable(bob.shared("alice/news"), b"news")


@check(plain=False)
def two_senders_at_once():
    with town("alice", "carol", "bob") as (_, alice, carol, bob):
        data = {p: blob(3_000_000, n) for n, p in enumerate((alice, carol))}
        sending = []
        for person in (alice, carol):
            put(person.path("same name"), data[person])
            sending.append(subprocess.Popen(
                [TGSHARE, "send", person.path("same name"), "--to", "bob"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        for process in sending:
            eq(process.wait(60), 0)
        bob.receive()
        for person in (alice, carol):
            eq(get(bob.shared(person.name, "same name")), data[person])


@check(plain=False)
def a_token_that_is_revoked_in_the_middle():
    with town("alice", "bob") as (api, alice, bob):
        first = put(alice.path("first"), b"1")
        alice.send("send", first, "--to", "bob")
        token = api.do("revoke_token", bot="alice_bot")["token"]
        out, err = (alice.tg("send", put(alice.path("second"), b"2"), "--to", "bob",
                             status=QUEUED, says="@BotFather"), None)
        assert token not in out, err
        alice.tg("receive", status=NOT_SET_UP, says="@BotFather")
        fresh = frond.fresh("new.token")
        put(fresh, token.encode() + b"\n")
        alice.tg("setup", "--bot-token-file", fresh, says="Your card")
        alice.receive()
        bob.receive()
        eq(get(bob.shared("alice/first")), b"1")
        eq(get(bob.shared("alice/second")), b"2")


@check(plain=False)
def a_token_that_is_revoked_while_a_large_file_goes_out():
    with town("alice", "bob") as (api, alice, bob):
        alice.tg("setup", "--part-size", "1")
        data = blob(scale(60 << 20, 12 << 20))
        film = put(alice.path("film"), data)
        sending = subprocess.Popen([TGSHARE, "send", film, "--to", "bob"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        until(lambda: api.do("counts")["requests"].get("sendDocument", 0) > 2, 60, "some parts")
        token = api.do("revoke_token", bot="alice_bot")["token"]
        said = sending.communicate(timeout=60)[1].decode()
        # all of it may have been out by then
        assert sending.returncode == 0 or "@BotFather" in said, said
        alice.tg("setup", "--bot-token-file", put(frond.fresh("token"), token.encode()))
        alice.send("send", film, "--to", "bob")
        until(lambda: "film is open" in bob.receive(), 60, "the film")
        assert get(bob.shared("alice/film")) == data


@check(plain=False)
def the_token_is_nowhere_outside_the_vault():
    with town("alice", "bob") as (api, alice, bob):
        secret = alice.bot["token"].split(":")[1].encode()
        agent = Agent(alice)
        alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
        api.do("faults", every=2, kinds=["drop", "500"], seed=1)
        time.sleep(1.5)
        for name in "cmdline", "environ":
            with open(f"/proc/{agent.process.pid}/{name}", "rb") as f:
                assert secret not in f.read(), name
        api.do("faults", every=0)
        api.do("revoke_token", bot="alice_bot")
        time.sleep(2)
        if agent.process.poll() is None:
            agent.process.send_signal(signal.SIGTERM)
        agent.process.wait(60)
        assert secret not in agent.process.stderr.read()
        agent.process.stderr.close()
        for d, _, names in os.walk(alice.mount.vault):
            for name in names:
                assert secret not in get(os.path.join(d, name)), name
        bob.receive()
        readable(bob.shared("alice/a"), b"x")


def chat_with(api, person, bot):
    return api.do("inbox", user=person, bot=bot)["messages"]


@check(plain=False)
def people_without_a_vault_keep_shares_and_forward_them():
    with town("alice", "bob") as (api, alice, bob):
        users = {n: api.do("add_user", name=n)["id"] for n in ("carol", "dave", "erin")}
        for name, user in users.items():
            link = alice.tg("contact", "chat", name, "--link").strip()
            assert link.startswith("https://t.me/alice_bot?start="), link
            api.do("start", user=user, bot="alice_bot", payload=link.partition("start=")[2])
        assert "carol pressed Start" in alice.receive()
        alice.tg("send", put(alice.path("a"), b"x"), "--to", "carol", status=UNKNOWN,
                 says="has no card")
        data = blob(10_000)
        (set_id, *_), = alice.send(
            "send", put(alice.path("will"), data), "--to", "bob", "--shares", "3",
            "--threshold", "3", "--via", "carol,dave,erin", "--note", "Please, when I am gone.")
        bob.receive()
        raises(errno.ENOKEY, get, bob.shared("alice/will"))
        for name, user in users.items():
            said = chat_with(api, user, "alice_bot")[-1]
            assert said["text"].startswith("Please, when I am gone.\n\nalice asks you to keep"), \
                said
            assert "will" not in said["text"].split("tgshare1.")[0].replace("message", ""), said
            eq(said["reply_markup"]["inline_keyboard"],
               [[{"text": "Open the chat with bob's bot", "url": "https://t.me/bob_bot"}]])
        # one forwards, one pastes all of it, one pastes it in three pieces
        carol, dave, erin = users.values()
        number = chat_with(api, carol, "alice_bot")[-1]["message_id"]
        api.do("forward", user=carol, **{"from": "alice_bot"}, to="bob_bot",
               message_id=number, hidden=True)
        api.do("say", user=dave, to="bob_bot", text="As Alice wished:\n> " +
               chat_with(api, dave, "alice_bot")[-1]["text"].replace("\n", "\n> ") + "\nDave")
        assert "2 of 3 shares, waiting for erin" in bob.receive()
        text = chat_with(api, erin, "alice_bot")[-1]["text"]
        third = len(text) // 3
        for piece in text[:third], text[third:2 * third], text[2 * third:]:
            raises(errno.ENOKEY, get, bob.shared("alice/will"))
            api.do("say", user=erin, to="bob_bot", text=piece)
            bob.receive()
        eq(get(bob.shared("alice/will")), data)
        alice.receive()
        eq(alice.given(set_id)["state"], "opened")
        # what has done its work is deleted where it was carried
        for user in users.values():
            assert not [m for m in chat_with(api, user, "alice_bot")
                        if "tgshare1." in m.get("text", "")]


@check(plain=False)
def two_of_three_with_people_who_forward():
    with town("alice", "bob") as (api, alice, bob):
        users = carol, dave = new_user(api, "carol"), new_user(api, "dave")
        for name, user in zip(("carol", "dave"), users):
            api.do("start", user=user, bot="alice_bot", payload=link_of(alice, name))
        alice.receive()
        alice.send("send", put(alice.path("plan"), b"x"), "--to", "bob", "--shares", "3",
                   "--threshold", "2", "--via", "bob,carol,dave")
        assert "1 of 2 shares, waiting for carol or dave" in bob.receive()
        raises(errno.ENOKEY, get, bob.shared("alice/plan"))
        for user in dave, carol:  # the second is late, and welcome
            api.do("forward", user=user, **{"from": "alice_bot"}, to="bob_bot",
                   message_id=chat_with(api, user, "alice_bot")[-1]["message_id"])
            bob.receive()
            readable(bob.shared("alice/plan"), b"x")
            assert "has arrived" in answers(api, user, "bob_bot")[-1]


@check(plain=False)
def a_link_is_good_for_one_person_once():
    with town("alice") as (api, alice):
        link = alice.tg("contact", "chat", "carol", "--link").strip().partition("start=")[2]
        carol, mallory = (api.do("add_user", name=n)["id"] for n in ("Carol", "Mallory"))
        api.do("start", user=mallory, bot="alice_bot", payload="no-such-word")
        eq(alice.receive(), "")
        api.do("start", user=carol, bot="alice_bot", payload=link)
        alice.receive()
        api.do("start", user=mallory, bot="alice_bot", payload=link)
        alice.receive()
        assert str(carol) in alice.tg("contact", "show", "carol")
        alice.tg("contact", "chat", "dave", "12345", says="can be written to")
        assert "12345" in alice.tg("contact", "list")
        alice.tg("contact", "chat", "dave", "12x", status=USAGE, says="number of a chat")
        alice.tg("contact", "remove", "dave")
        assert "dave" not in alice.tg("contact", "list")


def answers(api, user, bot):
    """What the bot told them of itself: one plain sentence each, about nobody."""
    said = [m["text"] for m in chat_with(api, user, bot) if m["from"]["is_bot"]]
    said = [text for text in said if "tgshare1." not in text]
    for text in said:
        assert len(text) < 250 and text.endswith(".") and "\n" not in text, text
        assert ". " not in text and "alice" not in text and "bob" not in text, text
    return said


def link_of(person, name):
    return person.tg("contact", "chat", name, "--link").strip().partition("start=")[2]


def new_user(api, name):
    return api.do("add_user", name=name)["id"]


@check(plain=False)
def who_presses_start_is_told_what_comes_next():
    with town("alice") as (api, alice):
        carol, dave, erin = (new_user(api, name) for name in ("carol", "dave", "erin"))
        word = link_of(alice, "carol")
        for user, payload in ((carol, word), (dave, ""), (erin, word)):
            api.do("start", user=user, bot="alice_bot", payload=payload)
            alice.receive()
        for user, words in ((carol, "that was all"), (dave, "takes sealed messages"),
                            (erin, "ask whoever sent it to you for a new one")):
            said, = answers(api, user, "alice_bot")
            assert words in said, said
        # whom we know already is known by any link
        late = new_user(api, "late")
        alice.tg("contact", "chat", "late", str(late))
        api.do("start", user=late, bot="alice_bot", payload=word)
        alice.receive()
        assert "that was all" in answers(api, late, "alice_bot")[0]
        # an agent tells it by itself, and ends when it is told to
        agent, quick = Agent(alice), new_user(api, "quick")
        api.do("start", user=quick, bot="alice_bot")
        until(lambda: answers(api, quick, "alice_bot"), 20, "an answer")
        eq(agent.end(), (0, ""))


@check(plain=False)
def what_people_send_is_answered_with_a_sentence():
    with town("alice", "bob") as (api, alice, bob):
        names = "carol", "dave", "erin"
        users = carol, dave, erin = [new_user(api, name) for name in names]
        for name, user in zip(names, users):
            api.do("start", user=user, bot="alice_bot", payload=link_of(alice, name))
        alice.receive()
        data = blob(3000)
        alice.send("send", put(alice.path("will"), data), "--to", "bob", "--shares", "3",
                   "--threshold", "3", "--via", ",".join(names))
        bob.receive()
        asked = {u: chat_with(api, u, "alice_bot")[-1] for u in users}
        assert "which only bob can read" in asked[carol]["text"]

        def forward(user, to):
            api.do("forward", user=user, **{"from": "alice_bot"}, to=to,
                   message_id=asked[user]["message_id"])
        # the wrong bot: not even its log has it
        forward(carol, "alice_bot")
        assert "refused" not in alice.receive()
        assert "is not for this bot" in answers(api, carol, "alice_bot")[-1]
        eq((alice.log("refused"), spooled(alice)), ([], []))
        # the right one
        forward(carol, "bob_bot")
        assert "1 of 3" in bob.receive()
        assert "has arrived" in answers(api, carol, "bob_bot")[-1]
        # half of it, and the rest
        text = asked[dave]["text"]
        api.do("start", user=dave, bot="bob_bot")
        api.do("say", user=dave, to="bob_bot", text="There it is:")
        api.do("say", user=dave, to="bob_bot", text=text[:-50])
        bob.receive()
        said, = answers(api, dave, "bob_bot")
        assert "not complete yet" in said, said
        api.do("say", user=dave, to="bob_bot", text=text[-50:])
        assert "2 of 3" in bob.receive()
        assert "has arrived" in answers(api, dave, "bob_bot")[-1]
        # words, half of it, and then the whole message instead
        for what, words in ((lambda: api.do("say", user=erin, to="bob_bot", text="Hello?"),
                             "understands only sealed messages"),
                            (lambda: api.do("say", user=erin, to="bob_bot",
                                            text=asked[erin]["text"][:-50]), "not complete yet"),
                            (lambda: forward(erin, "bob_bot"), "has arrived")):
            what()
            bob.receive()
            assert words in answers(api, erin, "bob_bot")[-1], words
        eq(get(bob.shared("alice/will")), data)


@check(plain=False)
def who_is_asked_on_the_telephone_stays_there():
    with town("alice", "bob", "carol") as (api, alice, bob, carol):
        alice.tg("contact", "remove", "carol")
        phone = new_user(api, "carol")
        api.do("start", user=phone, bot="alice_bot", payload=link_of(alice, "carol"))
        alice.receive()
        api.do("block", user=phone, bot="alice_bot")
        alice.tg("send", put(alice.path("a"), b"x"), "--to", "bob", "--via", "carol",
                 status=QUEUED, says="blocked our bot")
        # now she has a vault and a bot, too, which can make nothing of what is for bob
        alice.meets(carol)
        api.do("start", user=phone, bot="alice_bot")
        alice.receive()
        eq((carol.receive(), carol.log("refused")), ("", []))
        asked, = (m for m in chat_with(api, phone, "alice_bot") if "tgshare1." in m["text"])
        api.do("forward", user=phone, **{"from": "alice_bot"}, to="bob_bot",
               message_id=asked["message_id"])
        bob.receive()
        readable(bob.shared("alice/a"), b"x")
        # from now on she is asked in her vault
        alice.send("send", put(alice.path("b"), b"y"), "--to", "bob", "--via", "carol")
        assert "with you, for bob" in carol.receive()


@check(plain=False)
def answers_flood_nobody_and_go_to_people_alone():
    frond.tool("faketime")
    with town("alice", "bob") as (api, alice, bob):
        carol, dave = new_user(api, "carol"), new_user(api, "dave")

        def receive(later_s=0):
            out, err = tg("receive", env={"TGSHARE_VAULT": bob.mount.path}) if not later_s else \
                (subprocess.run(["faketime", "-f", f"+{later_s}s", TGSHARE, "receive"], check=True,
                                env=dict(os.environ, TGSHARE_VAULT=bob.mount.path), timeout=100,
                                stdout=subprocess.PIPE).stdout.decode(), "")
            eq((out, err), ("", ""))
        # a photograph, stickers, chatter: one answer
        api.do("give", user=carol, to="bob_bot", name="fern.jpg", data="eA==")
        receive()
        eq(len(answers(api, carol, "bob_bot")), 1)
        for n in range(30):
            api.do("say", user=carol, to="bob_bot", text=f"Hello {n}")
        receive()
        eq(len(answers(api, carol, "bob_bot")), 1)
        # whatever else: three sentences
        for number, (what, more) in enumerate((
                ("start", {"bot": "bob_bot"}), ("start", {"bot": "bob_bot", "payload": "A" * 16}),
                ("say", {"to": "bob_bot", "text": "tgshare1.AAAA"})), 2):
            api.do(what, user=carol, **more)
            receive()
            said = answers(api, carol, "bob_bot")
            eq((len(said), len(set(said))), (min(number, 3), min(number, 3)))
        # what comes again because it was not confirmed is not answered again
        api.do("say", user=dave, to="bob_bot", text="Hello")
        receive()
        for _ in range(2):
            receive()
            api.do("come_again", bot="bob_bot")
        receive()
        eq(len(answers(api, dave, "bob_bot")), 1)
        # nor does an agent that is killed again and again
        for _ in range(3):
            agent = Agent(bob)
            api.do("say", user=dave, to="bob_bot", text="Hello?")
            time.sleep(random.random() * 0.5)
            eq(agent.end(signal.SIGKILL)[0], -signal.SIGKILL)
        receive()
        eq(len(answers(api, dave, "bob_bot")), 1)
        # ten minutes later it may be said again
        api.do("say", user=dave, to="bob_bot", text="Anybody?")
        receive(later_s=601)
        eq(len(answers(api, dave, "bob_bot")), 2)
        # who has blocked the bot is left alone
        erin = new_user(api, "erin")
        api.do("say", user=erin, to="bob_bot", text="Hello")
        api.do("block", user=erin, bot="bob_bot")
        receive()
        # bots, and groups, get no answer
        said = f"{api.root}/bot{alice.bot['token']}/sendMessage?chat_id=@bob_bot&text=Hello"
        urllib.request.urlopen(said, timeout=10).close()
        api.do("set_privacy", bot="bob_bot", on=False)
        group = api.do("add_group", title="friends", members=[erin, bob.bot["id"]])["id"]
        api.do("say", user=erin, to=group, text="Hello everybody")
        receive()
        eq([m for m in chat_with(api, "alice_bot", "bob_bot")
            if m["from"]["username"] == "bob_bot"], [])
        eq([m for m in chat_with(api, erin, "bob_bot") if m["from"]["is_bot"]], [])


frond.main()
