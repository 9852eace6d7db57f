#include "inbox_internal.h"

#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	MARK_LEN = 16,
	/* refusals with records of their own within REFUSALS_S */
	ANONYMOUS_MAX = 32,
	OF_CONTACT_MAX = 128,
	REFUSALS_S = 600,
	TELL_REST_S = 60,
};

static const uint8_t no_set[SET_ID_LEN];
static const struct identity_public nobody;

/* What the log says of sets and people: digests of its records. */
struct log_index {
	uint64_t read;		   /* records taken in */
	size_t count, room;	   /* room: a power of two, or 0 */
	uint8_t (*mark)[MARK_LEN]; /* zeros: free */
};

struct fact {
	uint8_t event, index, detail;
	const uint8_t *set_id;
	const struct identity_public *peer;
};

static void mark_of(const struct fact *f, uint8_t mark[static MARK_LEN])
{
	const uint8_t head[] = {f->event, f->index, f->detail};
	crypto_generichash_state h;

	crypto_generichash_init(&h, NULL, 0, MARK_LEN);
	crypto_generichash_update(&h, head, sizeof head);
	crypto_generichash_update(&h, f->set_id, SET_ID_LEN);
	crypto_generichash_update(&h, f->peer->sign, sizeof f->peer->sign);
	crypto_generichash_update(&h, f->peer->box, sizeof f->peer->box);
	crypto_generichash_final(&h, mark, MARK_LEN);
}

/* Where the mark is, or would be. Needs a free place. */
static uint8_t *slot_of(const struct log_index *x, const uint8_t *mark)
{
	static const uint8_t none[MARK_LEN];
	size_t at = 0;

	memcpy(&at, mark, sizeof at);
	for (;; at++) {
		uint8_t *slot = x->mark[at & (x->room - 1)];

		if (memcmp(slot, mark, MARK_LEN) == 0 ||
		    memcmp(slot, none, MARK_LEN) == 0)
			return slot;
	}
}

static int grow(struct log_index *x)
{
	struct log_index bigger = {.room = x->room ? 2 * x->room : 1024};

	bigger.mark = calloc(bigger.room, MARK_LEN);
	if (!bigger.mark)
		return -ENOMEM;
	for (size_t i = 0; i < x->room; i++)
		if (!sodium_is_zero(x->mark[i], MARK_LEN))
			memcpy(slot_of(&bigger, x->mark[i]), x->mark[i],
			       MARK_LEN);
	free(x->mark);
	x->mark = bigger.mark;
	x->room = bigger.room;
	return 0;
}

static int remember(struct log_index *x, const struct fact *f)
{
	uint8_t mark[MARK_LEN], *slot;
	int err = 2 * (x->count + 1) > x->room ? grow(x) : 0;

	if (err)
		return err;
	mark_of(f, mark);
	slot = slot_of(x, mark);
	if (sodium_is_zero(slot, MARK_LEN))
		x->count++;
	memcpy(slot, mark, MARK_LEN);
	return 0;
}

static bool is_known(const struct log_index *x, const struct fact *f)
{
	uint8_t mark[MARK_LEN];

	if (x->room == 0)
		return false;
	mark_of(f, mark);
	return !sodium_is_zero(slot_of(x, mark), MARK_LEN);
}

/* Events that are asked for later; there may be any number of others. */
static bool is_asked_for(uint8_t event)
{
	switch (event) {
	case VLOG_SENT:
	case VLOG_GRANTED:
	case VLOG_EXPORTED:
	case VLOG_RECEIVED:
	case VLOG_OPENED:
	case VLOG_CUSTODY:
	case VLOG_RELEASED:
	case VLOG_WITHDRAWN:
	case VLOG_KEY_REVOKED:
	case VLOG_EXPIRED:
	case VLOG_ACKNOWLEDGED:
	case VLOG_DECLINED:
		return true;
	default:
		return false;
	}
}

static bool is_sending(uint8_t event)
{
	return event == VLOG_SENT || event == VLOG_GRANTED ||
	       event == VLOG_EXPORTED;
}

static int remember_record(struct log_index *x, const struct vlog_record *r)
{
	struct fact f = {.event = r->event,
			 .index = r->index,
			 .detail = r->detail,
			 .set_id = r->set_id,
			 .peer = &r->peer};
	int err;

	if (!is_asked_for(r->event))
		return 0;
	if (is_sending(r->event))
		f = (struct fact){.event = VLOG_SENT,
				  .set_id = r->set_id,
				  .peer = &r->peer};
	err = remember(x, &f);
	if (err || f.event != VLOG_SENT)
		return err;
	f.peer = &nobody;
	return remember(x, &f);
}

