#include "chats.h"

#include "report.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
	WORD_BYTES = 12,
	WORD_LEN = BASE64URL_LEN(WORD_BYTES),
	CHAT_DIGITS_MAX = 19,
};

static const char links_name[] = "links";

static int put_chat(struct session *s, const char *name, const char *chat)
{
	int err = people_put_chat(&s->m, name, chat);

	if (err)
		return session_report(s, "write the contact", err);
	printf("%s can be written to by your bot.\n", name);
	return CMD_OK;
}

int chats_set(struct session *s, const char *name, const char *chat_id)
{
	size_t sign = chat_id[0] == '-'; /* groups */
	size_t digits = strspn(chat_id + sign, "0123456789");
	char chat[PEOPLE_CHAT_MAX];

	if (digits == 0 || chat_id[sign + digits] || digits > CHAT_DIGITS_MAX)
		return report_as(
			CMD_USAGE,
			"'%s' is not the number of a chat; if you do "
			"not know it, 'tgshare contact chat %s --link%s' "
			"finds out",
			chat_id, name, report_vault());
	snprintf(chat, sizeof chat, "chat:%s", chat_id);
	return put_chat(s, name, chat);
}

int chats_print_link(struct session *s, const char *name)
{
	uint8_t bytes[WORD_BYTES];
	char word[WORD_LEN + 1], text[CARD_NAME_MAX + 2];
	CLEANUP_FD int dir = -1;
	int err;

	if (strcmp(s->settings.transport, "telegram") != 0)
		return report_as(CMD_NOT_SET_UP,
				 "a link leads to your bot, and there is none; "
				 "run 'tgshare setup --transport telegram%s' "
				 "first",
				 report_vault());
	randombytes_buf(bytes, sizeof bytes);
	base64url_encode(bytes, sizeof bytes, word);
	snprintf(text, sizeof text, "%s\n", name);
	err = settings_open_dir(&s->m, links_name, &dir);
	if (!err)
		err = xio_replace_file(dir, word, text, strlen(text), 0600);
	if (err)
		return session_report(s, "write .tgshare/links", err);
	printf("https://t.me/%s?start=%s\n", s->settings.bot + 1, word);
	fprintf(stderr,
		"Send this link to %s: whoever opens it and presses Start is "
		"%s from then on\n",
		name, name);
	return CMD_OK;
}

/* Whose link it is; -ENOENT: nobody's. */
static int find_link(int dir, const char *word, char name[CARD_NAME_MAX + 2])
{
	uint8_t bytes[WORD_BYTES];
	size_t len;
	int err =
		base64url_decode(word, strlen(word), bytes, sizeof bytes, &len);

	if (err || len != WORD_BYTES)
		return -ENOENT;
	err = xio_read_file(dir, word, name, CARD_NAME_MAX + 1, &len);
	if (err)
		return err;
	name[len] = '\0';
	name[strcspn(name, "\n")] = '\0';
	return contact_name_check(name) ? -ENOENT : 0;
}

/* By what is stored just now. */
static int find_chat(const struct session *s, const char *address, bool *known)
{
	struct people people;
	int err = people_load(&s->m, &people);

	if (err)
		return err;
	*known = false;
	for (size_t i = 0; i < people.count && !*known; i++)
		*known = strcmp(people.list[i].chat, address) == 0;
	people_free(&people);
	return 0;
}

int chats_greeted(struct session *s, const char *word, const char *address,
		  bool *known)
{
	char name[CARD_NAME_MAX + 2];
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(&s->m, links_name, &dir);

	if (!err)
		err = find_link(dir, word, name);
	if (err)
		return err == -ENOENT ? find_chat(s, address, known) : err;
	err = people_put_chat(&s->m, name, address);
	if (err)
		return err;
	*known = true;
	printf("%s pressed Start and can be written to by your bot\n", name);
	/* the word has done its work: nobody else can be NAME by it */
	return unlinkat(dir, word, 0) < 0 && errno != ENOENT ? -errno : 0;
}
