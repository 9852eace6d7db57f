/*
 * Serving an unlocked vault as a FUSE file system.
 */
#ifndef FROND_MOUNT_H
#define FROND_MOUNT_H

#include "vault.h"

#include <limits.h>
#include <stdbool.h>

/* What -o asks for; mount_options_init() has the defaults. */
struct mount_options {
	bool read_only;	    /* ro */
	bool allow_other;   /* allow_other */
	bool allow_root;    /* allow_root */
	bool writeback;	    /* writeback=on|off */
	bool journal;	    /* journal=on|off */
	bool shared;	    /* shared: others write the backing directory */
	bool xattr;	    /* xattr=on|off */
	bool suid;	    /* suid: honour set-id bits (root only) */
	bool dev;	    /* dev: honour device nodes (root only) */
	bool noexec;	    /* noexec */
	bool nonempty;	    /* nonempty: the mount point may have entries */
	bool accept_old;    /* accept-old: vault.ini, once */
	bool remember;	    /* remember=on|off: which vault.ini was seen */
	bool confine;	    /* confine=on|off: give up privileges */
	unsigned idle_min;  /* idle=MIN: unmount after that long without use */
	char *fsname;	    /* fsname=NAME; NULL: the backing directory */
	char *passfile;	    /* passfile=FILE, for fstab */
	char *extpass;	    /* extpass=CMD, for fstab */
	char *log;	    /* log=FILE; NULL: syslog, or standard error */
	char *fuse_options; /* others, comma-separated, for libfuse; or NULL */
};

void mount_options_init(struct mount_options *opt);
void mount_options_fini(struct mount_options *opt);

/*
 * Take in one -o argument: options separated by commas ("\," is a comma
 * within a value). What mount(8) and fstab add for their own use (defaults,
 * auto, noauto, nofail, _netdev, user, x-..., comment=...) is passed over.
 * On failure *bad is a copy of the offending option, to be freed: -EINVAL:
 * unknown or a bad value; -ENOMEM.
 */
MUST_CHECK int mount_options_parse(struct mount_options *opt, const char *text,
				   char **bad);

/* How mounting ended before it began; mount_strerror() says it in words. */
enum mount_fault {
	MOUNT_OK,
	MOUNT_NO_FUSE,	 /* /dev/fuse or fusermount3 is missing */
	MOUNT_NO_POINT,	 /* the mount point does not exist */
	MOUNT_NOT_DIR,	 /* it is not a directory */
	MOUNT_BUSY,	 /* something is mounted on it */
	MOUNT_DEAD,	 /* a vault was, and its process has gone */
	MOUNT_NOT_EMPTY, /* it has entries, and no nonempty */
	MOUNT_OVERLAP,	 /* it lies in the backing directory, or around it */
	MOUNT_LOG,	 /* the log would lie in the one or the other */
	MOUNT_DENIED,	 /* the kernel or fusermount3 said no */
};

/* Can this be mounted there? Looks, and changes nothing. */
MUST_CHECK enum mount_fault mount_check_point(const char *backing,
					      const char *mountpoint,
					      const struct mount_options *opt);

/*
 * Mount and serve until unmounted or told to end by SIGINT, SIGTERM or
 * SIGHUP. ready(arg) is called once, when the kernel's first request has been
 * answered; from then on all failures go to the log. vault must be locked
 * (vault_lock). *fault tells why mounting failed; a negative errno is
 * returned with it. 0: unmounted in good order.
 */
MUST_CHECK int mount_serve(struct vault *vault, const char *mountpoint,
			   const struct mount_options *opt,
			   void (*ready)(void *arg), void *arg,
			   enum mount_fault *fault);

/*
 * Unmount as root or through fusermount3, politely. -EBUSY: in use;
 * -EINVAL: not a mount point of this file system; -EPERM. still: where else
 * that mount can be seen, and goes on (mount --bind); "" nowhere.
 */
MUST_CHECK int mount_umount(const char *mountpoint,
			    char still[static PATH_MAX]);
/* The same of one that is in use: nobody finds it any more. */
MUST_CHECK int mount_detach(const char *mountpoint);

#endif
