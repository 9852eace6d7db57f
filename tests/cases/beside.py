#!/usr/bin/python3
"""Where the daemon's threads run: beside the one who asks, if he is alone."""
import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, put, raises, until

CPUS = sorted(os.sched_getaffinity(0))


class Asker:
    """A process that asks one thing after the other, on one processor."""

    def __init__(self, path, cpu):
        self.pid = os.fork()
        if self.pid == 0:
            os.sched_setaffinity(0, {cpu})
            while True:
                try:
                    os.getxattr(path, "user.none")
                except OSError:
                    pass

    def move(self, cpu):
        os.sched_setaffinity(self.pid, {cpu})

    def has_run(self):
        """For long enough that a thread would have moved."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12]) >= 10

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def bound_to(m):
    """To which processors threads of the daemon are bound."""
    sets = []
    for thread in os.listdir(f"/proc/{m.pid}/task"):
        try:
            sets.append(sorted(os.sched_getaffinity(int(thread))))
        except ProcessLookupError:
            pass
    return [s[0] for s in sets if len(s) == 1]


@check(plain=False)
def a_thread_goes_where_the_only_one_who_asks_is():
    with frond.Mount() as m:
        path = put(m / "f")
        with Asker(path, CPUS[0]) as asker:
            until(lambda: bound_to(m) == [CPUS[0]], 60, "a thread beside him")
            asker.move(CPUS[1])
            until(lambda: bound_to(m) == [CPUS[1]], 60, "it follows him")


@check(plain=False)
def it_is_free_again_as_soon_as_another_asks():
    with frond.Mount() as m:
        path = put(m / "f")
        with Asker(path, CPUS[0]):
            until(lambda: bound_to(m) == [CPUS[0]], 60, "a thread beside him")

        def is_free_after_another():
            raises(errno.ENODATA, os.getxattr, path, "user.none")
            return bound_to(m) == []
        until(is_free_after_another, 30, "no thread bound")


@check(plain=False)
def a_thread_made_meanwhile_is_not_bound():
    with frond.Mount() as m:
        path = put(m / "f")
        with Asker(path, CPUS[0]):
            for _ in range(3):
                until(lambda: bound_to(m) == [CPUS[0]], 60, "a thread beside")
                for _ in range(3):
                    put(m / "big", bytes(4 << 20))
                    assert len(bound_to(m)) <= 1, "more than one is bound"


@check(plain=False)
def what_the_daemon_was_bound_to_stays():
    bound = ["taskset", "-c", str(CPUS[1])]
    with frond.Mount(wrapper=bound) as m:
        path = put(m / "f")
        with Asker(path, CPUS[0]) as asker:
            until(asker.has_run, 60, "some requests")
            eq(set(bound_to(m)), {CPUS[1]}, "a daemon that was bound")


if len(CPUS) < 2:
    print("skip beside: there is one processor only")
    sys.exit(77)
frond.main()
