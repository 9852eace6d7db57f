/*
 * A workload: steps on a vault, each as fs/mount carries it out, and beside
 * them what the vault holds after each step. The same steps can be told
 * without a vault, which gives the same model.
 */
#ifndef FROND_CRASH_STORY_H
#define FROND_CRASH_STORY_H

#include "recorder.h"
#include "vfile.h"
#include "vlog.h"

#include <pthread.h>

enum node_kind { NODE_FILE, NODE_DIR, NODE_LINK };

/* What a node held from the end of a step on; at its beginning, maybe. */
struct version {
	long step; /* -1: from the very beginning */
	uint8_t *bytes;
	size_t len;
};

struct versions {
	struct version *list;
	size_t count;
};

/* Durable at the end of step: version index, and all that came before. */
struct durable {
	long step;
	size_t version; /* of a directory: of the tree */
	size_t attr;
};

struct node {
	enum node_kind kind;
	uint8_t id[FILE_ID_LEN]; /* of a file or directory; else zeros */
	struct versions content; /* bytes; of a link, its target */
	struct versions attr;	 /* its xattr "user.mark" */
	struct durable *synced;
	size_t synced_count;
	struct vfile *f; /* while it is open */
	int dirfd;	 /* of a directory, while the vault is open */
	int at;		 /* either, in the mount, where there is one; or -1 */
};

struct name {
	unsigned dir, node;
	char *text;
};

struct tree {
	long step;
	struct name *names;
	size_t count;
};

struct story {
	struct vault *vault; /* NULL: only the model is told */
	const struct story_plot *plot;
	uint64_t rng;
	long step; /* the present one, from 0 */
	struct node *nodes;
	size_t node_count;
	struct tree *trees;
	size_t tree_count;
	struct vlog *log;
	struct versions records; /* of the log: one byte each */
	const char *pass[2];	 /* before and after a change of it */
	long pass_step;		 /* -1: none */
	bool faulty;		 /* steps may fail once */
	int failures, last_error;
	bool untold; /* an fsync failed, and its step did not */
	/* Where fs/mount serves the vault; NULL: steps go to it directly. */
	const char *point;
	bool everywhere; /* the fault is met at each place in the code */
	bool again;	 /* the present step has failed before */
	const uint8_t (*ids)[FILE_ID_LEN]; /* without a vault: the nodes' */
	/* Called by story_begin(), to unmount, look, and mount again. */
	void (*begin)(struct story *s);
	struct {
		pthread_t thread;
		bool runs, waits;
		size_t within; /* the next step's point, and 1; or 0 */
		int error;
	} flush; /* another thread's */
};

/* A workload by its name. */
struct story_plot {
	const char *name;
	void (*tell)(struct story *s);
	bool data;   /* what counts is what files hold */
	bool served; /* by fs/mount alone */
};
extern const struct story_plot story_plots[];
const struct story_plot *story_plot_find(const char *name);

/*
 * vault: mounted; its log and files are opened as needed. ids, faulty and
 * begin stay as they are.
 */
void story_init(struct story *s, const struct story_plot *plot, uint64_t seed,
		struct vault *vault);
void story_tell(struct story *s);
/* Close what is open: the vault can be unmounted then. */
void story_close(struct story *s);
void story_fini(struct story *s);

/* Mounting and unmounting as fs/mount does it, without FUSE. */
/* True: without a journal. */
extern bool story_unprotected;
MUST_CHECK int story_mount(struct vault *vault);
MUST_CHECK int story_unmount(struct vault *vault);
/* It makes everything durable when it begins: until it has. */
void story_settle(struct vault *vault);

/*
 * What was told so far is there, and durable, and no file is open: from here
 * on everything is looked at. The first step is 0.
 */
void story_begin(struct story *s);

/* From now on steps go to where fs/mount serves it. */
void served_enter(struct story *s);

/* The steps. Nodes are numbered; 0 is the root. */
unsigned story_create(struct story *s, unsigned dir, const char *name);
unsigned story_mkdir(struct story *s, unsigned dir, const char *name);
unsigned story_symlink(struct story *s, unsigned dir, const char *name,
		       size_t target_len);
void story_link(struct story *s, unsigned node, unsigned from_dir,
		const char *from, unsigned dir, const char *name);
void story_rename(struct story *s, unsigned from_dir, const char *from,
		  unsigned dir, const char *name, unsigned flags);
void story_unlink(struct story *s, unsigned dir, const char *name);
void story_rmdir(struct story *s, unsigned dir, const char *name);
void story_sync_dir(struct story *s, unsigned dir);

/* node: a file that is open, as it is once created. */
void story_write(struct story *s, unsigned node, size_t offset, size_t len);
void story_append(struct story *s, unsigned node, size_t len);
void story_truncate(struct story *s, unsigned node, size_t len);
void story_punch(struct story *s, unsigned node, size_t offset, size_t len);
void story_sync(struct story *s, unsigned node);
/* As fdatasync does it. */
void story_sync_data(struct story *s, unsigned node);
/* All of it, chunk by chunk in no order, while somebody reads. */
void story_rewrite(struct story *s, unsigned node);
void story_shut(struct story *s, unsigned node);
void story_open(struct story *s, unsigned node, unsigned dir, const char *name);
void story_rekey(struct story *s, unsigned node);
void story_mark(struct story *s, unsigned node, size_t value_len);
/* What else a program may ask of a mount; node is open. How many there are. */
void story_visit(struct story *s, unsigned node, size_t which);
size_t story_visits(void);

void story_record(struct story *s, uint8_t detail);
void story_change_passphrase(struct story *s);
/* Time for what happens in the background. */
void story_pause(struct story *s, unsigned ms);
/* All that was done is made durable now, and what was seen is kept. */
void story_checkpoint(struct story *s);
/* The clock is set back, for what is sealed from now on. */
void story_clock_back(struct story *s, long seconds);

/*
 * No steps. Another thread empties the journal, and stops at its n-th point
 * (recorder.h) until story_flush_end() or for a moment; or all of it happens
 * while the next step stops there.
 */
void story_flush_begin(struct story *s, size_t n);
void story_flush_end(struct story *s);
void story_flush_within(struct story *s, size_t n);

/* The directory as it was after tree version t: does it have this name? */
const struct name *tree_find(const struct tree *t, unsigned dir,
			     const char *text);

#endif
