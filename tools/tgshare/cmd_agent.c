#include "cmd.h"
#include "intake.h"
#include "report.h"
#include "round.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char cmd_agent_help[] =
	"Usage: tgshare agent [--vault MOUNT]\n"
	"\n"
	"What 'tgshare receive' does, for ever. One for each vault.\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --help         this text\n";

enum {
	COLLECT_MS = 1000,
	BUSY_S = 2, /* then it is looked whether another tgshare has finished */
	RETRY_FIRST_S = 2,
	RETRY_MAX_S = 900,
	/* not only when there is news: clocks are set, cards expire */
	WORK_EVERY_S = 3600,
};

static volatile sig_atomic_t stopped;

static void note_stop(int signo)
{
	(void)signo;
	stopped = 1;
}

/* Blocked but where it waits, so that none is missed. */
static void watch_signals(void)
{
	struct sigaction note = {.sa_handler = note_stop};
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGINT);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sigaction(SIGTERM, &note, NULL);
	sigaction(SIGINT, &note, NULL);
}

static void wait_s(uint64_t seconds)
{
	const struct timespec timeout = {.tv_sec = (time_t)seconds};
	sigset_t none;

	sigemptyset(&none);
	ppoll(NULL, 0, &timeout, &none);
}

static int be_the_only_agent(struct session *s)
{
	int err = session_lock_collecting(s);

	if (err == -EWOULDBLOCK)
		return report_as(CMD_FAILED,
				 "an agent works for the vault on '%s' already",
				 s->m.info.mountpoint);
	return err ? report_as(CMD_FAILED,
			       "cannot lock '%s/.frondfs/outbox': %s",
			       s->m.info.backing, strerror(-err))
		   : CMD_OK;
}

/* When to try again what failed: less and less often. */
struct retry {
	uint64_t wait_s;
};

static void retry_later(struct retry *r)
{
	if (r->wait_s == 0)
		r->wait_s = RETRY_FIRST_S;
	else if (r->wait_s < RETRY_MAX_S)
		r->wait_s *= 2;
}

struct agent {
	struct session *s;
	struct retry transport, delivery;
	uint64_t work_s;       /* when there is something to do at the latest */
	off_t log_len;	       /* of the vault's log, as it was last seen */
	struct timespec stamp; /* of the settings that are used */
};

/*
 * The mount notes in the vault's log what happens there. Looking at the file
 * itself leaves the mount alone, which may be waiting to be idle.
 */
