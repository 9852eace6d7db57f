#!/usr/bin/python3
"""What each tgshare command answers to good and to bad input."""
import base64
import json
import os
import pty
import re
import resource
import select
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
import post
from frond import blob, check, eq, fresh, get, put
from share import (FAILED, NO_VAULT, NOT_SET_UP, OK, QUEUED, TGSHARE, UNKNOWN, USAGE, Person,
                   people, readable, tg)
from telegram import town

COMMANDS = ("setup card contact send grant release receive agent status revoke log "
            "export import split combine").split()

_pair = None


def pair():
    """Alice and Bob, who know each other; made once."""
    global _pair
    if _pair is None:
        _pair = people("alice", "bob")
    return _pair


def tree(top):
    return {os.path.join(d, n): os.lstat(os.path.join(d, n)).st_mtime_ns
            for d, dirs, files in os.walk(top) for n in dirs + files}


@check(plain=False)
def help_is_there_for_every_command():
    overview, _ = tg("--help")
    for command in COMMANDS:
        assert re.search(rf"^  {command}\b|{command} (does|BUNDLE|them|on)", overview, re.M) \
            or command in overview, command
        text, _ = tg(command, "--help")
        assert text.startswith(f"Usage: tgshare {command}"), text
        eq(tg("help", command)[0], text)
        eq("--vault MOUNT" in text, command != "combine", text)
        assert all(len(line) <= 90 for line in text.splitlines()), text
    tg("--version", says="tgshare ")
    p = subprocess.run([TGSHARE], capture_output=True)
    eq(p.returncode, USAGE)


@check(plain=False)
def what_is_no_command_or_option_is_status_2():
    tg("sned", status=USAGE, says="did you mean 'send'")
    tg("xyzzy", status=USAGE, says="no command 'xyzzy'")
    for command in COMMANDS:
        tg(command, "--no-such", status=USAGE, says="--no-such")
        tg(command, "-Z", status=USAGE, says="-Z")
    for argv in (["card", "x"], ["status", "x"], ["log", "x"], ["receive", "x"],
                 ["agent", "x"], ["setup", "x"], ["contact"], ["contact", "x"],
                 ["contact", "add", "x"], ["contact", "show"],
                 ["release", "--all", "00000000"], ["release", "nonsense"],
                 ["revoke"], ["revoke", "a", "b"], ["send"], ["send", "x"],
                 ["grant", "x"], ["export", "x"], ["export"], ["import"],
                 ["split"], ["split", "x"], ["split", "x", "--shares", "3"],
                 ["receive", "--wait", "-1"], ["receive", "--wait", "x"],
                 ["grant", "x", "--to", "bob", "--note", "x"],
                 ["grant", "x", "--to", "bob", "--no-content"],
                 ["agent", "--wait", "1"], ["log", "--verify", "--json"],
                 ["contact", "list", "--fingerprint", "1"]):
        tg(*argv, status=USAGE, says="see 'tgshare")


@check(plain=False)
def a_wrong_option_is_called_by_its_name():
    for argv, says in ((["send", "x", "--to"], "option --to wants a value"),
                       (["combine", "-o"], "option -o wants a value"),
                       (["card", "--vault"], "option --vault wants a value"),
                       (["grant", "x", "--note", "hello"], "grant has no option --note;"),
                       (["send", "x", "-o", "y"], "send has no option -o;"),
                       (["card", "--qr=x"], "option --qr takes no value"),
                       (["card", "--colour=red"], "card has no option --colour;")):
        tg(*argv, status=USAGE, says=says)


# As @BotFather makes them; nobody's.
TOKEN = "5432109876:AAF-x_Yz0123456789abcdefghijklmnopq"


@check(plain=False)
def a_bot_token_on_the_command_line_is_never_shown():
    alice, _ = pair()
    vault = ["--vault", alice.mount.path]
    for argv in (["--bot-token", TOKEN], [f"--bot-token={TOKEN}"], ["--token", TOKEN],
                 ["--bot-token-file", TOKEN], ["--transport", f"telegram:{TOKEN}"], [TOKEN],
                 ["--api-base", f"https://api.telegram.org/bot{TOKEN}/"],
                 ["--name", TOKEN], ["--part-size", TOKEN], ["--bot-token", "mistyped"]):
        out, err = tg("setup", *vault, *argv, status=USAGE, says="--bot-token-file FILE")
        assert "/revoke" in err and "history" in err, err
        assert TOKEN[11:] not in out + err and "mistyped" not in err, err
    for argv in (["contact", "chat", "carol", TOKEN, *vault], ["contact", TOKEN],
                 ["contact", "show", TOKEN, *vault], [TOKEN], ["receive", TOKEN],
                 ["receive", "--wait", TOKEN], ["send", TOKEN, "--to", "bob"],
                 ["revoke", TOKEN], ["import", TOKEN, *vault], ["card", f"--{TOKEN}"],
                 ["send", alice.mount.path, "--to", "bob", "--vault", TOKEN]):
        p = subprocess.run([TGSHARE, *argv], capture_output=True, check=False)
        assert p.returncode and b"(a bot token)" in p.stderr, (argv, p.stderr)
        assert TOKEN[11:].encode() not in p.stdout + p.stderr, p.stderr


@check(plain=False)
def a_place_that_is_no_vault_is_status_3():
    plain = fresh("plain")
    os.mkdir(plain)
    put(f"{plain}/file")
    for command in "card", "status", "receive", "agent", "log":
        tg(command, "--vault", plain, status=NO_VAULT, says="not in a mounted vault")
    tg("send", f"{plain}/file", "--to", "bob", status=NO_VAULT, says="not in a mounted")
    tg("split", f"{plain}/file", "--shares", "1", "--threshold", "1",
       status=NO_VAULT, says="not in a mounted")
    tg("status", "--vault", f"{plain}/nothing", status=NO_VAULT, says="No such file")
    tg("status", env={"TGSHARE_VAULT": plain}, status=NO_VAULT)


def check_says(vault, status):
    p = subprocess.run([frond.FRONDFS, "check", "--passfile", frond.passfile(), vault],
                       capture_output=True, text=True, check=False)
    eq(p.returncode, status, p.stdout + p.stderr)
    return p.stdout + p.stderr


@check(plain=False)
def lost_keys_are_named_and_not_replaced_unasked():
    with people("alice")[0].mount as mount:
        at = {"env": {"TGSHARE_VAULT": mount.path}}
        card, _ = tg("card", **at)
        identity = os.path.join(mount.vault, ".frondfs/identity")
        kept = get(identity)
        for bad in kept[:-1] + b"x", b"", None:
            mount.umount()
            if bad is None:
                os.unlink(identity)
            else:
                put(identity, bad)
            says = check_says(mount.vault, 4)
            assert "the sharing keys are damaged or missing" in says, says
            assert "'tgshare setup --new-keys'" in says, says
            mount.mount()
            eq(".frondfs/identity, the keys" in mount.log(), bad is not None)
            assert "the sharing keys are damaged" in check_says(mount.path, 4)
            p = subprocess.run([frond.FRONDFS, "attach", mount.path, "--list"],
                               capture_output=True, text=True, check=False)
            eq((p.returncode, ".frondfs/identity" in p.stderr),
               (0, False) if bad is None else (7, True))
            for argv in ["card"], ["receive"], ["status"], ["setup"], ["setup", "--name", "al"]:
                _, err = tg(*argv, status=NOT_SET_UP if bad is None else FAILED,
                            says=".frondfs/identity", **at)
                assert "backup" in err and "--new-keys" in err, err
        mount.umount()
        put(identity, kept)
        mount.mount()
        eq(tg("setup", **at)[0].count(card.strip()), 1)
        # those that are there stay, and nobody takes them for new ones
        before = tree(mount.path)
        _, err = tg("setup", "--new-keys", "--name", "al", status=FAILED,
                    says=f"the vault on '{mount.path}' still has its sharing keys", **at)
        assert f"move '{identity}' to a safe place" in err, err
        eq((tg("card", **at)[0], get(identity), tree(mount.path)), (card, kept, before))
        mount.umount()
        aside = fresh("identity")
        os.rename(identity, aside)
        mount.mount()
        tg("setup", "--new-keys", **at)
        assert tg("card", **at)[0] != card
        mount.umount()
        check_says(mount.vault, 0)
        # and they can be had again
        put(identity, get(aside))
        mount.mount()
        eq(tg("card", **at)[0], card)
        mount.umount()


@check(plain=False)
def new_keys_are_the_first_ones_where_none_were():
    with frond.Mount() as mount:
        post_office = fresh("post")
        os.mkdir(post_office)
        made, _ = tg("setup", "--new-keys", "--transport", f"dir:{post_office}",
                     "--vault", mount.path)
        assert tg("card", "--vault", mount.path)[0].strip() in made, made


