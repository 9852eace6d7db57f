"""The methods of the Bot API that this server knows, by name."""
import json
import re

from world import (CAPTION_MAX, DELETE_LIFE_S, DOWNLOAD_MAX, LOCAL_MAX,
                   START_PAYLOAD_MAX, TEXT_MAX, UPLOAD_MAX, Message,
                   bad_request)


def integer(params, name, default=0):
    try:
        return int(params.get(name, default))
    except (TypeError, ValueError):
        return default


def structure(params, name):
    """A parameter that is JSON, whichever way it came."""
    value = params.get(name)
    if isinstance(value, str) and value:
        try:
            return json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {name.replace('_', ' ')} JSON object") from None
    return value or None


def get_me(_world, bot, _params):
    return dict(bot.as_user(), can_join_groups=True,
                can_read_all_group_messages=not bot.privacy,
                supports_inline_queries=False)


def checked_text(params):
    text = params.get("text")
    if text is None or not str(text).strip():
        raise bad_request("message text is empty")
    text = str(text)
    if len(text.encode("utf-16-le")) // 2 > TEXT_MAX:
        raise bad_request("message is too long")
    return text


def send_message(world, bot, params):
    text = checked_text(params)
    with world.lock:
        target = world.target(bot, params.get("chat_id"))
        world.check_limits(bot, target)
        message = Message(bot, world.now(), text=text,
                          markup=structure(params, "reply_markup"))
        return world.post(message, target).as_seen_by(bot)


def send_document(world, bot, params):
    given = params.get("document")
    caption = str(params.get("caption") or "")
    if len(caption) > CAPTION_MAX:
        raise bad_request("message caption is too long")
    if given is None or given == "":
        raise bad_request("there is no document in the request")
    with world.lock:
        target = world.target(bot, params.get("chat_id"))
        world.check_limits(bot, target)
        if isinstance(given, str):
            document = world.files.get(given)
            if document is None:
                raise bad_request("wrong file identifier/HTTP URL specified")
        else:
            if not given.data:
                raise bad_request("file must be non-empty")
            document = world.store_file(given.data, given.name or "document", given.mime)
        message = Message(bot, world.now(), document=document, caption=caption,
                          markup=structure(params, "reply_markup"))
        return world.post(message, target).as_seen_by(bot)


def get_updates(world, bot, params):
    limit = min(max(integer(params, "limit", 100), 1), 100)
    timeout_s = min(max(integer(params, "timeout"), 0), 50)
    return world.get_updates(bot, integer(params, "offset"), limit, timeout_s,
                             structure(params, "allowed_updates")
                             if "allowed_updates" in params else None)


def get_file(world, bot, params):
    with world.lock:
        document = world.files.get(params.get("file_id"))
        if document is None:
            raise bad_request("wrong file_id or the file is temporarily unavailable")
        if document.size > (LOCAL_MAX if world.local else DOWNLOAD_MAX):
            raise bad_request("file is too big")
        path = world.fetch(bot, document) if world.local else document.path
        return {"file_id": document.id, "file_unique_id": document.unique_id,
                "file_size": document.size, "file_path": path}


def find_message(world, bot, params, missing):
    target = world.target(bot, params.get("chat_id"))
    message = world.find(bot, target.id, integer(params, "message_id"))
    if message is None:
        raise bad_request(missing)
    return message


def delete_message(world, bot, params):
    with world.lock:
        message = find_message(world, bot, params, "message to delete not found")
        if world.now() - message.date >= DELETE_LIFE_S:
            raise bad_request("message can't be deleted for everyone")
        world.messages.remove(message)
        return True


def edit_message_text(world, bot, params):
    text = checked_text(params)
    with world.lock:
        message = find_message(world, bot, params, "message to edit not found")
        if message.sender is not bot or message.text is None:
            raise bad_request("message can't be edited")
        markup = structure(params, "reply_markup")
        if (message.text, message.markup) == (text, markup):
            raise bad_request("message is not modified: specified new message content and reply "
                              "markup are exactly the same as a current content and reply "
                              "markup of the message")
        message.text, message.markup = text, markup
        message.edited = world.now()
        return message.as_seen_by(bot)


def answer_callback_query(_world, _bot, params):
    if not params.get("callback_query_id"):
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    return True


def get_chat(world, bot, params):
    with world.lock:
        return world.target(bot, params.get("chat_id")).as_chat()


def set_webhook(world, bot, params):
    with world.lock:
        bot.webhook = str(params.get("url") or "")
        return True


def delete_webhook(world, bot, _params):
    with world.lock:
        bot.webhook = ""
        return True


def get_webhook_info(world, bot, _params):
    with world.lock:
        return {"url": bot.webhook, "has_custom_certificate": False,
                "pending_update_count": len(world.pending(bot, 0, 100))}


def start_payload_ok(payload):
    return re.fullmatch(r"[A-Za-z0-9_-]{0,%d}" % START_PAYLOAD_MAX, payload)


def upload_max(world):
    return LOCAL_MAX if world.local else UPLOAD_MAX


METHODS = {
    "getme": get_me,
    "sendmessage": send_message,
    "senddocument": send_document,
    "getupdates": get_updates,
    "getfile": get_file,
    "deletemessage": delete_message,
    "editmessagetext": edit_message_text,
    "answercallbackquery": answer_callback_query,
    "getchat": get_chat,
    "setwebhook": set_webhook,
    "deletewebhook": delete_webhook,
    "getwebhookinfo": get_webhook_info,
}
