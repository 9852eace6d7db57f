#include "states.h"

#include "random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SECTOR = 512 };

/* How a file's unsynced bytes fare. */
enum fate { FATE_NONE, FATE_ALL, FATE_PREFIX, FATE_SECTORS, FATE_KINDS };

/* How unsynced names fare. */
enum order { ORDER_NONE, ORDER_ALL, ORDER_ONE, ORDER_KINDS };

/* The work on one state. */
struct building {
	const struct oplog *log;
	const struct plan *plan;
	struct image *im;
	uint64_t rng;
	size_t *synced; /* per object: calls before this are durable... */
	bool *doubtful; /* per call: ...but for these, that are so or not */
	size_t *cut;	/* per directory: calls before this are there */
	FILE *explain;
};

/* What was written and is not durable may have been dropped by the kernel,
 * which says next time that all is well. */
static void doubt(struct building *b, unsigned obj, size_t end)
{
	for (size_t i = b->synced[obj]; i < end; i++)
		if (b->log->ops[i].obj == obj &&
		    b->log->ops[i].kind == OP_WRITE)
			b->doubtful[i] = true;
}

static void find_synced(struct building *b)
{
	for (size_t i = 0; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];

		if (op->kind == OP_UNSYNC)
			doubt(b, op->obj, i);
		if (op->kind == OP_SYNC && b->synced[op->obj] < op->len)
			b->synced[op->obj] = op->len;
		for (unsigned o = 0;
		     op->kind == OP_SYNC_ALL && o < b->log->objects; o++)
			if (b->synced[o] < op->len)
				b->synced[o] = op->len;
	}
}

static size_t between(struct building *b, size_t from, size_t to)
{
	return from < to ? from + random_below(&b->rng, to - from + 1) : from;
}

/* A rename between two directories is in both or in none. */
static void tie_cuts(struct building *b)
{
	bool again = true;

	while (again) {
		again = false;
		for (size_t i = 0; i < b->plan->end; i++) {
			const struct op *op = &b->log->ops[i];
			size_t *x = &b->cut[op->dir], *y = &b->cut[op->to_dir];

			if ((op->kind != OP_MOVE && op->kind != OP_SWAP) ||
			    (*x > i) == (*y > i))
				continue;
			*(*x > i ? y : x) = i + 1;
			again = true;
		}
	}
}

static void cut_names(struct building *b)
{
	enum order order = (enum order)random_below(&b->rng, ORDER_KINDS);
	size_t end = b->plan->end, one = between(b, 0, end);

	if (b->plan->kind == PLAN_SUBSET || order == ORDER_ALL)
		one = end;
	else if (order == ORDER_NONE)
		one = 0;
	for (unsigned o = 0; o < b->log->objects; o++)
		b->cut[o] = b->synced[o] > one ? b->synced[o] : one;
	tie_cuts(b);
	if (b->explain)
		fprintf(b->explain, "names: up to call %zu\n", one);
}

static void lost(const struct building *b, size_t i)
{
	if (b->explain) {
		fputs("  lost ", b->explain);
		op_print(b->explain, i, &b->log->ops[i]);
	}
}

static void apply_names(struct building *b)
{
	for (size_t i = 0; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];

		if (!op_is_entry(op))
			continue;
		if (i < b->cut[op->dir]) {
			op_apply(b->im, op);
		} else {
			lost(b, i);
			/* it may get another name that is there */
			if (op->kind == OP_ENTER && op->born)
				op_bear(b->im, op);
		}
	}
}

/* One file's bytes: before, as sectors become older or newer, and now. */
struct sectors {
	struct image_object *now; /* all calls up to the present one */
	struct image_object out;
	size_t *when; /* per sector: which call's state to take */
	size_t count, size_when;
};

static void take_sector(struct sectors *s, size_t sector)
{
	size_t at = sector * SECTOR, len = SECTOR;

	if (at >= s->now->len) {
		if (at < s->out.len)
			memset(s->out.bytes + at, 0,
			       s->out.len - at < len ? s->out.len - at : len);
		return;
	}
	if (len > s->now->len - at)
		len = s->now->len - at;
	image_write(&s->out, at, s->now->bytes + at, len);
}

