/* What the recorder*.c files share; nobody else includes this. */
#ifndef FROND_CRASH_RECORDER_INTERNAL_H
#define FROND_CRASH_RECORDER_INTERNAL_H

#include "recorder.h"

#include "recorder_calls.h"

/*
 * Begin and end of a call, which is written down in between if true. No other
 * call gets in between.
 */
bool rec_begin(void);
void rec_done(void);

/* So many calls were written down so far; 0: nothing is. */
size_t rec_position(void);

/* Wait here, if that was asked of this thread. */
void hold_point(void);
/* Will the next point be it? */
bool hold_is_next(void);

/* Numbers of objects, or -1: none that is known. */
long rec_object_of(const struct stat64 *st);
long rec_object_of_fd(int fd);
long rec_object_at(int fd, const char *path, int flags);
/* Of the directory that path lies in; *name: what it is called there. */
long rec_place(int fd, const char *path, const char **name);

/* Between rec_begin() and rec_done(): write down. */
struct op *rec_note(enum op_kind kind, long obj);
void rec_note_bytes(long obj, size_t offset, const void *bytes, size_t len);
struct op *rec_note_entry(long dir, const char *name, long obj, bool born,
			  const struct stat64 *st);
/* Something new has appeared under that name; NULL: nowhere we know. */
struct op *rec_note_new(int fd, const char *path);
/* A file has been mapped for writing, or is no more. */
void rec_note_map(long obj, void *at, size_t len, size_t offset);
void rec_note_unmap(void *at);
char *rec_text(const char *text);
/* By itself: what the machine remembers of the vault at path. */
void rec_note_seen(const char *path);
/* From now on that is what is meant. */
void rec_know(const struct stat64 *st, unsigned obj);

enum {
	CAN_FILL = 1 << FAULT_NO_SPACE | 1 << FAULT_QUOTA,
	CAN_IO = 1 << FAULT_IO,
	CAN_OPEN = 1 << FAULT_NO_FILES | 1 << FAULT_ACCESS,
	CAN_SHORT = 1 << FAULT_SHORT,
	CAN_LOOK = 1 << FAULT_LOOK,
};

/*
 * kinds: the ways in which this call, of something behind fd or in the
 * directory fd, can fail. True: it fails now, and errno says how.
 */
bool fault_fails_at(const void *place, const char *call, unsigned kinds, int fd,
		    const char *path);
/* In the function that stands in for the call. */
#define fault_fails(...)                                                       \
	fault_fails_at(__builtin_return_address(0), __VA_ARGS__)
/* The same for memory, or a thread, that is asked for at this place. */
bool fault_no_memory(const char *call, const void *place);
/* Is the fault that has just happened a short write? */
bool fault_is_short(void);

#endif
