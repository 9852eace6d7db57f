#!/usr/bin/python3
"""What answers is broken, or means harm: the Telegram transport stays within
its bounds, loses nothing that is good, and says what it is."""
import hashlib
import http.server
import json
import os
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
# pylint: disable=wrong-import-position
import transport  # noqa: E402
from transport import BUILD, EAGAIN, Person, check, main, peak, place, server  # noqa: E402

EPROTO, ENOSPC, EREMOTEIO = -71, -28, -121
ESCAPES = "\x1b]0;owned\x07\x1b[31m\u202e\x9b"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Quiet."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method = self.path.rsplit("/", 1)[-1]
        liar = self.server.liar
        if self.path.startswith("/file/"):
            method, params = "download", {"path": self.path.split("/", 3)[3]}
        else:
            params = json.loads(body) if body[:1] == b"{" else {}
        with liar.lock:
            liar.asked.append((method, params))
        try:
            status, answer = liar.answers[method](params)
            answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_POST


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Clients that go away are no news here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def ok(result):
    return 200, {"ok": True, "result": result}


def refused(code, description, **parameters):
    return code, {"ok": False, "error_code": code, "description": description,
                  "parameters": parameters}


class Liar:
    """A server that answers what it likes: answers[method](params) gives
    (status, bytes or JSON). updates are given as getUpdates gives them."""

    def __init__(self, **answers):
        self.lock, self.asked, self.updates = threading.Lock(), [], []
        self.answers = {
            "getMe": lambda _: ok({"id": 1, "is_bot": True, "username": "eve_bot"}),
            "getUpdates": self.get_updates, **answers}

    def get_updates(self, params):
        """Updates may be raw JSON in bytes."""
        offset, limit = params.get("offset", 0), params.get("limit", 100)
        fitting = [raw for number, raw in self.updates if number >= offset][:limit]
        if not fitting:
            time.sleep(0.01)
        return 200, b'{"ok":true,"result":[' + b",".join(fitting) + b"]}"

    def add(self, number, **message):
        message = {"message_id": number, "chat": {"id": 7, "type": "private"},
                   "from": {"id": 7, "is_bot": False}, **message}
        self.updates.append((number, json.dumps({"update_id": number,
                                                 "message": message}).encode()))

    def bring(self, number, data, name=None):
        """A document, whose name tells its hash."""
        name = name or hashlib.blake2b(data, digest_size=32).hexdigest() + ".part"
        self.add(number, document={"file_id": f"F{number}", "file_name": name,
                                   "file_size": len(data)})
        return name

    def count(self, method):
        with self.lock:
            return sum(m == method for m, _ in self.asked)

    def offsets(self):
        with self.lock:
            return [p.get("offset", 0) for m, p in self.asked if m == "getUpdates"]

    def do(self, _what, **_):
        return {"token": "123456:" + "A" * 35}

    def __enter__(self):
        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.daemon_threads, self.http.liar = True, self
        self.root = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        while transport.tools:
            assert transport.tools.pop().close() == 0
        self.http.shutdown()
        self.http.server_close()


def lines(said, word):
    return [line[len(word) + 1:] for line in said if line.split(" ")[0] == word]


@check
def documents_that_are_not_what_they_say_keep_nothing_back():
    with server("--no-limits") as api:
        bob = Person(api, "bob_bot")
        user = api.do("add_user", name="Eve")["id"]
        for n in range(20):
            api.do("give", user=user, to="bob_bot", name="%064x.part" % n, data="eA==")
        good = hashlib.blake2b(b"good", digest_size=32).hexdigest() + ".part"
        api.do("give", user=user, to="bob_bot", name=good, data="Z29vZA==")
        err, _, said = bob.run(0)
        assert err == 0 and len(lines(said, "lost")) == 20, said
        assert lines(said, "document") == [good + " 4"], said
        # the same twice is what was sent: no third time
        assert api.do("counts")["requests"]["getFile"] == 41


