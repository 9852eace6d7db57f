#include "people.h"
#include "report.h"
#include "settings.h"
#include "suggest.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char contacts_name[] = "contacts"; /* CONTACTS_DIR */
static const char chat_suffix[] = ".chat", verified_suffix[] = ".ini";

const char *people_tag(const struct identity_public *pub,
		       char text[static PEOPLE_TAG_LEN + 1])
{
	hex_encode(pub->sign, PEOPLE_TAG_LEN / 2, text);
	return text;
}

bool people_same_keys(const struct identity_public *a,
		      const struct identity_public *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

/* What NAME.ini says; it counts only for the keys that it was said of. */
struct verification {
	char fingerprint[IDENTITY_FINGERPRINT_LEN + 1];
	uint64_t time_s;
};

static int take_line(void *arg, const char *section, const char *key,
		     const char *value)
{
	struct verification *v = arg;

	if (strcmp(section, "verified") != 0)
		return 1;
	if (strcmp(key, "fingerprint") == 0)
		snprintf(v->fingerprint, sizeof v->fingerprint, "%s", value);
	else if (strcmp(key, "time") == 0)
		v->time_s = strtoull(value, NULL, 10);
	return 1;
}

static void load_verified(int dir, struct person *person)
{
	struct verification v = {0};
	char name[CARD_NAME_MAX + 8], text[1024];
	size_t len;

	snprintf(name, sizeof name, "%s%s", person->name, verified_suffix);
	if (xio_read_file(dir, name, text, sizeof text - 1, &len))
		return;
	text[len] = '\0';
	if (ini_parse_string(text, take_line, &v) == 0 &&
	    strcmp(v.fingerprint, person->fingerprint) == 0)
		person->verified_s = v.time_s;
}

/* The text of a contact's file without blanks at its end. */
static int read_line(int dir, const char *name, const char *suffix, char *text,
		     size_t size)
{
	char file[CARD_NAME_MAX + 8];
	size_t len = 0;
	int err;

	snprintf(file, sizeof file, "%s%s", name, suffix);
	err = xio_read_file(dir, file, text, size - 1, &len);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	text[len] = '\0';
	return err;
}

static int load_card(int dir, struct person *person)
{
	char text[CARD_TEXT_MAX];
	int err = read_line(dir, person->name, CONTACTS_CARD_SUFFIX, text,
			    sizeof text);

	if (!err)
		err = card_parse(text, strlen(text), &person->card);
	if (err)
		return err;
	person->has_card = true;
	strcpy(person->card_text, text);
	identity_fingerprint(&person->card.pub, person->fingerprint);
	load_verified(dir, person);
	return 0;
}

static int load_person(int dir, const char *name, size_t len,
		       struct person *person)
{
	int err, chat_err;

	memset(person, 0, sizeof *person);
	if (len > CARD_NAME_MAX)
		return -EINVAL;
	memcpy(person->name, name, len);
	err = contact_name_check(person->name);
	if (err)
		return err;
	chat_err = read_line(dir, person->name, chat_suffix, person->chat,
			     sizeof person->chat);
	err = load_card(dir, person);
	return err == -ENOENT ? chat_err : err;
}

/* Is this a file of a contact with this suffix? Sets the name's length. */
static bool has_suffix(const char *file, const char *suffix, size_t *len)
{
	size_t whole = strlen(file), n = strlen(suffix);

	if (file[0] == '.' || whole <= n ||
	    strcmp(file + whole - n, suffix) != 0)
		return false;
	*len = whole - n;
	return true;
}

/* Does this file introduce somebody? Who has a card is met by that. */
static bool introduces(int dir, const char *file, size_t *len)
{
	char card[NAME_PLAIN_MAX + 8];

	if (has_suffix(file, CONTACTS_CARD_SUFFIX, len))
		return true;
	if (!has_suffix(file, chat_suffix, len))
		return false;
	snprintf(card, sizeof card, "%.*s%s", (int)*len, file,
		 CONTACTS_CARD_SUFFIX);
	return faccessat(dir, card, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct person *)a)->name,
		      ((const struct person *)b)->name);
}

static int add_person(struct people *p, const struct person *person)
{
	struct person *list =
		reallocarray(p->list, p->count + 1, sizeof *p->list);

	if (!list)
		return -ENOMEM;
	p->list = list;
	list[p->count++] = *person;
	return 0;
}

