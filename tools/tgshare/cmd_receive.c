#include "cmd.h"
#include "deliver.h"
#include "intake.h"
#include "report.h"
#include "revoke.h"
#include "spool.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

const char cmd_receive_help[] =
	"Usage: tgshare receive [--vault MOUNT] [--wait SECONDS]\n"
	"\n"
	"Collect what came, open what can be opened, acknowledge it, and send "
	"again what is\n"
	"due.\n"
	"  --vault MOUNT   which mounted vault, if there are several\n"
	"  --wait SECONDS  when nothing is there, wait so long for something\n"
	"  --help          this text\n";

const char cmd_agent_help[] =
	"Usage: tgshare agent [--vault MOUNT]\n"
	"\n"
	"What 'tgshare receive' does, for ever. One for each vault.\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --help         this text\n";

enum {
	WAIT_MAX_S = 7 * 86400,
	/* the vault's own news: a card was added, a share expired */
	LOOK_EVERY_S = 5,
	RETRY_FIRST_S = 30,
	RETRY_MAX_S = 900,
};

struct collecting {
	struct session *s;
	size_t arrived;
	int err; /* the last thing that was not taken */
};

static int take_text(void *arg, const char *text, size_t len)
{
	struct collecting *c = arg;
	int err = spool_text(c->s->spool_fd, text, len, &c->arrived);

	if (err)
		c->err = err;
	return err;
}

static int take_document(void *arg, int fd, uint64_t len, const char *filename)
{
	struct collecting *c = arg;
	int err = spool_document(c->s->spool_fd, fd, len, filename);

	if (!err)
		c->arrived++;
	else if (err != -EAGAIN)
		c->err = err;
	return err;
}

static void tell_lost(void *arg, const char *reason)
{
	(void)arg;
	report("%s; the sender's tgshare will send it again", reason);
}

/* Everything that is there now, or comes within timeout_ms. */
static int collect(struct collecting *c, int timeout_ms)
{
	const struct transport_receiver receiver = {.text = take_text,
						    .document = take_document,
						    .lost = tell_lost,
						    .arg = c};
	struct transport *t = c->s->transport;
	size_t before;
	int err;

	do {
		before = c->arrived;
		err = t->ops->run(t, &receiver, before ? 0 : timeout_ms);
	} while (!err && c->arrived > before);
	if (err)
		return report_as(CMD_FAILED, "%s", t->ops->reason(t));
	if (c->err)
		report("something came that cannot be written into '%s': %s; "
		       "it stays where it is",
		       c->s->m.info.backing, strerror(-c->err));
	c->err = 0;
	return CMD_OK;
}

static int deliver_all(struct session *s, struct deliver_result *result)
{
	struct outbox o;
	int err = outbox_load(s, &o);

	if (err)
		return session_report(s, "read .tgshare/outbox", err);
	err = deliver_due(s, o.items, o.count, result);
	if (!err)
		err = outbox_tidy(s, &o);
	outbox_free(&o);
	return err ? session_report(s, "send what is due", err) : CMD_OK;
}

/* All but the collecting; delivers unless result is NULL. */
static int work(struct session *s, struct deliver_result *result,
		size_t *events)
{
	int status = session_lock(s), revoked = CMD_OK;

	if (status)
		return status;
	spool_tidy(s->spool_fd);
	status = intake_scan(s);
	if (!status)
		status = intake_log(s, events);
	/* one that cannot be finished must not keep everything else back */
	if (!status)
		revoked = revoke_finish(s);
	if (!status && result)
		status = deliver_all(s, result);
	session_unlock(s);
	fflush(stdout);
	return status ? status : revoked;
}

static int receive(struct session *s, long wait_s)
{
	struct collecting c = {.s = s};
	struct deliver_result result = {0};
	uint64_t until_s = when_now_s() + (uint64_t)wait_s;
	size_t events = 0;
	int status = collect(&c, 0);

	if (!status)
		status = work(s, &result, &events);
	while (!status && !c.arrived && !events && when_now_s() < until_s) {
		status = collect(&c, 500);
		if (!status && c.arrived)
			status = work(s, &result, &events);
	}
	if (status)
		return status;
	if (result.failed)
		return report_as(CMD_QUEUED,
				 "%zu message%s could not be delivered; try "
				 "'tgshare receive' again later",
				 result.failed, result.failed == 1 ? "" : "s");
	return CMD_OK;
}

