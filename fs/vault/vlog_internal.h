/* What the vlog*.c files share; nobody else includes this. */
#ifndef FROND_VLOG_INTERNAL_H
#define FROND_VLOG_INTERNAL_H

#include "vlog.h"

#include <pthread.h>

/* in .frondfs */
#define LOG_FILE "log"
#define HEAD_FILE "log.head"

struct vlog {
	struct vault *vault;
	int fd;		      /* -1: none, and it cannot be made */
	pthread_mutex_t lock; /* one call at a time */
	struct fernet_key *key;
	bool settled; /* what others have left is durable */
};

/*
 * Threads by the mutex, other processes by a lock (F_RDLCK, F_WRLCK) on the
 * whole file: the one that lies there then. One that was taken away is put back
 * first.
 */
MUST_CHECK int vlog_lock_(struct vlog *log, int type);
void vlog_unlock_(struct vlog *log);

#endif
