#include "item_json.h"
#include "escape.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static json_t *format_parties(const struct item *item)
{
	json_t *list = json_array();

	for (size_t i = 0; i < item->party_count; i++) {
		const struct item_party *p = &item->parties[i];

		json_array_append_new(
			list, json_pack("{so,so,so}", "name",
					escape_json(p->name), "keys",
					escape_hex((const uint8_t *)&p->pub,
						   sizeof p->pub),
					"address", escape_json(p->address)));
	}
	return list;
}

static json_t *format_holders(const struct item *item)
{
	json_t *list = json_array();

	for (size_t i = 0; i < item->n; i++)
		json_array_append_new(list, json_integer(item->holders[i]));
	return list;
}

static json_t *format_files(const struct item *item)
{
	json_t *list = json_array();

	for (size_t i = 0; i < item->file_count; i++)
		json_array_append_new(
			list,
			json_pack("{so,so}", "path",
				  escape_json(item->files[i].path), "id",
				  escape_hex(item->files[i].id, FILE_ID_LEN)));
	return list;
}

static json_t *format_messages(const struct item *item)
{
	json_t *list = json_array();

	for (size_t i = 0; i < item->message_count; i++) {
		const struct item_message *m = &item->messages[i];

		json_array_append_new(
			list, json_pack("[iiisII]", m->kind, m->index, m->party,
					m->name, (json_int_t)m->offset,
					(json_int_t)m->len));
	}
	return list;
}

int item_json_format(const struct item *item, char **text)
{
	json_t *root = json_pack(
		"{si,si,so,sI,sI,so,so,so,sb,sb,sb,sb,sI,sI,si,si,ss,ss,ss,so}",
		"version", 1, "kind", item->kind, "set",
		escape_hex(item->set_id, SET_ID_LEN), "created",
		(json_int_t)item->created_s, "expires",
		(json_int_t)item->expires_s, "path", escape_json(item->path),
		"name", escape_json(item->name), "note",
		escape_json(item->note), "folder", item->folder, "no_content",
		item->no_content, "exported", item->exported, "draft",
		item->draft, "size", (json_int_t)item->size, "mtime_ns",
		(json_int_t)item->mtime_ns, "k", item->k, "n", item->n, "code",
		item->code, "copy", item->copy, "card", item->card, "replaces",
		escape_hex(item->replaces, SET_ID_LEN));
	char *out = NULL;

	if (root &&
	    json_object_set_new(root, "parties", format_parties(item)) == 0 &&
	    json_object_set_new(root, "holders", format_holders(item)) == 0 &&
	    json_object_set_new(root, "files", format_files(item)) == 0 &&
	    json_object_set_new(root, "messages", format_messages(item)) == 0)
		out = json_dumps(root, JSON_INDENT(1));
	json_decref(root);
	if (!out)
		return -ENOMEM;
	*text = out;
	return 0;
}

static bool take_text(const char *from, char *to, size_t size)
{
	CLEANUP_FREE char *text = NULL;

	if (!from || escape_undo(from, &text) || strlen(text) >= size)
		return false;
	strcpy(to, text);
	return true;
}

static bool parse_parties(const json_t *list, struct item *item)
{
	item->party_count = json_array_size(list);
	if (item->party_count == 0 || item->party_count > ITEM_PARTIES_MAX)
		return false;
	for (size_t i = 0; i < item->party_count; i++) {
		struct item_party *p = &item->parties[i];
		const char *name, *keys, *address;

		if (json_unpack(json_array_get(list, i), "{ss,ss,ss}", "name",
				&name, "keys", &keys, "address", &address) ||
		    !take_text(name, p->name, sizeof p->name) ||
		    !take_text(address, p->address, sizeof p->address) ||
		    !escape_unhex(keys, (uint8_t *)&p->pub, sizeof p->pub))
			return false;
	}
	return true;
}

static bool parse_holders(const json_t *list, struct item *item)
{
	if (item->n > SLIP39_SHARES_MAX || json_array_size(list) != item->n)
		return false;
	for (size_t i = 0; i < item->n; i++) {
		json_int_t party = json_integer_value(json_array_get(list, i));

		if (party < 0 || (size_t)party >= item->party_count)
			return false;
		item->holders[i] = (uint8_t)party;
	}
	return true;
}

