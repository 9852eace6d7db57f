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

/* The workload itself does not work. */
_Noreturn void story_broken(const struct story *s, const char *what, int err);

#endif