static bool log_has_grown(struct agent *a)
{
	struct stat st;

	if (fstatat(a->s->copies_fd, "../log", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	bool grown = st.st_size != a->log_len;

	a->log_len = st.st_size;
	return grown;
}

static int work(struct agent *a)
{
	struct round_result result = {0};
	uint64_t now = when_now_s();
	int status = session_wake(a->s);

	if (!status)
		status = round_work_unless_busy(a->s, &result);
	session_rest(a->s);
	if (result.busy) {
		a->work_s = now + BUSY_S;
		return CMD_OK;
	}
	a->s->patient = true;
	a->work_s = now + WORK_EVERY_S;
	if (result.delivered.failed || result.delivered.left || status) {
		retry_later(&a->delivery);
		a->work_s = now + a->delivery.wait_s;
	} else {
		a->delivery.wait_s = 0;
		if (result.next_due_s < a->work_s)
			a->work_s = result.next_due_s;
	}
	/* what went wrong was said; only without the vault there is no way */
	return status == CMD_NO_VAULT ? status : CMD_OK;
}

static bool work_is_due(const struct agent *a)
{
	uint64_t now = when_now_s();

	/* later than it can be: the clock was set back */
	return now >= a->work_s || a->work_s - now > WORK_EVERY_S;
}

static bool setup_has_changed(const struct agent *a)
{
	struct timespec now = session_stamped(a->s);

	return now.tv_sec != a->stamp.tv_sec || now.tv_nsec != a->stamp.tv_nsec;
}

/* 'tgshare setup' was run beside us. */
static int take_new_setup(struct agent *a)
{
	struct session *s = a->s;
	struct settings fresh;
	int status = session_wake(s), err;

	if (status)
		return status;
	a->stamp = session_stamped(s);
	err = settings_load(&s->m, &fresh);
	if (err) {
		(void)session_report(s, "read .tgshare/settings.ini", err);
	} else {
		s->settings = fresh;
		if (s->transport)
			s->transport->ops->free(s->transport);
		s->transport = NULL;
		if (session_need_transport(s) == CMD_OK)
			report("the settings have changed; going on as %s",
			       s->transport->ops->address(s->transport));
	}
	/* what was refused may be taken now */
	s->patient = false;
	a->work_s = 0;
	session_rest(s);
	return CMD_OK;
}

/* A folder that was unplugged, a server that is down: it comes back. */
static int reopen_transport(struct agent *a)
{
	struct session *s = a->s;
	int status;

	if (s->transport)
		s->transport->ops->free(s->transport);
	s->transport = NULL;
	retry_later(&a->transport);
	wait_s(a->transport.wait_s);
	if (stopped)
		return CMD_OK;
	status = session_wake(s);
	if (!status && session_need_transport(s))
		s->transport = NULL;
	session_rest(s);
	return status;
}

/* What was taken in before may make room. */
static int wait_for_room(struct agent *a)
{
	int status = work(a);

	if (status)
		return status;
	retry_later(&a->transport);
	wait_s(a->transport.wait_s);
	return CMD_OK;
}

/* What comes, and whatever is to be done then. */
static int serve_once(struct agent *a)
{
	size_t arrived = 0;
	int status = round_collect(a->s, a->work_s ? COLLECT_MS : 0, &arrived);

	session_rest(a->s);
	/* that may be the reason */
	if (status && status != CMD_NO_VAULT && setup_has_changed(a))
		return CMD_OK;
	if (status == CMD_NO_VAULT || status == CMD_NOT_SET_UP)
		return status;
	if (status && a->s->no_room)
		return wait_for_room(a);
	/* not all that is there could be had: what could be is taken in */
	if (status && arrived && work(a) == CMD_NO_VAULT)
		return CMD_NO_VAULT;
	if (status)
		return reopen_transport(a);
	a->transport.wait_s = 0;
	if (stopped)
		return CMD_OK;
	/* in any case, so that the next time it is known */
	bool grown = log_has_grown(a);

	/* somebody who may be written to now is no news of the vault's */
	bool due = !a->s->patient || work_is_due(a);

	return grown || arrived || due ? work(a) : CMD_OK;
}

static int serve(struct agent *a)
{
	int status = CMD_OK;

	a->stamp = session_stamped(a->s);
	while (!stopped && !status)
		status = setup_has_changed(a) ? take_new_setup(a)
			 : a->s->transport    ? serve_once(a)
					      : reopen_transport(a);
	return status;
}

static int run(const char *vault)
{
	struct session s;
	struct agent agent = {.s = &s};
	int status = session_open(&s, NULL, 0, vault);

	if (!status)
		status = session_need_transport(&s);
	if (!status)
		status = session_open_spool(&s);
	if (!status)
		status = be_the_only_agent(&s);
	if (!status)
		status = intake_other_log(&s);
	if (!status) {
		watch_signals();
		signal(SIGCHLD, SIG_IGN); /* nobody waits for notify-send */
		s.notify = s.patient = true;
		if (isatty(STDERR_FILENO))
			report("collecting what comes for the vault on '%s'; "
			       "Ctrl-C ends it",
			       s.m.info.mountpoint);
		status = serve(&agent);
		if (status == CMD_NOT_SET_UP)
			report("the agent ends: messages do not travel before "
			       "that is done; start it again then");
	}
	session_close(&s);
	return status;
}

int cmd_agent(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *vault = NULL;
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			vault = optarg;
		else if (c == 'h')
			return report_help(cmd_agent_help);
		else
			return report_bad_option("agent", c, argv);
	}
	if (optind < argc)
		return report_usage("agent", "agent takes no argument '%s'",
				    argv[optind]);
	return run(vault);
}
