#include "pipeline.h"
#include "chunk.h"
#include "outbox.h"
#include "report.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
	/* what tells of the parts must not wait behind many of them */
	UNDER_WAY_MAX = 4,
	/* one look at the sealing thread after the other */
	LOOK_MS = 10,
};
/* Of parts that their recipient cannot know yet, whose mount keeps so many
 * of all strangers together (INBOX_BYTES_UNCLAIMED). */
#define AHEAD_MAX (UINT64_C(1) << 30)

struct sealed_part {
	uint64_t len;
	uint8_t hash[MANIFEST_HASH_LEN];
};

struct pipeline {
	struct session *s;
	struct delivery *d;
	const struct source *from;
	struct cargo cargo; /* the sealing thread's until it has ended */
	struct item *draft;
	size_t next;	/* part to be sent */
	uint64_t ahead; /* bytes sent before the manifest */

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t news;
	struct sealed_part *parts; /* that are new */
	size_t count;
	bool stop; /* nobody waits for more */
	bool over;
	int err;
	size_t at; /* the entry that failed */
};

bool pipeline_fits(const struct session *s, const struct source *from,
		   const struct plan *plan)
{
	const struct transport_ops *ops = s->transport->ops;

	return ops->far && !plan->no_content && !plan->exported &&
	       from->total > ops->part_max(s->transport);
}

/* In the sealing thread. */
static int tell_part(void *arg, uint64_t len,
		     const uint8_t hash[static MANIFEST_HASH_LEN])
{
	struct pipeline *p = arg;
	struct sealed_part *parts;
	int err = 0;

	pthread_mutex_lock(&p->lock);
	parts = reallocarray(p->parts, p->count + 1, sizeof *parts);
	if (parts) {
		p->parts = parts;
		parts[p->count].len = len;
		memcpy(parts[p->count].hash, hash, MANIFEST_HASH_LEN);
		p->count++;
	}
	err = !parts ? -ENOMEM : p->stop ? -EINTR : 0;
	pthread_cond_signal(&p->news);
	pthread_mutex_unlock(&p->lock);
	return err;
}

