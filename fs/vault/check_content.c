/* A file's header, and what it says of the rest. */
#include "check_content.h"

#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

void content_fini(struct check *c, struct content *f)
{
	cleanup_fd_(&f->fd);
	memory_file_put(c->vault, f->seen);
	if (f->own_key)
		secret_free(f->key);
	else
		secret_pool_put(c->vault->file_keys, f->key);
	free(f->faults);
	pthread_mutex_destroy(&f->lock);
}

static int take_key(struct check *c, struct content *f)
{
	f->key = secret_pool_get(c->vault->file_keys);
	if (f->key)
		return 0;
	f->key = secret_alloc(sizeof *f->key);
	f->own_key = f->key;
	return f->key ? 0 : -ENOMEM;
}

/* 0, -EBADMSG, or -ENOKEY. */
static int read_header(struct check *c, struct content *f, uint8_t *bytes)
{
	struct header h;
	int err;

	if (c->redo)
		check_redo_header(c->redo, bytes, bytes);
	err = header_parse(bytes, &c->vault->keys->file_keys, &h);
	if (err)
		return err;
	f->born_s = h.sealed_s;
	memcpy(f->id, h.file_id, sizeof f->id);
	memcpy(f->dirid, h.dirid, sizeof f->dirid);
	err = take_key(c, f);
	if (!err)
		fernet_key_init(f->key, h.file_key);
	sodium_memzero(&h, sizeof h);
	return err;
}

/*
 * What the length of the backing file says. With one that no file has, all
 * whole chunks in front of the cut are as if another followed.
 */
static void measure(struct content *f)
{
	uint64_t len = (uint64_t)f->st.st_size, full;

	f->odd_length = chunk_plain_len(len, &f->size) != 0;
	if (f->odd_length) {
		full = len < CHUNK_AREA_OFFSET
			       ? 0
			       : (len - CHUNK_AREA_OFFSET) / CHUNK_TOKEN_LEN;
		f->size = full * CHUNK_SIZE + 1;
	}
	f->last = chunk_last_index(f->size);
	f->sparse = (uint64_t)f->st.st_blocks * 512 < len;
}

int content_open(struct check *c, struct content *f, int dirfd,
		 const char *entry, uint8_t *start, size_t room, size_t *got)
{
	ssize_t n;

	*f = (struct content){.fd = -1};
	pthread_mutex_init(&f->lock, NULL);
	f->fd = openat(dirfd, entry,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &f->st) < 0)
		return -errno;
	do {
		n = pread(f->fd, start, room, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*got = (size_t)n;
	if (n < HEADER_LEN)
		return -EBADMSG;
	measure(f);
	f->can_claim = c->vault->version >= VAULT_VERSION_MAPS;
	return read_header(c, f, start);
}

void content_fault(struct check *c, struct content *f,
		   const struct chunk_fault *new)
{
	struct chunk_fault *last, *grown;

	pthread_mutex_lock(&f->lock);
	last = f->fault_count ? &f->faults[f->fault_count - 1] : NULL;
	if (last && last->fault == new->fault && last->last + 1 == new->first) {
		last->last = new->last;
		last->digest ^= new->digest;
	} else {
		grown = f->faults;
		if ((f->fault_count & (f->fault_count - 1)) == 0)
			grown = reallocarray(f->faults, 2 * f->fault_count + 1,
					     sizeof *grown);
		if (grown) {
			f->faults = grown;
			grown[f->fault_count++] = *new;
		} else {
			check_fail(c, -ENOMEM);
		}
	}
	pthread_mutex_unlock(&f->lock);
}
