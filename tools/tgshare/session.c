#include "session.h"
#include "answer.h"
#include "report.h"
#include "transports.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

/* Beside the agent's lock no other file is needed. */
static const char stamp_name[] = "agent.lock";

enum { FORGET_TOLD_S = 3600 };

int session_report(const struct session *s, const char *what, int err)
{
	if (err == -EROFS || (err && s->m.info.read_only))
		return report_as(CMD_FAILED,
				 "the vault on '%s' is mounted read-only; "
				 "mount it without -o ro",
				 s->m.info.mountpoint);
	if (err == -EBADMSG && strstr(what, " log"))
		return report_as(CMD_FAILED,
				 "cannot %s in the vault on '%s', which is "
				 "damaged; 'tgshare log --verify%s' says where",
				 what, s->m.info.mountpoint, report_vault());
	return report_as(CMD_FAILED, "cannot %s in the vault on '%s': %s", what,
			 s->m.info.mountpoint, strerror(-err));
}

int session_open(struct session *s, char *const *paths, int count,
		 const char *vault_option)
{
	int status, err;

	memset(s, 0, sizeof *s);
	s->m.fd = s->spool_fd = s->copies_fd = s->outbox_fd = s->lock_fd = -1;
	s->pieces_fd = s->collect_fd = -1;
	report_use_vault(vault_option);
	status = mounted_find(paths, count, vault_option, &s->m);
	if (status)
		return status;
	/* what is advised may be without the file that told it this time */
	if (count > 0 && !vault_option && !mounted_is_default(&s->m))
		report_use_vault(s->m.info.mountpoint);
	err = settings_load(&s->m, &s->settings);
	if (err)
		return session_report(s, "read .tgshare/settings.ini", err);
	err = people_load(&s->m, &s->people);
	return err ? session_report(s, "read .tgshare/contacts", err) : CMD_OK;
}

void session_close(struct session *s)
{
	const int fds[] = {s->spool_fd, s->copies_fd, s->outbox_fd,
			   s->lock_fd,	s->pieces_fd, s->collect_fd};

	if (s->transport)
		s->transport->ops->free(s->transport);
	answering_free(s->answering);
	people_free(&s->people);
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	mounted_close(&s->m);
}

int session_keys_lost(const struct session *s)
{
	if (s->m.info.identity || !s->settings.name[0])
		return CMD_OK;
	return report_as(CMD_NOT_SET_UP,
			 "the sharing keys of the vault on '%s' are gone: put "
			 "'%s/.frondfs/identity' back from a backup and mount "
			 "anew; without one, 'tgshare setup --new-keys%s' "
			 "makes others, and everybody needs your new card",
			 s->m.info.mountpoint, s->m.info.backing,
			 report_vault());
}

int session_need_identity(struct session *s)
{
	int status = session_keys_lost(s);

	if (status || (s->m.info.identity && s->settings.name[0]))
		return status;
	return report_as(CMD_NOT_SET_UP,
			 "the vault on '%s' has no card yet; run 'tgshare "
			 "setup --transport telegram%s', or with --transport "
			 "dir:PATH, first",
			 s->m.info.mountpoint, report_vault());
}

int session_need_transport(struct session *s)
{
	int status = session_need_identity(s);

	if (status || s->transport)
		return status;
	return transports_open(s);
}

