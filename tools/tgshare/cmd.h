/*
 * The subcommands of tgshare. Each takes its own arguments (argv[0] is its
 * name), says on standard error what went wrong, and returns what the process
 * is to exit with.
 */
#ifndef TGSHARE_CMD_H
#define TGSHARE_CMD_H

/* Exit statuses: scripts rely on them, tgshare(1) documents them. */
enum cmd_status {
	CMD_OK = 0,
	CMD_FAILED = 1,
	CMD_USAGE = 2,
	CMD_NO_VAULT = 3,   /* not in a mounted vault, or which one? */
	CMD_NOT_SET_UP = 4, /* 'tgshare setup' comes first */
	CMD_UNKNOWN = 5,    /* no such file, contact or set */
	CMD_QUEUED = 6,	    /* not all is delivered; it will be tried again */
};

int cmd_setup(int argc, char **argv);
int cmd_card(int argc, char **argv);
int cmd_contact(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_grant(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_receive(int argc, char **argv);
int cmd_agent(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_revoke(int argc, char **argv);
int cmd_log(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_split(int argc, char **argv);
int cmd_combine(int argc, char **argv);

/* What --help says. */
extern const char cmd_setup_help[], cmd_card_help[], cmd_contact_help[],
	cmd_send_help[], cmd_grant_help[], cmd_release_help[],
	cmd_receive_help[], cmd_agent_help[], cmd_status_help[],
	cmd_revoke_help[], cmd_log_help[], cmd_export_help[], cmd_import_help[],
	cmd_split_help[], cmd_combine_help[];

#endif
