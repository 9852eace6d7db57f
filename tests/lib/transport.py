"""The Telegram transport on a command line (tests/telegram_tool), and people
who use it: for cases that need no vault."""
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

from botapi import BotApi

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(ROOT, "build/dev"))
TOOL = os.path.join(BUILD, "tests/telegram_tool")
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
EAGAIN, EPERM, EKEYREVOKED, EBUSY = -11, -1, -128, -16
place = tempfile.TemporaryDirectory(prefix="frond telegram ")
atexit.register(place.cleanup)
checks, tools = [], []


def check(f):
    checks.append(f)
    return f


class Person:
    """A bot and the transport that uses it."""

    def __init__(self, api, username, inbox=None):
        self.api, self.username = api, "@" + username
        self.made = api.do("add_bot", username=username, bot_to_bot=True)
        self.inbox = inbox or tempfile.mkdtemp(dir=place.name)
        self.token_file = os.path.join(tempfile.mkdtemp(dir=place.name), "token")
        with open(self.token_file, "w", encoding="ascii") as f:
            f.write(self.made["token"])
        self.errors = open(self.token_file + ".stderr", "w+", encoding="utf-8")
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


def peak(person):
    """kB of memory that its process has had at a time."""
    with open(f"/proc/{person.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def main():
    print("seed", SEED)
    random.seed(SEED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted, failed = sys.argv[1:], 0
    for f in checks:
        if wanted and f.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            f()
            print(f"ok {f.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
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


__all__ = ["BUILD", "EAGAIN", "EBUSY", "EKEYREVOKED", "EPERM", "SEED", "Person", "check", "main",
           "make_parts", "pair", "peak", "place", "send_parts", "server"]
