"""Telegram as bots see it: accounts, chats, messages, files, updates, limits.

No HTTP here. Times come from a clock that a test may move forward, so that
a day passes in an instant. One lock guards everything; who waits for updates
waits on its condition.
"""
import itertools
import os
import random
import secrets
import threading
import time

TEXT_MAX = 4096
CAPTION_MAX = 1024
UPDATE_LIFE_S = 24 * 3600
DELETE_LIFE_S = 48 * 3600
UPLOAD_MAX, DOWNLOAD_MAX = 50 << 20, 20 << 20
LOCAL_MAX = 2000 << 20
START_PAYLOAD_MAX = 64
UPDATE_KINDS = ("message", "edited_message", "callback_query")


class ApiError(Exception):
    """What the API answers instead of a result."""

    def __init__(self, code, description, **parameters):
        super().__init__(description)
        self.code, self.description = code, description
        self.parameters = parameters


def bad_request(what):
    return ApiError(400, "Bad Request: " + what)


class Bucket:
    """At most `burst` at once, `rate` a second in the long run."""

    def __init__(self, rate, burst):
        self.rate, self.burst = rate, burst
        self.level, self.at = float(burst), None

    def wait_s(self, now):
        """0 when there is room; else how long until there is."""
        if self.at is not None:
            self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        return 0 if self.level >= 1 else (1 - self.level) / self.rate

    def take(self):
        self.level -= 1


class Account:
    """A user or a bot."""

    def __init__(self, id_, name, username, is_bot):
        self.id, self.name, self.username, self.is_bot = id_, name, username, is_bot
        self.next_message = itertools.count(random.randrange(1, 1000))

    def as_user(self):
        user = {"id": self.id, "is_bot": self.is_bot, "first_name": self.name}
        if self.username:
            user["username"] = self.username
        return user

    def as_chat(self):
        chat = {"id": self.id, "type": "private", "first_name": self.name}
        if self.username:
            chat["username"] = self.username
        return chat


class Bot(Account):
    def __init__(self, id_, name, username, bot_to_bot):
        super().__init__(id_, name, username, True)
        self.bot_to_bot = bot_to_bot
        self.privacy = True  # of groups; @BotFather's /setprivacy
        self.confirmed = []  # what the last getUpdates did not get any more
        self.started, self.blocked = set(), set()
        self.updates = []  # (update id, time, kind, content)
        self.next_update = random.randrange(1 << 20, 1 << 29)
        self.poll = 0  # a number for each getUpdates: a newer one ends it
        self.webhook = ""
        self.overall = Bucket(30, 30)
        self.per_chat = {}
        self.flooded = {}  # chat -> until when it is to be left alone
        self.allowed = None
        self.token = f"{id_}:{secrets.token_urlsafe(26)[:35]}"

    def reads_in_groups(self, message):
        """What somebody else wrote to a group that it is in."""
        if message.sender.is_bot:
            return self.bot_to_bot and not self.privacy
        command, _, name = ((message.text or "").split() or [""])[0].partition("@")
        mine = command.startswith("/") and name.lower() in ("", self.username.lower())
        return mine or not self.privacy


class Group:
    def __init__(self, id_, title, members):
        self.id, self.title, self.members = id_, title, members
        self.next_message = itertools.count(1)

    def as_chat(self):
        return {"id": self.id, "type": "supergroup", "title": self.title}


class Message:
    """One message; every account that sees it has a number of its own."""

    def __init__(self, sender, date, text=None, document=None, caption=None,
                 markup=None, origin=None):
        self.sender, self.date, self.text = sender, date, text
        self.document, self.caption = document, caption
        self.markup, self.origin = markup, origin
        self.ids = {}  # viewer's id -> (chat as it sees it, message id)
        self.edited = None

    def as_seen_by(self, viewer):
        chat, number = self.ids[viewer.id]
        out = {"message_id": number, "from": self.sender.as_user(),
               "chat": chat, "date": int(self.date)}
        if self.text is not None:
            out["text"] = self.text
            if self.text.startswith("/"):
                out["entities"] = [{"type": "bot_command", "offset": 0,
                                    "length": len(self.text.split()[0])}]
        if self.document:
            out["document"] = self.document.as_json()
        if self.caption:
            out["caption"] = self.caption
        if self.markup:
            out["reply_markup"] = self.markup
        if self.origin:
            out["forward_origin"] = self.origin
        if self.edited:
            out["edit_date"] = int(self.edited)
        return out


