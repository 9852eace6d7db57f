#include "round.h"
#include "answer.h"
#include "chats.h"
#include "intake.h"
#include "report.h"
#include "revoke.h"
#include "spool.h"
#include "when.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What came of the message that is being taken in. */
struct heard {
	char answer_to[TRANSPORT_ADDRESS_MAX + 1]; /* "": nobody */
	size_t ours, others; /* things for us, and for somebody else */
	bool unfinished, greeted, known, word;
};

struct collecting {
	struct session *s;
	size_t arrived;
	int status; /* of session_wake() */
	int err;    /* the last thing that was not taken */
	struct heard heard;
	/* what they are told who wrote last */
	char answer_to[TRANSPORT_ADDRESS_MAX + 1];
	enum answer answer;
};

/* What is kept in the vault itself needs the mount, which may rest. */
static int wake(struct collecting *c)
{
	if (c->s->m.fd >= 0)
		return 0;
	if (!c->status)
		c->status = session_wake(c->s);
	if (!c->status)
		c->status = session_open_spool(c->s);
	return c->status ? -ENOTCONN : 0;
}

/*
 * People send things to the wrong bot, and want to know: the mount looks at
 * once. Where it cannot, it is taken for ours.
 */
static int sift(const struct session *s, const uint8_t *bytes, size_t len,
		bool *ours)
{
	struct control_sift ask = {0};

	if (spool_to_sift(s->spool_fd, bytes, len, ask.hash) == 0 &&
	    mounted_ask(s->m.fd, CONTROL_SIFT, &ask) == 0) {
		*ours = ask.ours;
		return 0;
	}
	*ours = true;
	return spool_envelope(s->spool_fd, bytes, len);
}

static int take_envelope(void *arg, const uint8_t *bytes, size_t len)
{
	struct collecting *c = arg;
	bool ours = true;
	int err = c->heard.answer_to[0]
			  ? sift(c->s, bytes, len, &ours)
			  : spool_envelope(c->s->spool_fd, bytes, len);

	if (err)
		return err;
	c->arrived += ours;
	c->heard.ours += ours;
	c->heard.others += !ours;
	return 0;
}

/* The mount logs it, and tells of no more than it should. */
__attribute__((format(printf, 2, 3))) static int refuse(struct collecting *c,
							const char *fmt, ...)
{
	struct vlog_record r = {.event = VLOG_REFUSED};
	va_list args;
	int err = wake(c);

	va_start(args, fmt);
	vsnprintf(r.text, sizeof r.text, fmt, args);
	va_end(args);
	return err ? err : mounted_ask(c->s->m.fd, CONTROL_LOG_APPEND, &r);
}

static int take_whole_text(struct collecting *c, const char *text, size_t len)
{
	const struct spool_taker taker = {take_envelope, c};
	size_t count = 0;
	int err = spool_text(text, len, &taker, &count);

	if (err || count)
		return err;
	c->arrived++;
	return refuse(c, "a text without a whole message: altered on its way, "
			 "or not from tgshare");
}

static int take_text(void *arg, const char *from, const char *text, size_t len)
{
	struct collecting *c = arg;
	const struct spool_taker taker = {take_envelope, c};
	int err = wake(c);

	if (!err && !from[0])
		err = take_whole_text(c, text, len);
	else if (!err)
		err = spool_pieces(c->s->pieces_fd, from, text, len, &taker,
				   &c->heard.unfinished);
	if (err)
		c->err = err;
	return err;
}

static int take_document(void *arg, int fd, uint64_t len, const char *filename,
			 const uint8_t *hash)
{
	struct collecting *c = arg;
	bool misnamed = false;
	int err = spool_document(c->s->spool_fd, fd, len, filename, hash,
				 &misnamed);

	if (!err && misnamed)
		err = refuse(c,
			     "what was called %.64s is not that: altered on "
			     "its way",
			     filename);
	if (err) {
		c->s->unsettled |= err == -EAGAIN;
		if (err != -EAGAIN)
			c->err = err;
		return err;
	}
	c->arrived++;
	c->heard.ours++;
	return 0;
}

static int take_greeting(void *arg, const char *word, const char *address)
{
	struct collecting *c = arg;
	int err = wake(c);

	c->heard.greeted = true;
	/* what was refused because they had not */
	c->s->patient = false;
	c->heard.word = word[0];
	if (!err)
		err = chats_greeted(c->s, word, address, &c->heard.known);
	if (err)
		c->err = err;
	return err;
}

static void begin_message(void *arg, const char *answer_to)
{
	struct collecting *c = arg;

	c->heard = (struct heard){0};
	snprintf(c->heard.answer_to, sizeof c->heard.answer_to, "%s",
		 answer_to);
}

static enum answer answer_of(const struct heard *h)
{
	if (h->greeted)
		return h->known	 ? ANSWER_WELCOME
		       : h->word ? ANSWER_BAD_LINK
				 : ANSWER_HELLO;
	if (h->ours)
		return ANSWER_ARRIVED;
	if (h->others)
		return ANSWER_NOT_OURS;
	return h->unfinished ? ANSWER_PART : ANSWER_WORDS;
}