@check
def a_document_to_be_waited_for_is_put_aside():
    wait = [True]

    def get_file(params):
        if params["file_id"] == "F11" and wait[0]:
            return refused(429, "Too Many Requests: retry after 3600", retry_after=3600)
        return ok({"file_path": params["file_id"]})
    with Liar(getFile=get_file, download=lambda p: (200, p["path"].encode() * 100)) as liar:
        bob = Person(liar, "bob")
        liar.add(10, text="before")
        names = [liar.bring(n, b"F%d" % n * 100) for n in (11, 12)]
        liar.add(13, text="behind")
        err, reason, said = bob.run(0)
        assert err == EAGAIN and "asks to wait" in reason, (err, reason)
        assert lines(said, "text") == ["before", "behind"], said
        assert lines(said, "document") == [names[1] + " 300"], said
        # what comes later is taken in once, and nothing from 11 on is confirmed
        liar.add(14, text="later")
        said = [line for _ in range(6) for line in bob.run(500)[2]]
        assert lines(said, "text") == ["later"] and not lines(said, "document"), said
        assert max(liar.offsets()) == 11, liar.offsets()
        assert liar.count("getFile") == 2
        wait[0] = False
        bob.kill()
        transport.tools.clear()
        bob.start()
        err, _, said = bob.run(0)
        assert err == 0 and names[0] + " 300" in lines(said, "document"), said
        bob.run(0)
        assert liar.offsets()[-1] == 15, liar.offsets()


@check
def a_path_that_says_nothing_is_not_asked_for_again_and_again():
    paths = {"F1": "", "F2": "../../bot9:x/y", "F3": "a/../../b", "F4": "x" * 600, "F5": 7}
    with Liar(getFile=lambda p: ok({"file_path": paths[p["file_id"]]})) as liar:
        bob = Person(liar, "bob")
        for n in range(1, 6):
            liar.bring(n, b"x" * n)
        err, _, said = bob.run(0)
        assert err == 0 and len(lines(said, "lost")) == 5, said
        assert liar.count("getFile") == 5 and liar.count("download") == 0


@check
def paths_are_escaped():
    path = "a b?c=d#e%f/\u00fc\r\nX-Evil: 1;@"
    with Liar(getFile=lambda _: ok({"file_path": path}),
              download=lambda _: (200, b"data")) as liar:
        bob = Person(liar, "bob")
        name = liar.bring(1, b"data")
        err, _, said = bob.run(0)
        assert err == 0 and lines(said, "document") == [name + " 4"], said
        got, = (p["path"] for m, p in liar.asked if m == "download")
        assert urllib.parse.unquote(got) == path and "?" not in got, got


@check
def updates_that_cannot_be_confirmed_are_no_busy_loop():
    for raw in (b'{"message":{"text":"x"}}', b'{"update_id":9223372036854775807}',
                b'{"update_id":"5"}', b"null", b"7", b"[]"):
        with Liar() as liar:
            bob = Person(liar, "bob")
            liar.updates.append((1 << 62, raw))
            err, reason, _ = bob.run(0)
            assert err == EPROTO and "no Bot API server" in reason, (raw, err, reason)
            assert liar.count("getUpdates") == 1, raw
    # nor are those that come again when they are confirmed
    for result in [{"update_id": 5}], [{"update_id": 7}, {"update_id": 6}], {"a": 1}:
        with Liar(getUpdates=lambda _, r=result: ok(r)) as liar:
            bob = Person(liar, "bob")
            err, reason, _ = bob.run(0)
            assert err == EPROTO and "no Bot API server" in reason, (result, err, reason)
            assert liar.count("getUpdates") <= 2, result


@check
def one_update_that_cannot_be_read_keeps_no_other_back():
    for bad in (b'"\\ud800"', b'"\\u0000"', b"99999999999999999999", b"[" * 5000 + b"]" * 5000,
                b'[' + b"{}," * 200_000 + b"{}]"):
        with Liar() as liar:
            bob = Person(liar, "bob")
            for n in range(1, 21):
                liar.add(n, text=f"frond {n}")
            liar.updates[6] = (7, b'{"update_id":7,"message":{"text":' + bad + b"}}")
            said = [line for _ in range(3) for line in bob.run(0)[2]]
            assert lines(said, "text") == [f"frond {n}" for n in range(1, 21) if n != 7], said
            lost, = lines(said, "lost")
            assert "cannot be understood" in lost, lost
            assert liar.count("getUpdates") < 25
            # and then as many at a time as before
            liar.updates.clear()
            for n in range(8):
                bob.run(0)
            assert liar.asked[-1][1]["limit"] == 100


