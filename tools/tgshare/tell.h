/*
 * What came, and what others did with what they got, in sentences on standard
 * output. Names and words of others stay on their lines (json.h).
 */
#ifndef TGSHARE_TELL_H
#define TGSHARE_TELL_H

#include "outbox.h"

/* Of a set: its name, "something" without one. */
void tell_name(const char *name);

/* In quotes, below what it belongs to; nothing when it is empty. */
void tell_note(const char *note);

/* Where the vault has what came, relative to the mount; "" nowhere, or where
 * its owner moved it. */
const char *tell_place(const struct session *s, const struct inbox_set *set);

/* One line about a set that is not open yet, and its note. lost: of what was
 * granted nothing is there. */
void tell_set(const struct session *s, const struct inbox_set *set, bool lost);

/*
 * The note of what opened at path (relative to the mount; what the log has of
 * it), which stays with it as its comment; "" when there is none any more.
 */
enum { TELL_NOTE_SIZE = MANIFEST_NOTE_MAX + 1 };
void tell_note_of(const struct session *s, const char *path,
		  char note[static TELL_NOTE_SIZE]);

/* A record of the log, of which somebody else was the cause: true when it was
 * worth a line. item: what it is about, of ours, or NULL. */
bool tell_record(const struct session *s, const struct vlog_record *r,
		 const struct item *item);

#endif
