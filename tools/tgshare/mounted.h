/*
 * A mounted vault as a program outside sees it: found by a path, an option,
 * the environment or because it is the only one, and asked by ioctls
 * (control.h).
 */
#ifndef TGSHARE_MOUNTED_H
#define TGSHARE_MOUNTED_H

#include "control.h"

struct mounted {
	int fd; /* the mount's top directory */
	struct control_vault info;
};

/*
 * The vault that path lies in. -ENOTTY: in none; else what open(2) says;
 * -EPROTONOSUPPORT: mounted by another version of frondfs.
 */
MUST_CHECK int mounted_of_path(const char *path, struct mounted *m);

/*
 * The vault of the paths (count may be 0), else of --vault (option, NULL
 * without), else of TGSHARE_VAULT, else of the current directory, else the
 * only one that is mounted. Returns an exit status, having said what is wrong.
 */
MUST_CHECK int mounted_find(char *const *paths, int count, const char *option,
			    struct mounted *m);
/* Would it be found without paths and option, too? */
bool mounted_is_default(const struct mounted *m);
void mounted_close(struct mounted *m);

/* An ioctl of control.h on fd. 0 or a negative errno. */
MUST_CHECK int mounted_ask(int fd, unsigned long request, void *arg);

/*
 * path (which exists) relative to the mount's top, without following its last
 * component: malloced. -EXDEV: it is not in this mount.
 */
MUST_CHECK int mounted_relative(const struct mounted *m, const char *path,
				char **relative);

#endif