class Document:
    def __init__(self, path, name, mime, size):
        self.path, self.name, self.mime, self.size = path, name, mime, size
        self.id = "BQAC" + secrets.token_urlsafe(40)
        self.unique_id = "AgAD" + secrets.token_urlsafe(8)

    def as_json(self):
        return {"file_id": self.id, "file_unique_id": self.unique_id,
                "file_name": self.name, "mime_type": self.mime,
                "file_size": self.size}


class World:
    def __init__(self, directory, limits=True, local=False):
        self.directory, self.limits, self.local = directory, limits, local
        self.lock = threading.Condition()
        self.offset_s = 0.0
        self.accounts, self.groups, self.files = {}, {}, {}
        self.next_file = itertools.count()
        self.messages = []
        # ids do not fit 32 bits
        self.next_id = itertools.count(5_000_000_000 + random.randrange(10**9))
        self.delivery = set()  # "duplicate", "reorder"

    # the clock

    def now(self):
        return time.time() + self.offset_s

    def advance(self, seconds):
        with self.lock:
            self.offset_s += seconds
            self.lock.notify_all()

    # accounts

    def add_bot(self, username, name=None, bot_to_bot=False):
        if not username.lower().endswith("bot"):
            raise ValueError("a bot's username ends in bot")
        bot = Bot(next(self.next_id), name or username, username, bot_to_bot)
        self.accounts[bot.id] = bot
        return bot

    def add_user(self, name, username=None):
        user = Account(next(self.next_id), name, username, False)
        self.accounts[user.id] = user
        return user

    def add_group(self, title, members):
        group = Group(-1_000_000_000_000 - next(self.next_id), title, set(members))
        self.groups[group.id] = group
        return group

    def by_token(self, token):
        for account in self.accounts.values():
            if account.is_bot and secrets.compare_digest(account.token, token):
                return account
        return None

    def by_username(self, username):
        wanted = username.lstrip("@").lower()
        for account in self.accounts.values():
            if (account.username or "").lower() == wanted:
                return account
        return None

    # whom a bot may write to

    def target(self, bot, chat_id):
        """The account or group that a bot means, or an ApiError."""
        if isinstance(chat_id, str) and chat_id.startswith("@"):
            found = self.by_username(chat_id)
        else:
            try:
                number = int(chat_id)
            except (TypeError, ValueError):
                raise bad_request("chat_id is empty" if chat_id in (None, "")
                                  else "chat not found") from None
            found = self.groups.get(number) or self.accounts.get(number)
        if found is None:
            raise bad_request("chat not found")
        self.check_allowed(bot, found)
        return found

    @staticmethod
    def check_allowed(bot, found):
        if isinstance(found, Group):
            if bot.id not in found.members:
                raise ApiError(403, "Forbidden: bot is not a member of the supergroup chat")
        elif found.is_bot:
            if found is bot:
                raise ApiError(403, "Forbidden: bot can't send messages to the bot itself")
            if not (bot.bot_to_bot and found.bot_to_bot):
                raise bad_request("USER_BOT_TO_BOT_DISABLED")
        elif found.id in bot.blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        elif found.id not in bot.started:
            raise ApiError(403, "Forbidden: bot can't initiate conversation with a user")

    def check_limits(self, bot, target):
        now = self.now()
        quiet = bot.flooded.get(target.id, 0) - now
        if quiet > 0:
            self.too_many(int(quiet) + 1)
        if not self.limits:
            return
        if target.id not in bot.per_chat:
            bot.per_chat[target.id] = (Bucket(20 / 60, 20) if isinstance(target, Group)
                                       else Bucket(1, 4))
        buckets = (bot.overall, bot.per_chat[target.id])
        wait = max(b.wait_s(now) for b in buckets)
        if wait > 0:
            self.too_many(int(wait) + 1)
        for bucket in buckets:
            bucket.take()

    @staticmethod
    def too_many(seconds):
        raise ApiError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)

    # messages

    def show(self, message, viewer, chat, number=None):
        message.ids[viewer.id] = (chat, number or next(viewer.next_message))
        if isinstance(viewer, Bot) and message.sender is not viewer:
            self.push(viewer, "message", message.as_seen_by(viewer))

    def post(self, message, target):
        """Deliver a message from its sender to an account or a group."""
        sender = message.sender
        self.messages.append(message)
        if isinstance(target, Group):
            number = next(target.next_message)
            for member in map(self.accounts.get, target.members):
                if member is sender or not member.is_bot or member.reads_in_groups(message):
                    self.show(message, member, target.as_chat(), number)
        else:
            message.ids[sender.id] = (target.as_chat(), next(sender.next_message))
            self.show(message, target, sender.as_chat())
        return message

    def find(self, viewer, chat_id, message_id):
        for message in self.messages:
            seen = message.ids.get(viewer.id)
            if seen and seen[0]["id"] == chat_id and seen[1] == message_id:
                return message
        return None

    def store_file(self, data, name, mime):
        path = f"documents/file_{next(self.next_file)}{os.path.splitext(name)[1]}"
        full = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)
        document = Document(path, name, mime, len(data))
        self.files[document.id] = document
        return document

    def fetch(self, bot, document):
        """Where a server of one's own (--local) puts a file: it is not served."""
        path = os.path.join(os.path.abspath(self.directory), bot.token, document.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            os.link(os.path.join(self.directory, document.path), path)
        return path

    # updates

    def push(self, bot, kind, content):
        if bot.allowed is not None and kind not in bot.allowed:
            return
        copies = 2 if "duplicate" in self.delivery and kind == "message" else 1
        for _ in range(copies):
            bot.updates.append((bot.next_update, self.now(), kind, content))
            bot.next_update += 1
        if "reorder" in self.delivery and len(bot.updates) > 1:
            self.swap_last(bot)
        self.lock.notify_all()

    @staticmethod
    def swap_last(bot):
        """Two that come one after the other come the other way round."""
        (id_a, at_a, *a), (id_b, at_b, *b) = bot.updates[-2:]
        bot.updates[-2:] = [(id_a, at_b, *b), (id_b, at_a, *a)]

    def pending(self, bot, offset, limit):
        now = self.now()
        bot.updates = [u for u in bot.updates if now - u[1] < UPDATE_LIFE_S]
        if offset < 0:
            bot.updates = bot.updates[offset:]
        elif offset:
            gone = [u for u in bot.updates if u[0] < offset]
            bot.confirmed = gone or bot.confirmed
            bot.updates = [u for u in bot.updates if u[0] >= offset]
        return [{"update_id": number, kind: content}
                for number, _, kind, content in bot.updates[:limit]]

    def get_updates(self, bot, offset, limit, timeout_s, allowed):
        with self.lock:
            if bot.webhook:
                raise ApiError(409, "Conflict: can't use getUpdates method while webhook is "
                               "active; use deleteWebhook to delete the webhook first")
            if allowed is not None:
                bot.allowed = set(allowed) if allowed else None
            bot.poll += 1
            mine = bot.poll
            self.lock.notify_all()
            ends = time.monotonic() + timeout_s
            while True:
                if bot.poll != mine:
                    raise ApiError(409, "Conflict: terminated by other getUpdates request; "
                                   "make sure that only one bot instance is running")
                found = self.pending(bot, offset, limit)
                left = ends - time.monotonic()
                if found or left <= 0:
                    return found
                self.lock.wait(left)
