#!/usr/bin/python3
"""How fast frondfs check is: check_speed.py [MIB [ROUNDS]]

On a healthy vault in memory, half in large files and half in small ones: the
seconds of check (all of it, from start to end) and of open_all, which reads the
same files and opens their tokens with all processors, by turns; medians.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob

LARGE, SMALL = 64 << 20, 20000


def fill(m, mib):
    half = mib << 19
    data = blob(LARGE)
    for i in range(max(1, half // LARGE)):
        frond.put(m / f"large{i}", data)
    for i in range(half // SMALL):
        if i % 500 == 0:
            os.mkdir(m / f"d{i // 500}")
        frond.put(m / f"d{i // 500}/{i}", data[i * 7:i * 7 + SMALL])


def check(vault):
    began = time.monotonic()
    frond.run(frond.FRONDFS, "check", "--passfile", frond.passfile(), vault)
    return time.monotonic() - began


def open_all(vault):
    out = subprocess.run([frond.helper("open_all"), vault], check=True, text=True,
                         input=frond.PASSPHRASE + "\n", stdout=subprocess.PIPE).stdout.split()
    return int(out[0]), float(out[1])


def main():
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    top = tempfile.mkdtemp(prefix="frond bench ", dir="/dev/shm")
    try:
        m = frond.Mount()
        fill(m, mib)
        m.umount()
        vault = shutil.move(m.vault, os.path.join(top, "vault"))
        checks, floors = [], []
        for _ in range(rounds):
            checks.append(check(vault))
            size, seconds = open_all(vault)
            floors.append(seconds)
        mine, floor = statistics.median(checks), statistics.median(floors)
        print(f"{size >> 20} MiB: check {size / mine / 1e6:.0f} MB/s, reading and opening alone "
              f"{size / floor / 1e6:.0f} MB/s: {floor / mine:.2f}")
    finally:
        shutil.rmtree(top)


main()
frond._cleanup()
