#include "opened.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* What a record says of a set that was opened before; 0: nothing. */
static uint8_t state_of(const struct vlog_record *r)
{
	switch (r->event) {
	case VLOG_DECLINED:
		return OPENED_REMOVED;
	case VLOG_EXPIRED:
		return OPENED_EXPIRED;
	case VLOG_KEY_REVOKED:
		return OPENED_REVOKED;
	case VLOG_WITHDRAWN:
		return r->detail == VLOG_REPLACED ? OPENED_REPLACED
						  : OPENED_REVOKED;
	default:
		return 0;
	}
}

static bool same_set(const struct vlog_record *a, const struct vlog_record *b)
{
	return memcmp(a->set_id, b->set_id, SET_ID_LEN) == 0 &&
	       people_same_keys(&a->peer, &b->peer);
}

struct gathering {
	struct opened *list;
	size_t count;
	struct vlog_record *ends; /* they may come in front of it */
	size_t end_count;
};

static int gather_one(struct gathering *g, const struct vlog_record *r)
{
	if (r->event == VLOG_OPENED) {
		struct opened *list =
			reallocarray(g->list, g->count + 1, sizeof *list);

		if (!list)
			return -ENOMEM;
		g->list = list;
		list[g->count++] =
			(struct opened){.r = *r, .state = OPENED_STAYS};
	} else if (state_of(r)) {
		struct vlog_record *ends =
			reallocarray(g->ends, g->end_count + 1, sizeof *ends);

		if (!ends)
			return -ENOMEM;
		g->ends = ends;
		ends[g->end_count++] = *r;
	}
	return 0;
}

static int gather(const struct session *s, struct gathering *g)
{
	struct vlog_record r = {0};

	for (uint64_t seq = 0;; seq++) {
		r.seq = seq;
		int err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &r);

		if (err == -ENODATA)
			return 0;
		if (err == -EBADMSG)
			report("entry %" PRIu64 " of the log is damaged; "
			       "'tgshare log --verify%s' says more",
			       seq, report_vault());
		else if (!err)
			err = gather_one(g, &r);
		if (err && err != -EBADMSG)
			return err;
	}
}

/* Another set may have that name by now: one that is locked, or granted. */
static bool lies_there(const struct session *s, const char *path)
{
	char whole[64 + VLOG_TEXT_MAX];
	struct stat st;

	snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", s->m.fd, path);
	return strchr(path, '/') && lstat(whole, &st) == 0 &&
	       lgetxattr(whole, "user.frondfs.share", NULL, 0) < 0;
}

static void look_after(const struct session *s, struct gathering *g, size_t i)
{
	struct opened *o = &g->list[i];
	bool taken = false;

	for (size_t j = 0; j < g->end_count; j++)
		if (same_set(&g->ends[j], &o->r) &&
		    state_of(&g->ends[j]) > o->state)
			o->state = state_of(&g->ends[j]);
	for (size_t j = i + 1; j < g->count && !taken; j++)
		taken = strcmp(g->list[j].r.text, o->r.text) == 0;
	o->there =
		o->state == OPENED_STAYS && !taken && lies_there(s, o->r.text);
}

int opened_load(const struct session *s, struct opened **list, size_t *count)
{
	struct gathering g = {0};
	int err = gather(s, &g);

	for (size_t i = 0; i < g.count && !err; i++)
		look_after(s, &g, i);
	free(g.ends);
	if (err) {
		free(g.list);
		return err;
	}
	*list = g.list;
	*count = g.count;
	return 0;
}
