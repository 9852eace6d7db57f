#!/usr/bin/python3
"""The Telegram transport against the Bot API server of tests/botapi.

tests/telegram_tool puts the transport on a command line; here it meets bad
days, limits, refusals and impostors.
"""
import atexit
import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from botapi import BotApi  # noqa: E402

BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(ROOT, "build/dev"))
TOOL = os.path.join(BUILD, "tests/telegram_tool")
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
BAD_DAYS = ["drop", "lost", "reset", "delay", "truncate", "slow", "corrupt", "500", "502"]
EAGAIN, EPERM, EKEYREVOKED, EBUSY = -11, -1, -128, -16
place = tempfile.TemporaryDirectory(prefix="frond telegram ")
atexit.register(place.cleanup)
checks, tools = [], []


def check(f):
    checks.append(f)
    return f


class Person:
    """A bot and the transport that uses it."""

    def __init__(self, api, username):
        self.api, self.username = api, "@" + username
        self.made = api.do("add_bot", username=username, bot_to_bot=True)
        self.inbox = tempfile.mkdtemp(dir=place.name)
        self.token_file = os.path.join(self.inbox, ".token")
        with open(self.token_file, "w", encoding="ascii") as f:
            f.write(self.made["token"])
        self.errors = open(os.path.join(self.inbox, ".stderr"), "w+")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [TOOL, self.api.root, self.token_file, self.inbox], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        tools.append(self)
        self.hello = self.process.stdout.readline().split(" ", 2)
        self.said = [" ".join(self.hello)]

    def tell(self, *words):
        print(*words, sep="\t", file=self.process.stdin, flush=True)

    def until(self, word):
        """All lines up to the first that begins with word."""
        lines = []
        while True:
            line = self.process.stdout.readline().rstrip("\n")
            assert line, f"{self.username} died: {self.said[-5:]}"
            self.said.append(line)
            lines.append(line)
            if line.split(" ")[0] == word:
                return lines

    def flush(self):
        """{tag: (err, ref, reason)} of all that ended."""
        self.tell("flush")
        done = [line.split(" ", 4) for line in self.until("flushed")]
        return {f[1]: (int(f[2]), f[3], f[4]) for f in done if f[0] == "done"}

    def send(self, to, text, tag="t"):
        self.tell("text", tag, to, text)
        return self.flush()[tag]

    def run(self, ms=0):
        """(err, reason, what arrived)"""
        self.tell("run", ms)
        *lines, last = self.until("ran")
        _, err, reason = last.split(" ", 2)
        return int(err), reason, lines

    def texts(self, wanted, seconds=60):
        got, ends = [], time.monotonic() + seconds
        while len(got) < wanted and time.monotonic() < ends:
            got += [line[5:] for line in self.run(500)[2] if line.startswith("text ")]
        return got

    def parts(self):
        return sorted(f for f in os.listdir(self.inbox) if f.endswith(".part"))

    def fetch(self, wanted, seconds=120):
        ends = time.monotonic() + seconds
        while self.parts() != wanted and time.monotonic() < ends:
            self.run(500)
        assert self.parts() == wanted, (len(self.parts()), len(wanted), self.said[-10:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status


def pair(api):
    return Person(api, "alice_bot"), Person(api, "bob_bot")


def server(*options):
    return BotApi(tempfile.mkdtemp(dir=place.name), *options)


def make_parts(size, part):
    """A file; (offset, length, name) of each piece."""
    fd, path = tempfile.mkstemp(dir=place.name)
    pieces = []
    with open(fd, "wb") as f:
        for at in range(0, size, part):
            data = random.randbytes(min(part, size - at))
            f.write(data)
            name = hashlib.blake2b(data, digest_size=32).hexdigest() + ".part"
            pieces.append((at, len(data), name))
    return path, pieces


def send_parts(sender, to, path, pieces):
    for at, length, name in pieces:
        sender.tell("file", name[:8], to, path, at, length, name)
    return sender.flush()


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
    with server("--no-limits", "--local") as api:
        alice, bob = pair(api)
        path, pieces = make_parts(400 << 20, 100 << 20)
        send_parts(alice, bob.username, path, pieces)
        bob.fetch(sorted(name for _, _, name in pieces))
        if "asan" in BUILD or "tsan" in BUILD:
            return  # their shadow memory is not ours
        for person in (alice, bob):
            with open(f"/proc/{person.process.pid}/status", encoding="ascii") as f:
                peak = next(int(l.split()[1]) for l in f if l.startswith("VmHWM"))
            assert peak < 64 << 10, f"{person.username}: {peak} kB"


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


def main():
    print("seed", SEED)
    random.seed(SEED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted, failed = sys.argv[1:], 0
    for f in checks:
        if wanted and f.__name__ not in wanted:
            continue
        try:
            f()
            print("ok", f.__name__, flush=True)
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc(file=sys.stdout)
            print("FAIL", f.__name__, flush=True)
            failed = 1
        while tools:
            tool = tools.pop()
            if tool.process.poll() is None and tool.close() != 0:
                print("FAIL", f.__name__, "the tool ended badly")
                failed = 1
    return failed


sys.exit(main())
