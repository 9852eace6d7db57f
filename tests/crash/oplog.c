#include "oplog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct op *oplog_add(struct oplog *log, enum op_kind kind)
{
	struct op *op;

	/* doubled when full: at every power of two */
	if ((log->count & (log->count - 1)) == 0)
		log->ops = image_alloc(log->ops,
				       (log->count ? log->count * 2 : 1) *
					       sizeof *log->ops);
	op = &log->ops[log->count++];
	*op = (struct op){.kind = kind};
	return op;
}

void oplog_fini(struct oplog *log)
{
	for (size_t i = 0; i < log->count; i++) {
		free(log->ops[i].name);
		free(log->ops[i].to_name);
		free(log->ops[i].bytes);
	}
	free(log->ops);
	image_free(log->base);
	*log = (struct oplog){0};
}

static char *copied_text(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		image_fail("memory", "strdup");
	return copy;
}

void oplog_copy(struct oplog *to, const struct oplog *log, size_t count)
{
	*to = (struct oplog){.base = image_copy(log->base),
			     .objects = log->objects};
	for (size_t i = 0; i < count; i++) {
		const struct op *op = &log->ops[i];
		struct op *copy = oplog_add(to, op->kind);

		*copy = *op;
		copy->name = copied_text(op->name);
		copy->to_name = copied_text(op->to_name);
		if (!op->bytes)
			continue;
		copy->bytes = image_alloc(NULL, op->len + 1);
		memcpy(copy->bytes, op->bytes, op->len);
	}
}

bool op_is_entry(const struct op *op)
{
	return op->kind >= OP_ENTER && op->kind <= OP_SWAP;
}

bool op_is_content(const struct op *op)
{
	return op->kind <= OP_ZERO;
}

static void move(struct image *im, const struct op *op)
{
	long moved = image_find(image_at(im, op->dir), op->name);
	long target = image_find(image_at(im, op->to_dir), op->to_name);

	/* two names of one file both stay (rename(2)) */
	if (moved < 0 || moved == target)
		return;
	image_leave(image_at(im, op->dir), op->name);
	image_enter(image_at(im, op->to_dir), op->to_name, (unsigned)moved);
}

static void swap(struct image *im, const struct op *op)
{
	long a = image_find(image_at(im, op->dir), op->name);
	long b = image_find(image_at(im, op->to_dir), op->to_name);

	if (a < 0 || b < 0)
		return;
	image_enter(image_at(im, op->dir), op->name, (unsigned)b);
	image_enter(image_at(im, op->to_dir), op->to_name, (unsigned)a);
}

void op_bear(struct image *im, const struct op *op)
{
	struct image_object *o = image_at(im, op->obj);

	o->mode = op->mode;
	o->ino = op->ino;
	if (S_ISLNK(op->mode))
		image_write(o, 0, op->bytes, op->len);
}

static void enter(struct image *im, const struct op *op)
{
	if (op->born)
		op_bear(im, op);
	image_enter(image_at(im, op->dir), op->name, op->obj);
}

static void zero(struct image_object *o, size_t offset, size_t len)
{
	if (offset >= o->len)
		return;
	if (len > o->len - offset)
		len = o->len - offset;
	memset(o->bytes + offset, 0, len);
}

void op_apply(struct image *im, const struct op *op)
{
	struct image_object *o = image_at(im, op->obj);

	switch (op->kind) {
	case OP_WRITE:
		image_write(o, op->offset, op->bytes, op->len);
		break;
	case OP_RESIZE:
		image_resize(o, op->len);
		break;
	case OP_ZERO:
		zero(o, op->offset, op->len);
		break;
	case OP_MODE:
		o->mode = (o->mode & S_IFMT) | op->mode;
		break;
	case OP_XATTR:
		image_set_xattr(o, op->name, op->bytes, op->len);
		break;
	case OP_ENTER:
		enter(im, op);
		break;
	case OP_LEAVE:
		image_leave(image_at(im, op->dir), op->name);
		break;
	case OP_MOVE:
		move(im, op);
		break;
	case OP_SWAP:
		swap(im, op);
		break;
	default:
		break;
	}
}

void op_print(FILE *out, size_t index, const struct op *op)
{
	fprintf(out, "%5zu  ", index);
	switch (op->kind) {
	case OP_WRITE:
		fprintf(out, "write #%u at %zu, %zu bytes", op->obj, op->offset,
			op->len);
		break;
	case OP_RESIZE:
		fprintf(out, "truncate #%u to %zu", op->obj, op->len);
		break;
	case OP_ZERO:
		fprintf(out, "punch #%u at %zu, %zu bytes", op->obj, op->offset,
			op->len);
		break;
	case OP_MODE:
		fprintf(out, "chmod #%u %o", op->obj, (unsigned)op->mode);
		break;
	case OP_XATTR:
		fprintf(out, "%s #%u %s",
			op->bytes ? "setxattr" : "removexattr", op->obj,
			op->name);
		break;
	case OP_ENTER:
		fprintf(out, "%s #%u as #%u/%.60s",
			!op->born	    ? "link"
			: S_ISDIR(op->mode) ? "mkdir"
			: S_ISLNK(op->mode) ? "symlink"
					    : "create",
			op->obj, op->dir, op->name);
		break;
	case OP_LEAVE:
		fprintf(out, "unlink #%u/%.60s", op->dir, op->name);
		break;
	case OP_MOVE:
	case OP_SWAP:
		fprintf(out, "%s #%u/%.60s to #%u/%.60s",
			op->kind == OP_MOVE ? "rename" : "exchange", op->dir,
			op->name, op->to_dir, op->to_name);
		break;
	case OP_SYNC:
		fprintf(out, "fsync #%u as it was at %zu", op->obj, op->len);
		break;
	case OP_SYNC_ALL:
		fprintf(out, "syncfs");
		break;
	case OP_UNSYNC:
		fprintf(out, "fsync #%u, in vain", op->obj);
		break;
	case OP_BEGIN:
		fprintf(out, "- step %u begins", op->obj);
		break;
	case OP_END:
		fprintf(out, "- step %u has ended", op->obj);
		break;
	case OP_KEEP:
		fprintf(out, "- what was seen is kept");
		break;
	case OP_KINDS:
		break;
	}
	fputc('\n', out);
}