static int load_all(int fd, struct people *p)
{
	CLEANUP_DIR DIR *dir = fdopendir(fd);
	const struct dirent *entry;
	struct person person;
	size_t len = 0;
	int err = 0;

	if (!dir) {
		err = -errno;
		close(fd);
		return err;
	}
	while (!err && (entry = readdir(dir))) {
		if (!introduces(dirfd(dir), entry->d_name, &len))
			continue;
		if (load_person(dirfd(dir), entry->d_name, len, &person))
			report("the card .tgshare/contacts/%s is damaged and "
			       "left out; remove it and add it anew",
			       entry->d_name);
		else
			err = add_person(p, &person);
	}
	return err;
}

/* -ENOENT: that is no link's word. */
static int load_invited(int dir, const char *word, struct invited *to)
{
	char text[CARD_NAME_MAX + 2];
	size_t len;
	int err;

	if (word[0] == '.' || strlen(word) > PEOPLE_WORD_MAX)
		return -ENOENT;
	err = xio_read_file(dir, word, text, sizeof text - 1, &len);
	if (err)
		return err;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (contact_name_check(text))
		return -ENOENT;
	strcpy(to->name, text);
	strcpy(to->word, word);
	return 0;
}

static int by_invited_name(const void *a, const void *b)
{
	return strcmp(((const struct invited *)a)->name,
		      ((const struct invited *)b)->name);
}

static int load_all_invited(int top, struct people *p)
{
	CLEANUP_DIR DIR *dir = NULL;
	CLEANUP_FD int fd = openat(top, SETTINGS_DIR "/" PEOPLE_LINKS,
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *entry;
	struct invited next, *list;
	int err;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	err = xio_list(fd, &dir);
	while (!err && (entry = readdir(dir))) {
		if (load_invited(fd, entry->d_name, &next))
			continue;
		list = reallocarray(p->invited, p->invited_count + 1,
				    sizeof *list);
		if (!list)
			return -ENOMEM;
		p->invited = list;
		list[p->invited_count++] = next;
	}
	if (!err && p->invited_count)
		qsort(p->invited, p->invited_count, sizeof *p->invited,
		      by_invited_name);
	return err;
}

int people_load(const struct mounted *m, struct people *p)
{
	int fd =
		openat(m->fd, CONTACTS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 && errno != ENOENT ? -errno : 0;

	memset(p, 0, sizeof *p);
	if (fd >= 0)
		err = load_all(fd, p);
	if (!err)
		err = load_all_invited(m->fd, p);
	if (err) {
		people_free(p);
		return err;
	}
	if (p->count)
		qsort(p->list, p->count, sizeof *p->list, by_name);
	return 0;
}

void people_free(struct people *p)
{
	free(p->list);
	free(p->invited);
	memset(p, 0, sizeof *p);
}

const struct person *people_named(const struct people *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->list[i].name, name) == 0)
			return &p->list[i];
	return NULL;
}

const struct person *people_with_keys(const struct people *p,
				      const struct identity_public *pub)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->list[i].has_card &&
		    people_same_keys(&p->list[i].card.pub, pub))
			return &p->list[i];
	return NULL;
}

const struct person *people_in_chat(const struct people *p, const char *chat)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->list[i].chat, chat) == 0)
			return &p->list[i];
	return NULL;
}

const struct invited *people_invited(const struct people *p, const char *name)
{
	for (size_t i = 0; i < p->invited_count; i++)
		if (strcmp(p->invited[i].name, name) == 0)
			return &p->invited[i];
	return NULL;
}

const char *people_label(const struct people *p,
			 const struct identity_public *pub, char *text)
{
	const struct person *person = people_with_keys(p, pub);
	char fingerprint[IDENTITY_FINGERPRINT_LEN + 1];

	if (person) {
		strcpy(text, person->name);
		return text;
	}
	identity_fingerprint(pub, fingerprint);
	snprintf(text, PEOPLE_LABEL_MAX, "unknown %.5s", fingerprint);
	return text;
}

