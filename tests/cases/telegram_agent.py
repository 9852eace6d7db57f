#!/usr/bin/env python3
"""The agent over Telegram: what it tells, whom it believes, what it lets out."""
import base64
import errno
import os
import re
import resource
import signal
import ssl
import subprocess
import sys
import threading
import socket
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, fresh, get, put, raises, until
from share import FAILED, NOT_SET_UP, QUEUED, TGSHARE, readable
from telegram import spooled, town


class Agent:
    """tgshare agent, with what it says in files."""

    def __init__(self, person, wrapper=(), cwd=None, setup=None, **env):
        self.out, self.err = fresh("out"), fresh("err")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DBUS_")}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [*wrapper, TGSHARE, "agent"], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=dict(environ, TGSHARE_VAULT=person.mount.path, **env), cwd=cwd,
                preexec_fn=setup)

    def said(self):
        return get(self.out).decode(), get(self.err).decode()

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def fake_notify_send():
    """A directory with a notify-send that notes its arguments, and that file."""
    where, notes = fresh("bin"), fresh("notes")
    os.mkdir(where)
    script = put(os.path.join(where, "notify-send"),
                 b'#!/bin/sh\nsleep 1\nprintf "%s\\0" "$@" >>"$NOTES"; printf "\\n" >>"$NOTES"\n'
                 b'tr "\\0" "\\n" </proc/$$/environ >>"$NOTES.env"; ls -l /proc/$$/fd >>"$NOTES.fd"\n')
    os.chmod(script, 0o755)
    return where + ":" + os.environ["PATH"], notes


@check(plain=False)
def a_file_that_opens_is_told_on_the_desktop():
    path, notes = fake_notify_send()
    with town("alice", "bob", "carol") as (_, alice, bob, carol):
        odd = "--x $(id) <b>& \u00fc"
        with Agent(bob, PATH=path, NOTES=notes, DBUS_SESSION_BUS_ADDRESS="unix:path=/none") as a:
            for name in ("film", odd):
                alice.send("send", put(alice.path(name), b"x"), "--to", "bob")
            alice.send("send", put(alice.path("kept"), b"x"), "--to", "carol", "--via", "bob")
            until(lambda: os.path.exists(notes) and get(notes).count(b"\0\n") == 3, 20, "notes")
            lines = [n.split("\0") for n in get(notes).decode().split("\0\n")[:-1]]
            eq({line[line.index("--") + 1] for line in lines},
               {f"{name} is open, from alice" for name in ("film", odd)} |
               {"alice asks you to let carol open something"})
            secret = bob.bot["token"].split(":")[1]
            assert secret not in get(notes + ".env").decode()
            for line in lines:
                assert secret not in " ".join(line)
            held = get(notes + ".fd").decode()
            assert "/dev/null" in held and "socket" not in held and \
                bob.mount.vault not in held and bob.mount.path not in held, held
            # nobody is left behind
            children = get(f"/proc/{a.process.pid}/task/{a.process.pid}/children")
            until(lambda: not get(f"/proc/{a.process.pid}/task/{a.process.pid}/children"), 10,
                  children)
            eq(a.end(), 0)


@check(plain=False)
def without_a_desktop_nothing_is_told():
    path, notes = fake_notify_send()
    with town("alice", "bob") as (_, alice, bob), \
            Agent(bob, PATH=path, NOTES=notes) as agent:
        alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
        readable(bob.shared("alice/a"), b"x")
        time.sleep(1.5)
        assert not os.path.exists(notes)
        eq(agent.end(), 0)


@check(plain=False)
def an_agent_without_a_valid_token_ends_with_a_sentence():
    with town("alice") as (api, alice), Agent(alice) as agent:
        time.sleep(0.5)
        eq(agent.process.poll(), None)
        api.do("revoke_token", bot="alice_bot")
        api.do("say", user=api.do("add_user", name="x")["id"], to="alice_bot", text="hello")
        eq(agent.process.wait(30), NOT_SET_UP)
        assert "@BotFather" in agent.said()[1] and "tgshare setup" in agent.said()[1]
        assert agent.said()[1].rstrip().splitlines()[-1].startswith("tgshare: the agent ends:")


@check(plain=False)
def an_agent_whose_bot_is_used_elsewhere_says_so_once_and_goes_on():
    with town("alice", "bob") as (api, alice, bob):
        def webhook(url):
            request = f"{api.root}/bot{bob.bot['token']}/setWebhook?url={url}"
            urllib.request.urlopen(request, timeout=10).close()
        webhook("https://elsewhere")
        with Agent(bob) as agent:
            until(lambda: "webhook" in agent.said()[1], 10, "a word")
            before = api.do("counts")["requests"]["getUpdates"]
            until(lambda: api.do("counts")["requests"]["getUpdates"] > before, 10, "another try")
            eq(agent.said()[1].count("\n"), 1)
            webhook("")
            alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
            readable(bob.shared("alice/a"), b"x", 20)
            eq(agent.end(), 0)