/* What was there is gone for good with the extents that held it. */
static void forget_extents(struct sectors *s, const struct op *op)
{
	size_t to = op->kind == OP_ZERO ? op->offset + op->len : s->out.len;
	size_t from = op->kind == OP_ZERO ? op->offset : op->len;

	if (to > s->out.len)
		to = s->out.len;
	if (from < to)
		memset(s->out.bytes + from, 0, to - from);
}

static size_t longest(const struct building *b, unsigned obj, size_t len)
{
	for (size_t i = b->synced[obj]; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];
		size_t end = op->kind == OP_WRITE    ? op->offset + op->len
			     : op->kind == OP_RESIZE ? op->len
						     : 0;

		if (op->obj == obj && end > len)
			len = end;
	}
	return len;
}

static void mix_sectors(struct building *b, unsigned obj)
{
	struct image_object *o = image_at(b->im, obj);
	size_t from = b->synced[obj], end = b->plan->end, size = o->len;
	struct sectors s = {.now = o};

	s.count = longest(b, obj, o->len) / SECTOR + 1;
	s.when = image_alloc(NULL, s.count * sizeof *s.when);
	for (size_t i = 0; i < s.count; i++)
		s.when[i] = between(b, from, end);
	s.size_when = between(b, from, end);
	image_write(&s.out, 0, o->bytes, o->len);
	for (size_t i = from; i < end; i++) {
		const struct op *op = &b->log->ops[i];

		if (op->obj != obj || !op_is_content(op))
			continue;
		op_apply(b->im, op);
		if (i < s.size_when) {
			size = o->len;
			if (op->kind != OP_WRITE)
				forget_extents(&s, op);
		}
		/* a sector whose instant was before keeps what it has */
		for (size_t k = 0; k < s.count; k++)
			if (i < s.when[k])
				take_sector(&s, k);
	}
	image_resize(&s.out, size);
	image_resize(o, 0);
	image_write(o, 0, s.out.bytes, s.out.len);
	image_resize(o, size);
	free(s.out.bytes);
	free(s.when);
}

static void apply_prefix(struct building *b, unsigned obj, size_t end)
{
	for (size_t i = b->synced[obj]; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];

		if (op->obj != obj || !op_is_content(op))
			continue;
		if (i < end)
			op_apply(b->im, op);
		else
			lost(b, i);
	}
}

/* Its bytes did not get there; the length did. */
static void lose_bytes(struct building *b, size_t i)
{
	const struct op *op = &b->log->ops[i];
	struct image_object *o = image_at(b->im, op->obj);

	lost(b, i);
	if (op->offset + op->len > o->len)
		image_resize(o, op->offset + op->len);
}

/* What is durable; are there calls that are not? */
static bool apply_durable(struct building *b, unsigned obj)
{
	bool any = false;

	for (size_t i = 0; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];

		if (op->obj != obj || !op_is_content(op))
			continue;
		if (i >= b->synced[obj])
			any = true;
		else if (b->doubtful[i] && random_below(&b->rng, 2))
			lose_bytes(b, i);
		else
			op_apply(b->im, op);
	}
	return any;
}

static void apply_content(struct building *b, unsigned obj)
{
	static const char *const words[] = {"nothing", "all", "its beginning",
					    "single sectors"};
	enum fate fate = (enum fate)random_below(&b->rng, FATE_KINDS);
	size_t from = b->synced[obj], end = b->plan->end;

	if (!apply_durable(b, obj))
		return;
	if (b->explain)
		fprintf(b->explain, "bytes of #%u since call %zu: %s\n", obj,
			from, words[fate]);
	if (fate == FATE_SECTORS)
		mix_sectors(b, obj);
	else
		apply_prefix(b, obj,
			     fate == FATE_NONE	? from
			     : fate == FATE_ALL ? end
						: between(b, from, end));
}

/* Modes and xattrs; a directory's go with its names. */
static void apply_attributes(struct building *b, unsigned obj)
{
	size_t cut = S_ISDIR(image_at(b->im, obj)->mode)
			     ? b->cut[obj]
			     : between(b, b->synced[obj], b->plan->end);

	for (size_t i = 0; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];

		if (op->obj != obj ||
		    (op->kind != OP_MODE && op->kind != OP_XATTR))
			continue;
		if (i < cut || b->plan->kind == PLAN_SUBSET)
			op_apply(b->im, op);
		else
			lost(b, i);
	}
}

