#!/usr/bin/python3
"""The Telegram transport against the Bot API server of tests/botapi.

tests/telegram_tool puts the transport on a command line; here it meets bad
days, limits, refusals and impostors.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from transport import (BUILD, EAGAIN, EBUSY, EKEYREVOKED, EPERM, SEED, Person, check, main,
                       make_parts, pair, peak, send_parts, server)

BAD_DAYS = ["drop", "lost", "reset", "delay", "truncate", "slow", "corrupt", "500", "502"]


@check
def texts_arrive_once_confirmed_and_in_order():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        assert alice.hello[1:] == ["0", "@alice_bot\n"]
        for n in range(5):
            err, ref, _ = alice.send(bob.username, f"frond {n}")
            assert err == 0 and ref != "-"
        assert bob.texts(5) == [f"frond {n}" for n in range(5)]
        assert bob.run(0) == (0, "", [])


@check
def what_was_not_taken_in_comes_again_after_a_crash():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        alice.send(bob.username, "once")
        assert bob.texts(1) == ["once"]  # and not yet confirmed
        bob.kill()
        bob.start()
        assert bob.texts(1) == ["once"]


@check
def documents_arrive_whole():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        path, pieces = make_parts(50 << 20, 19 << 20)
        done = send_parts(alice, bob.username, path, pieces)
        assert all(err == 0 for err, _, _ in done.values()) and len(done) == 3
        bob.fetch(sorted(name for _, _, name in pieces))


@check
def everything_arrives_on_bad_days():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        api.do("faults", every=3, kinds=BAD_DAYS, seed=SEED)
        path, pieces = make_parts(8 << 20, 1 << 20)
        done = send_parts(alice, bob.username, path, pieces)
        assert all(err == 0 for err, _, _ in done.values()), done
        bob.fetch(sorted(name for _, _, name in pieces))
        assert api.do("counts")["faults"] > 5
        for n in range(12):
            alice.tell("text", f"t{n}", bob.username, f"frond {n}")
        assert all(err == 0 for err, _, _ in alice.flush().values())
        got = bob.texts(12)
        assert set(got) == {f"frond {n}" for n in range(12)}, got


@check
def doubled_and_reordered_updates_do_no_harm():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        api.do("deliver", how=["duplicate", "reorder"])
        for n in range(6):
            alice.send(bob.username, f"frond {n}")
        assert set(bob.texts(12)) == {f"frond {n}" for n in range(6)}
        path, pieces = make_parts(2 << 20, 1 << 20)
        send_parts(alice, bob.username, path, pieces)
        bob.fetch(sorted(name for _, _, name in pieces))


@check
def limits_are_kept_and_one_slow_chat_delays_no_other():
    with server() as api:
        alice, bob = pair(api)
        people = [api.do("add_user", name=f"p{n}")["id"] for n in range(12)]
        for user in people:
            api.do("start", user=user, bot="alice_bot")
        for n in range(8):
            alice.tell("text", f"slow{n}", bob.username, f"slow {n}")
        for user in people:
            alice.tell("text", f"p{user}", f"chat:{user}", "hello")
        alice.tell("flush")
        order = [line.split()[1:3] for line in alice.until("flushed")
                 if line.startswith("done")]
        assert all(err == "0" for _, err in order), order
        last_person = max(i for i, (tag, _) in enumerate(order) if tag[0] == "p")
        assert last_person < len(order) - 1, order
        assert set(bob.texts(8)) == {f"slow {n}" for n in range(8)}


@check
def a_chat_that_is_to_be_left_alone_for_long_is_put_off_and_no_other():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        carol = Person(api, "carol_bot")
        api.do("flood", bot="alice_bot", chat="bob_bot", seconds=600)
        for n in range(3):
            alice.tell("text", f"bob{n}", bob.username, "hello")
            alice.tell("text", f"carol{n}", carol.username, f"frond {n}")
        done = alice.flush()  # not after ten minutes
        for n in range(3):
            err, _, reason = done[f"bob{n}"]
            assert err == EAGAIN and "asks not to write to @bob_bot for" in reason, reason
            assert done[f"carol{n}"][0] == 0, done
        assert set(carol.texts(3)) == {f"frond {n}" for n in range(3)}
        # until then the server is not even asked
        before = api.do("counts")["requests"]["sendMessage"]
        assert alice.send(bob.username, "again")[0] == EAGAIN
        assert api.do("counts")["requests"]["sendMessage"] == before
        # a moment is waited for
        api.do("flood", bot="alice_bot", chat="carol_bot", seconds=2)
        assert alice.send(carol.username, "later")[0] == 0
        assert carol.texts(1) == ["later"]


@check
def refusals_say_what_to_press():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        stranger = api.do("add_user", name="Eve")["id"]
        err, _, reason = alice.send(f"chat:{stranger}", "x")
        assert err == EPERM and "press" in reason and "Start" in reason, reason
        api.do("start", user=stranger, bot="alice_bot")
        assert alice.send(f"chat:{stranger}", "x")[0] == 0
        api.do("block", user=stranger, bot="alice_bot")
        err, _, reason = alice.send(f"chat:{stranger}", "x")
        assert err == EPERM and "blocked" in reason, reason
        api.do("set_bot_to_bot", bot="bob_bot", on=False)
        err, _, reason = alice.send(bob.username, "x")
        assert err == EPERM and "Bot-to-Bot Communication" in reason, reason
        err, _, reason = alice.send("@nobody_bot", "x")
        assert err and "@nobody_bot" in reason, reason


@check
def a_revoked_token_is_told_apart():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        api.do("revoke_token", bot="alice_bot")
        err, _, reason = alice.send(bob.username, "x")
        assert err == EKEYREVOKED and "@BotFather" in reason, reason
        err, reason, _ = alice.run(0)
        assert err == EKEYREVOKED and "token" in reason, reason
        alice.kill()
        alice.start()
        assert alice.hello[1] == str(EKEYREVOKED), alice.hello
        assert alice.process.wait(30) == 1


@check
def two_pollers_and_webhooks_are_told():
    with server("--no-limits") as api:
        alice, _ = pair(api)
        other = Person.__new__(Person)
        other.__dict__.update(alice.__dict__)
        other.start()
        alice.tell("run", 8000)
        time.sleep(1)
        other.tell("run", 3000)
        _, err, reason = alice.until("ran")[-1].split(" ", 2)
        assert int(err) == EBUSY and "another program" in reason, reason
        other.until("ran")


@check
def what_was_sent_can_be_taken_back():
    with server("--no-limits") as api:
        alice, _ = pair(api)
        user = api.do("add_user", name="Carol")["id"]
        api.do("start", user=user, bot="alice_bot")
        refs = [alice.send(f"chat:{user}", f"share {n}")[1] for n in range(2)]
        alice.tell("back", refs[0])
        alice.flush()
        api.do("advance", seconds=49 * 3600)
        alice.tell("back", refs[1])
        alice.flush()
        left = [m["text"] for m in api.do("inbox", user=user, bot="alice_bot")["messages"]
                if m["from"]["is_bot"]]
        assert len(left) == 1 and "taken back" in left[0], left


@check
def memory_does_not_grow_with_what_is_sent():
    # as a server of one's own leaves them on this machine, and as others serve
    # them
    memory_is_bounded(("--local",), 300 << 20, 100 << 20)
    memory_is_bounded((), 114 << 20, 19 << 20)


def memory_is_bounded(options, size, part):
    with server("--no-limits", *options) as api:
        alice, bob = pair(api)
        path, pieces = make_parts(size, part)
        send_parts(alice, bob.username, path, pieces)
        bob.fetch(sorted(name for _, _, name in pieces))
        if "asan" in BUILD or "tsan" in BUILD:
            return  # their shadow memory is not ours
        for person in (alice, bob):
            assert peak(person) < 64 << 10, f"{person.username}: {peak(person)} kB"


@check
def the_token_is_nowhere_to_be_seen():
    with server("--no-limits") as api:
        alice, bob = pair(api)
        api.do("faults", every=2, kinds=["drop", "500"], seed=SEED)
        alice.send(bob.username, "x")
        api.do("faults", every=0)
        api.do("revoke_token", bot="alice_bot")
        alice.send(bob.username, "x")
        secret = alice.made["token"].split(":")[1]
        pid = alice.process.pid
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as f:
                assert secret.encode() not in f.read(), name
        alice.errors.seek(0)
        assert secret not in alice.errors.read()
        assert not any(secret in line for line in alice.said)


sys.exit(main())
