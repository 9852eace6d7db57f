#!/usr/bin/python3
"""Is the Bot API server of tests/botapi what clients take for the real one?

Two public clients from npm, grammy and node-telegram-bot-api, do with it what
they do with the real server, and have to understand its answers and errors.
"""
import base64
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from botapi import BotApi  # noqa: E402

PACKAGES = ["grammy@1", "node-telegram-bot-api@0.66"]
CLIENTS = ("grammy", "ntba")


class Clients:
    """botapi/clients.js; answers may come in any order."""

    def __init__(self, root, modules):
        self.process = subprocess.Popen(
            ["node", "--no-deprecation", os.path.join(ROOT, "tests/botapi/clients.js"), root],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, NODE_PATH=modules, NTBA_FIX_350="1"))
        self.numbers, self.answers = itertools.count(), {}
        self.arrived = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            with self.arrived:
                self.answers[answer["n"]] = answer
                self.arrived.notify_all()

    def begin(self, client, token, call, *args):
        n = next(self.numbers)
        print(json.dumps({"n": n, "client": client, "token": token,
                          "call": call, "args": args}),
              file=self.process.stdin, flush=True)
        return n

    def end(self, n):
        with self.arrived:
            assert self.arrived.wait_for(lambda: n in self.answers, 60), "no answer"
            return self.answers.pop(n)

    def __call__(self, *what):
        return self.end(self.begin(*what))

    def ok(self, *what):
        answer = self(*what)
        assert "ok" in answer, answer
        return answer["ok"]

    def refused(self, code, words, *what):
        answer = self(*what)
        assert "err" in answer, answer
        assert answer["err"]["code"] == code, answer
        assert words in answer["err"]["description"], answer
        return answer["err"]


class Stage:
    """A server with two bots and a user who has started the first."""

    def __init__(self, api, call):
        self.api, self.call = api, call
        self.alice = api.do("add_bot", username="alice_bot", bot_to_bot=True)
        self.bob = api.do("add_bot", username="bob_bot", bot_to_bot=True)
        self.ann = api.do("add_user", name="Ann", username="ann")["id"]
        api.do("start", user=self.ann, bot="alice_bot", payload="hello-1")

    def fresh(self):
        """Forget updates that earlier checks left, and the limits."""
        for bot in (self.alice, self.bob):
            got = self.call.ok("grammy", bot["token"], "getUpdates", {})
            if got:
                self.call.ok("grammy", bot["token"], "getUpdates",
                             {"offset": got[-1]["update_id"] + 1})
        self.api.do("advance", seconds=120)


def check_me(s, client):
    me = s.call.ok(client, s.alice["token"], "getMe")
    assert me["username"] == "alice_bot" and me["is_bot"] is True
    assert me["id"] > 1 << 32


def check_messages_and_offsets(s, client):
    sent = s.call.ok(client, s.alice["token"], "sendMessage", "@bob_bot", "fern")
    assert sent["text"] == "fern" and sent["from"]["username"] == "alice_bot"
    for _ in range(2):  # not confirmed: it comes again
        got = s.call.ok(client, s.bob["token"], "getUpdates", {"timeout": 1})
        assert [u["message"]["text"] for u in got] == ["fern"]
        assert got[0]["message"]["from"]["is_bot"]
    after = {"offset": got[0]["update_id"] + 1}
    assert s.call.ok(client, s.bob["token"], "getUpdates", after) == []
    assert s.call.ok(client, s.bob["token"], "getUpdates", {}) == []


def check_long_polling_waits(s, client):
    began = time.monotonic()
    n = s.call.begin(client, s.bob["token"], "getUpdates", {"timeout": 20})
    time.sleep(0.5)
    s.call.ok(client, s.alice["token"], "sendMessage", "@bob_bot", "now")
    assert s.call.end(n)["ok"][0]["message"]["text"] == "now"
    assert 0.4 < time.monotonic() - began < 15


def check_documents(s, client):
    data = os.urandom(300_000)
    sent = s.call.ok(client, s.alice["token"], "sendDocument", s.ann,
                     base64.b64encode(data).decode(), "fronds.part", "a part")
    assert sent["document"]["file_size"] == len(data)
    assert sent["document"]["file_name"] == "fronds.part"
    assert sent["caption"] == "a part"
    got = s.call.ok(client, s.alice["token"], "download", sent["document"]["file_id"])
    assert base64.b64decode(got) == data


def check_edit_and_delete(s, client):
    token = s.alice["token"]
    sent = s.call.ok(client, token, "sendMessage", s.ann, "first")
    number = sent["message_id"]
    edited = s.call.ok(client, token, "editMessageText", s.ann, number, "second")
    assert edited["text"] == "second" and edited["edit_date"]
    s.call.refused(400, "message is not modified", client, token,
                   "editMessageText", s.ann, number, "second")
    assert s.call.ok(client, token, "deleteMessage", s.ann, number) is True
    s.call.refused(400, "message to delete not found", client, token,
                   "deleteMessage", s.ann, number)
    old = s.call.ok(client, token, "sendMessage", s.ann, "old")["message_id"]
    s.api.do("advance", seconds=48 * 3600)
    s.call.refused(400, "can't be deleted", client, token, "deleteMessage", s.ann, old)


def check_buttons(s, client):
    keyboard = {"inline_keyboard": [[{"text": "Pass on", "callback_data": "go"}]]}
    sent = s.call.ok(client, s.alice["token"], "sendMessage", s.ann, "A share",
                     {"reply_markup": keyboard})
    assert sent["reply_markup"] == keyboard
    seen = s.api.do("inbox", user=s.ann, bot="alice_bot")["messages"][-1]
    s.api.do("press", user=s.ann, bot="alice_bot", message_id=seen["message_id"],
             data="go")
    got = s.call.ok(client, s.alice["token"], "getUpdates", {})
    query = got[-1]["callback_query"]
    assert query["data"] == "go" and query["from"]["id"] == s.ann
    assert s.call.ok(client, s.alice["token"], "answerCallbackQuery", query["id"])