static void answer_last(struct collecting *c)
{
	if (c->answer && wake(c) == 0)
		answer_person(c->s, c->answer_to, c->answer);
	c->answer = ANSWER_NONE;
}

static void end_message(void *arg)
{
	struct collecting *c = arg;
	const struct heard heard = c->heard;

	c->heard = (struct heard){0};
	if (!heard.answer_to[0])
		return;
	if (strcmp(c->answer_to, heard.answer_to) != 0)
		answer_last(c);
	strcpy(c->answer_to, heard.answer_to);
	c->answer = answer_for_both(c->answer, answer_of(&heard));
}

static void tell_lost(void *arg, const char *reason)
{
	(void)arg;
	report("%s; the sender's tgshare will send it again", reason);
}

static void note_unsettled(void *arg)
{
	struct collecting *c = arg;

	c->s->unsettled = true;
}

/* Once, however often it is met. */
static void tell_once(struct session *s, int err, const char *reason)
{
	char key[SESSION_KEY_MAX];

	snprintf(key, sizeof key, "collect %d", err);
	if (session_is_news(s, key))
		report("%s", reason);
}

static bool is_full(int err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

/* What came could not be kept: it is not the transport's fault. */
static int tell_spool(struct session *s, int err)
{
	bool room = !is_full(err);
	char text[512];

	snprintf(text, sizeof text,
		 "something came that cannot be written into '%.300s': %s; it "
		 "stays where it is%s",
		 s->m.info.backing, strerror(-err),
		 room ? "" : " until there is room");
	tell_once(s, err, text);
	s->no_room = !room;
	return room ? CMD_FAILED : CMD_QUEUED;
}

int round_collect(struct session *s, int timeout_ms, size_t *arrived)
{
	struct collecting c = {.s = s};
	const struct transport_receiver receiver = {.text = take_text,
						    .document = take_document,
						    .started = take_greeting,
						    .lost = tell_lost,
						    .unsettled = note_unsettled,
						    .begins = begin_message,
						    .ends = end_message,
						    .arg = &c};
	struct transport *t = s->transport;
	size_t before;
	int err;

	do {
		before = c.arrived;
		c.err = 0;
		s->unsettled = false;
		err = t->ops->run(t, &receiver, before ? 0 : timeout_ms);
	} while (!err && c.arrived > before);
	answer_last(&c);
	*arrived += c.arrived;
	if (c.status)
		return c.status;
	s->no_room = false;
	if (c.err || is_full(err))
		return tell_spool(s, c.err ? c.err : err);
	if (!err)
		return CMD_OK;
	tell_once(s, err, t->ops->reason(t));
	return err == -EKEYREVOKED ? CMD_NOT_SET_UP
	       : err == -EAGAIN	   ? CMD_QUEUED
				   : CMD_FAILED;
}

/* UINT64_MAX: nothing is. */
static uint64_t next_due_s(const struct outbox *o)
{
	uint64_t now = when_now_s(), next = UINT64_MAX;

	for (size_t i = 0; i < o->count; i++) {
		const struct item *item = o->items[i];

		for (size_t j = 0; j < item->message_count; j++) {
			const struct item_message *m = &item->messages[j];
			uint64_t due = item_message_due_s(item, m, now);
			uint64_t off = item_message_put_off_s(m, now);

			if (due < off)
				due = off;
			if (due < next)
				next = due;
		}
	}
	return next;
}

static int deliver_all(struct session *s, struct round_result *result)
{
	struct outbox o;
	int err = outbox_load(s, &o);

	if (err)
		return session_report(s, "read .tgshare/outbox", err);
	err = deliver_due(s, o.items, o.count, &result->delivered);
	result->next_due_s = next_due_s(&o);
	if (!err)
		err = outbox_tidy(s, &o);
	outbox_free(&o);
	return err ? session_report(s, "send what is due", err) : CMD_OK;
}

/* With the lock, which it gives back; deliver: what is due is sent, too. */
static int work(struct session *s, struct round_result *result, bool deliver)
{
	int status, revoked = CMD_OK;

	spool_tidy(s->spool_fd, s->pieces_fd);
	status = intake_log(s, &result->events);
	/* one that cannot be finished must not keep everything else back */
	if (!status)
		revoked = revoke_finish(s);
	/* nobody waits for what could not be sent to be told what came */
	fflush(stdout);
	if (!status && deliver)
		status = deliver_all(s, result);
	session_unlock(s);
	fflush(stdout);
	return status ? status : revoked;
}

/* What came can be read before anybody else here has finished. */
static int scan_and_lock(struct session *s, bool *busy)
{
	int status = intake_scan(s);

	if (status)
		return status;
	return busy ? session_try_lock(s, busy) : session_lock(s);
}

int round_work(struct session *s, struct round_result *result)
{
	int status = scan_and_lock(s, NULL);

	return status ? status : work(s, result, true);
}

int round_work_unless_busy(struct session *s, struct round_result *result)
{
	int status = scan_and_lock(s, &result->busy);

	return status || result->busy ? status : work(s, result, true);
}

int round_work_at_home(struct session *s, struct round_result *result)
{
	int status = scan_and_lock(s, NULL);

	return status ? status : work(s, result, false);
}
