#include "contacts.h"

#include "log.h"
#include "xio.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum {
	CARD_FILE_MAX = 4096,	  /* a card, and what people write around it */
	ATTACHED_FILE_MAX = 4096, /* PATH_MAX and a line end */
};

struct loading {
	struct vault *vault;
	struct vtree_dir cards;
	struct vtree_dir attached; /* fd -1: there is none */
	struct contacts found;
	size_t room;
};

/* "NAME.card": is NAME one that a contact may have? */
static bool name_of_card(const char *file, char name[CARD_NAME_MAX + 1])
{
	size_t suffix = strlen(CONTACTS_CARD_SUFFIX), len = strlen(file);

	if (len <= suffix || len - suffix > CARD_NAME_MAX ||
	    strcmp(file + len - suffix, CONTACTS_CARD_SUFFIX) != 0)
		return false;
	memcpy(name, file, len - suffix);
	name[len - suffix] = '\0';
	return contact_name_check(name) == 0;
}

/* The path in attached/NAME; NULL in *path when there is none to be used. */
static int read_attached(struct loading *l, const char *name, char **path)
{
	char text[ATTACHED_FILE_MAX + 1];
	size_t len = 0;
	int err;

	*path = NULL;
	if (l->attached.fd < 0)
		return 0;
	err = vtree_read(l->vault, &l->attached, name, text, ATTACHED_FILE_MAX,
			 &len);
	if (xio_is_shortage(err))
		return err;
	if (err) {
		if (err != -ENOENT)
			log_warning("cannot read where %s is attached: %s",
				    name, strerror(-err));
		return 0;
	}
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	text[len] = '\0';
	if (text[0] != '/' || strlen(text) != len) {
		log_warning("where %s is attached is no absolute path", name);
		return 0;
	}
	*path = strdup(text);
	return *path ? 0 : -ENOMEM;
}

static int add_contact(struct loading *l, const struct contact *c)
{
	if (l->found.count == l->room) {
		size_t room = l->room ? 2 * l->room : 8;
		struct contact *list =
			reallocarray(l->found.list, room, sizeof *list);

		if (!list)
			return -ENOMEM;
		l->found.list = list;
		l->room = room;
	}
	l->found.list[l->found.count++] = *c;
	return 0;
}

static int load_one(void *arg, const char *file, unsigned char type)
{
	struct loading *l = arg;
	char text[CARD_FILE_MAX];
	struct contact c = {0};
	struct card card;
	size_t len = 0;
	int err;

	(void)type;
	if (!name_of_card(file, c.name))
		return 0;
	err = vtree_read(l->vault, &l->cards, file, text, sizeof text, &len);
	if (!err)
		err = card_parse(text, len, &card);
	if (xio_is_shortage(err))
		return err;
	if (err) {
		log_warning("the card of %s is left out: %s", c.name,
			    strerror(-err));
		return 0;
	}
	c.pub = card.pub;
	err = read_attached(l, c.name, &c.attached);
	if (!err)
		err = add_contact(l, &c);
	if (err)
		free(c.attached);
	return err;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct contact *)a)->name,
		      ((const struct contact *)b)->name);
}

int contacts_load(struct vault *vault, struct contacts *out)
{
	struct loading l = {.vault = vault};
	int err = vtree_open_dir(vault, CONTACTS_DIR, false, 0, &l.cards);

	if (err == -ENOENT || err == -ENOTDIR) {
		*out = (struct contacts){0};
		return 0;
	}
	if (err)
		return err;
	err = vtree_open_dir(vault, CONTACTS_ATTACHED_DIR, false, 0,
			     &l.attached);
	if (err)
		l.attached.fd = -1;
	err = vtree_list(vault, &l.cards, load_one, &l);
	vtree_close_dir(&l.attached);
	vtree_close_dir(&l.cards);
	if (err) {
		contacts_fini(&l.found);
		return err;
	}
	if (l.found.count)
		qsort(l.found.list, l.found.count, sizeof *l.found.list,
		      by_name);
	*out = l.found;
	return 0;
}

void contacts_fini(struct contacts *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->list[i].attached);
	free(c->list);
	*c = (struct contacts){0};
}

const struct contact *contacts_find(const struct contacts *c,
				    const struct identity_public *pub)
{
	for (size_t i = 0; i < c->count; i++)
		if (memcmp(&c->list[i].pub, pub, sizeof *pub) == 0)
			return &c->list[i];
	return NULL;
}