static void *seal(void *arg)
{
	struct pipeline *p = arg;
	const struct cargo_watch watch = {.part = tell_part, .arg = p};
	size_t at;
	int err = cargo_write(p->s, p->from,
			      p->s->transport->ops->part_max(p->s->transport),
			      &watch, &p->cargo, &at);

	pthread_mutex_lock(&p->lock);
	p->over = true;
	p->err = err;
	p->at = at;
	pthread_cond_signal(&p->news);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* What was sealed meanwhile, to be freed; wait: until there is news. */
static size_t take_news(struct pipeline *p, bool wait,
			struct sealed_part **parts, bool *over, int *err)
{
	size_t count;

	pthread_mutex_lock(&p->lock);
	while (wait && p->count == 0 && !p->over)
		pthread_cond_wait(&p->news, &p->lock);
	*parts = p->parts;
	count = p->count;
	p->parts = NULL;
	p->count = 0;
	*over = p->over;
	*err = p->err;
	pthread_mutex_unlock(&p->lock);
	return count;
}

static void tell_to_stop(struct pipeline *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_mutex_unlock(&p->lock);
}

/* Bytes of all sealed copies together, but for what is there already. */
static uint64_t bytes_to_send(const struct pipeline *p)
{
	uint64_t len = 0;

	for (size_t i = 0; i < p->from->count; i++)
		if (S_ISREG(p->from->entries[i].st.st_mode))
			len += chunk_backing_len(
				(uint64_t)p->from->entries[i].st.st_size);
	for (size_t i = 0; i < p->draft->message_count; i++)
		if (p->draft->messages[i].sends)
			len -= p->draft->messages[i].len;
	return len;
}

/* Once something could not be sent, what follows will hardly be. */
static bool may_send(const struct pipeline *p)
{
	return p->next < p->draft->message_count &&
	       delivery_under_way(p->d) < UNDER_WAY_MAX &&
	       delivery_failed(p->d) == 0 && p->ahead < AHEAD_MAX;
}

static int send_more(struct pipeline *p)
{
	int err = 0;

	while (!err && may_send(p)) {
		const struct item_message *m = &p->draft->messages[p->next++];

		p->ahead += m->len;
		if (m->sends == 0)
			err = delivery_add(p->d, p->draft, p->next - 1);
	}
	return err;
}

static int note_parts(struct pipeline *p, const struct sealed_part *parts,
		      size_t count)
{
	int err = 0;

	for (size_t i = 0; !err && i < count; i++)
		err = item_note_part(p->s->outbox_fd, p->draft, parts[i].len,
				     parts[i].hash);
	return err;
}

/*
 * Until everything is sealed. What is told of a file that turned out to have
 * changed is not sent any more.
 */
static int send_while_sealing(struct pipeline *p)
{
	bool over = false;
	int err = 0, seal_err;

	while (!err && !over) {
		struct sealed_part *parts;
		bool idle = delivery_under_way(p->d) == 0 && !may_send(p);
		size_t count = take_news(p, idle, &parts, &over, &seal_err);

		if (!seal_err)
			err = note_parts(p, parts, count);
		free(parts);
		if (!err && !seal_err)
			err = send_more(p);
		if (!err && !over && delivery_under_way(p->d))
			err = delivery_work(p->d, LOOK_MS);
	}
	return err;
}

/* Both threads; returns what the vault's own side has to say. */
static int run(struct pipeline *p)
{
	pthread_t thread;
	int err;

	delivery_expect(p->d, bytes_to_send(p));
	err = send_more(p);
	if (!err)
		err = -pthread_create(&thread, NULL, seal, p);
	if (err)
		return err;
	err = send_while_sealing(p);
	if (err)
		tell_to_stop(p);
	pthread_join(thread, NULL);
	return err;
}

/* What is under way names the draft, which is about to go. */
static int give_up(struct pipeline *p, int err)
{
	int wait_err = delivery_wait(p->d);

	if (!err)
		err = wait_err;
	if (!err && p->err)
		err = outbox_drop_draft(p->s, p->draft);
	return err ? compose_report(p->s, p->from, err)
		   : cargo_report(p->from, p->at, p->err);
}

static int seal_and_send(struct pipeline *p, const struct plan *plan)
{
	int err = run(p);

	if (!err && !p->err)
		err = compose_rest(p->s, &p->cargo, plan, p->draft);
	if (err || p->err)
		return give_up(p, err);
	delivery_quiet(p->d);
	return CMD_OK;
}

/* *fresh: there is nothing to go on with. */
static int adopt(struct pipeline *p, const struct item *draft, bool *fresh)
{
	int err = cargo_adopt(p->s, p->from, draft, &p->cargo);

	*fresh = err == -EAGAIN || err == -EBADMSG || err == -ENOENT;
	if (*fresh) {
		cargo_free(&p->cargo);
		return outbox_drop_draft(p->s, draft);
	}
	return err ? err : item_load(p->s->outbox_fd, draft->id, &p->draft);
}

static int begin(struct pipeline *p, const struct plan *plan,
		 const struct item *draft)
{
	bool fresh = !draft;
	int err = fresh ? 0 : adopt(p, draft, &fresh);

	if (err || !fresh)
		return err;
	err = cargo_begin(p->s, p->from, &p->cargo);
	return err ? err
		   : compose_draft(p->s, p->from, &p->cargo, plan, &p->draft);
}

int pipeline_send(struct session *s, struct delivery *d,
		  const struct source *from, const struct plan *plan,
		  const struct item *draft, struct item **out)
{
	struct pipeline p = {.s = s,
			     .d = d,
			     .from = from,
			     .lock = PTHREAD_MUTEX_INITIALIZER,
			     .news = PTHREAD_COND_INITIALIZER};
	struct plan own = *plan;
	int err = begin(&p, plan, draft), status;

	if (!err)
		memcpy(own.set_id, p.draft->set_id, SET_ID_LEN);
	status = err ? compose_report(s, from, err) : seal_and_send(&p, &own);
	cargo_free(&p.cargo);
	free(p.parts);
	if (status)
		item_free(p.draft);
	else
		*out = p.draft;
	return status;
}
