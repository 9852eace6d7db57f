/* What the story*.c files share. */
#ifndef FROND_CRASH_STORY_INTERNAL_H
#define FROND_CRASH_STORY_INTERNAL_H

#include "story.h"

void versions_add(struct versions *v, long step, const void *bytes, size_t len);
struct version *versions_last(const struct versions *v);

/* A new version of the tree, so far like the last one. */
struct tree *story_new_tree(struct story *s);
void tree_add(struct tree *t, unsigned dir, const char *text, unsigned node);
void tree_drop(struct tree *t, unsigned dir, const char *text);

unsigned story_new_node(struct story *s, enum node_kind kind);
void story_step(struct story *s, const char *what, int (*act)(void *arg),
		void *arg);
/* story_race.c: around what a step does. */
void story_race_begins(struct story *s);
void story_race_ends(struct story *s);

#define STORY_MARK "user.mark"

/* story_served.c: the same in the mount. 0 or an errno. */
int served_create(struct story *s, unsigned node, unsigned dir,
		  const char *name);
int served_open(struct story *s, unsigned node, unsigned dir, const char *name);
int served_shut(struct story *s, unsigned node);
int served_mkdir(struct story *s, unsigned dir, const char *name);
int served_symlink(struct story *s, unsigned dir, const char *name,
		   const char *target);
int served_link(struct story *s, unsigned from_dir, const char *from,
		unsigned dir, const char *name);
int served_rename(struct story *s, unsigned from_dir, const char *from,
		  unsigned dir, const char *name, unsigned flags);
/* flags: as of unlinkat(2). */
int served_unlink(struct story *s, unsigned dir, const char *name, int flags);
int served_sync_dir(struct story *s, unsigned dir);
int served_write(struct story *s, unsigned node, const uint8_t *data,
		 size_t len, size_t offset);
int served_read(struct story *s, unsigned node);
int served_truncate(struct story *s, unsigned node, size_t len);
int served_punch(struct story *s, unsigned node, size_t offset, size_t len);
int served_sync(struct story *s, unsigned node, bool data_only);
int served_mark(struct story *s, unsigned node, const uint8_t *value,
		size_t len);
/* What has just been made: its id, or where it is in the mount. */
void served_look(struct story *s, unsigned node, unsigned dir,
		 const char *name);

/* The workload itself does not work. */
_Noreturn void story_broken(const struct story *s, const char *what, int err);

#endif