bool inbox_was_sent_(const struct inbox *in, const uint8_t *set_id,
		     const struct identity_public *to)
{
	const struct fact f = {
		.event = VLOG_SENT, .set_id = set_id, .peer = to};

	return is_known(in->logged, &f);
}

bool inbox_was_sent_to_any_(const struct inbox *in, const uint8_t *set_id)
{
	return inbox_was_sent_(in, set_id, &nobody);
}

int inbox_log_refresh_(struct inbox *in)
{
	struct vlog_record r;
	int err;

	if (!in->logged) {
		in->logged = calloc(1, sizeof *in->logged);
		if (!in->logged)
			return -ENOMEM;
	}
	for (;; in->logged->read++) {
		err = vlog_read(in->log, in->logged->read, &r);
		if (err == -ENODATA)
			return 0;
		if (err == -EBADMSG) {
			log_error("record %llu of the log is damaged",
				  (unsigned long long)in->logged->read);
			continue;
		}
		if (err)
			return err;
		err = remember_record(in->logged, &r);
		if (err)
			return err;
	}
}

void inbox_log_free_(struct inbox *in)
{
	if (in->logged)
		free(in->logged->mark);
	free(in->logged);
	in->logged = NULL;
}

bool inbox_is_logged_(const struct inbox *in, const struct parcel *p,
		      uint8_t event)
{
	const struct fact f = {.event = event,
			       .index = p->custody,
			       .set_id = p->set_id,
			       .peer = &p->sender};

	return is_known(in->logged, &f);
}

bool inbox_is_replaced_(const struct inbox *in, const struct parcel *p)
{
	const struct fact f = {.event = VLOG_WITHDRAWN,
			       .detail = VLOG_REPLACED,
			       .set_id = p->set_id,
			       .peer = &p->sender};

	return is_known(in->logged, &f);
}

bool inbox_is_finished_(const struct inbox *in, const struct parcel *p)
{
	const struct fact withdrawn = {.event = VLOG_WITHDRAWN,
				       .set_id = p->set_id,
				       .peer = &p->sender};

	if (p->custody)
		return inbox_is_logged_(in, p, VLOG_RELEASED) ||
		       is_known(in->logged, &withdrawn);
	return inbox_is_logged_(in, p, VLOG_OPENED) ||
	       inbox_is_logged_(in, p, VLOG_DECLINED) ||
	       inbox_is_logged_(in, p, VLOG_WITHDRAWN) ||
	       inbox_is_replaced_(in, p);
}

/* Printable text: what a sender wrote must not write on our terminal. */
static void clean_text(const char *from, char to[static VLOG_TEXT_MAX + 1])
{
	size_t len = 0;

	for (; *from && len < VLOG_TEXT_MAX; from++) {
		unsigned char c = (unsigned char)*from;

		to[len++] = c < 0x20 || c == 0x7f ? '?' : *from;
	}
	/* no half a character at the end */
	if (*from)
		while (len > 0 && ((unsigned char)*from & 0xc0) == 0x80)
			from--, len--;
	to[len] = '\0';
	/* C1 controls, as UTF-8 writes them */
	for (size_t i = 0; i + 1 < len; i++)
		if ((unsigned char)to[i] == 0xc2 &&
		    (unsigned char)to[i + 1] < 0xa0)
			to[i] = to[i + 1] = '?';
}

static int append(struct inbox *in, const struct log_line *l)
{
	struct vlog_record r = {.event = l->event,
				.index = l->index,
				.detail = l->detail,
				.peer = *l->peer};

	memcpy(r.set_id, l->set_id, sizeof r.set_id);
	clean_text(l->text, r.text);
	return vlog_append(in->log, &r);
}

static struct fact fact_of(const struct log_line *l)
{
	return (struct fact){.event = l->event,
			     .index = l->index,
			     .detail = l->detail,
			     .set_id = l->set_id,
			     .peer = l->peer};
}

bool inbox_has_logged_(const struct inbox *in, const struct log_line *l)
{
	const struct fact f = fact_of(l);

	return is_known(in->logged, &f);
}

int inbox_log_once_(struct inbox *in, const struct log_line *l)
{
	struct fact f = fact_of(l);
	int err;

	if (is_known(in->logged, &f))
		return 0;
	err = append(in, l);
	return err ? err : remember(in->logged, &f);
}

