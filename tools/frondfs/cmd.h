/*
 * The subcommands of frondfs. Each takes its own arguments (argv[0] is its
 * name), says on standard error what went wrong, and returns what the
 * process is to exit with.
 */
#ifndef FROND_CMD_H
#define FROND_CMD_H

/* Exit statuses: scripts rely on them, frondfs(1) documents them. */
enum cmd_status {
	CMD_OK = 0,
	CMD_FAILED = 1,
	CMD_USAGE = 2,
	CMD_NOT_A_VAULT = 3, /* for init: not an empty directory */
	CMD_WRONG_PASSPHRASE = 4,
	CMD_DAMAGED = 5,
	CMD_NEWER_VERSION = 6,
	CMD_MOUNT_POINT = 7,
	CMD_MOUNTED = 8,
	CMD_NO_FUSE = 9,
	CMD_NO_PASSPHRASE = 10,
	CMD_OLD_VAULT = 11,
};

int cmd_init(int argc, char **argv);
int cmd_mount(int argc, char **argv);
/* The same, called as mount(8) calls its helpers. */
int cmd_mount_helper(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_passwd(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_attach(int argc, char **argv);
int cmd_accept(int argc, char **argv);
/* Its exit statuses are those of fsck(8): a sum, with this one. */
enum { CMD_CHECK_FAILED = 8 };
int cmd_check(int argc, char **argv);

/* What --help says. */
extern const char cmd_init_help[], cmd_mount_help[], cmd_umount_help[],
	cmd_passwd_help[], cmd_info_help[], cmd_attach_help[], cmd_check_help[],
	cmd_accept_help[];

#endif
