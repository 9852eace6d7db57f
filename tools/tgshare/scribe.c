#include "scribe.h"
#include "xio.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

struct scribe {
	int fd;
	pthread_t thread;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t turn;
	const void *buf; /* NULL: nothing to do */
	size_t len;
	bool over;
	int err; /* of the last piece */
};

static void *work(void *arg)
{
	struct scribe *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!s->buf && !s->over)
			pthread_cond_wait(&s->turn, &s->lock);
		if (!s->buf)
			break;
		pthread_mutex_unlock(&s->lock);
		/* buf and len are left alone until this is done */
		int err = xio_write(s->fd, s->buf, s->len);

		pthread_mutex_lock(&s->lock);
		s->err = err;
		s->buf = NULL;
		pthread_cond_broadcast(&s->turn);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int scribe_new(int fd, struct scribe **out)
{
	struct scribe *s = calloc(1, sizeof *s);
	int err;

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->turn, NULL);
	err = -pthread_create(&s->thread, NULL, work, s);
	if (err) {
		free(s);
		return err;
	}
	*out = s;
	return 0;
}

void scribe_free(struct scribe *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->over = true;
	pthread_cond_broadcast(&s->turn);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->turn);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void scribe_begin(struct scribe *s, const void *buf, size_t len)
{
	pthread_mutex_lock(&s->lock);
	s->buf = buf;
	s->len = len;
	pthread_cond_broadcast(&s->turn);
	pthread_mutex_unlock(&s->lock);
}

int scribe_wait(struct scribe *s)
{
	int err;

	pthread_mutex_lock(&s->lock);
	while (s->buf)
		pthread_cond_wait(&s->turn, &s->lock);
	err = s->err;
	pthread_mutex_unlock(&s->lock);
	return err;
}
