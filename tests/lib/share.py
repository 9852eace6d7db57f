"""What the cases about sharing have in common: people with vaults, and tgshare."""
import json
import os
import subprocess

import frond
from frond import BUILD, eq, fresh, put, until

TGSHARE = os.path.join(BUILD, "tools/tgshare/tgshare")

OK, FAILED, USAGE, NO_VAULT, NOT_SET_UP, UNKNOWN, QUEUED = range(7)


def tg(*argv, status=OK, says="", stdin=None, env=None, cwd=None, user=None):
    """Run tgshare without a terminal; its standard output and error."""
    who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    environ = {k: v for k, v in os.environ.items() if k != "TGSHARE_VAULT"}
    environ.update(env or {})
    p = subprocess.run([TGSHARE, *map(os.fsencode, argv)], input=stdin, env=environ, cwd=cwd,
                       stdin=subprocess.DEVNULL if stdin is None else None,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                       start_new_session=True, **who)
    out = p.stdout.decode(errors="surrogateescape")
    err = p.stderr.decode(errors="surrogateescape")
    assert p.returncode == status, \
        f"{argv}: status {p.returncode}, not {status}: {out}{err}"
    assert says in out + err, f"{argv}: {says!r} is not in {out + err!r}"
    if status:
        assert err.startswith("tgshare: "), f"{argv}: {err!r}"
        assert "  " not in err and not err.endswith(".\n"), f"{argv}: {err!r}"
    return out, err


class Person:
    """Somebody with a vault of their own, mounted, and a card."""

    user = None     # or as whom all of it runs

    def __init__(self, name, post, options="", vault=None, user=None):
        self.name, self.post, self.user = name, post, user
        self.mount = frond.Mount(options, vault=vault, user=user)
        self.tg("setup", "--name", name, "--transport", f"dir:{post}")
        self.card = self.tg("card").strip()

    def tg(self, command, *argv, **kw):
        """With this person's vault; standard output."""
        kw["env"] = {"TGSHARE_VAULT": self.mount.path, **kw.get("env", {})}
        kw.setdefault("user", self.user)
        return tg(command, *argv, **kw)[0]

    def path(self, *names):
        return os.path.join(self.mount.path, *names)

    def shared(self, *names):
        return self.path("Shared", *names)

    def meets(self, *others):
        for other in others:
            self.tg("contact", "add", other.name, other.card)

    def send(self, command, *argv, **kw):
        """send or grant; the lines it prints, split: id, state, name, to, code."""
        return [line.split("\t") for line in
                self.tg(command, *argv, **kw).splitlines()]

    def receive(self, *argv, **kw):
        return self.tg("receive", *argv, **kw)

    def status(self):
        return json.loads(self.tg("status", "--json"))

    def given(self, set_id):
        return next(s for s in self.status()["given"] if s["set"] == set_id)

    def came(self, set_id):
        return next((s for s in self.status()["came"] if s["set"] == set_id), None)

    def log(self, event=None):
        records = [json.loads(line) for line in
                   self.tg("log", "--json").splitlines()]
        return [r for r in records if event in (None, r["event"])]

    def attach(self, other):
        frond.run(frond.FRONDFS, "attach", self.mount.path, other.name,
                  other.mount.vault)


def people(*names, post=None, vault=None):
    """Everybody knows everybody, over one folder. vault: of the first."""
    if post is None:
        post = fresh("post office")
        os.mkdir(post)
    everybody = [Person(name, post, vault=vault if name == names[0] else None)
                 for name in names]
    for one in everybody:
        one.meets(*(other for other in everybody if other is not one))
    return everybody


def readable(path, data, timeout_s=10):
    """The file opens within that time, and has these bytes: what replaces
    others is in its place half a second later."""
    def try_it():
        try:
            return frond.get(path)
        except OSError:
            return None
    try:
        until(lambda: try_it() == data, timeout_s, f"reading {path}")
    except AssertionError:
        eq(try_it(), data, path)


def same_tree(a, b):
    """Two folders hold the same files with the same bytes."""
    def all_of(top):
        found = {}
        for d, dirs, files in os.walk(top):
            for n in dirs + files:
                p = os.path.join(d, n)
                found[os.path.relpath(p, top)] = \
                    None if os.path.isdir(p) else frond.get(p)
        return found
    eq(all_of(a), all_of(b), f"{a} and {b}")


__all__ = ["FAILED", "NOT_SET_UP", "NO_VAULT", "OK", "Person", "QUEUED", "TGSHARE",
           "UNKNOWN", "USAGE", "people", "put", "readable", "same_tree", "tg"]