static int open_meta_dir(int backing, const char *name, int *fd)
{
	CLEANUP_FD int meta =
		openat(backing, ".frondfs",
		       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (meta < 0)
		return -errno;
	if (mkdirat(meta, name, 0700) == 0) {
		/* root may work on a vault of somebody else's */
		if (geteuid() == 0 && fstat(meta, &st) == 0 &&
		    fchownat(meta, name, st.st_uid, st.st_gid,
			     AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	} else if (errno != EEXIST) {
		return -errno;
	}
	*fd = openat(meta, name,
		     O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *fd < 0 ? -errno : 0;
}

int session_open_spool(struct session *s)
{
	CLEANUP_FD int backing =
		open(s->m.info.backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = backing < 0 ? -errno : 0;

	if (!err && s->spool_fd < 0)
		err = open_meta_dir(backing, VAULT_INBOX_DIR, &s->spool_fd);
	if (!err && s->copies_fd < 0)
		err = open_meta_dir(backing, VAULT_OUTBOX_DIR, &s->copies_fd);
	if (err)
		return report_as(CMD_FAILED,
				 "cannot use .frondfs in the backing directory "
				 "'%s': %s",
				 s->m.info.backing, strerror(-err));
	if (s->outbox_fd < 0)
		err = settings_open_dir(&s->m, "outbox", &s->outbox_fd);
	if (!err && s->pieces_fd < 0)
		err = settings_open_dir(&s->m, "pieces", &s->pieces_fd);
	return err ? session_report(s, "open .tgshare", err) : CMD_OK;
}

int session_open_copy(const struct session *s, const char *name, int flags,
		      int *out)
{
	CLEANUP_FD int fd = openat(
		s->copies_fd, name,
		flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	struct stat st;

	if (fd < 0)
		return errno == ELOOP ? -EBADMSG : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	*out = TAKE_FD(fd);
	return 0;
}

static int wait_for_lock(int fd, bool *waited)
{
	const struct timespec pause = {0, 20 * 1000000};

	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
		*waited = true;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (tries == 100)
			report("waiting for another tgshare that works on this "
			       "vault");
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* busy: NULL to wait. */
static int lock(struct session *s, bool *busy)
{
	int status = session_open_spool(s), err;

	if (status)
		return status;
	if (s->lock_fd < 0)
		s->lock_fd =
			openat(s->copies_fd, "lock",
			       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		err = -errno;
	else if (!busy)
		err = wait_for_lock(s->lock_fd, &s->waited);
	else
		err = flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (busy)
		*busy = err == -EWOULDBLOCK;
	if (err && !(busy && *busy))
		return report_as(CMD_FAILED,
				 "cannot lock '%s/.frondfs/outbox/lock': %s",
				 s->m.info.backing, strerror(-err));
	return CMD_OK;
}

int session_lock(struct session *s)
{
	return lock(s, NULL);
}

int session_try_lock(struct session *s, bool *busy)
{
	return lock(s, busy);
}

int session_lock_collecting(struct session *s)
{
	if (s->collect_fd < 0)
		s->collect_fd =
			openat(s->copies_fd, stamp_name,
			       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->collect_fd < 0 || flock(s->collect_fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	s->collecting = true;
	return 0;
}

bool session_is_news(struct session *s, const char *key)
{
	uint64_t now = when_now_s();
	struct session_told *oldest = &s->told[0];

	for (size_t i = 0; i < SESSION_TOLD_MAX; i++) {
		struct session_told *t = &s->told[i];

		if (strncmp(t->key, key, SESSION_KEY_MAX - 1) == 0) {
			bool news = now > t->met_s + FORGET_TOLD_S;

			t->met_s = now;
			return news;
		}
		if (t->met_s < oldest->met_s)
			oldest = t;
	}
	snprintf(oldest->key, sizeof oldest->key, "%s", key);
	oldest->met_s = now;
	return true;
}

void session_stamp(struct session *s)
{
	CLEANUP_FD int backing =
		open(s->m.info.backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[64];

	snprintf(path, sizeof path, ".frondfs/" VAULT_OUTBOX_DIR "/%s",
		 stamp_name);
	/* without one there is nobody to tell */
	if (backing >= 0)
		(void)!utimensat(backing, path, NULL, AT_SYMLINK_NOFOLLOW);
}

struct timespec session_stamped(const struct session *s)
{
	struct stat st;

	if (fstatat(s->copies_fd, stamp_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return (struct timespec){0};
	return st.st_mtim;
}

void session_unlock(struct session *s)
{
	if (s->lock_fd >= 0)
		flock(s->lock_fd, LOCK_UN);
}

void session_rest(struct session *s)
{
	mounted_close(&s->m);
	if (s->outbox_fd >= 0)
		close(s->outbox_fd);
	if (s->pieces_fd >= 0)
		close(s->pieces_fd);
	s->outbox_fd = s->pieces_fd = -1;
}

static int reload_people(struct session *s)
{
	struct people fresh;
	int err = people_load(&s->m, &fresh);

	if (err)
		return session_report(s, "read .tgshare/contacts", err);
	people_free(&s->people);
	s->people = fresh;
	return CMD_OK;
}

int session_wake(struct session *s)
{
	struct mounted m;

	session_rest(s);
	int err = mounted_of_path(s->m.info.mountpoint, &m);

	if (!err && memcmp(m.info.vault_id, s->m.info.vault_id, VAULT_ID_LEN)) {
		mounted_close(&m);
		err = -ENOTTY;
	}
	if (err)
		return report_as(
			CMD_NO_VAULT,
			"the vault is not mounted on '%s' any more; "
			"the agent ends, start it again with the mount",
			s->m.info.mountpoint);
	s->m = m;
	return reload_people(s);
}

int session_card(struct session *s, char *text)
{
	struct card card = {.pub = s->m.info.pub};
	struct control_sign sign = {.st.kind = STATEMENT_CARD};
	int err;

	strcpy(card.name, s->settings.name);
	snprintf(card.address, sizeof card.address, "%s",
		 s->transport->ops->address(s->transport));
	err = card_digest(&card, sign.st.digest);
	if (!err)
		err = mounted_ask(s->m.fd, CONTROL_SIGN, &sign);
	if (!err)
		err = card_format(&card, sign.signature, text);
	return err ? session_report(s, "make the card", err) : CMD_OK;
}