def check_people_forward_and_paste(s, client):
    s.call.ok(client, s.alice["token"], "sendMessage", s.ann, "a share")
    seen = s.api.do("inbox", user=s.ann, bot="alice_bot")["messages"][-1]
    s.api.do("forward", user=s.ann, **{"from": "alice_bot"}, to="bob_bot",
             message_id=seen["message_id"], hidden=True)
    s.api.do("say", user=s.ann, to="bob_bot", text="pasted")
    got = s.call.ok(client, s.bob["token"], "getUpdates", {})
    assert [u["message"]["text"] for u in got] == ["a share", "pasted"]
    assert got[0]["message"]["forward_origin"]["type"] == "hidden_user"


def check_groups(s, client):
    def heard():
        got = s.call.ok(client, s.bob["token"], "getUpdates", {})
        if got:
            s.call.ok(client, s.bob["token"], "getUpdates",
                      {"offset": got[-1]["update_id"] + 1})
        return [u["message"]["text"] for u in got]
    group = s.api.do("add_group", title="friends",
                     members=[s.ann, s.alice["id"], s.bob["id"]])["id"]
    # with privacy on, as every bot has it at first
    assert s.call.ok(client, s.bob["token"], "getMe")["can_read_all_group_messages"] is False
    for text in "not for a bot", "/start@bob_bot", "/start@alice_bot":
        s.api.do("say", user=s.ann, to=group, text=text)
    s.call.ok(client, s.alice["token"], "sendMessage", group, "from a bot")
    assert heard() == ["/start@bob_bot"]
    s.api.do("set_privacy", bot="bob_bot", on=False)
    assert s.call.ok(client, s.bob["token"], "getMe")["can_read_all_group_messages"] is True
    s.api.do("say", user=s.ann, to=group, text="to everybody")
    s.call.ok(client, s.alice["token"], "sendMessage", group, "from a bot")
    assert heard() == ["to everybody", "from a bot"]
    s.api.do("set_privacy", bot="bob_bot", on=True)


def check_refusals(s, client):
    token = s.alice["token"]
    stranger = s.api.do("add_user", name="Eve")["id"]
    s.call.refused(401, "Unauthorized", client, "123:nobody", "getMe")
    s.call.refused(400, "chat not found", client, token, "sendMessage", 77, "x")
    s.call.refused(403, "can't initiate conversation", client, token,
                   "sendMessage", stranger, "x")
    s.call.refused(400, "message is too long", client, token, "sendMessage",
                   s.ann, "x" * 4097)
    s.api.do("set_bot_to_bot", bot="bob_bot", on=False)
    s.call.refused(400, "USER_BOT_TO_BOT_DISABLED", client, token,
                   "sendMessage", "@bob_bot", "x")
    s.api.do("set_bot_to_bot", bot="bob_bot", on=True)
    s.api.do("block", user=s.ann, bot="alice_bot")
    s.call.refused(403, "blocked by the user", client, token, "sendMessage", s.ann, "x")
    s.api.do("start", user=s.ann, bot="alice_bot")


def check_one_poller_only(s, client):
    n = s.call.begin(client, s.bob["token"], "getUpdates", {"timeout": 30})
    time.sleep(0.5)
    s.call.ok(client, s.bob["token"], "getUpdates", {"timeout": 0})
    first = s.call.end(n)
    assert first["err"]["code"] == 409 and "other getUpdates" in first["err"]["description"]
    s.call.ok(client, s.bob["token"], "setWebhook", "https://example.org/hook")
    s.call.refused(409, "webhook is active", client, s.bob["token"], "getUpdates", {})
    s.call.ok(client, s.bob["token"], "deleteWebhook")


def check_limits(s, client):
    waits = []
    for n in range(12):
        answer = s.call(client, s.alice["token"], "sendMessage", s.ann, f"m{n}")
        if "err" in answer:
            assert answer["err"]["code"] == 429, answer
            waits.append(answer["err"]["parameters"]["retry_after"])
    assert waits and all(1 <= w <= 60 for w in waits), waits


def check_updates_expire(s, client):
    s.call.ok(client, s.alice["token"], "sendMessage", "@bob_bot", "too late")
    s.api.do("advance", seconds=24 * 3600 + 1)
    assert s.call.ok(client, s.bob["token"], "getUpdates", {}) == []


def node_modules(place):
    """FROND_NPM has it, or it is installed in place."""
    if os.environ.get("FROND_NPM"):
        return os.path.join(os.environ["FROND_NPM"], "node_modules")
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund",
                    "--prefix", place, *PACKAGES], check=True,
                   stdout=subprocess.DEVNULL, timeout=600)
    return os.path.join(place, "node_modules")


def run(place):
    checks = [f for name, f in globals().items() if name.startswith("check_")]
    failed = 0
    with BotApi(os.path.join(place, "server")) as api:
        call = Clients(api.root, node_modules(place))
        stage = Stage(api, call)
        for check in checks:
            for client in CLIENTS:
                name = f"{check.__name__.removeprefix('check_')} ({client})"
                try:
                    stage.fresh()
                    check(stage, client)
                    print("ok", name, flush=True)
                except Exception as e:  # pylint: disable=broad-except
                    print("FAIL", name, repr(e)[:600], flush=True)
                    failed = 1
        call.process.stdin.close()
        call.process.wait()
    return failed


with tempfile.TemporaryDirectory(prefix="frond-npm-") as directory:
    status = run(directory)
sys.exit(status)
