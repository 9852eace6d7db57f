#include "settings.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char ini_name[] = "settings.ini";
/* A file of its own, since inih cuts lines at 200 bytes. */
static const char transport_name[] = "transport";

static int open_below(int dir, const char *name, int *fd)
{
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	*fd = openat(dir, name,
		     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *fd < 0 ? -errno : 0;
}

int settings_open_dir(const struct mounted *m, const char *name, int *fd)
{
	CLEANUP_FD int top = -1;
	int err = open_below(m->fd, SETTINGS_DIR, &top);

	if (err)
		return err;
	if (name[0])
		return open_below(top, name, fd);
	*fd = TAKE_FD(top);
	return 0;
}

static int take_line(void *arg, const char *section, const char *key,
		     const char *value)
{
	struct settings *s = arg;
	const struct {
		const char *section, *key;
		char *to;
		size_t size;
	} known[] = {
		{"me", "name", s->name, sizeof s->name},
		{"telegram", "api_base", s->api_base, sizeof s->api_base},
		{"telegram", "bot", s->bot, sizeof s->bot},
		{"telegram", "part_mib", s->part_mib, sizeof s->part_mib},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(section, known[i].section) != 0 ||
		    strcmp(key, known[i].key) != 0)
			continue;
		if (strlen(value) >= known[i].size)
			return 0;
		strcpy(known[i].to, value);
	}
	return 1; /* others: of a newer version */
}

static int load_transport(int dir, struct settings *s)
{
	char text[sizeof s->transport + 1]; /* with its line end */
	size_t len = 0;
	int err =
		xio_read_file(dir, transport_name, text, sizeof text - 1, &len);

	if (err)
		return err == -ENOENT ? 0 : err;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (strlen(text) >= sizeof s->transport)
		return -EBADMSG;
	strcpy(s->transport, text);
	return 0;
}

int settings_load(const struct mounted *m, struct settings *s)
{
	struct settings read = {0};
	CLEANUP_FD int dir =
		openat(m->fd, SETTINGS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char text[4096];
	size_t len = 0;
	int err;

	if (dir < 0 && errno != ENOENT)
		return -errno;
	err = dir < 0 ? -ENOENT
		      : xio_read_file(dir, ini_name, text, sizeof text - 1,
				      &len);
	if (err == -ENOENT) {
		*s = read;
		return 0;
	}
	if (err)
		return err;
	text[len] = '\0';
	if (ini_parse_string(text, take_line, &read) != 0)
		return -EBADMSG;
	err = load_transport(dir, &read);
	if (!err)
		*s = read;
	return err;
}

int settings_save(const struct mounted *m, const struct settings *s)
{
	CLEANUP_FREE char *ini = NULL, *transport = NULL;
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(m, "", &dir);

	if (err)
		return err;
	if (asprintf(&ini,
		     "[me]\nname = %s\n[telegram]\napi_base = %s\n"
		     "bot = %s\npart_mib = %s\n",
		     s->name, s->api_base, s->bot, s->part_mib) < 0)
		return -ENOMEM;
	if (asprintf(&transport, "%s\n", s->transport) < 0)
		return -ENOMEM;
	err = xio_replace_file(dir, transport_name, transport,
			       strlen(transport), 0600);
	if (err)
		return err;
	return xio_replace_file(dir, ini_name, ini, strlen(ini), 0600);
}