const struct person *people_wanted(const struct people *p, const char *name)
{
	const struct person *person = people_named(p, name);
	CLEANUP_FREE const char **names = NULL;
	const char *meant = NULL;

	if (person)
		return person;
	if (people_invited(p, name)) {
		report("'%s' has not pressed Start on the link that you made, "
		       "or nobody has looked since: 'tgshare receive%s' does, "
		       "and 'tgshare contact chat %s --link%s' shows the link",
		       name, report_vault(), name, report_vault());
		return NULL;
	}
	names = calloc(p->count + 1, sizeof *names);
	for (size_t i = 0; names && i < p->count; i++)
		names[i] = p->list[i].name;
	if (names)
		meant = suggest_nearest(name, names, p->count);
	if (meant)
		report("there is no contact '%s', did you mean '%s'? See "
		       "'tgshare contact list%s'",
		       name, meant, report_vault());
	else
		report("there is no contact '%s'; add them with 'tgshare "
		       "contact add %s CARD%s'",
		       name, name, report_vault());
	return NULL;
}

const char *people_address(const struct person *person)
{
	return person->card.address[0] ? person->card.address : person->chat;
}

/* The mount reads contacts anew when it looks at the inbox. */
static int tell_mount(const struct mounted *m)
{
	struct control_scan scan = {0};
	int err = mounted_ask(m->fd, CONTROL_SCAN, &scan);

	return err == -ENOENT ? 0 : err;
}

static int put_file(const struct mounted *m, const char *name,
		    const char *suffix, const char *text)
{
	char file[CARD_NAME_MAX + 8];
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(m, contacts_name, &dir);

	if (err)
		return err;
	snprintf(file, sizeof file, "%s%s", name, suffix);
	return xio_replace_file(dir, file, text, strlen(text), 0600);
}

int people_put(const struct mounted *m, const char *name, const char *card_text)
{
	char text[CARD_TEXT_MAX + 1];
	int err;

	snprintf(text, sizeof text, "%s\n", card_text);
	err = put_file(m, name, CONTACTS_CARD_SUFFIX, text);
	return err ? err : tell_mount(m);
}

int people_put_chat(const struct mounted *m, const char *name, const char *chat)
{
	char text[PEOPLE_CHAT_MAX + 1];

	snprintf(text, sizeof text, "%s\n", chat);
	return put_file(m, name, chat_suffix, text);
}

int people_put_verified(const struct mounted *m, const struct person *person,
			uint64_t time_s)
{
	char text[256];

	snprintf(text, sizeof text,
		 "[verified]\nfingerprint = %s\ntime = %" PRIu64 "\n",
		 person->fingerprint, time_s);
	return put_file(m, person->name, verified_suffix, text);
}

static int remove_file(int dir, const char *name, const char *suffix)
{
	char file[CARD_NAME_MAX + 8];

	snprintf(file, sizeof file, "%s%s", name, suffix);
	return unlinkat(dir, file, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int people_take_back_verified(const struct mounted *m,
			      const struct person *person)
{
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(m, contacts_name, &dir);

	if (!err)
		err = remove_file(dir, person->name, verified_suffix);
	if (!err && fsync(dir) < 0)
		err = -errno;
	return err;
}

int people_uninvite(const struct mounted *m, const char *name)
{
	struct people p = {0};
	CLEANUP_FD int dir = -1;
	int err = load_all_invited(m->fd, &p);

	if (!err && people_invited(&p, name))
		err = settings_open_dir(m, PEOPLE_LINKS, &dir);
	for (size_t i = 0; !err && i < p.invited_count; i++)
		if (strcmp(p.invited[i].name, name) == 0 &&
		    unlinkat(dir, p.invited[i].word, 0) < 0 && errno != ENOENT)
			err = -errno;
	people_free(&p);
	return err;
}

int people_remove(const struct mounted *m, const char *name)
{
	/* the card last: while it is there, so is the contact */
	const char *const suffixes[] = {verified_suffix, chat_suffix,
					CONTACTS_CARD_SUFFIX};
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(m, contacts_name, &dir);

	for (size_t i = 0; !err && i < sizeof suffixes / sizeof *suffixes; i++)
		err = remove_file(dir, name, suffixes[i]);
	if (!err && fsync(dir) < 0)
		err = -errno;
	if (!err)
		err = people_uninvite(m, name);
	return err ? err : tell_mount(m);
}
