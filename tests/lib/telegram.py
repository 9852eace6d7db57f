"""People who share over Telegram: each with a bot at the server of botapi.py."""
import os

import frond
from botapi import BotApi
from share import Person


class BotPerson(Person):
    """Somebody whose messages travel over a bot of their own."""

    def __init__(self, name, api, options=""):  # pylint: disable=super-init-not-called
        self.name, self.api = name, api
        self.mount = frond.Mount(options)
        self.bot = api.do("add_bot", username=f"{name}_bot", bot_to_bot=True)
        token = frond.fresh(f"{name}.token")
        with open(token, "w", encoding="ascii") as f:
            f.write(self.bot["token"] + "\n")
        self.tg("setup", "--name", name, "--bot-token-file", token, "--api-base", api.root)
        self.card = self.tg("card").strip()


class town:
    """with town("alice", "bob") as (api, alice, bob): a server, and people who
    know each other."""

    def __init__(self, *names, options=("--no-limits",)):
        self.api = BotApi(frond.fresh("bot api"), *options)
        self.everybody = [BotPerson(name, self.api) for name in names]
        for one in self.everybody:
            one.meets(*(other for other in self.everybody if other is not one))

    def __enter__(self):
        return (self.api, *self.everybody)

    def __exit__(self, kind, *_):
        for person in self.everybody:
            person.mount.drop() if kind else person.mount.umount()
        self.api.close()


def spooled(person):
    """What lies in the inbox and has not led to anything yet."""
    inbox = os.path.join(person.mount.vault, ".frondfs/inbox")
    return sorted(n for n in os.listdir(inbox) if n.endswith((".env", ".part", ".tmp")))


__all__ = ["BotPerson", "spooled", "town"]
