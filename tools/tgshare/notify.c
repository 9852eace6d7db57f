#include "notify.h"

#include "cleanup.h"
#include "json.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* What others named, without what would not stay on its line; NULL: memory is
 * short. */
static char *plain(const char *text)
{
	char *out = NULL;
	size_t len;
	FILE *stream = open_memstream(&out, &len);

	if (!stream)
		return NULL;
	json_put_plain(stream, text);
	if (fclose(stream) == 0)
		return out;
	free(out);
	return NULL;
}

/* Nothing of ours but the environment goes along. */
static void start(char *const argv[])
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	pid_t pid;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGCHLD);
	sigaddset(&defaults, SIGPIPE);
	if (posix_spawn_file_actions_init(&files))
		return;
	if (posix_spawnattr_init(&attr)) {
		posix_spawn_file_actions_destroy(&files);
		return;
	}
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	if (posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR,
					     0) == 0 &&
	    posix_spawn_file_actions_adddup2(&files, 0, 1) == 0 &&
	    posix_spawn_file_actions_adddup2(&files, 0, 2) == 0 &&
	    posix_spawn_file_actions_addclosefrom_np(&files, 3) == 0)
		/* without the program there is nothing to be said */
		(void)posix_spawnp(&pid, argv[0], &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
}

static void show(char *words, char *body, char *icon)
{
	char program[] = "notify-send", app[] = "--app-name=tgshare",
	     end[] = "--";

	start((char *[]){program, app, icon, end, words, body, NULL});
}

static bool has_desktop(void)
{
	const char *bus = getenv("DBUS_SESSION_BUS_ADDRESS");

	return bus && bus[0];
}

void notify_opened(const char *name, const char *who)
{
	CLEANUP_FREE char *file = plain(name), *sender = plain(who),
			  *words = NULL;
	/* the summary is shown as it is; the body may have markup */
	char icon[] = "--icon=changes-allow",
	     body[] = "It lies in the folder Shared.";

	if (has_desktop() && file && sender &&
	    asprintf(&words, "%s is open, from %s", file, sender) >= 0)
		show(words, body, icon);
}

void notify_asked(const char *recipient, const char *who)
{
	CLEANUP_FREE char *to = plain(recipient), *sender = plain(who),
			  *words = NULL;
	char icon[] = "--icon=dialog-question",
	     body[] = "'tgshare release' shows it, and passes it on when you "
		      "agree.";

	if (has_desktop() && to && sender &&
	    asprintf(&words, "%s asks you to let %s open something", sender,
		     to) >= 0)
		show(words, body, icon);
}