@check
def answers_are_bounded():
    huge = [b'{"ok":true,"result":[' + b"{}," * 4_000_000 + b"{}]}",
            b'{"ok":true,"result":["' + b"x" * (40 << 20) + b'"]}',
            b'{"ok":false,"description":[' + b"[]," * 2_000_000 + b"[]]}"]
    with Liar(getUpdates=lambda _: (200, huge[0])) as liar:
        bob = Person(liar, "bob")
        for _ in range(2):
            err, reason, _ = bob.run(1000)
            assert err in (0, EAGAIN), (err, reason)
        sent = [None]
        for answer in huge[1:]:
            liar.answers["sendMessage"] = lambda _, a=answer: (200, a)
            liar.answers["getUpdates"] = liar.get_updates
            bob.tell("text", "t", "chat:5", "x")
            while liar.count("sendMessage") < len(sent):
                bob.run(100)
            sent.append(answer)
        if "asan" not in BUILD and "tsan" not in BUILD:
            assert peak(bob) < 64 << 10, f"{peak(bob)} kB"
        bob.kill()
        transport.tools.clear()


@check
def sent_is_only_what_has_a_number():
    with Liar() as liar:
        bob = Person(liar, "bob")
        for result in ({}, True, {"message_id": "5", "chat": {"id": 7}}, {"message_id": 5},
                       {"message_id": 0, "chat": {"id": 7}}, None):
            liar.answers["sendMessage"] = lambda _, r=result: ok(r)
            err, ref, reason = bob.send("chat:7", "x")
            assert err == EPROTO and ref == "-" and "no Bot API server" in reason, reason


@check
def nothing_that_a_server_says_acts_on_a_terminal():
    words = f"no {ESCAPES} %s%n\r\n\n"
    with Liar(sendMessage=lambda _: refused(400, words),
              getFile=lambda _: refused(400, words)) as liar:
        bob = Person(liar, "bob")
        err, _, reason = bob.send("chat:7", "x")
        assert err == EREMOTEIO and "no " in reason, reason
        liar.bring(1, b"x", name=f"{ESCAPES}.part")
        err, _, said = bob.run(0)
        lost, = lines(said, "lost")
        for text in (reason, lost):
            assert text.isprintable() and "\u202e" not in text, text
        liar.answers["getMe"] = lambda _: ok({"username": "eve" + ESCAPES})
        bob.kill()
        transport.tools.clear()
        bob.start()
        assert bob.hello[1] == str(EPROTO) and "".join(bob.hello).rstrip("\n").isprintable()
        assert bob.process.wait(10) == 1
        transport.tools.clear()


@check
def a_full_disk_is_not_the_servers_fault():
    if os.geteuid():
        return
    disk = tempfile.mkdtemp(dir=place.name)
    assert os.system(f"mount -t tmpfs -o size=1m,mode=0700 frond-test '{disk}'") == 0
    try:
        large, small = b"x" * (2 << 20), b"small"
        with Liar(getFile=lambda p: ok({"file_path": p["file_id"]}),
                  download=lambda p: (200, large if "F1" in p["path"] else small)) as liar:
            bob = Person(liar, "bob", disk)
            liar.bring(1, large)
            name = liar.bring(2, small)
            liar.add(3, text="behind")
            err, reason, said = bob.run(0)
            assert err == ENOSPC and "cannot be written" in reason, (err, reason)
            # what there is room for comes all the same
            assert lines(said, "document") == [name + " 5"], said
            assert lines(said, "text") == ["behind"], said
            err, reason, said = bob.run(0)
            assert err == EAGAIN and "cannot be written" in reason, (err, reason)
            assert not said and max(liar.offsets()) == 1, (said, liar.offsets())
    finally:
        os.system(f"umount -l '{disk}'")


@check
def being_told_to_wait_for_ever_ends():
    if not os.environ.get("FROND_LONG"):
        return  # more than a minute
    with Liar(sendMessage=lambda _: refused(429, "Too Many Requests", retry_after=1)) as liar:
        bob = Person(liar, "bob")
        err, _, _ = bob.send("chat:7", "x")
        assert err == EAGAIN and liar.count("sendMessage") < 80


sys.exit(main())