static bool parse_files(const json_t *list, struct item *item)
{
	size_t count = json_array_size(list);

	item->files = calloc(count + 1, sizeof *item->files);
	if (!item->files)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct item_file *f = &item->files[i];
		const char *path, *id;

		if (json_unpack(json_array_get(list, i), "{ss,ss}", "path",
				&path, "id", &id) ||
		    !escape_unhex(id, f->id, FILE_ID_LEN) ||
		    escape_undo(path, &f->path))
			return false;
		item->file_count++;
	}
	return true;
}

static bool parse_messages(const json_t *list, struct item *item)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct item_message *m = item_add_message(item);
		int kind, index, party;
		json_int_t offset, len;
		const char *name;

		if (!m ||
		    json_unpack(json_array_get(list, i), "[iiisII]", &kind,
				&index, &party, &name, &offset, &len))
			return false;
		if (kind < 0 || kind > 255 || index < 0 ||
		    index > SLIP39_SHARES_MAX || party < 0 ||
		    (size_t)party >= item->party_count || offset < 0 ||
		    len < 0 || strlen(name) > ITEM_MESSAGE_NAME_MAX ||
		    strchr(name, '/'))
			return false;
		m->kind = (uint8_t)kind;
		m->index = (uint8_t)index;
		m->party = (uint8_t)party;
		m->offset = (uint64_t)offset;
		m->len = (uint64_t)len;
		strcpy(m->name, name);
	}
	return true;
}

static bool parse_head(json_t *root, struct item *item)
{
	const char *set, *path, *name, *note, *code, *copy, *card, *replaces;
	int version, kind, folder, no_content, exported, draft = 0, k, n;
	json_int_t created, expires, size, mtime;

	if (json_unpack(
		    root,
		    "{si,si,ss,sI,sI,ss,ss,ss,sb,sb,sb,s?b,sI,sI,si,si,ss,ss,"
		    "ss,ss}",
		    "version", &version, "kind", &kind, "set", &set, "created",
		    &created, "expires", &expires, "path", &path, "name", &name,
		    "note", &note, "folder", &folder, "no_content", &no_content,
		    "exported", &exported, "draft", &draft, "size", &size,
		    "mtime_ns", &mtime, "k", &k, "n", &n, "code", &code, "copy",
		    &copy, "card", &card, "replaces", &replaces))
		return false;
	if (version != 1 || kind < ITEM_SEND || kind > ITEM_NOTE || k < 0 ||
	    n < k || n > SLIP39_SHARES_MAX || strlen(code) > 6 ||
	    strlen(copy) > ITEM_COPY_LEN || strchr(copy, '/') ||
	    strlen(card) >= CARD_TEXT_MAX)
		return false;
	item->kind = (uint8_t)kind;
	item->created_s = (uint64_t)created;
	item->expires_s = (uint64_t)expires;
	item->folder = folder;
	item->no_content = no_content;
	item->exported = exported;
	item->draft = draft;
	item->size = (uint64_t)size;
	item->mtime_ns = (uint64_t)mtime;
	item->k = (uint8_t)k;
	item->n = (uint8_t)n;
	strcpy(item->code, code);
	strcpy(item->copy, copy);
	strcpy(item->card, card);
	return escape_unhex(set, item->set_id, SET_ID_LEN) &&
	       escape_unhex(replaces, item->replaces, SET_ID_LEN) &&
	       !escape_undo(path, &item->path) &&
	       !escape_undo(name, &item->name) &&
	       !escape_undo(note, &item->note);
}

int item_json_parse(const char *text, size_t len, struct item *item)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	bool good = root && parse_head(root, item) &&
		    parse_parties(json_object_get(root, "parties"), item) &&
		    parse_holders(json_object_get(root, "holders"), item) &&
		    parse_files(json_object_get(root, "files"), item) &&
		    parse_messages(json_object_get(root, "messages"), item);

	json_decref(root);
	return good ? 0 : -EBADMSG;
}
