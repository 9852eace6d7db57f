/* Copies under names to which somebody else has added something. */
#include "conflict.h"
#include "vdir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool is_there(int dirfd, const char *entry)
{
	struct stat st;

	return fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void name_entry(struct backing_name *name, const char *entry)
{
	size_t len = strlen(entry);

	name->is_long = false; /* what lies beside is another entry's */
	memcpy(name->entry, entry, len + 1);
	memcpy(name->full, entry, len + 1);
}

/* A copy of a long name, whole as it lies there. */
static bool is_long_copy(const char *entry)
{
	char base[NAME_LONG_LEN + 1];

	if (strnlen(entry, NAME_LONG_LEN) < NAME_LONG_LEN ||
	    conflict_cut(entry, NAME_LONG_LEN) != NAME_LONG_LEN)
		return false;
	memcpy(base, entry, NAME_LONG_LEN);
	base[NAME_LONG_LEN] = '\0';
	return name_classify(base) == NAME_KIND_LONG;
}

bool vdir_is_copy(const struct vault *vault,
		  const uint8_t dirid[static DIRID_LEN], const char *entry)
{
	char plain[NAME_PLAIN_MAX + 1];

	if (conflict_cut(entry, 1) == 0)
		return false;
	switch (name_classify(entry)) {
	case NAME_KIND_ENTRY:
		return name_decode(vault->names, dirid, entry, strlen(entry),
				   plain, NULL) == -EBADMSG;
	case NAME_KIND_LONG:
		return false;
	default:
		return true;
	}
}

/* The copy that is shown under this name. -ENOENT: there is none. */
static int find_copy(const struct vault *vault, int dirfd,
		     const uint8_t dirid[static DIRID_LEN], const char *plain,
		     struct backing_name *out)
{
	struct backing_name name;
	size_t at = 0;
	int err;

	while ((at = conflict_cut(plain, at + 1)) > 0) {
		err = name_encode(vault->names, dirid, plain, at, &name);
		if (err && err != -EINVAL)
			return err;
		if (err ||
		    strlen(name.entry) + strlen(plain + at) > NAME_BACKING_MAX)
			continue;
		strcat(name.entry, plain + at);
		if (is_there(dirfd, name.entry)) {
			memcpy(out->entry, name.entry, sizeof out->entry);
			return 0;
		}
	}
	if (!is_long_copy(plain) || !is_there(dirfd, plain))
		return -ENOENT;
	memcpy(out->entry, plain, strlen(plain) + 1);
	return 0;
}

int vdir_backing_name(const struct vault *vault, int dirfd,
		      const uint8_t dirid[static DIRID_LEN], const char *plain,
		      struct backing_name *out)
{
	struct backing_name name, copy;
	int err = name_encode(vault->names, dirid, plain, strlen(plain), &name);

	if (err)
		return err;
	if (conflict_cut(plain, 1) > 0 && !is_there(dirfd, name.entry)) {
		err = find_copy(vault, dirfd, dirid, plain, &copy);
		if (err && err != -ENOENT)
			return err;
		if (!err)
			name_entry(&name, copy.entry);
	}
	*out = name;
	return 0;
}

/* The plain name that the first at characters of entry stand for. */
static int base_name(const struct vault *vault, int dirfd,
		     const uint8_t dirid[static DIRID_LEN], const char *entry,
		     size_t at, char plain[static NAME_PLAIN_MAX + 1])
{
	char base[NAME_BACKING_MAX + 1];

	memcpy(base, entry, at);
	base[at] = '\0';
	switch (name_classify(base)) {
	case NAME_KIND_ENTRY:
		return name_decode(vault->names, dirid, base, at, plain, NULL);
	case NAME_KIND_LONG:
		return vdir_plain_name(vault, dirfd, dirid, base, plain);
	default:
		return -EBADMSG;
	}
}

int vdir_copy_name(const struct vault *vault, int dirfd,
		   const uint8_t dirid[static DIRID_LEN], const char *entry,
		   char plain[static NAME_PLAIN_MAX + 1])
{
	struct backing_name back;
	char base[NAME_PLAIN_MAX + 1], shown[NAME_PLAIN_MAX + 1] = "";
	size_t at = 0, len = strlen(entry);
	int err;

	/* some backing file systems list longer names than any of ours */
	if (len == 0 || len > NAME_BACKING_MAX)
		return -EBADMSG;
	while (!shown[0] && (at = conflict_cut(entry, at + 1)) > 0) {
		err = base_name(vault, dirfd, dirid, entry, at, base);
		if (err == -ENOMEM)
			return err;
		if (!err && strlen(base) + strlen(entry + at) <= NAME_PLAIN_MAX)
			strcat(strcpy(shown, base), entry + at);
	}
	if (!shown[0] && is_long_copy(entry))
		strcpy(shown, entry);
	if (!shown[0])
		return -EBADMSG;
	/* What looking it up would not find must not be shown. */
	err = vdir_backing_name(vault, dirfd, dirid, shown, &back);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	if (strcmp(back.entry, entry) != 0)
		return -EBADMSG;
	strcpy(plain, shown);
	return 0;
}
