#include "mount.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { IDLE_MIN_MAX = 1000000 };

/* Words that set a field. */
static const struct flag_option {
	const char *word;
	size_t field;
	bool value;
} flag_options[] = {
	{"ro", offsetof(struct mount_options, read_only), true},
	{"rw", offsetof(struct mount_options, read_only), false},
	{"allow_other", offsetof(struct mount_options, allow_other), true},
	{"allow_root", offsetof(struct mount_options, allow_root), true},
	{"writeback=on", offsetof(struct mount_options, writeback), true},
	{"writeback=off", offsetof(struct mount_options, writeback), false},
	{"journal=on", offsetof(struct mount_options, journal), true},
	{"journal=off", offsetof(struct mount_options, journal), false},
	{"shared", offsetof(struct mount_options, shared), true},
	{"xattr=on", offsetof(struct mount_options, xattr), true},
	{"xattr=off", offsetof(struct mount_options, xattr), false},
	{"suid", offsetof(struct mount_options, suid), true},
	{"nosuid", offsetof(struct mount_options, suid), false},
	{"dev", offsetof(struct mount_options, dev), true},
	{"nodev", offsetof(struct mount_options, dev), false},
	{"noexec", offsetof(struct mount_options, noexec), true},
	{"exec", offsetof(struct mount_options, noexec), false},
	{"nonempty", offsetof(struct mount_options, nonempty), true},
	{"accept-old", offsetof(struct mount_options, accept_old), true},
	{"remember=on", offsetof(struct mount_options, remember), true},
	{"remember=off", offsetof(struct mount_options, remember), false},
	{"confine=on", offsetof(struct mount_options, confine), true},
	{"confine=off", offsetof(struct mount_options, confine), false},
};

/* KEY=VALUE options that set a string. */
static const struct text_option {
	const char *key;
	size_t field;
} text_options[] = {
	{"fsname=", offsetof(struct mount_options, fsname)},
	{"passfile=", offsetof(struct mount_options, passfile)},
	{"extpass=", offsetof(struct mount_options, extpass)},
	{"log=", offsetof(struct mount_options, log)},
};

/* What libfuse 3.14 and fusermount3 take; a trailing '=' wants a value. */
static const char *const fuse_words[] = {
	"sync",	    "async",	    "dirsync",	   "atime",
	"noatime",  "auto_unmount", "debug",	   "max_read=",
	"context=", "fscontext=",   "defcontext=", "rootcontext=",
};

/*
 * Of no meaning here. The first rows are notes of fstab and mount(8) to
 * themselves. default_permissions is always in force. The kernel leaves the
 * access times of every FUSE inode to the daemon (S_NOATIME), and libfuse
 * 3.14 refuses the finer words about them.
 */
static const char *const ignored_words[] = {
	"defaults",
	"auto",
	"noauto",
	"nofail",
	"_netdev",
	"user",
	"nouser",
	"users",
	"nousers",
	"owner",
	"noowner",
	"group",
	"nogroup",
	"loud",
	"silent",
	"user=",
	"uhelper=",
	"helper=",
	"comment=",
	"x-",
	"X-",
	"default_permissions",
	"subtype=frondfs",
	"relatime",
	"norelatime",
	"strictatime",
	"nostrictatime",
	"diratime",
	"nodiratime",
	"lazytime",
	"nolazytime",
	"iversion",
	"noiversion",
	"nomand",
};

void mount_options_init(struct mount_options *opt)
{
	*opt = (struct mount_options){.xattr = true,
				      .writeback = true,
				      .journal = true,
				      .confine = true,
				      .remember = true};
}

void mount_options_fini(struct mount_options *opt)
{
	free(opt->fsname);
	free(opt->passfile);
	free(opt->extpass);
	free(opt->log);
	free(opt->fuse_options);
	mount_options_init(opt);
}

/* Is word in the list? "key=" and "x-" there match as prefixes. */
static bool word_listed(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list[i]);
		char end = list[i][len - 1];

		if (strcmp(word, list[i]) == 0)
			return end != '=';
		if ((end == '=' || end == '-') &&
		    strncmp(word, list[i], len) == 0)
			return true;
	}
	return false;
}

/* Hand word on to libfuse, whose option parser takes commas and backslashes
 * only with a backslash in front. */
static int pass_to_fuse(struct mount_options *opt, const char *word)
{
	size_t old_len = opt->fuse_options ? strlen(opt->fuse_options) : 0;
	char *text = realloc(opt->fuse_options,
			     old_len + 2 * strlen(word) + sizeof ",");
	char *end;

	if (!text)
		return -ENOMEM;
	opt->fuse_options = text;
	end = text + old_len;
	if (old_len)
		*end++ = ',';
	for (; *word; word++) {
		if (*word == ',' || *word == '\\')
			*end++ = '\\';
		*end++ = *word;
	}
	*end = '\0';
	return 0;
}

static int set_idle(struct mount_options *opt, const char *value)
{
	unsigned long minutes;

	if (value[0] == '\0' || value[strspn(value, "0123456789")] != '\0')
		return -EINVAL;
	errno = 0;
	minutes = strtoul(value, NULL, 10);
	if (errno || minutes == 0 || minutes > IDLE_MIN_MAX)
		return -EINVAL;
	opt->idle_min = (unsigned)minutes;
	return 0;
}

static int set_text(struct mount_options *opt, const struct text_option *which,
		    const char *value)
{
	char **field = (char **)(void *)((char *)opt + which->field);
	char *copy;

	if (value[0] == '\0')
		return -EINVAL;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int take_word(struct mount_options *opt, const char *word)
{
	for (size_t i = 0; i < COUNT(flag_options); i++) {
		if (strcmp(word, flag_options[i].word) == 0) {
			char *field = (char *)opt + flag_options[i].field;

			*(bool *)field = flag_options[i].value;
			return 0;
		}
	}
	for (size_t i = 0; i < COUNT(text_options); i++) {
		size_t len = strlen(text_options[i].key);

		if (strncmp(word, text_options[i].key, len) == 0)
			return set_text(opt, &text_options[i], word + len);
	}
	if (strncmp(word, "idle=", 5) == 0)
		return set_idle(opt, word + 5);
	if (word_listed(word, ignored_words, COUNT(ignored_words)))
		return 0;
	if (word_listed(word, fuse_words, COUNT(fuse_words)))
		return pass_to_fuse(opt, word);
	return -EINVAL;
}

/* Copy one word, its escapes resolved, and return where the next begins. */
static const char *next_word(const char *text, char *word)
{
	while (*text && *text != ',') {
		if (*text == '\\' && (text[1] == ',' || text[1] == '\\'))
			text++;
		*word++ = *text++;
	}
	*word = '\0';
	return *text ? text + 1 : text;
}

int mount_options_parse(struct mount_options *opt, const char *text, char **bad)
{
	CLEANUP_FREE char *word = malloc(strlen(text) + 1);

	if (!word)
		return -ENOMEM;
	while (*text) {
		int err;

		text = next_word(text, word);
		if (word[0] == '\0')
			continue;
		err = take_word(opt, word);
		if (err == -EINVAL)
			*bad = TAKE_PTR(word);
		if (err)
			return err;
	}
	return 0;
}
