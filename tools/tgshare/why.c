#include "why.h"
#include "xio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 16 };

static int open_item(int outbox, const struct item *item, unsigned party,
		     char name[static NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "why-%u", party);
	return openat(outbox, item->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

const char *why_of(int outbox, const struct item *item, unsigned party,
		   char text[static WHY_MAX])
{
	char name[NAME_SIZE];
	CLEANUP_FD int dir = open_item(outbox, item, party, name);
	size_t len = 0;

	if (dir < 0 || xio_read_file(dir, name, text, WHY_MAX - 1, &len))
		len = 0;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

/* Seconds to wait and the like do not make it another. */
static bool same_but_numbers(const char *a, const char *b)
{
	for (;; a++, b++) {
		a += strspn(a, "0123456789");
		b += strspn(b, "0123456789");
		if (*a != *b)
			return false;
		if (!*a)
			return true;
	}
}

void why_note(int outbox, const struct item *item, unsigned party,
	      const char *reason)
{
	char name[NAME_SIZE], text[WHY_MAX], before[WHY_MAX];
	CLEANUP_FD int dir = open_item(outbox, item, party, name);

	snprintf(text, sizeof text - 1, "%s", reason);
	if (dir < 0 ||
	    same_but_numbers(why_of(outbox, item, party, before), text))
		return;
	strcat(text, "\n");
	(void)!xio_replace_file(dir, name, text, strlen(text), 0600);
}
