/*
 * What most subcommands begin with: the mounted vault, who I am and whom I
 * know, and the way messages take.
 */
#ifndef TGSHARE_SESSION_H
#define TGSHARE_SESSION_H

#include "people.h"
#include "settings.h"
#include "transport.h"

#include <time.h>

struct answering;

enum { SESSION_KEY_MAX = 192, SESSION_TOLD_MAX = 16 };

/* A trouble that was told. */
struct session_told {
	char key[SESSION_KEY_MAX];
	uint64_t met_s; /* the last time */
};

struct session {
	struct mounted m;
	struct settings settings;
	struct people people;
	struct transport *transport; /* NULL before session_need_transport() */
	int spool_fd;		     /* .frondfs/inbox of the backing dir. */
	int copies_fd;		     /* .frondfs/outbox: sealed copies */
	int outbox_fd;		     /* .tgshare/outbox */
	int pieces_fd;	 /* .tgshare/pieces: messages that are not whole yet */
	int lock_fd;	 /* held: nobody else works here */
	int collect_fd;	 /* see session_lock_collecting() */
	bool collecting; /* it is held */
	bool notify;	 /* somebody may sit at the desktop */
	struct answering *answering; /* what people are told just now */
	bool no_room;		     /* for what came, the last time */
	bool unsettled; /* something lies there that is not whole, or altered */
	bool waited;	/* for another tgshare that held the lock */
	/* what was refused is left alone for a while: nobody asked */
	bool patient;
	struct session_told told[SESSION_TOLD_MAX];
};

/* All of these return an exit status and say what is wrong. Close it even
 * after a failure. */
MUST_CHECK int session_open(struct session *s, char *const *paths, int count,
			    const char *vault_option);
void session_close(struct session *s);

/* There was an identity, as setup knows, and it is not there any more. */
MUST_CHECK int session_keys_lost(const struct session *s);
/* There is an identity, and a name. */
MUST_CHECK int session_need_identity(struct session *s);
/* The transport of the settings works; implies the identity. */
MUST_CHECK int session_need_transport(struct session *s);
/* .frondfs/inbox and outbox of the backing directory, and .tgshare/outbox. */
MUST_CHECK int session_open_spool(struct session *s);
/*
 * One of the sealed copies. Whoever has the backing directory may put there
 * what he likes, a link to a file of ours above all, which would be sent as it
 * is: -EBADMSG, what is no file. flags: O_RDONLY, or O_RDWR | O_CREAT.
 */
MUST_CHECK int session_open_copy(const struct session *s, const char *name,
				 int flags, int *fd);
/* Be the only tgshare that changes outbox and spool: waits, and says so when
 * that takes long. Opens the outboxes, too. */
MUST_CHECK int session_lock(struct session *s);
/* Without waiting; *busy: somebody else works here, and it is not held. */
MUST_CHECK int session_try_lock(struct session *s, bool *busy);
void session_unlock(struct session *s);
/* Be the only one that collects what comes. 0, -EWOULDBLOCK: somebody does,
 * -errno. */
MUST_CHECK int session_lock_collecting(struct session *s);

/*
 * For who stays: let go of the mount, so that it can be unmounted and is idle,
 * and look at it again, with the contacts as they are then. CMD_NO_VAULT: it is
 * not mounted any more.
 */
void session_rest(struct session *s);
MUST_CHECK int session_wake(struct session *s);

/* Is a trouble, by whatever names it, to be told? Not when it was met within
 * the last hour, however often. */
bool session_is_news(struct session *s, const char *key);

/*
 * The settings have changed: whoever collects sees that by the stamp's
 * time, and need not wake the mount for it.
 */
void session_stamp(struct session *s);
struct timespec session_stamped(const struct session *s);

/* My card as text (CARD_TEXT_MAX bytes), signed by the mount. */
MUST_CHECK int session_card(struct session *s, char *text);

/* How .tgshare and the like could not be used; returns CMD_FAILED. */
int session_report(const struct session *s, const char *what, int err);

#endif
