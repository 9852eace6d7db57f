#include "seeker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

struct job {
	struct job *next;
	struct seek seek;
};

struct seeker {
	struct fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job *first, **end; /* lock */
	bool started, stop;	  /* lock */
	pthread_t thread;
};

int seeker_new(struct fs *fs, struct seeker **out)
{
	struct seeker *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	s->end = &s->first;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	*out = s;
	return 0;
}

void seeker_answer(struct fs *fs, const struct seek *seek)
{
	struct workspace *ws = workspace_get();
	uint64_t result;
	struct vfile *vf;
	int err = ws ? file_acquire(fs, seek->file, false, &vf) : -ENOMEM;

	if (!err) {
		err = vfile_seek(vf, ws, (uint64_t)seek->offset, seek->whence,
				 &result);
		file_release(seek->file);
	}
	if (err)
		fs_reply_err(seek->req, err);
	else
		fuse_reply_lseek(seek->req, (off_t)result);
}

/* The next job, or NULL when it is time to end. */
static struct job *take(struct seeker *s)
{
	struct job *job;

	pthread_mutex_lock(&s->lock);
	while (!s->first && !s->stop)
		pthread_cond_wait(&s->changed, &s->lock);
	job = s->first;
	if (job) {
		s->first = job->next;
		if (!s->first)
			s->end = &s->first;
	}
	pthread_mutex_unlock(&s->lock);
	return job;
}

static void *run(void *arg)
{
	struct seeker *s = arg;
	struct job *job;

	while ((job = take(s))) {
		fuse_lowlevel_notify_inval_inode(s->fs->session, job->seek.ino,
						 0, 0);
		seeker_answer(s->fs, &job->seek);
		free(job);
	}
	return NULL;
}

/* Signals are for the thread that ends the session. Needs the lock. */
static int start(struct seeker *s)
{
	sigset_t all, before;
	int err;

	if (s->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->started = !err;
	return -err;
}

void seeker_submit(struct seeker *s, const struct seek *seek)
{
	struct job *job = malloc(sizeof *job);
	int err = -ENOMEM;

	if (job) {
		*job = (struct job){.seek = *seek};
		pthread_mutex_lock(&s->lock);
		err = start(s);
		if (!err) {
			*s->end = TAKE_PTR(job);
			s->end = &(*s->end)->next;
			pthread_cond_signal(&s->changed);
		}
		pthread_mutex_unlock(&s->lock);
	}
	free(job);
	if (err)
		fs_reply_err(seek->req, err);
}

void seeker_free(struct seeker *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (s->started)
		pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