static struct refusals *refusals_of(struct inbox *in,
				    const struct identity_public *peer)
{
	const struct contact *c = contacts_find(&in->contacts, peer);

	return c && in->refusals ? &in->refusals[c - in->contacts.list]
				 : &in->anonymous;
}

int inbox_refuse_for_(struct inbox *in, const struct contacts *fresh)
{
	struct refusals *list = calloc(fresh->count + 1, sizeof *list);
	uint64_t now = inbox_now_();
	bool anew = now < in->refusals_since_s ||
		    now - in->refusals_since_s >= REFUSALS_S;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < fresh->count; i++) {
		if (contacts_find(&in->contacts, &fresh->list[i].pub))
			list[i] = *refusals_of(in, &fresh->list[i].pub);
		if (anew)
			list[i].logged = 0;
	}
	if (anew) {
		in->refusals_since_s = now;
		in->anonymous.logged = 0;
	}
	free(in->refusals);
	in->refusals = list;
	return 0;
}

/* Whoever fills the spool with rubbish does not fill the log. */
__attribute__((format(printf, 3, 0))) static int
refuse(struct inbox *in, struct log_line *l, const char *fmt, va_list args)
{
	char text[2 * VLOG_TEXT_MAX];
	struct refusals *r = refusals_of(in, l->peer);

	if (r->logged >=
	    (r == &in->anonymous ? ANONYMOUS_MAX : OF_CONTACT_MAX)) {
		r->more++;
		return 0;
	}
	r->logged++;
	vsnprintf(text, sizeof text, fmt, args);
	l->event = VLOG_REFUSED;
	l->text = text;
	return append(in, l);
}

int inbox_refuse_(struct inbox *in, const struct envelope *e, const char *fmt,
		  ...)
{
	struct log_line l = {.set_id = e ? e->st.set_id : no_set,
			     .peer = e ? &e->st.sender : &nobody,
			     .index = e ? e->st.index : 0};
	va_list args;
	int err;

	va_start(args, fmt);
	err = refuse(in, &l, fmt, args);
	va_end(args);
	return err;
}

int inbox_pass_over_(struct inbox *in, const uint8_t *set_id,
		     const struct identity_public *from, unsigned index,
		     const char *fmt, ...)
{
	struct log_line l = {.set_id = set_id,
			     .peer = from,
			     .index = (uint8_t)index,
			     .detail = VLOG_HARMLESS};
	va_list args;
	int err;

	va_start(args, fmt);
	err = refuse(in, &l, fmt, args);
	va_end(args);
	return err;
}

int inbox_refused(struct inbox *in, const char *why)
{
	int err;

	pthread_mutex_lock(&in->work);
	err = inbox_refuse_(in, NULL, "%s", why);
	pthread_mutex_unlock(&in->work);
	inbox_settle_declines_(in);
	return err;
}

static int log_rest(struct inbox *in, const struct identity_public *peer)
{
	struct log_line l = {
		.event = VLOG_REFUSED, .set_id = no_set, .peer = peer};
	struct refusals *r = refusals_of(in, peer);
	uint64_t now = inbox_now_();
	char text[64];

	/* a flood makes many scans: not a record for each of them */
	if (r->more == 0 || (now >= r->told_s && now - r->told_s < TELL_REST_S))
		return 0;
	snprintf(text, sizeof text, "%u more of the kind", r->more);
	r->more = 0;
	r->told_s = now;
	l.text = text;
	return append(in, &l);
}

int inbox_refuse_rest_(struct inbox *in)
{
	int err = log_rest(in, &nobody);

	for (size_t i = 0; in->refusals && i < in->contacts.count && !err; i++)
		err = log_rest(in, &in->contacts.list[i].pub);
	return err;
}

int inbox_refuse_of_(struct inbox *in, const struct parcel *p, unsigned index,
		     const char *fmt, ...)
{
	struct log_line l = {.set_id = p->set_id,
			     .peer = &p->sender,
			     .index = (uint8_t)index};
	va_list args;
	int err;

	va_start(args, fmt);
	err = refuse(in, &l, fmt, args);
	va_end(args);
	return err;
}

int inbox_log_of_(struct inbox *in, const struct parcel *p, uint8_t event,
		  unsigned index)
{
	/* where it is: under another name if that one was taken */
	bool placed = event == VLOG_OPENED && p->base &&
		      strlen(p->base) <= VLOG_TEXT_MAX;
	const char *name = p->m ? p->m->name : "";
	const struct log_line l = {.event = event,
				   .index = (uint8_t)index,
				   .set_id = p->set_id,
				   .peer = &p->sender,
				   .text = placed ? p->base : name};

	return inbox_log_once_(in, &l);
}
