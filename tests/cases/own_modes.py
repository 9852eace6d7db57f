#!/usr/bin/python3
"""What frondfs and tgshare keep for themselves is nobody else's business."""
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, fresh, put, run
from share import Person, people, readable


def below(top):
    """All that lies there, and its stat; what goes meanwhile is left out."""
    for d, dirs, files in os.walk(top):
        for path in (os.path.join(d, n) for n in (".", *dirs, *files)):
            try:
                yield path, os.lstat(path).st_mode
            except FileNotFoundError:
                pass


def open_to_others(*tops):
    return {path: oct(stat.S_IMODE(mode)) for top in tops for path, mode in below(top)
            if stat.S_IMODE(mode) != (0o700 if stat.S_ISDIR(mode) else 0o600)}


def lives(who):
    """Everything that leaves something in .frondfs: files that change, are
    removed while open, what is sent, granted, kept for others, and a crash."""
    alice, bob, carol = who
    for one in who:
        one.meets(*(other for other in who if other is not one))
    data = os.urandom(300000)
    put(alice.path("plan"), data)
    with open(alice.path("plan"), "r+b") as f:
        f.write(data[::-1])
        os.fsync(f.fileno())
        os.unlink(put(alice.path("going"), data))
    fd = os.open(put(alice.path("orphan"), data), os.O_RDWR | os.O_CREAT, 0o600)
    os.chmod(alice.path("orphan"), 0o600)
    os.unlink(alice.path("orphan"))
    alice.send("send", alice.path("plan"), "--to", "bob", "--shares", "2",
               "--threshold", "2", "--via", "bob,carol")
    # not the same: of two that have one name, the later one gets another
    (granted, *_), = alice.send("grant", put(alice.path("given"), data), "--to", "bob")
    bob.receive()
    carol.receive()
    bob.attach(alice)
    alice.receive()
    alice.tg("revoke", granted)
    # what is there while it is mounted, and what a kill leaves
    yield
    os.close(fd)
    put(alice.path("late"), data)
    with open(alice.path("late"), "r+b") as f:
        f.write(data[::-1])
        os.fsync(f.fileno())
        alice.mount.kill9()
    yield
    alice.mount.mount()
    carol.tg("release", "--all")
    bob.receive()
    readable(bob.shared("alice/plan"), data[::-1])
    yield
    for one in who:
        one.mount.umount()
    run(frond.FRONDFS, "check", "--repair", "--passfile", frond.passfile(),
        alice.mount.vault)
    run(frond.FRONDFS, "passwd", "--passfile", frond.passfile(), "--new-passfile",
        frond.passfile(), alice.mount.vault)
    yield


def whatever_the_umask(umask):
    before, state = os.umask(0o22), os.environ["XDG_STATE_HOME"]
    post = fresh("post")
    os.mkdir(post)
    try:
        os.environ["XDG_STATE_HOME"] = fresh("state")
        os.umask(umask)
        who = [Person(name, post) for name in ("alice", "bob", "carol")]
        for _ in lives(who):
            tops = [os.path.join(one.mount.vault, ".frondfs") for one in who]
            tops += [one.path(".tgshare") for one in who
                     if os.path.isdir(one.path(".tgshare"))]
            tops.append(os.path.join(os.environ["XDG_STATE_HOME"], "frondfs"))
            eq(open_to_others(*tops), {})
    finally:
        os.umask(before)
        os.environ["XDG_STATE_HOME"] = state


@check(plain=False)
def what_is_our_own_is_nobody_elses():
    whatever_the_umask(0o22)


@check(plain=False)
def a_umask_of_zero_opens_nothing():
    whatever_the_umask(0)


@check(plain=False)
def a_narrow_umask_takes_nothing_from_us():
    whatever_the_umask(0o77)


OURS = ("lock", "log", "log.head")


def ours(vault):
    """Owner, group and mode of those that used to be anybody's."""
    st = [os.stat(os.path.join(vault, ".frondfs", n)) for n in OURS]
    return {(s.st_uid, s.st_gid, oct(stat.S_IMODE(s.st_mode))) for s in st}


def pair(vault=None):
    """Alice and Bob; she has something to send."""
    alice, bob = people("alice", "bob", vault=vault)
    put(alice.path("plan"), b"plan")
    alice.send("send", alice.path("plan"), "--to", "bob")
    return alice, bob


def once_more(alice, sent=None):
    alice.mount.mount()
    if sent:
        alice.send("send", put(alice.path(sent), b"plan"), "--to", "bob")
    alice.mount.umount()


@check(plain=False)
def what_was_open_to_all_is_narrowed():
    alice, bob = pair()
    bob.mount.umount()
    alice.mount.umount()
    mine = os.geteuid(), os.getegid()
    for n in OURS:
        os.chmod(os.path.join(alice.mount.vault, ".frondfs", n), 0o666)
    # linked from elsewhere, it may be anything
    other = os.path.join(alice.mount.vault, ".frondfs/lock")
    os.link(other, fresh("elsewhere"))
    once_more(alice)
    eq(ours(alice.mount.vault), {(*mine, "0o600"), (*mine, "0o666")})
    eq(stat.S_IMODE(os.stat(other).st_mode), 0o666)
    os.unlink(other)
    once_more(alice)
    eq(ours(alice.mount.vault), {(*mine, "0o600")})
    # and whom .frondfs is open to may use what lies in it
    os.chmod(os.path.join(alice.mount.vault, ".frondfs"), 0o770)
    once_more(alice, "another")
    eq(ours(alice.mount.vault), {(*mine, "0o660")})


@check(plain=False, root=True)
def what_root_makes_is_the_owners():
    ann = 4321
    alice, bob = pair(frond.new_vault(ann))
    bob.mount.umount()
    alice.mount.umount()
    eq(ours(alice.mount.vault), {(ann, ann, "0o600")})
    # as it was when root's were everybody's
    for n in OURS:
        path = os.path.join(alice.mount.vault, ".frondfs", n)
        os.chown(path, 0, 0)
        os.chmod(path, 0o666)
    once_more(alice)
    eq(ours(alice.mount.vault), {(ann, ann, "0o600")})
    run(frond.FRONDFS, "passwd", "--passfile", frond.passfile(), "--new-passfile",
        frond.passfile(), alice.mount.vault, user=ann, group=ann, extra_groups=[])


@check(plain=False, root=True)
def what_roots_is_stays_roots():
    """Whoever has the backing directory gets no secret given by putting it there,
    and no file made somewhere else by a link."""
    ann = 4321
    vault, elsewhere = frond.new_vault(ann), fresh("elsewhere")
    os.mkdir(elsewhere, 0o700)
    secret = put(os.path.join(vault, ".frondfs/lock"), b"root's own")
    os.chown(secret, 0, 0)
    os.chmod(secret, 0o600)
    os.symlink(elsewhere, os.path.join(vault, ".frondfs/inbox"))
    with frond.Mount("shared", vault=vault) as m:
        put(m / "f", b"x")
    st = os.stat(secret)
    eq((st.st_uid, stat.S_IMODE(st.st_mode)), (0, 0o600))
    eq(os.listdir(elsewhere), [])


frond.main()