@check(plain=False)
def receive_does_not_disturb_an_agent():
    with town("alice", "bob") as (_, alice, bob), Agent(bob) as agent:
        until(lambda: b"agent.lock" in get("/proc/self/mounts") or
              os.path.exists(os.path.join(bob.mount.vault, ".frondfs/outbox/agent.lock")), 10,
              "the lock")
        time.sleep(0.5)
        bob.tg("receive", says="collects what comes")
        alice.send("send", put(alice.path("a"), b"x"), "--to", "bob")
        readable(bob.shared("alice/a"), b"x")
        bob.receive("--wait", "5")
        eq(agent.said()[1], "")
        eq(agent.end(), 0)


@check(plain=False)
def a_server_that_is_away_is_told_and_not_taken_for_silence():
    with town("alice") as (api, alice):
        api.do("faults", every=1, kinds=["502"])
        alice.tg("receive", status=QUEUED, says="cannot be reached")
        api.do("faults", every=0)
        eq(alice.receive(), "")


def keeper(api, alice, name):
    """Somebody who pressed Start and may keep shares."""
    user = api.do("add_user", name=name)["id"]
    link = alice.tg("contact", "chat", name, "--link").strip().partition("start=")[2]
    api.do("start", user=user, bot="alice_bot", payload=link)
    alice.receive()
    return user


ARMOUR = re.compile(r"tgshare1\.([A-Za-z0-9_-]+)")


def envelope(text):
    """The bytes that stand there in armour; the last four are its checksum."""
    armour = ARMOUR.search(text)[1]
    return base64.urlsafe_b64decode(armour + "=" * (-len(armour) % 4))[:-4]


def asked(api, user, bot="alice_bot"):
    return api.do("inbox", user=user, bot=bot)["messages"][-1]


@check(plain=False)
def people_correct_attach_caption_and_talk():
    with town("alice", "bob") as (api, alice, bob):
        carol, dave, erin = (keeper(api, alice, n) for n in ("carol", "dave", "erin"))
        data = blob(5000)
        alice.send("send", put(alice.path("will"), data), "--to", "bob", "--shares", "3",
                   "--threshold", "3", "--via", "carol,dave,erin")
        text = asked(api, carol)["text"]
        # chatter, a photograph, and what one takes for the right file
        api.do("say", user=carol, to="bob_bot", text="Hello? \U0001f44b")
        api.do("give", user=carol, to="bob_bot", name="holiday.jpg",
               data=base64.b64encode(b"x" * 1000).decode())
        number = api.do("say", user=carol, to="bob_bot", text=text[:-9])["message_id"]
        assert "0 of 3" in bob.receive()
        eq([n for n in spooled(bob) if n.endswith(".part")],
           [n for n in spooled(bob) if n.endswith(".part")][:1])
        api.do("edit", user=carol, bot="bob_bot", message_id=number, text=text)
        assert "1 of 3" in bob.receive()
        # the same as a document, and as the words beside a picture
        api.do("give", user=dave, to="bob_bot", name="message (1).env",
               data=base64.b64encode(envelope(asked(api, dave)["text"])).decode())
        assert "2 of 3" in bob.receive()
        armour = ARMOUR.search(asked(api, erin)["text"])[0]
        api.do("give", user=erin, to="bob_bot", name="flowers.png", data="eA==",
               caption="Take it, Bob " + armour)
        bob.receive()
        eq(get(bob.shared("alice/will")), data)


@check(plain=False)
def groups_carry_shares_and_are_nobody():
    with town("alice", "bob") as (api, alice, bob):
        carol = keeper(api, alice, "carol")
        alice.send("send", put(alice.path("a"), b"x"), "--to", "bob", "--via", "carol")
        armour = asked(api, carol)["text"]
        mallory = api.do("add_user", name="mallory")["id"]
        group = api.do("add_group", title="friends",
                       members=[carol, mallory, alice.bot["id"], bob.bot["id"]])["id"]
        assert group < -1 << 31
        api.do("set_privacy", bot="bob_bot", on=False)
        # two people write at a time, and both in pieces
        half = len(armour) // 2
        for user, piece in ((carol, armour[:half]), (mallory, "tgshare1.AAAA"),
                            (carol, armour[half:])):
            api.do("say", user=user, to=group, text=piece)
            bob.receive()
        eq(get(bob.shared("alice/a")), b"x")
        link = alice.tg("contact", "chat", "dave", "--link").strip().partition("start=")[2]
        api.do("say", user=mallory, to=group, text=f"/start@alice_bot {link}")
        eq([l for l in alice.receive().splitlines() if "Start" in l], [])
        # a group may be named as a keeper
        alice.tg("contact", "chat", "club", str(group), says="can be written to")
        alice.send("send", put(alice.path("b"), b"y"), "--to", "bob", "--via", "club")
        last = api.do("inbox", user=mallory, bot="alice_bot")["messages"][-1]
        eq(last["chat"]["id"], group)
        assert "tgshare1." in last["text"]


