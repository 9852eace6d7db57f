/* From opening to closing. */
#include "memory_internal.h"

#include "log.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void free_entry(struct memory_entry *e)
{
	if (e->kind == MEMORY_FILE) {
		ages_fini(&memory_file_of_(e)->ages);
		pthread_mutex_destroy(&memory_file_of_(e)->lock);
	}
	free(e);
}

void memory_free_(struct memory *m)
{
	memory_marks_fini_(m);
	memory_db_close_(m);
	memory_table_fini_(&m->files, free_entry);
	memory_table_fini_(&m->places, free_entry);
	memory_table_fini_(&m->gone, free_entry);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->keep_lock);
	pthread_mutex_destroy(&m->db_lock);
	secret_free(m->keys);
	free(m);
}

static struct memory *memory_new(struct vault *vault, bool accept)
{
	struct memory *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->vault = vault;
	m->accept = accept;
	m->pages_max = MEMORY_PAGES_MAX;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->keep_lock, NULL);
	pthread_mutex_init(&m->db_lock, NULL);
	m->keys = secret_alloc(sizeof *m->keys);
	if (!m->keys) {
		memory_free_(m);
		return NULL;
	}
	memory_keys_derive_(vault, m->keys);
	return m;
}

/* Others will move things, and this machine will not hear of it. */
static int forget_places(struct memory *m)
{
	int err = memory_home_has_(m) ? memory_db_open_(m) : -ENOENT;

	if (err == -EBUSY)
		err = memory_home_leave_out_(m);
	else if (!err || err == -EBADMSG)
		err = memory_db_doubt_(m, true);
	memory_free_(m);
	return err == -ENOENT ? 0 : err;
}

int memory_pass_over(struct vault *vault)
{
	struct memory *m = memory_new(vault, false);

	return m ? forget_places(m) : -ENOMEM;
}

/* What it moves until it has the database would look put back later, if it
 * died before. */
static void go_without(struct memory *m)
{
	bool first = !memory_home_was_left_out_(m);

	m->without_s = vault_now(m->vault);
	m->went_without = memory_home_leave_out_(m) == 0 && first;
}

int memory_open(struct vault *vault, bool accept)
{
	struct memory *m = memory_new(vault, accept);
	int err;

	if (!m)
		return -ENOMEM;
	if (vault->shared)
		return forget_places(m);
	err = memory_db_open_(m);
	if (err == -EBUSY)
		go_without(m);
	if (err && err != -EBADMSG && err != -EBUSY)
		memory_free_(m);
	else
		vault->memory = m;
	return err;
}

int memory_look(struct vault *vault)
{
	struct memory *m = memory_new(vault, false);
	int err;

	if (!m)
		return -ENOMEM;
	m->looks = true;
	err = memory_db_look_(m);
	if (err)
		memory_free_(m);
	else
		vault->memory = m;
	return err;
}

/* Everything that happened is durable in the backing directory then. */
static int sync_backing(const struct vault *vault)
{
	CLEANUP_FD int fd =
		openat(vault->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || syncfs(fd) < 0 ? -errno : 0;
}

static bool has_to_keep(const struct memory *m)
{
	return m->noted > 0 || m->doubted || m->damaged || m->forgets_places ||
	       m->is_behind || m->went_without;
}

void memory_close(struct vault *vault)
{
	struct memory *m = vault->memory;
	int err = 0;

	if (!m)
		return;
	if (has_to_keep(m)) {
		memory_mark(vault);
		err = sync_backing(vault);
		if (!err)
			err = memory_keep(vault);
		if (!err && m->is_behind)
			err = memory_db_rest_(m);
	}
	if (err && err != -EBUSY)
		log_warning("%s: what this machine has seen of its files since "
			    "the last time cannot be remembered: %s",
			    vault->path, strerror(-err));
	vault->memory = NULL;
	memory_free_(m);
}

bool memory_has_news(const struct vault *vault)
{
	return vault->memory && !vault->memory->looks &&
	       vault->memory->noted > 0;
}

bool memory_is_full(const struct vault *vault)
{
	return vault->memory && vault->memory->noted >= MEMORY_FULL;
}

void memory_unref_(struct memory *m, struct memory_entry *e)
{
	if (--e->refs > 0 || e->noted)
		return;
	memory_table_remove_(e->kind == MEMORY_FILE ? &m->files : &m->places,
			     e);
	free_entry(e);
}
