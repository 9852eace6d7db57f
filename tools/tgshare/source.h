/*
 * What FILE consists of: one file, or everything in a folder.
 */
#ifndef TGSHARE_SOURCE_H
#define TGSHARE_SOURCE_H

#include "mounted.h"

#include <sys/stat.h>

struct source_entry {
	char *path; /* within the set: for a single file its name */
	struct stat st;
};

struct source {
	const char *given; /* as the user wrote it */
	char *relative;	   /* to the mount's top */
	char *name;	   /* last component */
	int fd;		   /* O_PATH: the file, or the folder */
	bool folder;
	struct source_entry *entries; /* directories before what is in them */
	size_t count;
	uint64_t total, mtime_ns; /* bytes; the latest */
};

/*
 * Look at path, which must lie in m's vault. Returns an exit status, having
 * said what is wrong. Symbolic links and special files in a folder are left
 * out, and reported.
 */
MUST_CHECK int source_look(const struct mounted *m, const char *path,
			   struct source *s);
void source_free(struct source *s);

/* A file of it, open for reading, or for both. -EAGAIN: it is not the one
 * that was looked at. */
MUST_CHECK int source_open(const struct source *s,
			   const struct source_entry *entry, int flags,
			   int *fd);
/* Is what fd has now still what was looked at? */
bool source_same(const struct source_entry *entry, int fd);

/* The file's id as the mount tells it. -ENODATA. */
MUST_CHECK int source_file_id(int fd, uint8_t id[static FILE_ID_LEN]);
/* The same of what has that name now, and not of what a link leads to. */
MUST_CHECK int source_path_id(const char *path, uint8_t id[static FILE_ID_LEN]);

#endif
