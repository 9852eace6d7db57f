#include "answer.h"

#include "when.h"
#include "xio.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	QUIET_S = 600,
	PER_CHAT = 3,
	/* in all within that time: strangers cost nothing */
	NOTES_MAX = 60,
	NOTE_LEN_MAX = TRANSPORT_ADDRESS_MAX + 32,
	NOTES_LEN_MAX = NOTES_MAX * NOTE_LEN_MAX,
};

static const char notes_name[] = "answered";

static const char *const sentences[] = {
	[ANSWER_HELLO] =
		"Hello, this bot takes sealed messages: if you were asked to "
		"pass one on to it, please forward it to this chat.",
	[ANSWER_WELCOME] =
		"Thank you, that was all: when you are asked to keep a sealed "
		"message, it will come to you in this chat.",
	[ANSWER_BAD_LINK] =
		"This link was used already or is not complete, so please ask "
		"whoever sent it to you for a new one.",
	[ANSWER_ARRIVED] =
		"Thank you, the sealed message has arrived, and there is "
		"nothing more for you to do.",
	[ANSWER_PART] =
		"The sealed message is not complete yet: please send the rest "
		"of its letters, or forward the whole message to this chat.",
	[ANSWER_NOT_OURS] =
		"This sealed message is not for this bot: please forward it "
		"to the bot that its text names.",
	[ANSWER_WORDS] =
		"This bot is a program and understands only sealed messages: "
		"if you were asked to pass one on to it, please forward the "
		"whole message to this chat.",
};

/* Of messages the latest counts, and more than what they say beside them. */
enum answer answer_for_both(enum answer before, enum answer what)
{
	return what >= ANSWER_PART || what > before ? what : before;
}

/* A sentence on its way. */
struct answering {
	struct answering *next;
	struct session *s;
	char address[TRANSPORT_ADDRESS_MAX + 1];
};

void answering_free(struct answering *list)
{
	while (list) {
		struct answering *next = list->next;

		free(list);
		list = next;
	}
}

/* Whether it came or not: they may have blocked us, and that is that. */
static void said(void *arg, int err, const char *reason, const char *ref)
{
	struct answering *a = arg, **at = &a->s->answering;

	(void)err;
	(void)reason;
	(void)ref;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	free(a);
}

static void say(struct session *s, const char *address, const char *sentence)
{
	struct answering *a = calloc(1, sizeof *a);
	struct transport_message m = {
		.text = (const uint8_t *)sentence,
		.text_len = strlen(sentence),
		.fd = -1,
		.done = said,
		.arg = a,
	};

	if (!a)
		return;
	a->s = s;
	snprintf(a->address, sizeof a->address, "%s", address);
	m.address = a->address;
	a->next = s->answering;
	s->answering = a;
	if (s->transport->ops->submit(s->transport, &m))
		said(a, 0, "", "");
}

/* What was said of late: a line each, "TIME WHAT ADDRESS". */
struct notes {
	uint64_t now_s;
	char kept[NOTES_LEN_MAX]; /* of those that count yet */
	size_t len, count;
	const char *address; /* whom it is about now */
	enum answer what;
	unsigned to_them;
	bool repeated;
};

static void take_note(struct notes *n, char *line)
{
	char *rest, *end;
	uint64_t time_s = strtoull(line, &rest, 10);
	unsigned long what = strtoul(rest, &end, 10);
	size_t len = strlen(line);

	/* a clock that was set back does not keep us silent */
	if (time_s > n->now_s || n->now_s - time_s >= QUIET_S || *end != ' ' ||
	    n->len + len + 1 > sizeof n->kept)
		return;
	if (strcmp(end + 1, n->address) == 0) {
		n->to_them++;
		n->repeated |= what == n->what;
	}
	memcpy(n->kept + n->len, line, len);
	n->len += len;
	n->kept[n->len++] = '\n';
	n->count++;
}

static int load_notes(int dir, struct notes *n)
{
	char text[NOTES_LEN_MAX + 1], *rest = text, *line;
	size_t len = 0;
	int err = xio_read_file(dir, notes_name, text, NOTES_LEN_MAX, &len);

	if (err && err != -ENOENT && err != -EFBIG)
		return err;
	text[err ? 0 : len] = '\0';
	while ((line = strsep(&rest, "\n")))
		if (*line)
			take_note(n, line);
	return 0;
}

/* -EALREADY: enough was said. */
static int note_down(struct session *s, const char *address, enum answer what)
{
	struct notes n = {
		.now_s = when_now_s(), .address = address, .what = what};
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(&s->m, "", &dir), len;

	if (!err)
		err = load_notes(dir, &n);
	if (err)
		return err;
	if (n.repeated || n.to_them >= PER_CHAT || n.count >= NOTES_MAX)
		return -EALREADY;
	len = snprintf(n.kept + n.len, sizeof n.kept - n.len,
		       "%" PRIu64 " %u %s\n", n.now_s, (unsigned)what, address);
	if (len < 0 || (size_t)len >= sizeof n.kept - n.len)
		return -EALREADY;
	return xio_replace_file(dir, notes_name, n.kept, n.len + (size_t)len,
				0600);
}

void answer_person(struct session *s, const char *address, enum answer what)
{
	if (strpbrk(address, " \n") == NULL && note_down(s, address, what) == 0)
		say(s, address, sentences[what]);
}

void answer_finish(struct session *s)
{
	while (s->answering &&
	       s->transport->ops->run(s->transport, NULL, 1000) == 0)
		;
}
