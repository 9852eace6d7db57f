#include "transports.h"

#include "bot_token.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int open_dir(struct session *s, const char *path)
{
	char fingerprint[IDENTITY_FINGERPRINT_LEN + 1];
	uint8_t id[TRANSPORT_ID_LEN];
	int err;

	identity_fingerprint(&s->m.info.pub, fingerprint);
	crypto_generichash(id, sizeof id, (const uint8_t *)fingerprint,
			   strlen(fingerprint), NULL, 0);
	err = transport_dir_open(path, id, &s->transport);
	if (err)
		return report_as(CMD_FAILED,
				 "cannot use the folder '%s' for messages: %s",
				 path, strerror(-err));
	return CMD_OK;
}

static int open_telegram(struct session *s)
{
	CLEANUP_SECRET struct bot_token *token = NULL;
	struct telegram_config cfg = {.api_base = s->settings.api_base,
				      .username = s->settings.bot};
	int err, status = session_open_spool(s);

	if (!status)
		status = bot_token_load(s, &token);
	if (status)
		return status;
	cfg.token = token->text;
	cfg.temp_dirfd = s->spool_fd;
	cfg.part_mib = (unsigned)strtoul(s->settings.part_mib, NULL, 10);
	err = transport_telegram_open(&cfg, &s->transport);
	return err ? report_as(CMD_FAILED,
			       "cannot use Telegram with these settings (%s): "
			       "run 'tgshare setup --transport telegram%s' "
			       "again",
			       strerror(-err), report_vault())
		   : CMD_OK;
}

int transports_open(struct session *s)
{
	const char *setting = s->settings.transport;

	if (strncmp(setting, "dir:", 4) == 0 && setting[4])
		return open_dir(s, setting + 4);
	if (strcmp(setting, "telegram") == 0)
		return open_telegram(s);
	return report_as(CMD_FAILED,
			 "the settings name a transport '%s' that this tgshare "
			 "does not know: run 'tgshare setup%s' again",
			 setting, report_vault());
}
