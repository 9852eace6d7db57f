"""What people do on their telephones, and what a test asks for: /control.

A JSON object with "do" and what that takes; the answer is a JSON object.
"""
import base64
import os

from methods import start_payload_ok
from world import TEXT_MAX, Message


def add_bot(world, q):
    bot = world.add_bot(q["username"], q.get("name"), q.get("bot_to_bot", False))
    return {"id": bot.id, "token": bot.token}


def add_user(world, q):
    return {"id": world.add_user(q["name"], q.get("username")).id}


def account_of(world, q):
    """Of the user of that name, made where there is none."""
    for user in world.accounts.values():
        if user.name == q["name"] and not user.is_bot:
            return {"id": user.id}
    return add_user(world, q)


def add_group(world, q):
    return {"id": world.add_group(q["title"], q["members"]).id}


def account(world, id_or_username):
    if isinstance(id_or_username, int):
        return world.accounts[id_or_username]
    return world.by_username(id_or_username)


def start(world, q):
    """Press Start, perhaps by a deep link."""
    user, bot = account(world, q["user"]), account(world, q["bot"])
    payload = q.get("payload", "")
    if not start_payload_ok(payload):
        return {"error": "this is no start parameter"}
    bot.started.add(user.id)
    bot.blocked.discard(user.id)
    text = f"/start {payload}".rstrip()
    world.post(Message(user, world.now(), text=text), bot)
    return {}


def say(world, q):
    """Type or paste a text, to a bot or a group; what is too long goes in several."""
    user = account(world, q["user"])
    to = world.groups.get(q["to"]) or account(world, q["to"])
    if getattr(to, "is_bot", False):
        to.started.add(user.id)
    for at in range(0, len(q["text"]), TEXT_MAX):
        message = world.post(Message(user, world.now(), text=q["text"][at:at + TEXT_MAX]), to)
    return {"message_id": message.ids[user.id][1]}


def give(world, q):
    """Attach a file."""
    user = account(world, q["user"])
    to = world.groups.get(q["to"]) or account(world, q["to"])
    if getattr(to, "is_bot", False):
        to.started.add(user.id)
    document = world.store_file(base64.b64decode(q["data"]), q["name"],
                                "application/octet-stream")
    world.post(Message(user, world.now(), document=document, caption=q.get("caption")), to)
    return {}


def edit(world, q):
    """Change what one wrote to a bot."""
    user, bot = account(world, q["user"]), account(world, q["bot"])
    message = world.find(user, bot.id, q["message_id"])
    if message is None or message.sender is not user:
        return {"error": "no such message of yours"}
    message.text, message.edited = q["text"], world.now()
    world.push(bot, "edited_message", message.as_seen_by(bot))
    return {}


def inbox(world, q):
    """What a user sees in the chat with a bot, oldest first."""
    user, bot = account(world, q["user"]), account(world, q["bot"])
    return {"messages": [m.as_seen_by(user) for m in world.messages
                         if user.id in m.ids and bot.id in m.ids]}


def forward(world, q):
    """Forward a message to a bot or a group; its origin may stay hidden."""
    user, source = account(world, q["user"]), account(world, q["from"])
    to = world.groups.get(q["to"]) or account(world, q["to"])
    message = world.find(user, source.id, q["message_id"])
    if message is None:
        return {"error": "no such message"}
    if getattr(to, "is_bot", False):
        to.started.add(user.id)
    origin = {"type": "hidden_user", "sender_user_name": message.sender.name,
              "date": int(message.date)}
    if not q.get("hidden"):
        origin = {"type": "user", "sender_user": message.sender.as_user(),
                  "date": int(message.date)}
    world.post(Message(user, world.now(), text=message.text, document=message.document,
                       caption=message.caption, origin=origin), to)
    return {}


def press(world, q):
    """Press a button under a message."""
    user, bot = account(world, q["user"]), account(world, q["bot"])
    message = world.find(user, bot.id, q["message_id"])
    world.push(bot, "callback_query",
               {"id": str(next(world.next_id)), "from": user.as_user(),
                "message": message.as_seen_by(bot),
                "chat_instance": str(user.id), "data": q["data"]})
    return {}


def block(world, q):
    account(world, q["bot"]).blocked.add(account(world, q["user"]).id)
    return {}


def flood(world, q):
    """The bot has written too much to a chat, and is to wait for so long."""
    account(world, q["bot"]).flooded[account(world, q["chat"]).id] = world.now() + q["seconds"]
    return {}


def come_again(world, q):
    """As if the bot's last confirmation had not been heard."""
    bot = account(world, q["bot"])
    bot.updates[:0] = bot.confirmed
    bot.confirmed = []
    return {}


def set_privacy(world, q):
    account(world, q["bot"]).privacy = q["on"]
    return {}


def set_bot_to_bot(world, q):
    account(world, q["bot"]).bot_to_bot = q["on"]
    return {}


def revoke_token(world, q):
    bot = account(world, q["bot"])
    bot.token = bot.token[:bot.token.index(":") + 1] + bot.token[:-1][::-1][:34] + "x"
    return {"token": bot.token}


def set_limits(world, q):
    world.limits = q["on"]
    return {}


def deliver(world, q):
    world.delivery = set(q["how"])
    return {}


def forget_files(world, _q):
    """Make room: what was uploaded so far cannot be fetched any more."""
    for document in world.files.values():
        os.unlink(os.path.join(world.directory, document.path))
    world.files.clear()
    return {}


def advance(world, q):
    world.advance(q["seconds"])
    return {}


ACTIONS = {f.__name__: f for f in (
    add_bot, add_user, account_of, add_group, start, say, give, edit, inbox, forward, press,
    block, flood, come_again, set_privacy, set_bot_to_bot, revoke_token, set_limits, deliver,
    forget_files, advance)}
