/* What the prefetch*.c files share; nobody else includes this. */
#ifndef FROND_PREFETCH_INTERNAL_H
#define FROND_PREFETCH_INTERNAL_H

#include "prefetch.h"

#include <pthread.h>

enum {
	STREAMS_MAX = 16,  /* readers served at once */
	UNITS = 64,	   /* places of one reader */
	BUFFERS_MAX = 160, /* of all readers */
	SPARE_MAX = 16,	   /* buffers kept for later */
	THREADS_FAR = 24,
};

enum unit_state {
	UNIT_FREE,
	UNIT_QUEUED,
	UNIT_BUSY, /* a thread is reading it */
	UNIT_READY,
	UNIT_BAD, /* could not be read, or need not be any more */
};

/* What is expected to be asked for. All of it: the prefetch's lock; but what
 * the buffer holds: whoever made it BUSY, then nobody's. */
struct unit {
	enum unit_state state;
	bool unwanted;	/* the reader has gone elsewhere */
	unsigned users; /* requests that wait for it or are answered from it */
	struct prefetch_stream *stream;
	uint64_t offset;
	size_t len;  /* READY: so much was there */
	size_t left; /* so much of it is still expected to be asked for */
	uint64_t generation;
	struct workspace *buffer; /* unless FREE */
	struct unit *next;	  /* in the queue */
};

/* The prefetch's lock guards it. */
struct prefetch_stream {
	struct open_handle *reader; /* NULL: nobody's */
	uint64_t ahead;		    /* where the next unit begins */
	uint64_t behind;	    /* no unit lies in front of this */
	uint64_t last_use;
	unsigned depth;		  /* units ahead of the reader */
	unsigned busy;		  /* units BUSY, and uses of units */
	struct unit units[UNITS]; /* by number, modulo UNITS */
};

struct prefetch {
	struct fs *fs;
	unsigned cores;
	pthread_mutex_t lock; /* guards all that follows */
	/* far: for threads beyond the cores, which only help to wait */
	pthread_cond_t queued, far_queued, done;
	struct unit *head, **tail; /* what is QUEUED */
	uint64_t uses;
	bool stop;
	bool known, far; /* how far away the backing directory is */
	unsigned slowness;
	unsigned thread_count;
	pthread_t threads[THREADS_FAR];
	struct prefetch_stream *streams[STREAMS_MAX];
	unsigned buffer_count, spare_count;
	struct workspace *spare[SPARE_MAX];
};

/* All of these need the lock. */

/* Room for a unit, or NULL: there is enough already. */
struct workspace *prefetch_get_buffer_(struct prefetch *p);
/* Have it read. */
void prefetch_enqueue_(struct prefetch *p, struct unit *u);
/* Free it if nobody needs it any more. */
void prefetch_settle_(struct prefetch *p, struct unit *u);
/* It is not wanted any more. */
void prefetch_drop_(struct prefetch *p, struct unit *u);
/* To read a unit has taken so long. */
void prefetch_note_pace_(struct prefetch *p, int64_t took_us);
/* Have as many threads as are of use; false: there are none. */
bool prefetch_start_threads_(struct prefetch *p);

#endif
