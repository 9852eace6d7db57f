#!/usr/bin/python3
"""How fast tgshare is over a Bot API server, beside what curl does.

    BUILD=build/release tests/bench/telegram_speed.py [--mib N] [--rounds N] [--sets N]
                                                      [--first]

Sends and receives a file of N MiB (256) in turns with curl, which uploads
as many bytes in parts as long to the same server, and fetches them: medians of
the rounds. "upload" is the transport alone; "send" reads, seals and hashes
beside it; "receive" fetches, verifies, seals anew and is durable. Then N (60)
small sets, one command for all of them; and N that wait until two agents carry
them, to the last acknowledgement. Limits of the server are off. Fails below 0.7
of curl (upload, send) and 200 sets a minute. On a machine that others use, too,
--first goes before them (root).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from share import QUEUED, TGSHARE
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


def ask(api, bot, method, **params):
    url = f"{api.root}/bot{bot['token']}/{method}?{urllib.parse.urlencode(params)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)["result"]


def paths_of_last(api, bot, count):
    """Where the documents lie that came last, and forget the updates."""
    ids, offset = [], 0
    while updates := ask(api, bot, "getUpdates", offset=offset):
        ids += [u["message"]["document"]["file_id"] for u in updates]
        offset = updates[-1]["update_id"] + 1
    return [ask(api, bot, "getFile", file_id=i)["file_path"] for i in ids[-count:]]


def curl_fetch(api, bot, paths, where):
    argv = ["curl", "-q"]
    for n, path in enumerate(paths):
        argv += ["--next"] * bool(n) + ["-s", "--fail", "-o", f"{where}.{n}",
                                        f"{api.root}/file/bot{bot['token']}/{path}"]
    subprocess.run(argv, check=True, timeout=900, stderr=subprocess.DEVNULL)


def go_first(*pids):
    """Before other work of this machine, which has no part in this."""
    for pid in (os.getpid(), *pids):
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
            f.write("-20")
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), -20)


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
    with town("alice", "bob", options=("--no-limits",)) as (api, alice, bob):
        parts = cut(frond.fresh("part"), size)
        sinks = [api.do("add_bot", username=f"sink{n}_bot", bot_to_bot=True) for n in range(2)]
        if args.first:
            go_first(api.process.pid, alice.mount.pid, bob.mount.pid)
        rates = {"curl": [], "curl -Z": [], "upload": [], "send": [], "fetch": [],
                 "receive": []}
        fetched = frond.fresh("fetched")
        for n in range(args.rounds):
            film = frond.put(alice.path(f"film{n}"), os.urandom(size))
            os.sync()
            for name, fn in (
                    ("curl", lambda: curl(api, sinks[0], "@sink1_bot", parts)),
                    ("upload", lambda: upload(api, sinks[0], "@sink1_bot", parts)),
                    ("curl -Z", lambda: curl(api, sinks[0], "@sink1_bot", parts, "-Z")),
                    ("fetch", lambda: curl_fetch(api, sinks[1], paths, fetched)),
                    ("send", lambda: tgshare(alice, "send", film, "--to", "bob")),
                    ("receive", lambda: tgshare(bob, "receive"))):
                if name == "fetch":
                    paths = paths_of_last(api, sinks[1], len(parts))
                rates[name].append(args.mib / timed(fn))
                # all find as much memory that was in use a moment ago
                if name not in ("curl -Z", "send"):
                    api.do("forget_files")
            os.unlink(film)
            os.unlink(bob.shared(f"alice/film{n}"))
        for name, values in rates.items():
            print(f"{name:8} {statistics.median(values):7.1f} MiB/s  "
                  f"({', '.join(f'{v:.0f}' for v in values)})")
        best = max(statistics.median(rates[c]) for c in ("curl", "curl -Z"))
        ratios = [statistics.median(rates[name]) / best for name in ("upload", "send")]
        print(f"upload / curl = {ratios[0]:.2f}, send / curl = {ratios[1]:.2f}")
        ratio = statistics.median(rates["receive"]) / statistics.median(rates["fetch"])
        print(f"receive / curl's fetch = {ratio:.2f}")
        return min(ratios) >= RATIO


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


def agent(person):
    return subprocess.Popen([TGSHARE, "agent"], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL,
                            env=dict(os.environ, TGSHARE_VAULT=person.mount.path))


def by_agents(args):
    with town("alice", "bob") as (api, alice, bob):
        files = [frond.put(alice.path(f"note {n}"), frond.blob(2000, n))
                 for n in range(args.sets)]
        api.do("flood", bot="alice_bot", chat="bob_bot", seconds=3600)
        alice.tg("send", *files, "--to", "bob", status=QUEUED)
        api.do("flood", bot="alice_bot", chat="bob_bot", seconds=0)
        began, agents = time.monotonic(), [agent(alice), agent(bob)]
        try:
            frond.until(lambda: len(alice.log("acknowledged")) >= args.sets, 300, "all of them")
            rate = args.sets * 60 / (time.monotonic() - began)
        finally:
            for process in agents:
                process.terminate()
                process.wait(60)
        frond.eq(sorted(os.listdir(bob.shared("alice"))), sorted(map(os.path.basename, files)))
        print(f"{rate:.0f} small sets a minute by agents, from start to acknowledgement")
        return rate >= SETS_A_MINUTE


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--first", action="store_true")
    args = parser.parse_args()
    good = [large(args) if args.rounds else True]
    good += [f(args) for f in (small, by_agents) if args.sets]
    return 0 if all(good) else 1


sys.exit(main())