/* A file of this machine for this machine: structs as they are. */
static bool put(FILE *out, const void *p, size_t len)
{
	return fwrite(&len, sizeof len, 1, out) == 1 &&
	       (len == 0 || fwrite(p, len, 1, out) == 1);
}

/* What put() has written, with a NUL behind it; NULL for no bytes. */
static bool get(FILE *in, uint8_t **p, size_t *len)
{
	size_t n = 0;

	*p = NULL;
	*len = 0;
	if (fread(&n, sizeof n, 1, in) != 1)
		return false;
	*len = n;
	*p = n ? image_alloc(NULL, n + 1) : NULL;
	if (n == 0)
		return true;
	(*p)[n] = 0;
	return fread(*p, n, 1, in) == 1;
}

static bool put_text(FILE *out, const char *text)
{
	return put(out, text, text ? strlen(text) : 0);
}

static bool get_text(FILE *in, char **text)
{
	size_t len;

	return get(in, (uint8_t **)text, &len);
}

static bool put_object(FILE *out, const struct image_object *o)
{
	bool good =
		fwrite(o, sizeof *o, 1, out) == 1 && put(out, o->bytes, o->len);

	for (size_t i = 0; i < o->entry_count && good; i++)
		good = put_text(out, o->entries[i].name) &&
		       fwrite(&o->entries[i].obj, sizeof(unsigned), 1, out) ==
			       1;
	for (size_t i = 0; i < o->xattr_count && good; i++)
		good = put_text(out, o->xattrs[i].name) &&
		       put(out, o->xattrs[i].value, o->xattrs[i].len);
	return good;
}

static bool get_object(FILE *in, struct image_object *o)
{
	struct image_object head = {0};
	uint8_t *bytes = NULL;
	size_t len;
	bool good =
		fread(&head, sizeof head, 1, in) == 1 && get(in, &bytes, &len);

	if (!good) {
		free(bytes);
		return false;
	}
	o->mode = head.mode;
	o->ino = head.ino;
	image_write(o, 0, bytes, len);
	free(bytes);
	for (size_t i = 0; i < head.entry_count && good; i++) {
		char *name;
		unsigned obj = 0;

		good = get_text(in, &name) &&
		       fread(&obj, sizeof obj, 1, in) == 1;
		if (good)
			image_enter(o, name, obj);
		free(name);
	}
	for (size_t i = 0; i < head.xattr_count && good; i++) {
		char *name;

		bytes = NULL;
		good = get_text(in, &name) && get(in, &bytes, &len);
		if (good)
			image_set_xattr(o, name, bytes, len);
		free(name);
		free(bytes);
	}
	return good;
}

int oplog_save(const struct oplog *log, FILE *out)
{
	bool good = fwrite(log, sizeof *log, 1, out) == 1 &&
		    fwrite(log->base, sizeof *log->base, 1, out) == 1;

	for (size_t i = 0; i < log->base->count && good; i++)
		good = put_object(out, &log->base->objects[i]);
	for (size_t i = 0; i < log->count && good; i++) {
		const struct op *op = &log->ops[i];

		good = fwrite(op, sizeof *op, 1, out) == 1 &&
		       put_text(out, op->name) && put_text(out, op->to_name) &&
		       put(out, op->bytes, op->bytes ? op->len : 0);
	}
	return good ? 0 : EIO;
}

int oplog_load(struct oplog *log, FILE *in)
{
	struct oplog head = {0};
	struct image base = {0};
	bool good = fread(&head, sizeof head, 1, in) == 1 &&
		    fread(&base, sizeof base, 1, in) == 1;

	*log = (struct oplog){.base = image_new(), .objects = head.objects};
	for (unsigned i = 0; i < base.count && good; i++)
		good = get_object(in, image_at(log->base, i));
	for (size_t i = 0; i < head.count && good; i++) {
		struct op saved = {0}, *op;
		size_t len;

		good = fread(&saved, sizeof saved, 1, in) == 1;
		saved.name = saved.to_name = NULL;
		saved.bytes = NULL;
		op = oplog_add(log, saved.kind);
		*op = saved;
		good = good && get_text(in, &op->name) &&
		       get_text(in, &op->to_name) && get(in, &op->bytes, &len);
	}
	return good ? 0 : EIO;
}
