#!/usr/bin/python3
"""Hours of creating, writing, renaming and deleting cost the daemon nothing.

FROND_SOAK_MINUTES  how long (20 s unless told; 60 to be sure)

Memory, descriptors and files waiting in orphans/ are sampled all the while,
and so is the inode table where gdb can look into the daemon. None may grow
once the mount is warm, and every byte read must be the one that was written.
"""
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put

SECONDS = 60 * float(os.environ.get("FROND_SOAK_MINUTES") or 0) or frond.scale(20, 8)
WORKERS, FILES, LARGEST = 4, 60, 100000
SAMPLES = min(120, max(9, int(SECONDS / 2)))
PAUSE_S = 0.002     # the machine is to stay usable for an hour
THREAD_KB = 1536    # what a thread takes, once, when it first has much to do


class Worker(threading.Thread):
    """A directory in which a bounded number of files comes and goes."""

    def __init__(self, m, k):
        super().__init__(daemon=True)
        self.dir = m / f"worker{k}"
        self.random = random.Random(k)
        self.files = {}         # name: the bytes it must have
        self.actions, self.error, self.stop = 0, None, threading.Event()

    def path(self, name):
        return os.path.join(self.dir, name)

    def some_file(self):
        return self.random.choice(list(self.files))

    def new_name(self):
        name = f"{self.random.randrange(1 << 30):010}"
        return name * self.random.choice((1, 1, 1, 20))     # some need a .name

    def new_data(self):
        return blob(self.random.randrange(1, LARGEST // 2), self.random.randrange(1000))

    def create(self):
        name, data = self.new_name(), self.new_data()
        put(self.path(name), data)
        os.setxattr(self.path(name), "user.x", name.encode())
        self.files[name] = bytearray(data)

    def write(self):
        name, data = self.some_file(), self.new_data()
        at = self.random.randrange(LARGEST // 2)
        with open(self.path(name), "r+b") as f:
            f.seek(at)
            f.write(data)
            f.flush()
            if self.random.random() < 0.2:
                os.fsync(f.fileno())
        old = self.files[name]
        old.extend(bytes(max(0, at - len(old))))    # a hole
        old[at:at + len(data)] = data

    def truncate(self):
        name, size = self.some_file(), self.random.randrange(LARGEST)
        os.truncate(self.path(name), size)
        del self.files[name][size:]
        self.files[name].extend(bytes(size - len(self.files[name])))

    def read(self):
        name = self.some_file()
        eq(get(self.path(name)), bytes(self.files[name]), name)

    def rename(self):
        old = self.some_file()
        new = self.new_name() if self.random.random() < 0.7 else self.some_file()
        os.rename(self.path(old), self.path(new))
        self.files[new] = self.files.pop(old)

    def delete(self):
        name = self.some_file()
        with open(self.path(name), "rb") as f:
            os.unlink(self.path(name))
            eq(f.read(), bytes(self.files.pop(name)), "unlinked, open")

    def directory(self):
        sub = self.path("sub")
        os.mkdir(sub)
        name = self.some_file()
        os.link(self.path(name), f"{sub}/hard")
        os.symlink(name * 10, f"{sub}/soft")
        eq(os.readlink(f"{sub}/soft"), name * 10)
        eq(get(f"{sub}/hard"), bytes(self.files[name]))
        os.rename(f"{sub}/hard", f"{sub}/soft")
        os.unlink(f"{sub}/soft")
        os.rmdir(sub)

    def list(self):
        eq(sorted(os.listdir(self.dir)), sorted(self.files))

    def step(self):
        actions = [self.create] if len(self.files) < FILES // 2 else \
            [self.delete] if len(self.files) >= FILES else \
            [self.create, self.write, self.write, self.truncate, self.read, self.read,
             self.rename, self.delete, self.directory, self.list]
        self.random.choice(actions)()
        self.actions += 1

    def run(self):
        try:
            os.mkdir(self.dir)
            while not self.stop.wait(PAUSE_S):
                self.step()
            shutil.rmtree(self.dir)
        except BaseException as e:
            self.error = e


def inode_count(m):
    """What the daemon's table of inodes holds; None when nobody can tell."""
    if frond.SLOW or os.geteuid() or not shutil.which("gdb"):
        return None
    out = subprocess.run(
        ["gdb", "-batch", "-nx", "-p", str(m.pid), "-ex", "thread 1",
         "-ex", "frame function mount_serve", "-ex", "print fs.inodes->inode_count"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, timeout=120).stdout
    found = re.search(r"^\$1 = (\d+)$", out, re.M)
    return int(found[1]) if found else None


def sample(m):
    status = get(f"/proc/{m.pid}/status").decode()
    return {"rss_kb": int(re.search(r"RssAnon:\s+(\d+)", status)[1]),
            "fds": len(os.listdir(f"/proc/{m.pid}/fd")),
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
            "orphans": len(os.listdir(f"{m.vault}/.frondfs/orphans")),
            "inodes": inode_count(m)}


def watch(m, workers):
    """Samples, evenly over the time; stops early when a worker has failed."""
    began, samples = time.monotonic(), []
    for i in range(1, SAMPLES + 1):
        while (left := began + SECONDS * i / SAMPLES - time.monotonic()) > 0:
            time.sleep(min(left, 1))
            if any(w.error for w in workers):
                return samples
        samples.append(sample(m))
        done = sum(w.actions for w in workers)
        print(f"{time.monotonic() - began:6.0f} s {done:9} actions: "
              + ", ".join(f"{v} {k}" for k, v in samples[-1].items()), flush=True)
    return samples


def must_not_grow(samples, what, slack):
    """Once warm, which it is after a third, the last third is like the second."""
    values = [s[what] for s in samples]
    if None in values:
        return
    third = len(values) // 3
    before = statistics.median(values[third:2 * third])
    after = statistics.median(values[2 * third:])
    assert after <= before + slack, f"{what}: {before}, then {after} ({values})"


@check(plain=False)
def hours_of_work_leave_the_daemon_as_it_was():
    with frond.Mount() as m:
        workers = [Worker(m, k) for k in range(WORKERS)]
        for w in workers:
            w.start()
        samples = watch(m, workers)
        for w in workers:
            w.stop.set()
            w.join(120)
            if w.error:
                raise w.error
        eq(os.listdir(m.path), [])
        frond.until(lambda: (inode_count(m) or 0) <= 2, what="the root alone is known")
        end = sample(m)
        print(f"after all was deleted: {end}")
        eq(end["orphans"], 0, "orphans")
        if not frond.SLOW:      # a sanitizer's quarantine grows on purpose
            must_not_grow(samples, "rss_kb", 2 * THREAD_KB)
        # the journal holds removed files for some seconds
        must_not_grow(samples, "fds", 128)
        must_not_grow(samples, "inodes", WORKERS * FILES // 4)
        must_not_grow(samples, "orphans", WORKERS)


frond.main()
