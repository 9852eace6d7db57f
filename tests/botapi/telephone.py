#!/usr/bin/python3
"""Somebody's telephone, on a command line: telephone.py ROOT NAME DOES...

  start BOT [WORD]        open the chat (by a link with WORD), press Start
  say BOT WORDS           type
  forward BOT OTHER_BOT   the last message of one chat to another
  show BOT                the chat as it is; long rows of letters are cut

ROOT is server.py's address; NAME has an account from the first time on.
"""
import json
import re
import sys
import textwrap
import urllib.request


def do(root, what, **more):
    request = urllib.request.Request(root + "/control", json.dumps(dict(more, do=what)).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def show(message, me):
    who = "me" if message["from"]["id"] == me else message["from"]["first_name"]
    if "forward_origin" in message:
        who += ", forwarded"
    text = re.sub(r"(tgshare1\.[\w-]{20})[\w-]+", r"\1...", message.get("text", ""))
    if text.startswith("/start "):
        text = "/start"  # as applications show it
    print(f"  {who}:")
    for line in text.split("\n"):
        print(textwrap.indent(textwrap.fill(line, 72), "    "))
    for row in message.get("reply_markup", {}).get("inline_keyboard", []):
        print("    " + "  ".join(f"[ {button['text']} ]" for button in row))


def main(root, name, action, bot, *more):
    me = do(root, "account_of", name=name)["id"]
    chat = do(root, "inbox", user=me, bot=bot)["messages"]
    if action == "start":
        do(root, "start", user=me, bot=bot, payload="".join(more))
    elif action == "say":
        do(root, "say", user=me, to=bot, text=" ".join(more))
    elif action == "forward":
        do(root, "forward", user=me, **{"from": bot}, to=more[0],
           message_id=chat[-1]["message_id"])
    else:
        for message in chat:
            show(message, me)


if __name__ == "__main__":
    main(*sys.argv[1:])
