/*
 * Cleanup attributes: what a scope owns is released when the scope is left,
 * whichever way. Initialise at declaration (NULL or -1 for "nothing yet");
 * hand over with TAKE_PTR or TAKE_FD.
 */
#ifndef FROND_CLEANUP_H
#define FROND_CLEANUP_H

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fd_(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_dir_(DIR *const *dir)
{
	if (*dir)
		closedir(*dir);
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free_)))
#define CLEANUP_FD __attribute__((cleanup(cleanup_fd_)))
#define CLEANUP_DIR __attribute__((cleanup(cleanup_dir_)))

#define TAKE_FD(fd)                                                            \
	__extension__({                                                        \
		int taken_ = (fd);                                             \
		(fd) = -1;                                                     \
		taken_;                                                        \
	})

#define TAKE_PTR(p)                                                            \
	__extension__({                                                        \
		__typeof__(p) taken_ = (p);                                    \
		(p) = NULL;                                                    \
		taken_;                                                        \
	})

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
