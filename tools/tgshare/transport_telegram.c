#include "transport_telegram.h"

#include "clock.h"
#include "telegram.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	BACKOFF_FIRST_MS = 500,
	BACKOFF_MAX_MS = 60 * 1000,
	/* getFile serves 20 MB; a little less, for the framing */
	PART_PUBLIC = 19 << 20,
	WHO_AM_I_TRIES = 3,
	NAP_MS = 1000,
};

int64_t telegram_backoff_ms(unsigned tries)
{
	int64_t full = BACKOFF_FIRST_MS;

	while (tries-- > 1 && full < BACKOFF_MAX_MS)
		full *= 2;
	if (full > BACKOFF_MAX_MS)
		full = BACKOFF_MAX_MS;
	return full / 2 + randombytes_uniform((uint32_t)(full / 2));
}

static struct telegram *of(struct transport *t)
{
	return (struct telegram *)t;
}

static uint64_t telegram_part_max(const struct transport *t)
{
	return ((const struct telegram *)t)->part_max;
}

static const char *telegram_address(const struct transport *t)
{
	return ((const struct telegram *)t)->username;
}

static const char *telegram_reason(const struct transport *t)
{
	return ((const struct telegram *)t)->reason;
}

static void telegram_free(struct transport *base)
{
	struct telegram *t = of(base);

	if (!t)
		return;
	bot_api_free(t->api);
	telegram_drop_parcels(t);
	telegram_drop_arrivals(t);
	pace_free(t->pace);
	free(t);
}

/* A signal that the caller blocks has its moment here. */
static void let_signals_in(void)
{
	sigset_t none, before;

	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, &before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* One that ends the process need not wait until all has come. */
static bool told_to_end(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT);
}

/*
 * Until timeout_ms are over or something happened that the caller should look
 * at: a batch is taken in, or all parcels are gone. With timeout 0 everything
 * that is there is taken in, however long that takes.
 */
static int telegram_run(struct transport *base,
			const struct transport_receiver *r, int timeout_ms)
{
	struct telegram *t = of(base);
	int64_t ends = clock_now_ms() + timeout_ms;
	bool had_parcels = t->parcels;
	int err = 0;

	t->receiver = r;
	t->heard = false;
	while (!err && !told_to_end()) {
		int64_t left = ends - clock_now_ms();
		int wait = left > NAP_MS ? NAP_MS : left < 0 ? 0 : (int)left;

		telegram_send_more(t, &wait);
		if (r)
			err = telegram_receive_more(t, timeout_ms == 0, &wait);
		if (err || (had_parcels && !t->parcels))
			break;
		if (r && timeout_ms == 0) {
			if (!telegram_receiving(t))
				break;
		} else if (left <= 0 || (t->heard && !t->batch)) {
			break;
		}
		err = bot_api_run(t->api, wait > 0 ? wait : 50);
	}
	if (!err && r && t->no_room)
		err = t->no_room;
	t->no_room = 0;
	/* what is put aside keeps a reason */
	if (!err && r && timeout_ms == 0 && t->aside && !told_to_end())
		err = -EAGAIN;
	t->receiver = NULL;
	let_signals_in();
	return err;
}

static const struct transport_ops ops = {
	.name = "telegram",
	.one_reader = true,
	.far = true,
	.part_max = telegram_part_max,
	.address = telegram_address,
	.submit = telegram_submit,
	.retract = telegram_retract,
	.run = telegram_run,
	.idle = telegram_idle,
	.give_up = telegram_give_up,
	.reason = telegram_reason,
	.free = telegram_free,
};

int transport_telegram_open(const struct telegram_config *cfg,
			    struct transport **out)
{
	struct telegram *t = calloc(1, sizeof *t);
	int err;

	if (!t)
		return -ENOMEM;
	t->base.ops = &ops;
	t->parcels_end = &t->parcels;
	t->limit = TELEGRAM_UPDATES;
	t->temp_dirfd = cfg->temp_dirfd;
	t->part_max = cfg->part_mib ? (uint64_t)cfg->part_mib << 20
				    : (uint64_t)PART_PUBLIC;
	t->local = strcmp(cfg->api_base, BOT_BASE_PUBLIC) != 0;
	snprintf(t->username, sizeof t->username, "%s", cfg->username);
	err = bot_api_new(cfg->api_base, cfg->token, &t->api);
	if (!err)
		err = pace_new(!t->local, &t->pace);
	if (err) {
		telegram_free(&t->base);
		return err;
	}
	*out = &t->base;
	return 0;
}

/* One question, and its answer. */
struct question {
	bool answered;
	int err;
	char *username, *reason;
};

static void answered(void *arg, const struct bot_reply *r)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	struct question *q = arg;
	const char *name =
		json_string_value(json_object_get(r->result, "username"));

	q->answered = true;
	q->err = r->error_code ? telegram_explain(r, "us", q->reason) : 0;
	if (q->err)
		return;
	if (!name || strlen(name) > TELEGRAM_USERNAME_MAX ||
	    name[strspn(name, letters)]) {
		snprintf(q->reason, TELEGRAM_REASON_MAX, "%s",
			 telegram_no_server);
		q->err = -EPROTO;
		return;
	}
	snprintf(q->username, TELEGRAM_USERNAME_MAX + 2, "@%s", name);
}

static int ask(struct bot_api *api, struct question *q)
{
	const struct bot_callback cb = {.done = answered, .arg = q};
	json_t *params = json_object();
	int err = params ? bot_api_call(api, "getMe", params, 0, &cb) : -ENOMEM;

	q->answered = false;
	while (!err && !q->answered)
		err = bot_api_run(api, NAP_MS);
	return err ? err : q->err;
}

int telegram_who_am_i(const char *api_base, const char *token,
		      char username[static TELEGRAM_USERNAME_MAX + 2],
		      char reason[static TELEGRAM_REASON_MAX])
{
	struct question q = {.username = username, .reason = reason};
	struct bot_api *api;
	int err = bot_api_new(api_base, token, &api);

	if (err) {
		snprintf(reason, TELEGRAM_REASON_MAX, "%s",
			 err == -EINVAL
				 ? "this is no bot token; @BotFather's look "
				   "like 123456789:AbC-dEf..."
			 : err == -EPROTO
				 ? "api_base has to begin with https://, or "
				   "with http:// and this machine's name"
				 : strerror(-err));
		return err;
	}
	err = -EAGAIN;
	for (unsigned tries = 0; err == -EAGAIN && tries < WHO_AM_I_TRIES;
	     tries++)
		err = ask(api, &q);
	bot_api_free(api);
	return err;
}
