"""What goes wrong on the way, on demand.

{"do": "faults", "every": N, "kinds": [...], "methods": [...], "seed": S}
makes every N-th request (of those methods, if given) suffer one of:

  drop       the request is not handled, the connection ends without an answer
  lost       the request is handled, its answer gets lost
  reset      the connection is reset in the middle of the request
  delay      nothing happens for a while
  truncate   the answer is cut short
  slow       the answer drips, byte by byte, for a while
  corrupt    a downloaded file has a wrong byte
  500, 502   the server, or the one in front of it, has a bad day
  429        too much was asked of it: ten minutes' wait

"every": 0 ends it.
"""
import random
import socket
import struct
import threading
import time

from world import World

DELAY_S, DRIP_S, DRIPS = 1.5, 0.05, 20
BEFORE = ("drop", "reset", "delay", "500", "502", "429")
AFTER = ("lost", "truncate", "slow")


class Lost(Exception):
    """The connection is over, without an answer."""


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.every, self.seen, self.made = 0, 0, 0
        self.kinds, self.methods = [], None
        self.rng = random.Random(0)

    def set(self, query):
        with self.lock:
            self.every = query.get("every", 0)
            self.kinds = [str(k) for k in query.get("kinds", [])]
            self.methods = query.get("methods")
            self.rng = random.Random(query.get("seed", 0))
            self.seen = 0

    def due(self, method, stage):
        """The kind of fault that this request suffers at this stage."""
        with self.lock:
            fitting = [k for k in self.kinds if k in stage]
            if not self.every or not fitting:
                return None
            if self.methods and method not in self.methods:
                return None
            self.seen += 1
            if self.seen % self.every:
                return None
            self.made += 1
            return self.rng.choice(fitting)

    def on_request(self, handler, method):
        kind = self.due(method, BEFORE)
        if kind == "delay":
            time.sleep(DELAY_S)
        elif kind == "drop":
            raise Lost()
        elif kind == "reset":
            reset(handler)
        elif kind == "429":
            World.too_many(600)
        elif kind in ("500", "502"):
            handler.close_connection = True
            page = b"<html><head><title>%s</title></head></html>\r\n" % kind.encode()
            handler.answer(int(kind), page, "text/html")
            raise Lost()

    def on_answer(self, handler, method, body):
        kind = self.due(method, AFTER)
        if kind == "lost":
            raise Lost()
        if kind == "truncate":
            begin(handler, len(body))
            handler.wfile.write(body[:len(body) // 2])
            raise Lost()
        if kind == "slow":
            begin(handler, len(body))
            drip(handler, body)
            raise Lost()

    def on_download(self, handler, file, size):
        """True when the answer has been given here."""
        kind = self.due("download", ("corrupt", "truncate", "drop", "reset"))
        if kind is None:
            return False
        if kind == "drop":
            raise Lost()
        if kind == "reset":
            reset(handler)
        data = bytearray(file.read())
        if kind == "corrupt" and data:
            data[self.rng.randrange(len(data))] ^= 1
        begin(handler, size)
        handler.wfile.write(data if kind == "corrupt" else data[:size // 2])
        if kind == "truncate":
            raise Lost()
        return True


def begin(handler, length):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def drip(handler, body):
    for at in range(DRIPS):
        handler.wfile.write(body[at:at + 1])
        time.sleep(DRIP_S)
    handler.wfile.write(body[DRIPS:])


def reset(handler):
    """End with RST instead of FIN."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    raise Lost()