static bool is_pending(const struct building *b, size_t i)
{
	const struct op *op = &b->log->ops[i];

	return op_is_content(op) && i >= b->synced[op->obj];
}

/* One of the last calls reaches the disk: with the sectors that it is in. */
static void take_call(struct sectors *s, const struct op *op, size_t *size)
{
	if (op->kind != OP_WRITE) {
		*size = s->now->len;
		forget_extents(s, op);
		return;
	}
	for (size_t k = op->offset / SECTOR;
	     k <= (op->offset + op->len - 1) / SECTOR; k++)
		take_sector(s, k);
	if (op->offset + op->len > *size)
		*size = op->offset + op->len;
}

/*
 * Every call that is durable, and of the others those in the mask. *bit: the
 * mask's next one.
 */
static void apply_subset(struct building *b, unsigned obj, unsigned *bit)
{
	struct image_object *o = image_at(b->im, obj);
	struct sectors s = {.now = o};
	size_t size;

	(void)apply_durable(b, obj);
	size = o->len;
	image_write(&s.out, 0, o->bytes, o->len);
	for (size_t i = b->synced[obj]; i < b->plan->end; i++) {
		const struct op *op = &b->log->ops[i];

		if (op->obj != obj || !op_is_content(op))
			continue;
		op_apply(b->im, op);
		if (*bit >= 64 || (b->plan->seed >> *bit & 1U))
			take_call(&s, op, &size);
		else
			lost(b, i);
		++*bit;
	}
	image_resize(&s.out, size);
	image_resize(o, 0);
	image_write(o, 0, s.out.bytes, s.out.len);
	free(s.out.bytes);
}

static void kill_at(struct building *b)
{
	size_t end = b->plan->end;

	for (size_t i = 0; i < end; i++) {
		struct op op = b->log->ops[i];

		if (i + 1 == end && op.kind == OP_WRITE) {
			op.len -= (size_t)b->plan->seed;
			if (b->explain && b->plan->seed)
				fprintf(b->explain,
					"of call %zu, the first %zu bytes\n", i,
					op.len);
		}
		op_apply(b->im, &op);
	}
}

static void building_init(struct building *b, const struct oplog *log,
			  const struct plan *p)
{
	size_t bytes = (log->objects + 1) * sizeof *b->synced;

	*b = (struct building){.log = log, .plan = p, .rng = p->seed};
	b->synced = image_alloc(NULL, bytes);
	b->cut = image_alloc(NULL, bytes);
	memset(b->synced, 0, bytes);
	memset(b->cut, 0, bytes);
	b->doubtful = image_alloc(NULL, p->end);
	memset(b->doubtful, 0, p->end);
	find_synced(b);
}

static void building_fini(struct building *b)
{
	free(b->synced);
	free(b->cut);
	free(b->doubtful);
}

struct image *state_build(const struct oplog *log, const struct plan *p,
			  FILE *explain)
{
	struct building b;
	unsigned bit = 0;

	building_init(&b, log, p);
	b.explain = explain;
	b.im = image_copy(log->base);
	image_at(b.im, log->objects);
	if (p->kind == PLAN_KILL) {
		kill_at(&b);
	} else {
		cut_names(&b);
		apply_names(&b);
		for (unsigned o = 0; o < log->objects; o++)
			apply_attributes(&b, o);
		for (unsigned o = 0; o < log->objects; o++)
			if (p->kind == PLAN_SUBSET)
				apply_subset(&b, o, &bit);
			else
				apply_content(&b, o);
	}
	building_fini(&b);
	return b.im;
}

size_t state_pending(const struct oplog *log, size_t end)
{
	const struct plan p = {.end = end};
	struct building b;
	size_t n = 0;

	building_init(&b, log, &p);
	for (size_t i = 0; i < end; i++)
		n += is_pending(&b, i);
	building_fini(&b);
	return n;
}