@check(plain=False)
def the_vault_is_found_from_the_file_the_option_the_environment():
    alice, bob = pair()
    a, b = alice.mount.path, bob.mount.path
    eq(tg("card", "--vault", a)[0].strip(), alice.card)
    eq(tg("card", env={"TGSHARE_VAULT": b})[0].strip(), bob.card)
    eq(tg("card", "--vault", a, env={"TGSHARE_VAULT": b})[0].strip(), alice.card)
    os.mkdir(alice.path("sub"))
    eq(tg("card", "--vault", alice.path("sub"))[0].strip(), alice.card)
    says = tg("card", status=NO_VAULT, says="vaults are mounted")[1]
    assert f"'{a}'" in says and f"'{b}'" in says, says
    eq(tg("card", cwd=alice.path("sub"))[0].strip(), alice.card)
    eq(tg("card", cwd=a, env={"TGSHARE_VAULT": b})[0].strip(), bob.card)
    put(alice.path("found"), b"x")
    put(bob.path("found"), b"x")
    tg("send", alice.path("found"), bob.path("found"), "--to", "bob",
       status=NO_VAULT, says="different vaults")
    tg("send", alice.path("found"), "--to", "bob", "--vault", b,
       status=NO_VAULT, says="different vaults")
    assert tg("send", "found", "--to", "bob", cwd=a)[0].count("\n") == 1


@check(plain=False)
def before_setup_everything_says_so():
    with frond.Mount() as m:
        put(m.path + "/file", b"x")
        vault = ["--vault", m.path]
        for command in ["card"], ["status"], ["receive"], ["agent"], \
                ["release", "--all"], ["contact", "verify", "bob"]:
            text = tg(*command, *vault, status=NOT_SET_UP)[1]
            assert "setup" in text and text.count("\n") == 1, text
        tg("send", f"{m.path}/file", "--to", "bob", status=NOT_SET_UP)
        eq(tg("contact", "list", *vault)[0], "")
        eq(tg("log", *vault)[0], "")
        tg("log", "--verify", *vault, says="whole: 0 entries")


@check(plain=False)
def setup_can_be_repeated_and_keeps_the_keys():
    post = fresh("post")
    os.mkdir(post)
    with frond.Mount() as m:
        def setup(*argv, **kw):
            return tg("setup", "--vault", m.path, *argv, **kw)[0]
        setup(status=USAGE, says="--transport")
        setup("--transport", "pigeon:x", status=USAGE, says="no transport 'pigeon:x'")
        setup("--transport", f"dir:{post}/nowhere", status=FAILED, says="No such file")
        setup("--transport", f"dir:{m.path}", status=FAILED, says="lies in a vault")
        for base in "api.example.org", "ftp://example.org", "http://example.org", \
                "https://x?y", "https://" + "x" * 300:
            setup("--api-base", base, status=USAGE, says="--api-base wants https://HOST")
        setup("--bot-token-file", put(fresh("empty")), status=FAILED,
              says="its first line has to be the token")
        tg("card", "--vault", m.path, status=NOT_SET_UP, says="--transport telegram")
        for name in "", "a/b", ".x", "-x", "a,b", "x" * 65, "a\nb", b"\xff":
            setup("--name", name, "--transport", f"dir:{post}", status=USAGE,
                  says="cannot be a name")
        assert not os.path.exists(f"{m.path}/.tgshare/settings.ini")
        first = setup("--name", "Zoë", "--transport", f"dir:{post}")
        prints = re.search(r"fingerprint: (\d{5}(?: \d{5}){7})\n", first)[1]
        card = re.search(r"^tgcard1\.\S+$", first, re.M)[0]
        eq(setup(), first, "the same again")
        assert prints in setup("--name", "Zoé")
        assert "'tgshare contact add 'Ann Müller' CARD'" in setup("--name", "Ann Müller")
        assert tg("card", "--vault", m.path)[0].strip() != card
        eq(len([n for n in os.listdir(post)]), 1, "mailboxes")
        eq(stat.S_IMODE(os.stat(f"{m.path}/.tgshare").st_mode), 0o700)
        # whoever may come into the folder may write; only the owner takes out
        for mode, want in (0o755, 0o755), (0o1777, 0o1777), (0o770, 0o1770):
            other = fresh("post")
            os.mkdir(other)
            os.chmod(other, mode)
            setup("--transport", f"dir:{other}")
            box, = os.listdir(other)
            eq(oct(stat.S_IMODE(os.stat(f"{other}/{box}").st_mode)), oct(want))
        setup("--transport", f"dir:{post}")
        m.remount()
        assert prints in setup("--name", "Zoë")
        eq(tg("card", "--vault", m.path)[0].strip(), card)


