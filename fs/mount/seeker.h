/*
 * lseek(2) for holes and data while the kernel collects writes: what lies in
 * its cache would look like holes, so it is made to hand that over first. It
 * does so by sending WRITE requests, which the threads of the session have to
 * answer meanwhile: whoever waits for them must not be one of those.
 */
#ifndef FROND_SEEKER_H
#define FROND_SEEKER_H

#include "file_cache.h"

struct seeker;

/* One thread, started with the first request. */
MUST_CHECK int seeker_new(struct fs *fs, struct seeker **out);
/* Call it while the session still exists; NULL is fine. */
void seeker_free(struct seeker *s);

struct seek {
	fuse_req_t req;
	fuse_ino_t ino;
	struct open_file *file; /* stays open until the request is answered */
	off_t offset;
	int whence;
};

/* Answers the request, now or later. */
void seeker_submit(struct seeker *s, const struct seek *seek);
/* The same at once, in the calling thread, for when nothing is collected. */
void seeker_answer(struct fs *fs, const struct seek *seek);

#endif
