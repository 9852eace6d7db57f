/* What the inode*.c files share; nobody else includes this. */
#ifndef FROND_INODE_INTERNAL_H
#define FROND_INODE_INTERNAL_H

#include "inode.h"

#include <pthread.h>

struct link {
	struct link *name_next;	      /* of the same bucket in names */
	struct link *next, **pprev;   /* of the same inode */
	struct inode *inode, *parent; /* parent NULL: in orphans/ */
	uint32_t hash;
	char entry[];
};

struct inode_table {
	struct vault *vault;
	struct inode *root;
	pthread_mutex_t lock; /* guards all that follows; never held for I/O */

	struct inode **inodes; /* by device, number and birth time */
	size_t inode_buckets, inode_count;
	struct link **names; /* by parent and entry */
	size_t name_buckets, name_count;
	struct inode *dead, **dead_tail; /* to be freed by the unlocker */

	struct inode *lru_first, *lru_last; /* unused longest: first */
	size_t fds_open, fds_max;
	bool (*spare)(void *arg, int err, unsigned *tries); /* set once */
	void *spare_arg;

	unsigned moving; /* between inode_move_begin and inode_move_end */
	uint64_t moves;	 /* begins and ends so far */
	pthread_cond_t moved;
};

void inode_lock_(struct inode_table *t);
/* Also frees what lost its last reference while the lock was held. */
void inode_unlock_(struct inode_table *t);
/* Under the lock: give up one of our references. */
void inode_drop_ref_(struct inode_table *t, struct inode *i);

/* Under the lock. */
struct link *inode_find_link_(struct inode_table *t, const struct inode *parent,
			      const char *entry);
void inode_cut_link_(struct inode_table *t, struct link *l);
/* One more name; the newest comes first, as it is surely right. */
struct link *inode_add_link_(struct inode_table *t, struct inode *i,
			     struct inode *parent, const char *entry);
/* Let entry of parent be a name of the inode, and of no other. */
bool inode_set_link_(struct inode_table *t, struct inode *i,
		     struct inode *parent, const char *entry);
/* Under the lock; an open descriptor that is not in use leaves the cache. */
void inode_lru_remove_(struct inode_table *t, struct inode *dir);

/* Opening failed: is it worth trying again? *tries counts, from 0. */
bool inode_spare_fd_(struct inode_table *t, int err, unsigned *tries);

/* Were names moving while somebody looked? */
struct inode_motion {
	uint64_t moves;
	bool moving;
	unsigned tries;
};
void inode_motion_watch_(struct inode_table *t, struct inode_motion *m);
/* True: it is worth looking again. Waits for a move that is under way. */
bool inode_motion_over_(struct inode_table *t, struct inode_motion *m);

#endif
