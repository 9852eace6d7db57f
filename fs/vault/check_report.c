/* What was found: told at once, or kept until it is certain. */
#include "check_internal.h"

#include <errno.h>
#include <string.h>

bool check_is_note(enum check_fault fault)
{
	return fault >= CHECK_REKEY;
}

/* A directory itself: what is found in it is found of it. */
static bool is_of_dir(const struct trouble *t)
{
	return t->fault == CHECK_DIRID || t->fault == CHECK_ASIDE ||
	       strcmp(t->entry, ".") == 0;
}

void check_found(struct check *c, const struct trouble *t,
		 enum check_state state, const char *moved_to)
{
	const char *entry = strcmp(t->entry, ".") == 0 ? "" : t->entry;
	CLEANUP_FREE char *backing = check_backing_path(t->dir, entry);
	CLEANUP_FREE char *plain = NULL;
	struct check_finding f = {.fault = t->fault,
				  .state = state,
				  .moved_to = moved_to,
				  .detail = t->detail,
				  .first = t->first,
				  .last = t->last,
				  .number = t->number,
				  .error = t->error};

	if (t->plain)
		plain = check_plain_path(t->dir, t->plain);
	else if (t->dir && (is_of_dir(t) || entry[0] == '\0'))
		plain = check_plain_path(t->dir, "");
	if (!backing) {
		check_fail(c, -ENOMEM);
		return;
	}
	f.path = plain;
	f.backing = backing;
	pthread_mutex_lock(&c->report_lock);
	c->result.notes += state == CHECK_NOTE;
	c->result.repaired += state == CHECK_REPAIRED;
	c->result.damaged += state == CHECK_DAMAGED;
	c->result.failed += state == CHECK_FAILED;
	c->opt->found(c->opt->arg, &f);
	pthread_mutex_unlock(&c->report_lock);
}

void check_trouble_free(struct trouble *t)
{
	check_dir_unref(t->dir);
	free(t->entry);
	free(t->plain);
	free(t->detail);
	free(t);
}

static int copy_text(const char *text, char **out)
{
	*out = text ? strdup(text) : NULL;
	return text && !*out ? -ENOMEM : 0;
}

static int keep(struct check *c, const struct trouble *t)
{
	struct trouble *copy = malloc(sizeof *copy);

	if (!copy)
		return -ENOMEM;
	*copy = *t;
	copy->dir = t->dir ? check_dir_ref(t->dir) : NULL;
	copy->plain = copy->detail = NULL;
	copy->next = NULL;
	if (copy_text(t->entry, &copy->entry) ||
	    copy_text(t->plain, &copy->plain) ||
	    copy_text(t->detail, &copy->detail)) {
		check_trouble_free(copy);
		return -ENOMEM;
	}
	pthread_mutex_lock(&c->lock);
	*c->troubles_end = copy;
	c->troubles_end = &copy->next;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

enum check_state check_state_of(const struct trouble *t)
{
	if (check_is_note(t->fault))
		return CHECK_NOTE;
	/* A disk that cannot be read is damaged; a file that may not be read
	 * says nothing. */
	return t->fault == CHECK_UNREADABLE && t->error != -EIO ? CHECK_FAILED
								: CHECK_DAMAGED;
}

static void tell(struct check *c, const struct trouble *t)
{
	int err;

	if (c->opt->repair ||
	    (t->fault != CHECK_COPY && t->fault != CHECK_FOREIGN &&
	     t->fault != CHECK_UNREADABLE && check_is_live(c))) {
		err = keep(c, t);
		if (err)
			check_fail(c, err);
		return;
	}
	check_found(c, t, check_state_of(t), NULL);
}

void check_trouble(struct check *c, const struct trouble *t)
{
	check_journal_sift(c, t, tell);
}

void check_entry_trouble(struct check *c, enum check_fault fault,
			 struct check_dir *dir, const char *entry,
			 const char *plain, int error)
{
	const struct trouble t = {.fault = fault,
				  .dir = dir,
				  .entry = (char *)entry,
				  .plain = (char *)plain,
				  .error = error};

	check_trouble(c, &t);
}

struct trouble *check_take_troubles(struct check *c)
{
	struct trouble *list;

	pthread_mutex_lock(&c->lock);
	list = c->troubles;
	c->troubles = NULL;
	c->troubles_end = &c->troubles;
	pthread_mutex_unlock(&c->lock);
	return list;
}

void check_hint(struct check *c, const struct check_dir *dir,
		const uint8_t id[static DIRID_LEN])
{
	int err;

	if (dir->known && memcmp(dir->id, id, DIRID_LEN) == 0)
		return;
	pthread_mutex_lock(&c->lock);
	err = check_ids_add(&c->hints, id);
	pthread_mutex_unlock(&c->lock);
	if (err)
		check_fail(c, err);
}
