#include "bot_token.h"

#include "report.h"
#include "tty.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const char dir_name[] = "telegram", file_name[] = "token";

/* What is left of a line of text: without blanks around it. */
static int take_line(const char *text, size_t len, struct bot_token *t)
{
	size_t begin = 0, end = 0;

	while (end < len && text[end] != '\n')
		end++;
	while (begin < end && (text[begin] == ' ' || text[begin] == '\t'))
		begin++;
	while (end > begin && (text[end - 1] == ' ' || text[end - 1] == '\r'))
		end--;
	if (end == begin || end - begin > BOT_TOKEN_MAX)
		return -EINVAL;
	memcpy(t->text, text + begin, end - begin);
	t->text[end - begin] = '\0';
	return 0;
}

static int read_from(int dir, const char *name, struct bot_token *t)
{
	CLEANUP_SECRET char *text = secret_alloc(4096);
	size_t len;
	int err = text ? xio_read_file(dir, name, text, 4096, &len) : -ENOMEM;

	return err ? err : take_line(text, len, t);
}

static int ask_for(struct bot_token *t)
{
	CLEANUP_SECRET char *line = secret_alloc(BOT_TOKEN_MAX + 64);
	size_t len;
	int err =
		line ? tty_ask("The bot's token, as @BotFather gave it: ", line,
			       BOT_TOKEN_MAX + 64, &len)
		     : -ENOMEM;

	if (!err)
		err = take_line(line, len, t);
	if (err == -ENXIO)
		return report_as(
			CMD_USAGE,
			"there is no terminal to ask for the bot's "
			"token on; give it with --bot-token-file FILE");
	if (err == -EINTR)
		return CMD_FAILED;
	return err ? report_as(CMD_USAGE, "that is no bot token: @BotFather's "
					  "look like 123456789:AbC-dEf...")
		   : CMD_OK;
}

static int load(struct session *s, struct bot_token *t)
{
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(&s->m, dir_name, &dir);

	return err ? err : read_from(dir, file_name, t);
}

int bot_token_load(struct session *s, struct bot_token **out)
{
	CLEANUP_SECRET struct bot_token *t = secret_alloc(sizeof *t);
	int err = t ? load(s, t) : -ENOMEM;

	if (err == -ENOENT || err == -EINVAL)
		return report_as(CMD_NOT_SET_UP,
				 "the vault on '%s' has no bot token; run "
				 "'tgshare setup --transport telegram%s'",
				 s->m.info.mountpoint, report_vault());
	if (err)
		return session_report(s, "read .tgshare/telegram/token", err);
	*out = TAKE_PTR(t);
	return CMD_OK;
}

int bot_token_ask(struct bot_token **out)
{
	CLEANUP_SECRET struct bot_token *t = secret_alloc(sizeof *t);
	int status =
		t ? ask_for(t) : report_as(CMD_FAILED, "%s", strerror(ENOMEM));

	if (!status)
		*out = TAKE_PTR(t);
	return status;
}

int bot_token_get(struct session *s, const char *file, struct bot_token **out,
		  bool *kept)
{
	CLEANUP_SECRET struct bot_token *t = secret_alloc(sizeof *t);
	int err = t ? 0 : -ENOMEM;

	*kept = false;

	if (!err && file) {
		err = read_from(AT_FDCWD, file, t);
		if (err)
			return report_as(
				CMD_FAILED,
				"cannot read a bot token from '%s': %s", file,
				err == -EINVAL ? "its first line has to be the "
						 "token, as @BotFather gave it"
					       : strerror(-err));
	} else if (!err) {
		if (load(s, t))
			return bot_token_ask(out);
		*kept = true;
	}
	if (err)
		return report_as(CMD_FAILED, "%s", strerror(-err));
	*out = TAKE_PTR(t);
	return CMD_OK;
}

int bot_token_save(struct session *s, const struct bot_token *t)
{
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(&s->m, dir_name, &dir);

	return err ? err
		   : xio_replace_file(dir, file_name, t->text, strlen(t->text),
				      0600);
}
