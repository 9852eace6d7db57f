#include "chats.h"

#include "bot_token.h"
#include "report.h"
#include "text.h"
#include "xio.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
	WORD_BYTES = 12,
	CHAT_DIGITS_MAX = 19,
};

static const char chat_prefix[] = "chat:";

/* A chat is where those are written to who have no card that says where. */
static int check_reached_by_chat(const struct session *s, const char *name)
{
	const struct person *p = people_named(&s->people, name);

	if (!p || !p->has_card || !p->card.address[0])
		return CMD_OK;
	return report_as(CMD_FAILED,
			 "'%s' has a card, and is written to at %s, which it "
			 "says; they need no chat with your bot",
			 name, p->card.address);
}

/* The digits of a bot's token before ":" are its number. */
static bool is_own_bot(struct session *s, const char *chat_id)
{
	CLEANUP_SECRET struct bot_token *token = NULL;
	size_t len = strlen(chat_id);

	return strcmp(s->settings.transport, "telegram") == 0 &&
	       bot_token_load(s, &token) == CMD_OK &&
	       strncmp(token->text, chat_id, len) == 0 &&
	       token->text[len] == ':';
}

static int check_chat(struct session *s, const char *name, const char *chat)
{
	const struct person *other = people_in_chat(&s->people, chat);

	if (is_own_bot(s, chat + strlen(chat_prefix)))
		return report_as(CMD_FAILED,
				 "that is the number of your own bot; '%s' is "
				 "another, which 'tgshare contact chat %s "
				 "--link%s' finds out",
				 name, name, report_vault());
	if (other && strcmp(other->name, name) != 0)
		return report_as(CMD_FAILED,
				 "that is the chat of '%s'; two shares that go "
				 "to one chat are in one hand, so it is not "
				 "that of '%s' too",
				 other->name, name);
	return CMD_OK;
}

static int put_chat(struct session *s, const char *name, const char *chat)
{
	const struct person *p = people_named(&s->people, name);
	const char *before = p && p->chat[0] ? p->chat : NULL;
	int err = people_put_chat(&s->m, name, chat);

	if (err)
		return session_report(s, "write the contact", err);
	if (before && strcmp(before, chat) == 0)
		printf("%s is in %s, as before.\n", name, chat);
	else if (before)
		printf("%s is in %s now, no longer in %s.\n", name, chat,
		       before);
	else
		printf("%s is in %s.\n", name, chat);
	puts("That is not checked: whether they can be written to shows with "
	     "the first message.");
	return CMD_OK;
}

int chats_set(struct session *s, const char *name, const char *chat_id)
{
	size_t sign = chat_id[0] == '-'; /* groups */
	size_t digits = strspn(chat_id + sign, "0123456789");
	char chat[PEOPLE_CHAT_MAX];
	int status;

	if (digits == 0 || chat_id[sign] == '0' || chat_id[sign + digits] ||
	    digits > CHAT_DIGITS_MAX)
		return report_as(
			CMD_USAGE,
			"'%s' is not the number of a chat; if you do "
			"not know it, 'tgshare contact chat %s --link%s' "
			"finds out",
			chat_id, name, report_vault());
	snprintf(chat, sizeof chat, "%s%s", chat_prefix, chat_id);
	status = check_reached_by_chat(s, name);
	if (!status)
		status = check_chat(s, name, chat);
	return status ? status : put_chat(s, name, chat);
}

/* The word of a link to our bot: the one that waits already, else a new one. */
static int make_link(struct session *s, const char *name,
		     char word[static PEOPLE_WORD_MAX + 1])
{
	const struct invited *waits = people_invited(&s->people, name);
	uint8_t bytes[WORD_BYTES];
	char text[CARD_NAME_MAX + 2];
	CLEANUP_FD int dir = -1;
	int err;

	if (waits) {
		strcpy(word, waits->word);
		return 0;
	}
	do {
		randombytes_buf(bytes, sizeof bytes);
		base64url_encode(bytes, sizeof bytes, word);
		/* many programs take a mark at its end for no part of a link */
	} while (!isalnum((unsigned char)word[strlen(word) - 1]));
	snprintf(text, sizeof text, "%s\n", name);
	err = settings_open_dir(&s->m, PEOPLE_LINKS, &dir);
	return err ? err
		   : xio_replace_file(dir, word, text, strlen(text), 0600);
}

int chats_print_link(struct session *s, const char *name)
{
	const struct person *p = people_named(&s->people, name);
	char word[PEOPLE_WORD_MAX + 1];
	int err, status = check_reached_by_chat(s, name);

	if (status)
		return status;
	if (strcmp(s->settings.transport, "telegram") != 0)
		return report_as(CMD_NOT_SET_UP,
				 "a link leads to your bot, and there is none; "
				 "run 'tgshare setup --transport telegram%s' "
				 "first",
				 report_vault());
	err = make_link(s, name, word);
	if (err)
		return session_report(s, "write .tgshare/links", err);
	printf("https://t.me/%s?start=%s\n", s->settings.bot + 1, word);
	report("send this link to %s: whoever opens it and presses Start is "
	       "%s from then on%s%s; 'tgshare receive%s' or the agent then "
	       "learns of it",
	       name, name, p && p->chat[0] ? ", no longer " : "",
	       p && p->chat[0] ? p->chat : "", report_vault());
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
	*known = people_in_chat(&people, address);
	people_free(&people);
	return 0;
}

int chats_greeted(struct session *s, const char *word, const char *address,
		  bool *known)
{
	char name[CARD_NAME_MAX + 2];
	const struct person *other;
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(&s->m, PEOPLE_LINKS, &dir);

	if (!err)
		err = find_link(dir, word, name);
	if (err)
		return err == -ENOENT ? find_chat(s, address, known) : err;
	other = people_in_chat(&s->people, address);
	if (other && strcmp(other->name, name) == 0)
		other = NULL;
	err = people_put_chat(&s->m, name, address);
	if (err)
		return err;
	*known = true;
	printf("%s pressed Start and can be written to by your bot%s%s\n", name,
	       other ? ", in the same chat as " : "", other ? other->name : "");
	/* the word has done its work: nobody else can be NAME by it, or by
	 * another that was made for NAME */
	return people_uninvite(&s->m, name);
}
