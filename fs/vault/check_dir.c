/* Directories that are being checked, and the paths that lead to them. */
#include "check_internal.h"

#include <stdio.h>
#include <string.h>

struct check_dir *check_dir_new(struct check_dir *parent, int fd,
				const char *entry, const char *plain)
{
	size_t len = strlen(entry) + 1;
	struct check_dir *d = calloc(1, sizeof *d + len);

	if (!d)
		return NULL;
	if (plain) {
		d->plain = strdup(plain);
		if (!d->plain) {
			free(d);
			return NULL;
		}
	}
	memcpy(d->entry, entry, len);
	d->parent = parent ? check_dir_ref(parent) : NULL;
	d->refs = 1;
	d->fd = fd;
	return d;
}

void check_dir_unref(struct check_dir *d)
{
	while (d && atomic_fetch_sub(&d->refs, 1) == 1) {
		struct check_dir *parent = d->parent;

		close(d->fd);
		free(d->plain);
		free(d);
		d = parent;
	}
}

/* Put text in front of what begins at *at, "/" between them. */
static void prepend(char *buf, size_t *at, const char *text)
{
	size_t len = strlen(text);

	if (len == 0)
		return;
	if (buf[*at] != '\0')
		buf[--*at] = '/';
	*at -= len;
	memcpy(buf + *at, text, len);
}

static char *join(const struct check_dir *d, const char *name, bool plain)
{
	const struct check_dir *up;
	size_t room = strlen(name) + 2, at;
	char *buf;

	for (up = d; up; up = up->parent) {
		const char *part = plain ? up->plain : up->entry;

		if (!part)
			return NULL;
		room += strlen(part) + 1;
	}
	buf = malloc(room);
	if (!buf)
		return NULL;
	at = room - 1;
	buf[at] = '\0';
	prepend(buf, &at, name);
	for (up = d; up; up = up->parent)
		prepend(buf, &at, plain ? up->plain : up->entry);
	memmove(buf, buf + at, room - at);
	return buf;
}

char *check_plain_path(const struct check_dir *d, const char *name)
{
	return join(d, name, true);
}

char *check_backing_path(const struct check_dir *d, const char *entry)
{
	return join(d, entry, false);
}