@check(plain=False)
def a_card_is_one_line_or_a_picture():
    alice, _ = pair()
    assert re.fullmatch(r"tgcard1\.[A-Za-z0-9_-]+", alice.card), alice.card
    rows = alice.tg("card", "--qr").splitlines()
    plain = [re.sub(r"\033\[[0-9;]*m", "", row) for row in rows]
    assert len(set(map(len, plain))) == 1 and set("".join(plain)) <= set(" ▀▄█"), plain
    # a QR code's width is 17 + 4 * version, and it has four modules around it
    eq((len(plain[0]) - 8 - 17) % 4, 0)
    eq(len(plain), (len(plain[0]) + 1) // 2)


@check(plain=False)
def contacts_are_added_shown_and_removed():
    alice, bob = pair()
    eq([line.split()[0] for line in alice.tg("contact", "list").splitlines()], ["bob"])
    assert bob.card in alice.tg("contact", "show", "bob")
    alice.tg("contact", "show", "bbo", status=UNKNOWN, says="did you mean 'bob'")
    alice.tg("contact", "remove", "carol", status=UNKNOWN, says="no contact 'carol'")
    alice.tg("contact", "add", "bob", bob.card, says="known already")
    alice.tg("contact", "add", "robert", bob.card, status=FAILED, says="'bob'")
    alice.tg("contact", "add", "me", alice.card, status=FAILED, says="your own card")
    # a mount that lies here has somebody's name
    where = fresh("where")
    os.makedirs(os.path.join(where, "robert"))
    alice.tg("contact", "add", "robert", "nothing", cwd=where, status=UNKNOWN,
             says="there is no file 'nothing' with a card, and it is no card itself")
    alice.tg("contact", "add", "carol", where, status=FAILED,
             says=f"cannot read the card from '{where}'")
    for card in bob.card, "-", put(fresh("card"), bob.card.encode()):
        alice.tg("contact", "add", card, "robert", status=USAGE,
                 says="the name comes first: 'tgshare contact add robert CARD'")
    for name in "a/b", "..", "-x", "a,b", "", " ", " bob", "bob ", "\u3000":
        alice.tg("contact", "add", "--", name, bob.card, status=USAGE,
                 says=f"'{name}' cannot be a contact's name")
        alice.tg("contact", "chat", "--", name, "4711", status=USAGE,
                 says="cannot be a contact's name")
    eq([line.split()[0] for line in alice.tg("contact", "list").splitlines()], ["bob"])
    alice.tg("setup", "--name", " ", status=USAGE, says="' ' cannot be a name")
    # who has such a name already keeps it
    cards = alice.path(".tgshare/contacts")
    os.rename(f"{cards}/bob.card", f"{cards}/bob .card")
    alice.tg("contact", "add", "bob ", bob.card, says="known already")
    alice.tg("contact", "remove", "bob ")
    alice.meets(bob)
    with frond.Mount() as other:
        tg("setup", "--vault", other.path, "--name", "bob", "--transport",
           f"dir:{alice.post}")
        card = tg("card", "--vault", other.path)[0]
        alice.tg("contact", "add", "bob", card, status=FAILED, says="other keys")
        assert bob.card in alice.tg("contact", "show", "bob")
        alice.tg("contact", "add", "carol", card)
        alice.tg("contact", "remove", "carol", says="removed")
        alice.tg("contact", "show", "carol", status=UNKNOWN)
        # from a file, from a pipe, from among other words
        path = put(fresh("card"), f"Hello,\nhere it is:\n\n  {card}\nBye\n".encode())
        alice.tg("contact", "add", "carol", path)
        alice.tg("contact", "remove", "carol")
        alice.tg("contact", "add", "carol", "-", stdin=card.encode())
        alice.tg("contact", "remove", "carol")
        # as mail wraps and quotes it
        wrapped = "Hello,\n" + "".join(f"> {card[i:i + 60]}\n" for i in
                                       range(0, len(card), 60)) + "\nBye\n"
        alice.tg("contact", "add", "carol", "-", stdin=wrapped.encode())
        assert card.strip() in alice.tg("contact", "show", "carol")
        alice.tg("contact", "remove", "carol")


@check(plain=False)
def damaged_cards_are_refused():
    alice, bob = pair()
    before = tree(alice.path(".tgshare"))
    body = bob.card.split(".")[1]
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    for i in range(0, len(raw), max(1, len(raw) // 40)):
        bad = raw[:i] + bytes([raw[i] ^ 4]) + raw[i + 1:]
        text = "tgcard1." + base64.urlsafe_b64encode(bad).decode().rstrip("=")
        alice.tg("contact", "add", "carol", text, status=FAILED, says="damaged")
    for text in "tgcard1.", bob.card[:-10], "tgcard1.####":
        alice.tg("contact", "add", "carol", text, status=FAILED)
    alice.tg("contact", "add", "carol", fresh("no file"), status=UNKNOWN,
             says="there is no file")
    alice.tg("contact", "add", "carol", put(fresh("empty")), status=FAILED,
             says="no card")
    eq(set(tree(alice.path(".tgshare")).items()) ^ set(before.items()), set())


@check(plain=False)
def verifying_compares_and_records():
    alice, bob = pair()
    shown = alice.tg("contact", "show", "bob")
    theirs = re.search(r"fingerprint: +([\d ]+)", shown)[1]
    alice.tg("contact", "verify", "bob", status=USAGE, says="no terminal")
    alice.tg("contact", "verify", "bob", "--fingerprint", "12345" * 8, status=FAILED,
             says="differ")
    assert re.search(r"verified: +no", alice.tg("contact", "show", "bob"))
    alice.tg("contact", "verify", "bob", "--fingerprint", theirs[:5], status=USAGE,
             says="has 5 digits, a fingerprint has 40")
    eq(len(alice.log("verified")), 0)
    alice.tg("contact", "verify", "bob", "--fingerprint", theirs.replace(" ", ""))
    assert re.search(r"verified: +2\d{3}-", alice.tg("contact", "show", "bob"))
    record, = alice.log("verified")
    eq((record["peer"], record["text"], record["fingerprint"]), ("bob", "bob", theirs))
    for answer, status in ("no", FAILED), ("yes", 0):
        text, got = on_terminal(["contact", "verify", "alice", "--vault",
                                 bob.mount.path], [("yes or no", answer)])
        eq(got, status, text)
        assert text.count(theirs) == 1, text
    assert "verified" in bob.tg("contact", "list")


@check(plain=False)
def fingerprints_that_differ_are_not_verified_any_more():
    (alice, bob), events = people("alice", "bob"), []
    shown = alice.tg("contact", "show", "bob")
    theirs = re.search(r"fingerprint: +([\d ]+)", shown)[1]

    def after(event=None):
        """What the log has, and whether bob counts as verified by that."""
        events.extend([event] if event else [])
        eq([r["event"] for r in alice.log()], events)
        shown = "not verified" not in alice.tg("contact", "list")
        eq(re.search(r"verified: +no\n", alice.tg("contact", "show", "bob")) is None, shown)
        return shown

    def asked(answer):
        return on_terminal(["contact", "verify", "bob", "--vault", alice.mount.path],
                           [("yes or no", answer)])
    alice.tg("contact", "verify", "bob", "--fingerprint", theirs)
    assert after("verified")
    # what is no answer takes nothing back
    for told in theirs[:-1], theirs + "x", "":
        alice.tg("contact", "verify", "bob", "--fingerprint", told, status=USAGE)
        assert after()
    text, status = asked("perhaps")
    assert status == FAILED and "'bob' counts as verified as before" in text, text
    assert after()
    text, status = asked("no")
    assert status == FAILED and "is taken back" in text, text
    assert not after("not verified")
    assert re.search(r"not verified +- +bob +bob\n", alice.tg("log")), alice.tg("log")
    text, status = asked("no")
    assert status == FAILED and "nothing is recorded" in text, text
    assert not after()
    eq(asked("yes")[1], OK)
    assert after("verified")
    other = theirs[:-1] + str((int(theirs[-1]) + 1) % 10)
    _, err = tg("contact", "verify", "bob", "--fingerprint", other, "--vault",
                alice.mount.path, status=FAILED, says="is taken back")
    assert "the fingerprints differ" in err, err
    assert not after("not verified")
    alice.tg("log", "--verify", says="whole: 4 entries")
    for person in alice, bob:
        person.mount.umount()


def on_terminal(argv, dialogue=(), timeout_s=60):
    """tgshare on a terminal of its own: what it showed, and its status."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.execv(TGSHARE, [TGSHARE, *argv])
        finally:
            os._exit(127)
    text, left, end = b"", list(dialogue), time.monotonic() + timeout_s
    at = 0
    while time.monotonic() < end:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            text += os.read(master, 65536)
        except OSError:
            break
        if left and left[0][0].encode() in text[at:]:
            at = len(text)
            time.sleep(0.2)     # until echo is off
            os.write(master, left.pop(0)[1].encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(master)
    return text.decode(errors="replace"), os.waitstatus_to_exitcode(status)


@check(plain=False)
def send_refuses_what_cannot_be_sent_and_leaves_nothing():
    alice, _ = pair()
    file = put(alice.path("refused"), b"x")
    os.makedirs(alice.path("empty folder"), exist_ok=True)
    before = sorted(os.listdir(alice.path(".tgshare/outbox")))
    for argv, status, says in (
            ([file, "--to", "bbo"], UNKNOWN, "did you mean 'bob'"),
            ([file, "--to", ""], USAGE, "wants a name"),
            ([file, "--to", "bob,bob"], USAGE, "twice"),
            ([file, file, "--to", "bob"], USAGE, "twice"),
            ([file, alice.path(".", "refused"), "--to", "bob"], USAGE, "twice"),
            ([file, "--to", "bob", "--via", "carol"], UNKNOWN, "carol"),
            ([file, "--to", "bob", "--shares", "3"], USAGE, "go together"),
            ([file, "--to", "bob", "--threshold", "3"], USAGE, "go together"),
            ([file, "--to", "bob", "--shares", "2", "--threshold", "3"], USAGE, "more"),
            ([file, "--to", "bob", "--shares", "17", "--threshold", "3"], USAGE, "16"),
            ([file, "--to", "bob", "--shares", "0", "--threshold", "0"], USAGE, "16"),
            ([file, "--to", "bob", "--shares", "x", "--threshold", "1"], USAGE, "'x'"),
            ([file, "--to", "bob", "--expires", "7x"], USAGE, "7x"),
            ([file, "--to", "bob", "--expires", "0d"], USAGE, "future"),
            ([file, "--to", "bob", "--expires", "2020-01-01"], USAGE, "future"),
            ([file, "--to", "bob", "--expires", "99999999d"], USAGE, "after the year 9999"),
            ([file, "--to", "bob", "--expires", "9" * 30 + "d"], USAGE, "after the year 9999"),
            ([file, "--to", "bob", "--expires", "2027-02-30"], USAGE, "2027-02-30"),
            ([file, "--to", "bob", "--note", "x" * 1001], USAGE, "1000"),
            ([alice.path("nothing"), "--to", "bob"], UNKNOWN, "there is no file"),
            ([alice.mount.path, "--to", "bob"], FAILED, "whole vault"),
            ([alice.path(".tgshare"), "--to", "bob"], FAILED, "tgshare"),
            ([alice.path(".tgshare/settings.ini"), "--to", "bob"], FAILED, "tgshare"),
            ([alice.path("empty folder"), "--to", "bob"], FAILED, "empty")):
        tg("send", *argv, status=status, says=says)
    fifo = alice.path("fifo")
    os.mkfifo(fifo)
    tg("send", fifo, "--to", "bob", status=FAILED, says="neither a file nor a folder")
    outside = alice.path("outside")
    os.symlink("/etc/hostname", outside)
    tg("send", outside, "--to", "bob", status=NO_VAULT, says="leads out of the vault")
    eq(sorted(os.listdir(alice.path(".tgshare/outbox"))), before)


@check(plain=False)
def shares_that_make_somebodys_consent_a_show_are_refused():
    alice, bob, carol, dave = people("alice", "bob", "carol", "dave")
    file = put(alice.path("dealt"), b"x")

    def send(n, k, via, **kw):
        return tg("send", file, "--to", "bob", "--shares", str(n), "--threshold", str(k),
                  *(["--via", via] if via else []), **kw)
    for n, k, via, whom in ((3, 2, "bob,carol", "bob"), (3, 2, "carol,bob", "carol"),
                            (2, 1, "bob,carol", "bob"), (4, 2, "carol,dave", "carol"),
                            (5, 2, "carol,dave,bob", "carol")):
        send(n, k, via, status=USAGE, says=f"{whom} would need nobody else; name as many")
    eq(os.listdir(alice.path(".tgshare")).count("outbox"), 0)
    for n, k, via in ((3, 3, "bob,carol"), (2, 1, "carol,dave"), (2, 2, "carol")):
        _, err = send(n, k, via)
        assert "one person" not in err, err
    send(3, 2, None, says="all shares go to one person")
    send(3, 1, "carol", says="carol keeps all 3 shares, so carol alone decides")
    for person in alice, bob, carol, dave:
        person.mount.umount()


@check(plain=False)
def one_that_cannot_be_sent_keeps_no_other_back():
    alice, bob = pair()
    for top in "here", "there":
        os.mkdir(alice.path(top))
    same = [put(alice.path(top, "same"), top.encode()) for top in ("here", "there")]
    nothing = put(alice.path("no bytes"))
    os.symlink("same", alice.path("here/link"))
    os.makedirs(alice.path("empty folder"), exist_ok=True)
    sent = alice.send("send", alice.path("empty folder"), nothing, *same, "--to", "bob",
                      status=FAILED, says="is empty")
    # of two that have one name, the path tells which
    eq([name for _, _, name, _, _ in sent], ["no bytes", "here/same", "there/same"])
    alice.tg("send", alice.path("here"), "--to", "bob", says="here/link' is left out")
    # one that is not there does not, either, wherever it stands
    more = [put(alice.path(f"more{i}"), b"more") for i in range(2)]
    sent = alice.send("send", alice.path("gone"), *more, alice.path("gone too"), "--to",
                      "bob", status=UNKNOWN, says="there is no file")
    eq([name for _, _, name, _, _ in sent], ["more0", "more1"])
    alice.tg("send", alice.path("gone"), alice.path("gone too"), "--to", "bob",
             status=UNKNOWN, says="there is no file")
    bob.receive()
    eq(get(bob.shared("alice/no bytes")), b"")
    eq({get(bob.shared("alice", n)) for n in ("same", "same (2)")}, {b"here", b"there"})
    eq(os.listdir(bob.shared("alice/here")), ["same"])
    eq([get(bob.shared("alice", f"more{i}")) for i in range(2)], [b"more"] * 2)


@check(plain=False)
def chats_and_links_say_whose_they_are():
    with town("alice", "bob") as (api, alice, bob):
        def chat(*argv, **kw):
            return tg("contact", "chat", *argv, "--vault", alice.mount.path, **kw)
        for argv in ("bob", "--link"), ("bob", "123"):
            chat(*argv, status=FAILED, says="'bob' has a card, and is written to at @bob_bot")
        chat("dave", alice.bot["token"].split(":")[0], status=FAILED, says="your own bot")
        chat("dave", "123", says="That is not checked")
        chat("dave", "123", says="as before")
        chat("dave", "124", says="dave is in chat:124 now, no longer in chat:123")
        chat("erin", "124", status=FAILED, says="that is the chat of 'dave'")
        for number in "0", "-0", "0124":
            chat("erin", number, status=USAGE, says="is not the number of a chat")
        # a link that waits is one link, known as such
        link, hint = chat("carol", "--link")
        assert "send this link to carol" in hint and "'tgshare receive --vault" in hint, hint
        eq(chat("carol", "--link")[0], link)
        assert "carol             link pending" in alice.tg("contact", "list")
        path = put(alice.path("will"), b"x")
        send = ["send", path, "--to", "bob", "--shares", "2", "--threshold", "2", "--via"]
        alice.tg(*send, "carol,bob", status=UNKNOWN, says="'carol' has not pressed Start")
        alice.tg("contact", "remove", "carol", says="the link leads nowhere now")
        assert "carol" not in alice.tg("contact", "list")
        link = chat("carol", "--link")[0].strip().partition("start=")[2]
        api.do("start", user=api.do("add_user", name="carol")["id"], bot="alice_bot",
               payload=link)
        assert "carol pressed Start" in alice.receive()
        assert "pending" not in alice.tg("contact", "list")
        # who is asked in words can read the note, and so can Telegram
        for note, via, told in (("hello", "carol,bob", 1), ("", "carol,bob", 0),
                                ("hello", "bob", 0)):
            err = tg(*send, via, "--note", note)[1]
            eq(err.count("readable in the chat with carol, for Telegram too"), told, err)
        # no program takes the last letter for a mark behind the link
        for i in range(frond.scale(40, 5)):
            assert chat(f"guest{i}", "--link")[0].strip()[-1].isalnum()


@check(plain=False)
def setup_over_telegram_names_what_comes_next():
    with town() as (api,), frond.Mount() as m:
        file = put(fresh("token"), api.do("add_bot", username="zoe_bot")["token"].encode())
        setup = ["setup", "--vault", m.path, "--name", "zoe", "--bot-token-file", file,
                 "--api-base", api.root]
        said = tg(*setup)[0]
        for word in "/mybots, @zoe_bot", "Bot-to-Bot", "chat NAME --link", "tgshare agent":
            assert word in said, said
        api.do("faults", every=1, kinds=["502"])
        err = tg(*setup, status=FAILED, says="nothing is changed, run this again later")[1]
        assert "tried again" not in err, err


@check(plain=False)
def a_token_that_was_revoked_is_asked_for_anew():
    with town("alice") as (api, alice):
        fresh_token = api.do("revoke_token", bot="alice_bot")["token"]
        setup = ["setup", "--vault", alice.mount.path, "--transport", "telegram"]
        err = tg(*setup, status=USAGE, says="--bot-token-file")[1]
        assert "does not know the token that is kept" in err, err
        # as it is told to be done
        alice.tg("receive", status=NOT_SET_UP, says="run 'tgshare setup --transport telegram'")
        said, status = on_terminal(setup, [("bot's token", fresh_token)])
        assert status == 0 and "Your card" in said and fresh_token not in said, said
        alice.receive()
        # what works is not asked for
        said, status = on_terminal(setup)
        assert status == 0 and "bot's token" not in said, said


@check(plain=False)
def what_has_expired_is_cleared_away_without_a_word():
    box = fresh("post")
    os.mkdir(box)
    bob, eve = Person("bob", box), post.Person("eve")
    eve.meet(bob.mount)
    sets = {name: eve.send(bob.mount, name, b"x", k=2, n=2, expires=expires)
            for name, expires in (("gone", int(time.time()) + 1), ("unwanted", 0))}
    for s in sets.values():
        s.post_manifest()
    frond.until(lambda: len(bob.status()["came"]) == 2, what="both")
    frond.until(lambda: bob.came(sets["gone"].id.hex())["state"] == "expired", what="expiry")
    for name in sets:
        frond.until(lambda n=name: os.path.exists(bob.shared("eve", n)), what="its place")
        os.unlink(bob.shared("eve", name))
    # she has no address: what she is told stays in the outbox
    bob.receive(status=QUEUED)
    eq([n.split("-")[1] for n in os.listdir(bob.path(".tgshare/outbox")) if "-0-5-" in n],
       [sets["unwanted"].id.hex()])
    eq([r["text"] for r in bob.log("expired")], ["gone"])
    bob.mount.umount()


@check(plain=False)
def what_is_sent_again_is_sent_again():
    alice, bob, carol = people("alice", "bob", "carol")
    argv = [put(alice.path("lost"), b"lost"), "--to", "bob", "--shares", "2",
            "--threshold", "2", "--via", "bob,carol"]
    (set_id, *first), = alice.send("send", *argv)

    def mail():
        return sorted(os.path.join(box, n) for box in os.listdir(alice.post)
                      for n in os.listdir(os.path.join(alice.post, box)))
    sent = mail()
    for name in sent:
        os.unlink(os.path.join(alice.post, name))
    line = [set_id, "sent again", *first[1:]]
    eq(alice.send("send", *argv), [line])
    eq(mail(), sent)
    # what one of them has, is not sent again; what the other has not, is
    bob.receive()
    alice.receive()
    lost = [name for name in mail() if name in sent]
    for name in lost:
        os.unlink(os.path.join(alice.post, name))
    eq(alice.send("send", *argv), [line])
    eq([name for name in mail() if name in sent], lost)
    carol.receive()
    alice.receive()
    eq(alice.send("send", *argv), [[set_id, *first]])
    eq(mail(), [])
    carol.tg("release", "--all")
    bob.receive()
    alice.receive()
    eq(get(bob.shared("alice/lost")), b"lost")
    # the log does not turn around what overtook one another on its way
    said = [(r["peer"], r["detail"]) for r in alice.log("acknowledged")]
    for before, after in ("received", "opened"), ("kept", "passed on"):
        for who in "bob", "carol":
            told = [d for w, d in said if w == who and d in (before, after)]
            assert told == sorted(told, key=(before, after).index), said
    # that one is over: this is another
    assert alice.send("send", *argv)[0][0] != set_id
    for person in alice, bob, carol:
        person.mount.umount()


@check(plain=False)
def a_file_that_changes_while_it_is_read_is_not_sent():
    alice, _ = pair()
    path = put(alice.path("busy"), blob(24 << 20))
    writer = subprocess.Popen([sys.executable, "-c", f"""
import os
fd = os.open({path!r}, os.O_WRONLY)
while True:
    os.pwrite(fd, b'y', 5)
"""])
    try:
        time.sleep(0.3)
        tg("send", path, "--to", "bob", status=FAILED, says="changed while it was read")
    finally:
        writer.kill()
        writer.wait()
    copies = os.path.join(alice.mount.vault, ".frondfs/outbox")
    eq([n for n in os.listdir(copies) if not n.endswith("lock")
        and not any(n in get(os.path.join(d, "set.json")).decode()
                    for d in outbox_sets(alice))], [])


def outbox_sets(person):
    top = person.path(".tgshare/outbox")
    return [os.path.join(top, n) for n in os.listdir(top)
            if re.fullmatch("[0-9a-f]{32}", n)]


@check(plain=False)
def a_terminal_is_told_in_words():
    alice, bob = pair()
    path = put(alice.path("words"), b"x")
    text, status = on_terminal(["send", path, "--to", "bob", "--shares", "3",
                                "--threshold", "2"])
    eq(status, 0, text)
    assert re.search(r"sent words to bob: set [0-9a-f]{8}, verification code \d{6}", text), \
        text
    assert "any 2 open it" in text and "loss only" in text, text
    bob.receive()
    readable(bob.shared("alice/words"), b"x")


@check(plain=False)
def what_cannot_be_delivered_waits():
    post = fresh("post")
    os.mkdir(post)
    alice, bob = people("alice", "bob", post=post)
    data = put(alice.path("later"), b"later")
    away = fresh("away")
    os.rename(post, away)
    _, err = tg("send", data, "--to", "bob", status=6, says="plug it in, or make it")
    eq(err.count(post), 1, err)
    os.mkdir(post)
    # bob's mailbox is not there
    (set_id, state, name, to, _), = alice.send("send", data, "--to", "bob", status=6,
                                               says="not delivered yet")
    eq((state, name, to), ("queued", "later", "bob"))
    eq(alice.given(set_id)["state"], "queued")
    alice.receive(status=6, says="no mailbox")
    share, = alice.given(set_id)["shares"]
    assert share["state"] == "not delivered" and "no mailbox" in share["reason"], share
    assert "not delivered to bob: there is no mailbox" in alice.tg("status")
    subprocess.run(["rm", "-r", post], check=True)
    os.rename(away, post)
    alice.receive()
    eq(alice.given(set_id)["state"], "sent")
    eq([(s["state"], s["reason"]) for s in alice.given(set_id)["shares"]], [("sent", "")])
    assert "not delivered" not in alice.tg("status")
    bob.receive()
    readable(bob.shared("alice/later"), b"later")
    for person in alice, bob:
        person.mount.umount()


@check(plain=False)
def without_the_folder_the_work_at_home_goes_on():
    post, away = fresh("post"), fresh("away")
    os.mkdir(post)
    alice, bob = people("alice", "bob", post=post)
    file = put(alice.path("granted"), blob(5000))
    bob.attach(alice)
    (set_id, *_), = alice.send("grant", file, "--to", "bob")
    bob.receive()
    eq(get(bob.shared("alice/granted")), blob(5000))
    card = alice.tg("card")
    os.rename(post, away)
    eq(alice.tg("card"), card)
    assert card in alice.tg("setup", "--name", "alice")
    said = alice.tg("revoke", file, status=6, says="the folder '")
    assert "revoked granted from bob" in said, said
    eq(alice.given(set_id)["state"], "revoked")
    # without a word the new key says it
    frond.raises(frond.errno.EKEYREVOKED, get, bob.shared("alice/granted"))
    alice.receive(status=QUEUED, says="plug it in, or make it")
    agent = subprocess.Popen([TGSHARE, "agent", "--vault", alice.mount.path],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert select.select([agent.stdout], [], [], 20)[0], "the agent says nothing"
        time.sleep(0.5)
        eq(agent.poll(), None)
        os.rename(away, post)
        agent.terminate()
        eq(agent.wait(10), 0)
        eq(agent.stdout.read().decode().count("plug it in"), 1)
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()
    alice.receive()
    assert "revoked by alice" in bob.receive()
    for person in alice, bob:
        person.mount.umount()


@check(plain=False)
def what_opened_is_told_without_the_folder_too():
    post = fresh("post")
    os.mkdir(post)
    alice, bob = Person("alice", post), Person("bob", post)
    alice.meets(bob)
    alice.send("send", put(alice.path("early"), b"before the card"), "--to", "bob")
    assert re.search(
        r"early from somebody unknown, in Shared/unverified-[\d-]+/1: locked; add their card",
        bob.receive())
    os.rename(post, post + ".away")
    bob.meets(alice)
    readable(bob.shared("alice/early"), b"before the card")
    for told in 1, 0:
        out, err = tg("receive", "--vault", bob.mount.path, status=QUEUED, says="plug it in")
        eq((out.count("early is open, from alice"), err.count("plug it in")), (told, 1))
    os.rename(post + ".away", post)
    bob.receive()
    alice.receive()
    eq([s["state"] for s in alice.status()["given"]], ["opened"])
    # the same words when messages wait
    os.rename(post, post + ".away")
    alice.tg("send", put(alice.path("late"), b"x"), "--to", "bob", status=QUEUED)
    eq(tg("receive", "--vault", alice.mount.path, status=QUEUED)[1].count("plug it in"), 1)


@check(plain=False, root=True)
def a_full_disk_makes_what_comes_wait():
    disk, post = fresh("disk"), fresh("post")
    os.mkdir(disk)
    os.mkdir(post)
    frond.run("mount", "-t", "tmpfs", "-o", "size=16m,mode=0755", "frond-test", disk)
    try:
        vault = os.path.join(disk, "vault")
        os.mkdir(vault)
        frond.run(frond.FRONDFS, "init", "--passfile", frond.passfile(), "--kdf-mem", "8",
                  "--kdf-ops", "1", vault)
        alice, bob = Person("alice", post), Person("bob", post, vault=vault)
        alice.meets(bob)
        bob.meets(alice)
        data = blob(2 << 20)
        alice.send("send", put(alice.path("big"), data), "--to", "bob")
        room = os.statvfs(disk)
        filler = put(os.path.join(disk, "filler"))
        with open(filler, "r+b") as f:
            os.posix_fallocate(f.fileno(), 0, room.f_bavail * room.f_bsize - (1 << 20))
        for _ in range(2):
            bob.receive(status=QUEUED, says="No space left on device; it stays where it is")
        agent = subprocess.Popen([TGSHARE, "agent", "--vault", bob.mount.path],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            assert select.select([agent.stderr], [], [], 30)[0], "the agent says nothing"
            eq(agent.poll(), None)
            os.unlink(filler)
            readable(bob.shared("alice/big"), data, 30)
            agent.terminate()
            eq(agent.wait(30), 0)
            eq(agent.stderr.read().count(b"No space left"), 1)
        finally:
            agent.kill()
            agent.wait()
            agent.stderr.close()
        bob.mount.umount()
    finally:
        frond.run("umount", "-l", disk)


@check(plain=False)
def hints_can_be_pasted():
    alice, bob = pair()
    odd = alice.path("alice's own")
    os.mkdir(odd)
    for given, quoted in ((alice.mount.path, "'" + alice.mount.path + "'"),
                          (odd, "'" + odd.replace("'", "'\\''") + "'")):
        tg("contact", "show", "nobody", "--vault", given, status=UNKNOWN,
           says=f"'tgshare contact add nobody CARD --vault {quoted}'")
        tg("release", "00000000", "--vault", given, status=UNKNOWN,
           says=f"'tgshare release --vault {quoted}' lists")
    alice.tg("contact", "show", "nobody", status=UNKNOWN, says="add nobody CARD'")
    # with several vaults mounted the file alone tells which is meant
    file = put(alice.path("hinted"), b"x")
    tg("send", file, "--to", "nobody", status=UNKNOWN,
       says=f"add nobody CARD --vault '{alice.mount.path}'")
    alice.tg("send", file, "--to", "nobody", status=UNKNOWN, says="add nobody CARD'")
    tg("send", file, "--to", "nobody", status=UNKNOWN, says="add nobody CARD'",
       cwd=alice.mount.path)
    tg("send", file, "--to", "nobody", status=UNKNOWN, env={"TGSHARE_VAULT": bob.mount.path},
       says=f"add nobody CARD --vault '{alice.mount.path}'")
    # and other people's vaults are not ours
    tg("contact", "add", "x", "tgcard1.AAAA", "--vault", bob.mount.path, status=FAILED,
       says="the other one's 'tgshare card'")


@check(plain=False)
def release_lists_what_is_kept():
    alice, bob, carol = people("alice", "bob", "carol")
    eq(carol.tg("release"), "You keep no share for anybody.\n")
    sets = [alice.send("send", put(alice.path(n), b"x"), "--to", "bob", "--shares", "2",
                       "--threshold", "2", "--via", "bob,carol")[0][0] for n in ("a", "b")]
    carol.receive()
    said = carol.tg("release")
    eq(sorted(line.split()[0] for line in said.splitlines()), sorted(s[:8] for s in sets))
    assert all("is with you, for bob; pass it on with 'tgshare release " + line[:8] + "'" in line
               for line in said.splitlines()), said
    eq(carol.tg("release"), said)
    carol.tg("release", sets[0], says="goes to bob")
    eq([line[:8] for line in carol.tg("release").splitlines()], [sets[1][:8]])
    # people are called what whoever looks calls them
    carol.tg("contact", "remove", "bob")
    assert "for bob;" in carol.tg("release")
    carol.tg("contact", "add", "bobby", bob.card)
    assert "for bobby;" in carol.tg("release")


@check(plain=False)
def a_damaged_entry_of_the_log_is_pointed_out_once():
    post = fresh("post")
    os.mkdir(post)
    alice, bob = Person("alice", post), Person("bob", post)
    alice.meets(bob)
    alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
    bob.receive()
    bob.meets(alice)
    frond.until(lambda: bob.log("opened"), what="the last entry")
    path = os.path.join(bob.mount.vault, ".frondfs/log")
    with open(path, "r+b") as f:
        f.seek(-100, os.SEEK_END)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(b"A" if byte != b"A" else b"B")
    out, err = tg("receive", "--vault", bob.mount.path)
    eq(out, "")
    assert re.fullmatch(r"tgshare: entry \d+ of the log is damaged; 'tgshare log --verify --vault "
                        rf"'{re.escape(bob.mount.path)}'' says more\n", err), err
    eq(tg("receive", "--vault", bob.mount.path), ("", ""))


@check(plain=False)
def who_cannot_be_reached_keeps_nobody_else_waiting():
    alice, bob, carol = everybody = people("alice", "bob", "carol")
    box = re.search(r"address: +dir:\S.*/([0-9a-f]{32})", alice.tg("contact", "show", "bob"))[1]
    os.rmdir(os.path.join(bob.post, box))
    path = put(alice.path("to both"), b"x")
    sets = alice.send("send", path, "--to", "bob,carol", status=6)
    eq([s[1] for s in sets], ["queued", "sent"])
    carol.receive()
    readable(carol.shared("alice/to both"), b"x")
    # a damaged record is left out, and the rest goes on
    put(alice.path(".tgshare/outbox", sets[0][0], "set.json"), b'{"version": 1')
    _, err = tg("receive", "--vault", alice.mount.path)
    assert sets[0][0] in err and "damaged" in err, err
    eq([g["set"] for g in alice.status()["given"]], [sets[1][0]])
    for person in everybody:
        person.mount.umount()


@check(plain=False)
def names_in_what_is_told_do_not_act_on_a_terminal():
    alice, _ = pair()
    os.mkdir(alice.path("odd"))
    put(alice.path("odd/\x1b[31m\u202ered"), b"x")
    os.symlink("x", alice.path("odd/\x1b]0;y\x07"))
    err = tg("send", alice.path("odd"), "--to", "bob", status=FAILED)[1]
    assert "left out" in err and "\\033]0;y\\007" in err, err
    assert err.replace("\n", "").isprintable() and "\u202e" not in err, err


@check(plain=False)
def names_and_notes_of_any_kind_travel():
    alice, bob = pair()
    names = [b"plain", "ünïcødé ✓".encode(), b"with  blanks ", b"%41", b"-dash", b"a" * 255,
             b"\xff\xfe bytes"]
    os.makedirs(alice.path("names"))
    top = os.fsencode(alice.path("names"))
    for name in names:
        put(os.path.join(top, name), name)
    (set_id, *_), = alice.send("send", alice.path("names"), "--to", "bob", "--note",
                               'He said: "ünïcødé", \\ and %s')
    bob.receive()
    readable(bob.shared("alice/names/plain"), b"plain")
    there = os.fsencode(bob.shared("alice/names"))
    eq(sorted(os.listdir(there)), sorted(names))
    for name in names:
        eq(get(os.path.join(there, name)), name)
    alice.receive()
    eq(alice.given(set_id)["state"], "opened")
    for name in names[1:]:
        path = os.path.join(top, name)
        (set_id, *_), = alice.send("send", path, "--to", "bob")
        eq(alice.given(set_id)["path"], os.fsdecode(b"names/" + name))


@check(plain=False)
def a_mount_that_was_not_made_for_writing_says_so():
    alice, _ = pair()
    put(alice.path("ro"), b"x")
    alice.mount.remount("ro")
    try:
        alice.tg("contact", "remove", "bob", status=FAILED, says="read-only")
        tg("send", alice.path("ro"), "--to", "bob", status=FAILED, says="read-only")
    finally:
        alice.mount.remount("")


@check(plain=False)
def splitting_a_key_for_paper_and_combining_it():
    alice, _ = pair()
    path = put(alice.path("on paper"), blob(10000))
    tg("split", path, "--shares", "2", "--threshold", "3", status=USAGE, says="more")
    tg("split", path, "--shares", "17", "--threshold", "3", status=USAGE, says="16")
    tg("split", alice.path("sub"), "--shares", "2", "--threshold", "2", status=FAILED,
       says="folder")
    out, err = tg("split", path, "--shares", "5", "--threshold", "3")
    shares = out.splitlines()
    eq([len(s.split()) for s in shares], [33] * 5)
    assert "Share 1 of 5 (any 3 open it)" in err and alice.mount.vault in err, err
    key = tg("combine", stdin="\n".join(shares[:3]).encode())[0]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}=\n", key), key
    eq(tg("combine", stdin="\n\n".join(reversed(shares)).encode())[0], key)
    # broken into lines, in capitals, from files
    wrapped = ["\n".join(" ".join(s.upper().split()[i:i + 7]) for i in range(0, 33, 7))
               for s in shares]
    eq(tg("combine", stdin="\n\n".join(wrapped[1:4]).encode())[0], key)
    files = [put(fresh("share"), s.encode()) for s in shares]
    eq(tg("combine", files[4], files[0], files[0], files[2])[0], key)
    keyfile = fresh("key")
    eq(tg("combine", "-o", keyfile, *files[:3])[0], "")
    eq((get(keyfile).decode(), stat.S_IMODE(os.stat(keyfile).st_mode)), (key, 0o600))
    tg("combine", "-o", keyfile, *files[:3], status=FAILED,
       says="exists already; name a new file")
    words = get(files[0]).decode().split()
    for text, says in ((words[:-1], "it has 32 words, such a share has 33"),
                       (words[:1], "it has 1 word, such a share has 33"),
                       (words[:4] + ["sh\033elf"] + words[5:],
                        "word 5 of the share in standard input, 'sh?elf', is not")):
        tg("combine", stdin=" ".join(text).encode(), status=FAILED, says=says)
    opens_with(alice.mount.backing(path), key, blob(10000))
    drawn = tg("split", path, "--shares", "2", "--threshold", "1", "--qr")[0]
    assert drawn.count("▀") > 100, drawn


def opens_with(backing, key, data):
    """Python's Fernet opens every chunk of a backing file with this key."""
    from cryptography.fernet import Fernet
    fernet, raw, at, plain = Fernet(key.strip()), get(backing)[176:], 0, b""
    while at < len(raw):
        size = 4169 if len(raw) - at > 4177 else None
        token = raw[at:at + size] if size else raw[at:len(raw) - (len(raw) - at - 57) % 16]
        plain += fernet.decrypt(base64.urlsafe_b64encode(token))[8:]
        at += size or len(raw)
    eq(plain, data)


@check(plain=False)
def words_that_are_wrong_are_pointed_at():
    alice, _ = pair()
    path = put(alice.path("words to spoil"), b"x")
    shares = tg("split", path, "--shares", "3", "--threshold", "2")[0].splitlines()
    others = tg("split", path, "--shares", "3", "--threshold", "2")[0].splitlines()

    def combine(*texts, says):
        _, err = tg("combine", stdin="\n".join(texts).encode(), status=FAILED, says=says)
        given = " ".join(texts).split()
        for pair_of_words in zip(given, given[1:]):
            assert " ".join(pair_of_words) not in err, err
    words = shares[0].split()
    combine("", says="no shares")
    combine(shares[0], says="1 of the 2 shares")
    combine(shares[0], others[1], says="do not belong together")
    combine(" ".join(words[:-1] + ["zzz"]), says="word 33")
    combine(" ".join(words[:4] + [words[5], words[4]] + words[6:]), says="checksum")
    combine(" ".join(words[:20]), says="")
    tg("combine", fresh("nothing"), status=UNKNOWN, says="there is no file")
    official = "duckling enlarge academic academic agency result length solution fridge " \
               "kidney coal piece deal husband erode duke ajar critical decision keyboard"
    combine(official, says="16 bytes")


@check(plain=False)
def combine_asks_on_a_terminal_without_echo():
    alice, _ = pair()
    path = put(alice.path("asked"), b"x")
    shares = tg("split", path, "--shares", "3", "--threshold", "2")[0].splitlines()
    keyfile = fresh("key")
    text, status = on_terminal(["combine", "-o", keyfile], [
        ("share 1:", shares[0]), ("share 2:", shares[0]), ("share 2:", "nonsense words"),
        ("share 2:", shares[2])])
    eq(status, 0, text)
    assert " ".join(shares[0].split()[7:11]) not in text and "already" in text, text
    eq(get(keyfile).decode(), tg("combine", stdin="\n".join(shares[1:]).encode())[0])


@check(plain=False)
def bundles_carry_what_is_shared_any_other_way():
    alice, bob = pair()
    data = blob(300000)
    path = put(alice.path("carried"), data)
    bundle = fresh("bundle")
    tg("export", path, status=USAGE, says="-o BUNDLE")
    tg("export", path, "-o", bundle, status=UNKNOWN, says="nothing is under way")
    tg("export", path, "-o", bundle, "--to", "carol", status=UNKNOWN)
    tg("export", path, "-o", f"{bundle}/x/y", "--to", "bob", status=FAILED)
    assert not os.path.exists(bundle)
    out, _ = tg("export", path, "-o", bundle, "--to", "bob")
    code = re.search(r"verification code (\d{6})", out)[1]
    tg("export", path, "-o", bundle, "--to", "bob", status=FAILED, says="exists")
    raw = get(bundle)
    assert data[:100] not in raw and b"carried" not in raw and raw[:8] == b"FRONDBN1"
    eq(len(alice.log("exported")), 1)
    cut = put(fresh("cut"), raw[:-1000])
    bob.tg("import", cut, status=FAILED, says="damaged or cut off")
    assert os.path.exists(bob.shared("alice/carried"))
    frond.raises(frond.errno.ENOKEY, get, bob.shared("alice/carried"))
    bob.tg("import", put(fresh("other"), b"FRONDBN2" + raw[8:]), status=FAILED,
           says="no bundle")
    bob.tg("import", put(fresh("empty")), status=FAILED, says="no bundle")
    for path in fresh("nothing"), f"{cut}/below":
        bob.tg("import", path, status=UNKNOWN, says=f"there is no file '{path}'")
    assert any(s["code"] == code for s in bob.status()["came"])
    bob.tg("import", bundle)
    readable(bob.shared("alice/carried"), data)
    bob.tg("import", bundle)       # again: nothing more
    eq(sorted(os.listdir(bob.shared("alice"))).count("carried (2)"), 0)


@check(plain=False)
def bundles_for_several_are_taken_apart():
    alice, bob, carol, dave = people("alice", "bob", "carol", "dave")
    data = blob(100000, 9)
    bundle = fresh("bundle")
    tg("export", put(alice.path("for two"), data), "-o", bundle, "--to", "bob,carol")
    for person in carol, bob:
        out, err = tg("import", bundle, "--vault", person.mount.path)
        eq((out.splitlines(), err), (["for two is open, from alice: Shared/alice/for two"], ""))
        eq(get(person.shared("alice/for two")), data)
        eq(person.log("refused"), [])
    before = dave.log()
    dave.tg("import", bundle, status=FAILED, says="nothing in '%s' is for you" % bundle)
    eq(dave.log(), before)
    assert not os.path.exists(dave.shared())
    inbox = os.path.join(dave.mount.vault, ".frondfs/inbox")
    eq([n for n in os.listdir(inbox) if n.endswith((".env", ".try", ".part", ".tmp"))], [])


def export_that_is_killed(who, path, size):
    """By its own bundle, which may not grow as large as that."""
    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    bundle = fresh("bundle")
    p = subprocess.run([TGSHARE, "export", path, "-o", bundle, "--to", "bob"],
                       preexec_fn=limits, env={**os.environ, "TGSHARE_VAULT": who.mount.path},
                       capture_output=True, timeout=300, check=False)
    eq((p.returncode, p.stdout, os.path.exists(bundle)), (-signal.SIGXFSZ, b"", False), p.stderr)


@check(plain=False)
def an_export_that_was_killed_is_not_called_exported():
    """Nothing of it was handed out: it is made again, or ended, by one command."""
    alice, bob = people("alice", "bob")
    copies = os.path.join(alice.mount.vault, ".frondfs/outbox")
    data = blob(300000, 8)
    path, bundle = put(alice.path("cut short"), data), fresh("bundle")
    alice.tg("export", path, "-o", bundle, "--to", "bob")
    size = os.stat(bundle).st_size

    def states():
        return sorted(s["state"] for s in alice.status()["given"])
    # again
    export_that_is_killed(alice, path, size - 1)
    eq(states(), ["exported", "unfinished"])
    said = alice.tg("status")
    eq(said.count("its bundle has not been written; 'tgshare export' it again"), 1, said)
    again = fresh("bundle")
    alice.tg("export", path, "-o", again, "--to", "bob")
    eq(states(), ["exported"] * 2)
    bob.tg("import", again)
    readable(bob.shared("alice/cut short"), data)
    bob.receive()
    alice.receive()
    eq(states(), ["exported", "opened"])
    eq(len(alice.log("exported")), 2)
    # ended: nobody hears of it
    for end in lambda n: alice.tg("revoke", n["set"]), lambda n: alice.receive():
        export_that_is_killed(alice, path, size - 1)
        unfinished, = (s for s in alice.status()["given"] if s["state"] == "unfinished")
        assert "if it has been opened" not in (end(unfinished) or "")
        eq((states(), os.listdir(copies)), (["exported", "opened"], ["lock"]))
        eq(bob.receive(), "")
    eq((len(alice.log("exported")), alice.log("revoked")), (2, []))


@check(plain=False)
def a_bundle_is_in_the_log_before_it_is_there():
    """Or what acknowledges it would not be believed."""
    alice, _ = people("alice", "bob")
    path, bundle = put(alice.path("quick"), b"quick"), fresh("bundle")
    log = os.path.join(alice.mount.vault, ".frondfs/log")
    os.rename(log, log + " away")
    os.mkdir(log)
    alice.tg("export", path, "-o", bundle, "--to", "bob", status=FAILED, says="log")
    eq((os.path.exists(bundle), alice.status()["given"]), (False, []))
    os.rmdir(log)
    os.rename(log + " away", log)
    alice.tg("export", path, "-o", bundle, "--to", "bob")
    eq([s["state"] for s in alice.status()["given"]], ["exported"])


@check(plain=False)
def no_content_leaves_the_content_to_another_way():
    alice, bob = pair()
    data = blob(200000, 5)
    path = put(alice.path("keys only"), data)
    (set_id, *_), = alice.send("send", path, "--to", "bob", "--no-content", "--expires",
                               "2099-01-31", "--note", "See you\non Monday")
    said = bob.receive()
    note = '          "See you\n           on Monday"\n'
    assert note in said and note in alice.tg("status"), said
    assert "; expires 2099-0" in said, said
    frond.raises(frond.errno.ENOKEY, get, bob.shared("alice/keys only"))
    eq(bob.came(set_id)["state"], "waiting for content")
    for text in said, bob.tg("status"):
        assert "keys only from alice: the key is here, but not its content" in text and \
            "ask alice for the bundle (tgshare export), and 'tgshare import BUNDLE'" in text, text
    bundle = fresh("bundle")
    alice.tg("export", set_id[:8], "-o", bundle)
    # who has no key for it, or not yet
    idle = f"tgshare: nothing in '{bundle}' is needed now: it is here already, or its key " \
        "has not come, for which it is kept for 30 days\n"
    eq(tg("import", bundle, "--vault", alice.mount.path), ("", idle))
    # it is there yet, when it opens and later
    assert note in bob.tg("import", bundle)
    eq(tg("import", bundle, "--vault", bob.mount.path), ("", idle))
    readable(bob.shared("alice/keys only"), data)
    assert note in bob.tg("log") and note in bob.tg("status")
    came = bob.came(set_id)
    eq([came[key] for key in ("state", "from", "name", "note", "path")],
       ["open", "alice", "keys only", "See you\non Monday", "Shared/alice/keys only"])
    bob.receive()
    alice.receive()
    eq(alice.given(set_id)["state"], "opened")
    tg("export", path, "-o", fresh("bundle"), status=UNKNOWN)


@check(plain=False)
def what_expired_on_its_way_is_told_once():
    alice, bob, carol = people("alice", "bob", "carol")
    end = int(time.time()) + 8
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(end))
    alice.send("send", put(alice.path("late"), b"x"), "--to", "bob", "--shares", "2",
               "--threshold", "2", "--via", "bob,carol", "--expires", soon)
    frond.until(lambda: time.time() > end, what="the end")
    eq((bob.receive(), carol.receive()),
       ("late from alice has expired\n",
        "the share 2 that you kept of something from alice has expired\n"))
    for person in alice, bob, carol:
        person.mount.umount()


@check(plain=False)
def sets_are_named_by_what_begins_them():
    alice, bob = pair()
    path = put(alice.path("short"), b"x")
    (set_id, *_), = alice.send("send", path, "--to", "bob")
    alice.tg("revoke", "00000000", status=UNKNOWN, says="nothing")
    alice.tg("revoke", set_id[:7], status=UNKNOWN, says="8 digits or more")
    alice.tg("revoke", "no such", status=UNKNOWN, says="there is no file")
    bob.tg("release", set_id[:8], status=UNKNOWN, says="no share")
    bob.tg("release", "--all", says="no share")
    alice.tg("revoke", set_id[:8], says="withdrew short from bob")
    alice.tg("revoke", set_id, status=UNKNOWN)


@check(plain=False)
def status_lists_what_is_under_way_and_then_what_is_over():
    alice, bob, carol = people("alice", "bob", "carol")
    for person in alice, bob:
        eq(person.tg("status"), "Nothing is under way.\n")
    file = put(alice.path("seen"), b"x")
    (opened, *_), = alice.send("send", file, "--to", "bob")
    (waits, *_), = alice.send("send", file, "--to", "carol", "--shares", "2", "--threshold",
                              "2", "--via", "bob,carol")
    for person in bob, carol, alice:
        person.receive()
    said = alice.tg("status")
    live, over = said.split("\n\n")
    assert live.startswith(f"What you gave:\n{waits[:8]}  received") and opened[:8] not in live, \
        said
    assert "any 2 of these open it: bob (kept), carol (received)" in live, said
    assert re.search(rf"is over:\n{opened[:8]}  opened     seen to bob", over), said
    said = bob.tg("status")
    assert re.search(rf"was opened:\n{opened[:8]}  opened     seen from alice", said), said
    bob.tg("release", "--all")
    said = bob.tg("status")
    assert said.startswith("Nothing is under way.\n\nWhat came, and was opened:\n"), said
    alice.tg("revoke", waits[:8])
    said = alice.tg("status")
    assert said.startswith("Nothing is under way.\n\nWhat you gave, and is over:\n"), said
    journal = alice.path(".tgshare/outbox", opened, "journal")
    week = int(time.time()) - 8 * 86400
    put(journal, re.sub(rb"(?m)^(ack \d \d) \d+$", rb"\1 %d" % week, get(journal)))
    assert opened[:8] not in alice.tg("status") and opened[:8] in alice.tg("status", "--all")
    for person in alice, bob, carol:
        person.mount.umount()


@check(plain=False)
def the_log_is_shown_and_checked():
    alice, _ = pair()
    put(alice.path("logged"), b"x")
    alice.send("send", alice.path("logged"), "--to", "bob")
    records = alice.log()
    eq([r["seq"] for r in records], list(range(len(records))))
    assert ("sent", "logged", "bob") in {(r["event"], r["text"], r["peer"])
                                         for r in records}, records
    lines = [line for line in alice.tg("log").splitlines() if line[:10].strip()]
    eq(len(lines), len(records))
    # who has read enough
    alice.tg("contact", "list")
    p = subprocess.Popen([TGSHARE, "log", "--json", "--vault", alice.mount.path],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.close()
    eq((p.wait(20), p.stderr.read()), (0, b""))
    p.stderr.close()
    alice.tg("log", "--verify", says=f"whole: {len(records)} entries")
    eq(json.loads(alice.tg("status", "--json")).keys(), {"given", "came"})


@check(plain=False)
def a_log_that_was_tampered_with_says_where():
    (alice,) = people("alice")
    for i in range(4):
        with frond.Mount() as other:
            tg("setup", "--vault", other.path, "--name", f"p{i}", "--transport",
               f"dir:{alice.post}")
            alice.tg("contact", "add", f"p{i}", tg("card", "--vault", other.path)[0])
        shown = alice.tg("contact", "show", f"p{i}")
        alice.tg("contact", "verify", f"p{i}", "--fingerprint",
                 re.search(r"fingerprint: +([\d ]+)", shown)[1])
    alice.tg("log", "--verify", says="whole: 4 entries")
    path = os.path.join(alice.mount.vault, ".frondfs/log")
    true, one = get(path), os.path.getsize(path) // 4

    def verify(raw, says):
        alice.mount.umount()
        put(path, raw)
        alice.mount.mount()
        alice.tg("log", "--verify", status=FAILED, says=says)
    verify(true[:one + 40] + bytes([true[one + 40] ^ 1]) + true[one + 41:],
           "entry 1 was altered")
    verify(true[:one] + true[2 * one:], "entry 1 does not follow")
    verify(true[:3 * one], "entry 3 and what came after it are missing")
    alice.mount.umount()
    put(path, true)
    alice.mount.mount()
    alice.tg("log", "--verify", says="whole: 4 entries")
    # what a synchronising service takes away meanwhile the mount still has
    os.unlink(path)
    alice.tg("contact", "verify", "p0", "--fingerprint",
             re.search(r"fingerprint: +([\d ]+)", alice.tg("contact", "show", "p0"))[1])
    alice.tg("log", "--verify", says="whole: 5 entries")
    eq(get(path)[:4 * one], true)
    alice.mount.umount()


@check(plain=False)
def there_is_one_agent_for_a_vault_and_it_ends_well():
    alice, bob = pair()
    first = subprocess.Popen([TGSHARE, "agent", "--vault", bob.mount.path],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        def refused():
            p = subprocess.run([TGSHARE, "agent", "--vault", bob.mount.path],
                               capture_output=True, timeout=0.7)
            return p.returncode == FAILED and b"already" in p.stderr
        time.sleep(0.5)
        frond.until(refused, what="a second agent being refused")
        data = put(alice.path("by agent"), b"agent")
        (set_id, *_), = alice.send("send", data, "--to", "bob")
        readable(bob.shared("alice/by agent"), b"agent")
        begin = time.monotonic()
        first.terminate()
        eq(first.wait(10), 0)
        assert time.monotonic() - begin < 2, "the agent takes long to end"
        assert b"by agent is open, from alice" in first.stdout.read()
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    alice.receive()
    eq(alice.given(set_id)["state"], "opened")


@check(plain=False)
def no_secret_is_left_in_arguments_or_the_environment():
    alice, _ = pair()
    path = put(alice.path("secret words"), b"x")
    p = subprocess.Popen([TGSHARE, "combine"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
    shares = tg("split", path, "--shares", "2", "--threshold", "2")[0].splitlines()
    p.stdin.write(shares[0].encode() + b"\n")
    p.stdin.flush()
    time.sleep(0.2)
    some = " ".join(shares[0].split()[7:11]).encode()
    for name in "cmdline", "environ":
        try:
            assert some not in get(f"/proc/{p.pid}/{name}").replace(b"\0", b" ")
        except PermissionError:
            pass        # not dumpable: not even root without ptrace may look
    limits = get(f"/proc/{p.pid}/limits").decode()
    assert re.search(r"Max core file size +0 +0", limits), limits
    key = p.communicate(shares[1].encode() + b"\n")[0]
    assert len(key) == 45


if __name__ == "__main__":
    frond.main()
