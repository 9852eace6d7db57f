#!/usr/bin/python3
"""A Bot API server for tests: python3 server.py [--local] [--no-limits] DIR

Listens on a free port of the loopback interface and prints it. DIR keeps
uploaded files. POST /control does what people do (people.py) and sets faults
(faults.py). Nothing but the standard library.
"""
import argparse
import email.message
import email.parser
import http.server
import json
import os
import shutil
import socket
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from faults import Faults, Lost  # noqa: E402
from methods import METHODS, upload_max  # noqa: E402
from people import ACTIONS  # noqa: E402
from world import ApiError, World  # noqa: E402

BODY_SLACK = 1 << 20


class Upload:
    """A file that came in a multipart request."""

    def __init__(self, data, name, mime):
        self.data, self.name, self.mime = data, name, mime


def parse_part(part, params, attached):
    head, _, data = part.partition(b"\r\n\r\n")
    headers = email.parser.HeaderParser().parsestr(head.decode("utf-8", "replace").strip())
    field = headers.get_param("name", header="content-disposition")
    name = headers.get_filename()
    if name is None:
        params[field] = data.decode("utf-8", "replace")
    else:
        attached[field] = Upload(data, name, headers.get_content_type())


def parse_multipart(body, boundary):
    params, attached = {}, {}
    mark = b"--" + boundary.encode()
    at = body.find(mark)
    while at >= 0:
        begin = at + len(mark)
        if body[begin:begin + 2] == b"--":
            break
        at = body.find(b"\r\n" + mark, begin)
        if at < 0:
            raise ApiError(400, "Bad Request: can't parse multipart request")
        parse_part(body[begin + 2:at], params, attached)
        at += 2
    for name, value in params.items():
        if value.startswith("attach://") and value[9:] in attached:
            params[name] = attached[value[9:]]
    for name, upload in attached.items():
        params.setdefault(name, upload)
    return params


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "nginx"
    sys_version = ""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        """Quiet: paths have tokens in them."""

    # requests

    def read_chunked(self):
        out = bytearray()
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            out += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return bytes(out)

    def read_body(self):
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.read_chunked()
        length = int(self.headers.get("Content-Length") or 0)
        if length > upload_max(self.server.world) + BODY_SLACK:
            self.close_connection = True
            raise ApiError(413, "Request Entity Too Large")
        body = self.rfile.read(length)
        if len(body) < length:
            raise Lost()
        return body

    def read_params(self, query):
        params = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if self.command != "POST":
            return params
        body = self.read_body()
        header = email.message.Message()
        header["content-type"] = self.headers.get("Content-Type") or ""
        kind = header.get_content_type()
        if kind == "application/json" and body:
            try:
                params.update(json.loads(body))
            except ValueError:
                raise ApiError(400, "Bad Request: can't parse JSON object") from None
        elif kind == "multipart/form-data":
            params.update(parse_multipart(body, header.get_param("boundary")))
        elif body:
            params.update(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        return params

    # answers

    def answer(self, code, body, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, code, value):
        body = json.dumps(value).encode()
        self.server.faults.on_answer(self, self.method_name, body)
        self.answer(code, body)

    def answer_error(self, error):
        value = {"ok": False, "error_code": error.code,
                 "description": error.description}
        if error.parameters:
            value["parameters"] = error.parameters
        self.answer_json(error.code, value)

    # routes

    def call(self, token, method, query):
        world = self.server.world
        params = self.read_params(query)
        bot = world.by_token(token)
        if bot is None:
            raise ApiError(401, "Unauthorized")
        function = METHODS.get(method.lower())
        if function is None:
            raise ApiError(404, "Not Found: method not found")
        self.server.count(method)
        self.answer_json(200, {"ok": True, "result": function(world, bot, params)})

    def download(self, token, path):
        world = self.server.world
        known = any(d.path == path for d in world.files.values())
        if world.by_token(token) is None or not known or world.local:
            raise ApiError(404, "Not Found")
        with open(os.path.join(world.directory, path), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            if self.server.faults.on_download(self, f, size):
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(size))
            self.end_headers()
            shutil.copyfileobj(f, self.wfile, 1 << 20)

    def control(self):
        query = json.loads(self.read_body())
        server = self.server
        if query["do"] == "faults":
            server.faults.set(query)
            out = {}
        elif query["do"] == "counts":
            out = {"requests": dict(server.counts), "faults": server.faults.made}
        else:
            with server.world.lock:
                out = ACTIONS[query["do"]](server.world, query)
        self.answer(200, json.dumps(out).encode())

    def route(self):
        url = urllib.parse.urlsplit(self.path)
        parts = urllib.parse.unquote(url.path).split("/", 3)[1:]
        self.method_name = parts[1] if len(parts) > 1 else ""
        if parts[0] == "control":
            self.control()
        elif parts[0] == "file" and len(parts) == 3 and parts[1].startswith("bot"):
            self.method_name = "download"
            self.download(parts[1][3:], parts[2])
        elif parts[0].startswith("bot") and len(parts) == 2:
            self.server.faults.on_request(self, parts[1])
            self.call(parts[0][3:], parts[1], url.query)
        else:
            raise ApiError(404, "Not Found")

    def handle_one(self):
        try:
            self.route()
        except ApiError as error:
            try:
                self.answer_error(error)
            except Lost:
                self.close_connection = True
        except (Lost, ConnectionError):
            self.close_connection = True

    do_GET = do_POST = handle_one


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, world):
        super().__init__(("127.0.0.1", 0), Handler)
        self.world, self.faults = world, Faults()
        self.counts, self.counts_lock = {}, threading.Lock()

    def count(self, method):
        with self.counts_lock:
            self.counts[method] = self.counts.get(method, 0) + 1

    def handle_error(self, request, client_address):
        """Clients that go away are no news here."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true",
                        help="lift the limits on files, and leave them where getFile says, as "
                        "a server of one's own does")
    parser.add_argument("--no-limits", action="store_true")
    parser.add_argument("directory")
    args = parser.parse_args()
    server = Server(World(args.directory, not args.no_limits, args.local))
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
