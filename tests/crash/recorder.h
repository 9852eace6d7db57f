/*
 * Stands between fs/ and the calls that change files (LINKER:--wrap of each):
 * writes down what was done below one directory, in the order in which it was
 * done, and makes a call fail where that is asked for. It also lets a
 * directory that was made anew show the inode numbers of the one it is a copy
 * of, as a real disk would after a crash.
 */
#ifndef FROND_CRASH_RECORDER_H
#define FROND_CRASH_RECORDER_H

#include "oplog.h"

#include <sys/stat.h>

/* From here on, everything below path goes to log, whose base it is now. */
void recorder_begin(const char *path, struct oplog *log);
/* Aborts when something happened to the directory that was not seen. */
void recorder_end(const char *path);
/* The workload's steps, for whoever reads the log. */
void recorder_step_begins(void);
void recorder_step_ends(void);

/* How a call can fail. */
enum fault_kind {
	FAULT_NO_SPACE,
	FAULT_QUOTA,
	FAULT_IO,
	FAULT_NO_FILES,
	FAULT_SHORT,	 /* a write does half of it, and says so */
	FAULT_NO_MEMORY, /* nor a thread */
	FAULT_KINDS,
	/* something cannot be opened, from then on */
	FAULT_ACCESS = FAULT_KINDS,
	FAULT_ALL,
	/* nor can be seen what is there, and what it is like */
	FAULT_LOOK = FAULT_ALL,
};
const char *fault_word(enum fault_kind kind);

/*
 * Let the n-th call (from 0) that can fail in this way do so, once; n < 0:
 * only count. Calls outside path do not count; of those that ask for memory the
 * first of each place in the code.
 */
void fault_arm(const char *path, enum fault_kind kind, long n);
/* The same, counting for all calls the first of each place in the code. */
void fault_arm_places(const char *path, enum fault_kind kind, long n);
/* Of the places that have not been met since, the next one. */
void fault_next_place(void);
/* From the one that is armed on, all fail. */
void fault_for_good(void);
/* How many there were since. */
long fault_disarm(void);
/* The name of the call that failed; NULL: none did. */
const char *fault_fired(void);
/* Has a call of this thread failed since it last asked? */
bool fault_met(void);
/* Has one that makes something durable? */
bool fault_met_sync(void);

/*
 * Threads that meet on purpose. One of these two waits at its n-th point: each
 * call that changes what a file holds, or makes it durable, has three, before,
 * within (half of the bytes are written; all that was is to be durable) and
 * after it; a look at a file's length has one, after it.
 */
enum hold_who { HOLD_NOBODY, HOLD_STORY, HOLD_FLUSH };
void hold_thread_is(enum hold_who who);
void hold_arm(enum hold_who who, size_t n);
/* Until that one waits there, or is known not to; a moment at most. */
void hold_await(void);
void hold_not_met(void);
/* It goes on; as it does by itself after a moment: the other one may be waiting
 * for what it has. */
void hold_let_go(void);

/*
 * Inode numbers: image_store()'s callback, and forgetting them all. What is in
 * long_ago (or NULL), and unchanged in im, was changed long ago; where times
 * are lazy, what has kept its length may seem so, too.
 */
void shown_ino(void *arg, unsigned obj, const struct stat *st);
void shown_inos_forget(void);
void shown_inos_of(const struct image *im, const struct image *long_ago,
		   bool lazy);

/*
 * What the machine remembers of the vault at path (memory.h) lies beside it,
 * once that is to be used: whenever it is kept, that is written down. One vault
 * is used at a time.
 */
void seen_use(const char *path);
void seen_forget(const char *path);
/* As it was before call end, for the vault at path. */
void seen_store(const struct oplog *log, size_t end, const char *path);
/* The disk that it lies on can fail, from here on: */
void seen_disk_begin(void);
/* at the n-th call (from 0). Has it? Then no more. */
void seen_disk_fails(long n);
bool seen_disk_failed(void);

/* What log speaks of is what was stored at path with shown_ino(): on from
 * there. */
void recorder_go_on(const char *path, struct oplog *log);
/* How many calls there are by now. */
size_t recorder_count(void);

/* The machine has been started so many times since the recording: what is
 * mounted there is another mount each time. */
void shown_boots(unsigned count);

/* What keys are made now is so many seconds old. */
void shown_past(long seconds);

#endif
