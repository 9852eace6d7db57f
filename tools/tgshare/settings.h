/*
 * What tgshare remembers lies in .tgshare/ within the mounted vault, and so is
 * encrypted like everything else. settings.ini: who I am and how I send.
 */
#ifndef TGSHARE_SETTINGS_H
#define TGSHARE_SETTINGS_H

#include "identity.h"
#include "mounted.h"
#include "transport_telegram.h"

#include <limits.h>

#define SETTINGS_DIR ".tgshare"

struct settings {
	char name[CARD_NAME_MAX + 1]; /* "" before setup */
	/* "dir:PATH" or "telegram"; "" before setup */
	char transport[PATH_MAX + 8];
	/* of telegram; the token is a file of its own (bot_token.h) */
	char api_base[BOT_BASE_MAX + 1];
	char bot[TELEGRAM_USERNAME_MAX + 2]; /* "@our_bot" */
	char part_mib[8]; /* longest document; "": what everybody can fetch */
};

/* .tgshare, or a directory in it ("" for itself), made where it is missing. */
MUST_CHECK int settings_open_dir(const struct mounted *m, const char *name,
				 int *fd);

/* All empty when there are none yet. -EBADMSG: not what was written. */
MUST_CHECK int settings_load(const struct mounted *m, struct settings *s);
MUST_CHECK int settings_save(const struct mounted *m, const struct settings *s);

#endif
