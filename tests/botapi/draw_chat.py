#!/usr/bin/python3
"""A chat as a telephone shows it, as SVG, from the messages that it has.

    curl -d '{"do":"inbox","user":1,"bot":"x_bot"}' .../control |
        draw_chat.py TITLE OWNER_ID >chat.svg

Messages are the Bot API's: text, document, caption, forward_origin,
reply_markup. Nothing of their words is changed or left out.
"""
import html
import json
import sys
import textwrap
import time

WIDTH, MARGIN, PAD, LINE, COLUMNS = 420, 12, 10, 17, 42
BUBBLE = WIDTH - 60


def lines_of(message):
    """(class, text) of each line in the bubble."""
    origin = message.get("forward_origin")
    if origin:
        name = origin.get("sender_user_name") or origin["sender_user"]["first_name"]
        yield "who", f"Forwarded from {name}"
    if "document" in message:
        yield "file", "\U0001f4c4 " + message["document"]["file_name"]
    for paragraph in (message.get("text") or message.get("caption") or "").split("\n"):
        for line in textwrap.wrap(paragraph, COLUMNS, break_on_hyphens=False) or [""]:
            yield "text", line


def box(x, y, width, height, kind):
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="12"/>'


def words(x, y, kind, text):
    return f'<text class="{kind}" x="{x}" y="{y}">{html.escape(text)}</text>'


def draw_message(message, owner, y):
    """The SVG of one message, and where the next one begins."""
    mine = message["from"]["id"] == owner
    x = WIDTH - BUBBLE - MARGIN if mine else MARGIN
    lines = list(lines_of(message))
    height = LINE * len(lines) + 2 * PAD + 8
    out = [box(x, y, BUBBLE, height, "mine" if mine else "theirs")]
    for n, (kind, text) in enumerate(lines, 1):
        out.append(words(x + PAD, y + PAD + n * LINE - 4, kind, text))
    at = time.strftime("%H:%M", time.gmtime(message["date"]))
    if "edit_date" in message:
        out.append(words(x + BUBBLE - 84, y + height - 7, "time", "edited"))
    out.append(words(x + BUBBLE - 44, y + height - 7, "time", at))
    y += height + 4
    for row in message.get("reply_markup", {}).get("inline_keyboard", []):
        for button in row:
            out += [box(x, y, BUBBLE, 32, "button"),
                    words(x + BUBBLE // 2, y + 21, "press", button["text"])]
            y += 36
    return out, y + 8


STYLE = """text{font:13px "DejaVu Sans Mono",monospace;fill:#111}
.title{font:bold 16px sans-serif;fill:#fff}.time,.who{font:11px sans-serif;fill:#678}
.press{font:14px sans-serif;fill:#fff;text-anchor:middle}.mine{fill:#e1fec6}.theirs{fill:#fff}
.button{fill:#5b7c99}.bar{fill:#517da2}.back{fill:#c8d9e6}"""


def draw(title, owner, messages):
    """The chat of owner (an id) with whom the title names."""
    body, y = [], 60
    for message in messages:
        more, y = draw_message(message, owner, y)
        body += more
    height = y + 4
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
            f'<rect class="back" width="{WIDTH}" height="{height}"/>',
            f'<rect class="bar" width="{WIDTH}" height="48"/>', words(16, 30, "title", title)]
    return "\n".join(head + body + ["</svg>", ""])


if __name__ == "__main__":
    print(draw(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)["messages"]), end="")
