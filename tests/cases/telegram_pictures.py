#!/usr/bin/python3
"""The pictures in docs/TELEGRAM.md show what people really see.

The story is played, the chats are drawn, and the drawings compared with
docs/pictures, but for what is different every time: sealed bytes and the time
of day. With UPDATE=1 the pictures there are made anew.
"""
import os
import re
import sys
import xml.etree.ElementTree as tree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../botapi")]
import frond
from draw_chat import draw
from frond import blob, check, eq, get, put
from telegram import town

PICTURES = os.path.join(frond.ROOT, "docs/pictures")


def always_the_same(svg):
    """Every letter of the armour an x, every time of day 00:00."""
    svg = re.sub(r">\d\d:\d\d<", ">00:00<", svg)
    return re.sub(r">(tgshare1\.)?[A-Za-z0-9_-]{20,}<", lambda m: re.sub(r"[^<>]", "x", m[0]), svg)


def compare(name, title, owner, messages):
    path, drawn = os.path.join(PICTURES, name), draw(title, owner, messages)
    tree.fromstring(drawn)
    if os.environ.get("UPDATE"):
        os.makedirs(PICTURES, exist_ok=True)
        put(path, drawn.encode())
    eq(always_the_same(get(path).decode()), always_the_same(drawn), name)


@check(plain=False)
def pictures_of_chats_show_what_is_there():
    with town("ann", "bob") as (api, ann, bob):
        carol = api.do("add_user", name="Carol")["id"]

        def chat(bot):
            return api.do("inbox", user=carol, bot=bot)["messages"]
        link = ann.tg("contact", "chat", "carol", "--link").strip().partition("start=")[2]
        api.do("start", user=carol, bot="ann_bot", payload=link)
        ann.receive()
        ann.send("send", put(ann.path("letter.pdf"), blob(9000)), "--to", "bob", "--shares", "2",
                 "--threshold", "2", "--via", "bob,carol", "--note",
                 "Dear Carol, please pass this on when I ask you to.")
        # a telephone shows only "/start" of a deep link
        said = [dict(m, text="/start") if m["text"].startswith("/start ") else m
                for m in chat("ann_bot")]
        compare("asked.svg", "ann_bot", carol, said)
        # two days pass until she agrees; then it is too old to be deleted
        bob.receive()
        api.do("advance", seconds=49 * 3600)
        api.do("start", user=carol, bot="bob_bot")
        bob.receive()
        api.do("forward", user=carol, **{"from": "ann_bot"}, to="bob_bot",
               message_id=said[-1]["message_id"])
        bob.receive()
        compare("forwarded.svg", "bob_bot", carol, chat("bob_bot"))
        eq(get(bob.shared("ann/letter.pdf")), blob(9000))
        ann.receive()
        compare("taken-back.svg", "ann_bot", carol, [
            dict(m, text="/start") if m["text"].startswith("/start ") else m
            for m in chat("ann_bot")])


frond.main()