@check(plain=False)
def no_dump_no_trace_no_key_log_has_the_token():
    frond.tool("strace")
    with town("alice", "bob") as (api, alice, bob):
        secret = alice.bot["token"].split(":")[1].encode()
        trace, keys, home = fresh("trace"), fresh("keys"), fresh("home")
        os.mkdir(home)
        put(os.path.join(home, ".curlrc"), b"verbose\ntrace-ascii = curl.trace\n")
        env = dict(os.environ, TGSHARE_VAULT=alice.mount.path, SSLKEYLOGFILE=keys, HOME=home,
                   CURL_HOME=home, CURL_DEBUG="all", CURL_VERBOSE="1")
        # a leak checker cannot look into what is traced already
        env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        # everything but what goes to the bot's server, where it has to be, and
        # the reading and writing of the vault, where it is kept
        argv = ["strace", "-f", "-s", "4096", "-o", trace, "-e",
                "trace=!sendto,sendmsg,recvfrom,read,pread64", TGSHARE]
        name = put(alice.path("a"), b"x")
        for more in (["send", name, "--to", "bob"], ["receive"], ["status"], ["contact", "list"]):
            p = subprocess.run([*argv, *more], env=env, cwd=home, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=100)
            eq(p.returncode, 0, p.stdout)
            assert secret not in p.stdout
            assert b"exited with 0" in get(trace) and secret not in get(trace)
        eq(os.listdir(home), [".curlrc"])
        assert not os.path.exists(keys)
        bob.receive()


@check(plain=False)
def no_core_file_and_nothing_in_proc():
    with town("alice") as (_, alice):
        secret = alice.bot["token"].split(":")[1].encode()
        where = fresh("core")
        os.mkdir(where)

        def unlimited():
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        with Agent(alice, cwd=where, setup=unlimited) as agent:
            pid = agent.process.pid
            until(lambda: b"Max core file size        0                    0" in
                  get(f"/proc/{pid}/limits"), 10, "no core")
            time.sleep(0.5)
            for name in "cmdline", "environ", "comm", "maps":
                assert secret not in get(f"/proc/{pid}/{name}"), name
            agent.process.send_signal(signal.SIGQUIT)
            status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            eq(status.si_code, os.CLD_KILLED, "not CLD_DUMPED")
            agent.process.wait()
        eq(os.listdir(where), [])


@check(plain=False)
def another_user_cannot_look_into_it():
    if os.geteuid():
        raise frond.Skip("only root can be two users")
    if "asan" in frond.BUILD:
        raise frond.Skip("its leak checker looks into it")
    user = 12345
    if os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
        raise frond.Skip("/dev/fuse is root's alone")
    with frond.Mount("", user=user) as m, town("alice") as (api, alice):
        token = put(fresh("token"), alice.bot["token"].encode())
        os.chmod(token, 0o644)
        env = {"TGSHARE_VAULT": m.path, "PATH": os.environ["PATH"]}

        def become():
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        subprocess.run([TGSHARE, "setup", "--name", "u", "--bot-token-file", token, "--api-base",
                        api.root], env=env, preexec_fn=become, check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        agent = subprocess.Popen([TGSHARE, "agent"], env=env, preexec_fn=become,
                                 stdin=subprocess.DEVNULL)
        try:
            until(lambda: b"Max core file size        0 " in get(f"/proc/{agent.pid}/limits"), 10)
            time.sleep(0.5)
            # not even the same user
            raises((errno.EACCES, errno.EPERM), frond.in_child,
                   lambda: get(f"/proc/{agent.pid}/environ"), user, user)
            raises((errno.EACCES, errno.EPERM), frond.in_child,
                   lambda: get(f"/proc/{agent.pid}/mem"), user, user)
        finally:
            agent.terminate()
            eq(agent.wait(30), 0)


def tls_server():
    """A TLS server whose certificate nobody vouches for; its port."""
    key, cert = fresh("key"), fresh("cert")
    frond.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
              "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
              "-keyout", key, "-out", cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))
    heard = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as tls:
                    heard.append(tls.recv(100))
            except ssl.SSLError:
                continue
            except OSError:
                return
    threading.Thread(target=serve, daemon=True).start()
    return listener, heard


@check(plain=False)
def impostors_get_no_token_and_keys_of_connections_are_not_written():
    frond.tool("openssl")
    frond.tool("curl")
    listener, heard = tls_server()
    base = f"https://localhost:{listener.getsockname()[1]}"
    keys = fresh("keys")
    subprocess.run(["curl", "-sk", "-m", "5", base], env=dict(os.environ, SSLKEYLOGFILE=keys),
                   stdout=subprocess.DEVNULL)
    assert os.path.exists(keys), "curl does not write any: this proves nothing"
    os.unlink(keys)
    before = len(heard)
    with town("alice") as (_, alice):
        token = put(fresh("token"), b"1234567:" + b"A" * 35)
        out = alice.tg("setup", "--bot-token-file", token, "--api-base", base, status=FAILED,
                       says="certificate", env={"SSLKEYLOGFILE": keys})
        assert "AAAA" not in out
        assert not os.path.exists(keys)
        eq(heard[before:], [])
        alice.receive()  # the settings are as before
    listener.close()


frond.main()
