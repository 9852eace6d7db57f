"""Starting the Bot API server of tests/botapi and talking to its /control."""
import ctypes
import json
import os
import signal
import subprocess
import urllib.request

SERVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                      "botapi", "server.py")


def end_with_parent():
    """A server must not outlive the test that started it."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class BotApi:
    """A server process. root is what api_base has to be."""

    def __init__(self, directory, *options):
        os.makedirs(directory, exist_ok=True)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", SERVER, *options, directory],
            stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent)
        port = int(self.process.stdout.readline())
        self.root = f"http://127.0.0.1:{port}"

    def do(self, what, **more):
        """What people do, and what goes wrong: people.py, faults.py."""
        request = urllib.request.Request(
            self.root + "/control", json.dumps(dict(more, do=what)).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
