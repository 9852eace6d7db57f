/* What was done to the backing directory, call by call. */
#ifndef FROND_CRASH_OPLOG_H
#define FROND_CRASH_OPLOG_H

#include "image.h"

#include <stdio.h>

enum op_kind {
	OP_WRITE,    /* bytes into obj at offset */
	OP_RESIZE,   /* obj to len bytes */
	OP_ZERO,     /* len bytes of obj at offset, within its length */
	OP_MODE,     /* of obj */
	OP_XATTR,    /* name of obj to bytes; NULL: none any more */
	OP_ENTER,    /* obj gets name in dir; born: and is new */
	OP_LEAVE,    /* name goes from dir */
	OP_MOVE,     /* name in dir to to_name in to_dir, replacing */
	OP_SWAP,     /* those two change places */
	OP_SYNC,     /* of obj, a file's bytes or a directory's names, what was
			done before call len is durable */
	OP_SYNC_ALL, /* of everything */
	OP_UNSYNC,   /* making obj durable failed: what was written before and
			is not durable may never be */
	OP_BEGIN,    /* the workload's next step begins */
	OP_END,	     /* and has ended */
	OP_KEEP,     /* what the machine remembers is this, from here on */
	OP_KINDS,
};

struct op {
	enum op_kind kind;
	unsigned obj, dir, to_dir;
	bool born;
	char *name, *to_name;
	size_t offset, len;
	uint8_t *bytes;
	mode_t mode;
	ino_t ino;
};

struct oplog {
	struct image *base;
	struct op *ops;
	size_t count;
	unsigned objects; /* numbers below this are taken */
};

/* The new op, zeroed but for its kind. */
struct op *oplog_add(struct oplog *log, enum op_kind kind);
void oplog_fini(struct oplog *log);
/* The same beginning, of so many calls. */
void oplog_copy(struct oplog *to, const struct oplog *log, size_t count);

/* Is it the business of a directory's entries? */
bool op_is_entry(const struct op *op);
/* Does it change what obj itself holds, or its length? */
bool op_is_content(const struct op *op);

void op_apply(struct image *im, const struct op *op);
/* Of an OP_ENTER that is born: what is new, without its name. */
void op_bear(struct image *im, const struct op *op);
void op_print(FILE *out, size_t index, const struct op *op);

/* To a file and back; 0 or an errno. */
int oplog_save(const struct oplog *log, FILE *out);
int oplog_load(struct oplog *log, FILE *in);

#endif
