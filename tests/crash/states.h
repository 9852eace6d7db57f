/*
 * What a crash may leave of the calls in a log.
 *
 * Killed, a process leaves every call that it made, and of the last one, if
 * it is a write, a part from its beginning. When the power fails, what was
 * not made durable by a later fsync is there or not:
 *
 * - of a file's bytes every sector of 512 bytes as it was at some instant
 *   since, the length as at some instant, too; modes and xattrs likewise; a
 *   write whose fsync failed may be missing for ever, whatever comes later;
 * - of names, and of directories' modes and xattrs, what had been done up to
 *   some instant, in order: a file system's own journal keeps it. A directory
 *   that was fsynced later than that is as it was then; a rename between two
 *   is there in both or in none.
 *
 * An fsync covers what was done before it began, and counts from its end on.
 *
 * For names that is what ext4, XFS and btrfs may leave, and more (an fsync of
 * one thing makes nothing else durable); for bytes it is what POSIX allows.
 */
#ifndef FROND_CRASH_STATES_H
#define FROND_CRASH_STATES_H

#include "oplog.h"

enum plan_kind {
	PLAN_KILL,
	PLAN_SUBSET, /* power: of the last writes those that are in a mask */
	PLAN_POWER,  /* power: at random */
	PLAN_KINDS,
};

struct plan {
	enum plan_kind kind;
	size_t end;    /* calls before this one were made */
	uint64_t seed; /* KILL: bytes torn off the last write; SUBSET: mask */
};

#define PLAN_FORMAT "%u:%zu:%llu"

/* What the directory looks like then. explain: say so, call by call. */
struct image *state_build(const struct oplog *log, const struct plan *p,
			  FILE *explain);

/* How many of the calls before end may be missing, one by one? */
size_t state_pending(const struct oplog *log, size_t end);

#endif
