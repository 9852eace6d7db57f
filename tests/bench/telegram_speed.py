#!/usr/bin/python3
"""How fast tgshare is over a Bot API server, beside what curl does.

    BUILD=build/release tests/bench/telegram_speed.py [--mib N] [--rounds N] [--sets N]

Sends and receives a file of N MiB (256) in turns with curl, which uploads the
as many bytes in parts as long to the same server: medians of the rounds.
"upload" is the transport alone; "send" reads, seals and hashes before. Then N
(60) small sets, one command for all of them. Limits of the server are off. Fails
below 0.7 of curl (upload) and 200 sets a minute.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from share import TGSHARE
from telegram import town

PART = 19 << 20
RATIO, SETS_A_MINUTE = 0.7, 200


def timed(fn):
    began = time.monotonic()
    fn()
    return time.monotonic() - began


def tgshare(person, *argv):
    subprocess.run([TGSHARE, *argv], check=True, timeout=900, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL,
                   env=dict(os.environ, TGSHARE_VAULT=person.mount.path))


def cut(path, size):
    """As many bytes as the sealed copy has, in files as large as its parts."""
    sealed = size // 4096 * 4169
    names = []
    for at in range(0, sealed, PART):
        names.append(frond.put(f"{path}.{at // PART}", os.urandom(min(PART, sealed - at))))
    return names


def curl(api, bot, chat, parts, *options):
    """One process, one connection (or several with -Z), one request a part."""
    argv = ["curl", "-q", "-s", "--fail", *options]
    for n, name in enumerate(parts):
        argv += ["--next"] * bool(n) + [
            "-s", "--fail", "-o", "/dev/null", "-H", "Expect:", "--form-string", f"chat_id={chat}", "-F",
            f"document=@{name}", f"{api.root}/bot{bot['token']}/sendDocument"]
    subprocess.run(argv, check=True, timeout=900, stderr=subprocess.DEVNULL)


def upload(api, bot, chat, parts):
    """The transport alone, on the same files."""
    token = frond.put(frond.fresh("token"), bot["token"].encode())
    os.makedirs(nowhere := frond.fresh("nowhere"))
    commands = [f"file\tt{n}\t{chat}\t{name}\t0\t{os.path.getsize(name)}\tx.part"
                for n, name in enumerate(parts)]
    p = subprocess.run([frond.helper("telegram_tool"), api.root, token, nowhere],
                       input="\n".join(commands + ["flush", ""]), text=True, check=True,
                       stdout=subprocess.PIPE, timeout=900)
    frond.eq(sum(line.split()[2] == "0" for line in p.stdout.splitlines()
                 if line.startswith("done")), len(parts), p.stdout)


def large(args):
    size = args.mib << 20
    with town("alice", "bob", options=("--no-limits", "--local")) as (api, alice, bob):
        parts = cut(frond.fresh("part"), size)
        sinks = [api.do("add_bot", username=f"sink{n}_bot", bot_to_bot=True) for n in range(2)]
        rates = {"curl": [], "curl -Z": [], "upload": [], "send": [], "receive": []}
        for n in range(args.rounds):
            film = frond.put(alice.path(f"film{n}"), os.urandom(size))
            os.sync()
            for name, fn in (
                    ("curl", lambda: curl(api, sinks[0], "@sink1_bot", parts)),
                    ("upload", lambda: upload(api, sinks[0], "@sink1_bot", parts)),
                    ("send", lambda: tgshare(alice, "send", film, "--to", "bob")),
                    ("curl -Z", lambda: curl(api, sinks[0], "@sink1_bot", parts, "-Z")),
                    ("receive", lambda: tgshare(bob, "receive"))):
                rates[name].append(args.mib / timed(fn))
            os.unlink(film)
            os.unlink(bob.shared(f"alice/film{n}"))
            api.do("forget_files")
        for name, values in rates.items():
            print(f"{name:8} {statistics.median(values):7.1f} MiB/s  "
                  f"({', '.join(f'{v:.0f}' for v in values)})")
        best = max(statistics.median(rates[c]) for c in ("curl", "curl -Z"))
        for name in ("upload", "send"):
            print(f"{name} / curl = {statistics.median(rates[name]) / best:.2f}")
        return statistics.median(rates["upload"]) / best >= RATIO


def small(args):
    with town("alice", "bob") as (_, alice, bob):
        files = [frond.put(alice.path(f"note {n}"), frond.blob(2000, n))
                 for n in range(args.sets)]
        taken = {"sent": timed(lambda: tgshare(alice, "send", *files, "--to", "bob")),
                 "received": timed(lambda: tgshare(bob, "receive"))}
        rates = {word: args.sets * 60 / seconds for word, seconds in taken.items()}
        for n in range(args.sets):
            frond.eq(frond.get(bob.shared("alice", f"note {n}")), frond.blob(2000, n))
        for word, rate in rates.items():
            print(f"{rate:.0f} small sets a minute {word}")
        return min(rates.values()) >= SETS_A_MINUTE


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", type=int, default=60)
    args = parser.parse_args()
    good = [large(args) if args.rounds else True, small(args) if args.sets else True]
    return 0 if all(good) else 1


sys.exit(main())