/* spool_fd has to be there before the first message. */
static int open_session(struct session *s, const char *vault)
{
	int status = session_open(s, NULL, 0, vault);

	if (!status)
		status = session_need_transport(s);
	if (!status)
		status = session_lock(s);
	if (!status)
		session_unlock(s);
	return status;
}

static int parse_wait(const char *text, long *wait_s)
{
	char *end;

	*wait_s = strtol(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || *wait_s > WAIT_MAX_S)
		return report_usage("receive",
				    "--wait wants seconds, at most %d, not "
				    "'%s'",
				    WAIT_MAX_S, text);
	return CMD_OK;
}

struct receive_args {
	const char *vault;
	long wait_s;
	bool help;
};

static int parse(int argc, char **argv, bool waits, struct receive_args *args)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{"wait", required_argument, NULL, 'w'},
		{0},
	};
	int c, status = CMD_OK;

	while (!status &&
	       (c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			args->vault = optarg;
		else if (c == 'h')
			args->help = true;
		else if (c == 'w' && waits)
			status = parse_wait(optarg, &args->wait_s);
		else if (c == 'w')
			status = report_usage(
				argv[0], "%s has no option --wait", argv[0]);
		else
			status = report_bad_option(argv[0], c, argv);
	}
	if (!status && optind < argc)
		status = report_usage(argv[0], "%s takes no argument '%s'",
				      argv[0], argv[optind]);
	return status;
}

int cmd_receive(int argc, char **argv)
{
	struct receive_args args = {0};
	struct session s;
	int status = parse(argc, argv, true, &args);

	if (status || args.help)
		return status ? status : report_help(cmd_receive_help);
	status = open_session(&s, args.vault);
	if (!status)
		status = receive(&s, args.wait_s);
	session_close(&s);
	return status;
}

static volatile sig_atomic_t stopped;

static void note_stop(int signo)
{
	(void)signo;
	stopped = 1;
}

/* Blocked but where the transport waits, so that none is missed. */
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

static int be_the_only_agent(const struct session *s, int *fd)
{
	*fd = openat(s->copies_fd, "agent.lock",
		     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return CMD_OK;
	if (*fd >= 0 && errno == EWOULDBLOCK)
		return report_as(CMD_FAILED,
				 "an agent works for the vault on '%s' already",
				 s->m.info.mountpoint);
	return report_as(CMD_FAILED, "cannot lock '%s/.frondfs/outbox': %s",
			 s->m.info.backing, strerror(errno));
}

/* Contacts and addresses change while the agent runs. */
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

/* When to try again what could not be delivered: less and less often. */
struct retry {
	uint64_t wait_s, at_s;
};

static void note_result(struct retry *r, const struct deliver_result *result,
			uint64_t now_s)
{
	if (!result->failed)
		r->wait_s = 0;
	else if (r->wait_s == 0)
		r->wait_s = RETRY_FIRST_S;
	else if (r->wait_s < RETRY_MAX_S)
		r->wait_s *= 2;
	r->at_s = now_s + r->wait_s;
}

static int serve(struct session *s)
{
	struct retry retry = {0};
	uint64_t look_s = 0;
	int status = CMD_OK;

	while (!stopped && !status) {
		struct collecting c = {.s = s};
		struct deliver_result result = {0};
		size_t events;

		status = collect(&c, look_s ? 1000 : 0);
		uint64_t now = when_now_s();

		if (status || stopped || (!c.arrived && now < look_s))
			continue;
		look_s = now + LOOK_EVERY_S;
		status = reload_people(s);
		if (status)
			break;
		bool deliver = now >= retry.at_s;

		status = work(s, deliver ? &result : NULL, &events);
		if (deliver)
			note_result(&retry, &result, now);
	}
	return status;
}

int cmd_agent(int argc, char **argv)
{
	struct receive_args args = {0};
	CLEANUP_FD int lock = -1;
	struct session s;
	int status = parse(argc, argv, false, &args);

	if (status || args.help)
		return status ? status : report_help(cmd_agent_help);
	status = open_session(&s, args.vault);
	if (!status)
		status = be_the_only_agent(&s, &lock);
	if (!status) {
		watch_signals();
		status = serve(&s);
	}
	session_close(&s);
	return status;
}
