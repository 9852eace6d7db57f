/*
 * What tgshare reads. The first byte chooses: set.json of the outbox, the
 * journal beside a good one, a revocation that is written down, what a Bot API
 * server answered. What was read is within its bounds, and is written the same
 * again.
 */
#include "fuzz_vault.h"

#include "bot_answer.h"
#include "item_json.h"
#include "revoke.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ITEM "00112233445566778899aabbccddeeff"

/* A set of two shares, with four messages. */
static const char set_json[] =
	"{\"version\":1,\"kind\":1,\"set\":\"" ITEM "\",\"created\":1,"
	"\"expires\":0,\"path\":\"f\",\"name\":\"f\",\"note\":\"\","
	"\"folder\":false,\"no_content\":false,\"exported\":false,\"size\":5,"
	"\"mtime_ns\":1,\"k\":2,\"n\":2,\"code\":\"123456\",\"copy\":\"\","
	"\"card\":\"\",\"replaces\":\"" ITEM
	"\",\"parties\":[{\"name\":\"bob\","
	"\"keys\":\"" ITEM ITEM ITEM ITEM "\",\"address\":\"chat:1\"}],"
	"\"holders\":[0,0],\"files\":[],\"messages\":[[1,0,0,\"a.env\",0,9],"
	"[2,1,0,\"b.env\",0,9],[2,2,0,\"c.env\",0,9],[0,0,0,\"d.part\",0,9]]}";
static int outbox_fd, item_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int meta = fuzz_vault()->meta_fd;

	(void)argc;
	(void)argv;
	REQUIRE(mkdirat(meta, "items", 0700) == 0);
	outbox_fd = openat(meta, "items", O_RDONLY | O_DIRECTORY);
	REQUIRE(outbox_fd >= 0 && mkdirat(outbox_fd, ITEM, 0700) == 0);
	item_fd = openat(outbox_fd, ITEM, O_RDONLY | O_DIRECTORY);
	REQUIRE(item_fd >= 0);
	return 0;
}

static void check_item(const struct item *item)
{
	REQUIRE(item->n <= SLIP39_SHARES_MAX && item->k <= item->n);
	REQUIRE(item->party_count >= 1 &&
		item->party_count <= ITEM_PARTIES_MAX);
	REQUIRE(!strchr(item->copy, '/') && item->path && item->name);
	for (size_t i = 0; i < item->n; i++)
		REQUIRE(item->holders[i] < item->party_count);
	for (size_t i = 0; i < item->message_count; i++) {
		const struct item_message *m = &item->messages[i];

		REQUIRE(m->party < item->party_count && !strchr(m->name, '/'));
	}
	for (size_t i = 0; i < item->file_count; i++)
		REQUIRE(item->files[i].path);
}

static struct item *read_item(const char *text, size_t len)
{
	struct item *item = calloc(1, sizeof *item);
	int err;

	REQUIRE(item);
	err = item_json_parse(text, len, item);
	REQUIRE(err == 0 || err == -EBADMSG);
	if (!err)
		return item;
	item_free(item);
	return NULL;
}

static void try_item(const char *text, size_t len)
{
	CLEANUP_FREE char *one = NULL, *two = NULL;
	struct item *item = read_item(text, len), *again;

	if (!item)
		return;
	check_item(item);
	REQUIRE(item_json_format(item, &one) == 0);
	again = read_item(one, strlen(one));
	REQUIRE(again && item_json_format(again, &two) == 0);
	REQUIRE(strcmp(one, two) == 0);
	item_free(item);
	item_free(again);
}

static void try_journal(const uint8_t *data, size_t size)
{
	struct item *item = NULL;
	int err;

	fuzz_put(item_fd, "set.json", set_json, sizeof set_json - 1);
	fuzz_put(item_fd, "journal", data, size);
	err = item_load(outbox_fd, ITEM, &item);
	REQUIRE(err == 0 || err == -EBADMSG);
	if (err)
		return;
	check_item(item);
	REQUIRE(item->end <= ITEM_DECLINED);
	REQUIRE(item->recipient_state <= ACK_DECLINED);
	for (size_t i = 0; i < item->message_count; i++) {
		(void)item_message_done(item, &item->messages[i]);
		(void)item_message_due(item, &item->messages[i], 1);
	}
	/* what is noted behind it is read with it */
	REQUIRE(item_note_logged(outbox_fd, item) == 0);
	item_free(item);
	REQUIRE(item_load(outbox_fd, ITEM, &item) == 0 && item->logged);
	item_free(item);
}

static void try_revocation(const char *text, size_t len)
{
	CLEANUP_FREE char *one = NULL, *two = NULL;
	struct revocation r = {0}, again = {0};
	int err = revoke_parse(text, len, &r);

	REQUIRE(err == 0 || err == -EBADMSG);
	if (!err) {
		REQUIRE(r.stage == 1 || r.stage == 2);
		REQUIRE(revoke_format(&r, &one) == 0);
		REQUIRE(revoke_parse(one, strlen(one), &again) == 0);
		REQUIRE(revoke_format(&again, &two) == 0);
		REQUIRE(strcmp(one, two) == 0);
	}
	revoke_fini(&r);
	revoke_fini(&again);
}

static void try_answer(const char *text, size_t len, int status)
{
	struct bot_reply r = {.status = status};
	json_t *answer = NULL;

	bot_answer_read(text, len, &r, &answer);
	REQUIRE(r.error_code >= 0 && r.error_code < 1000);
	REQUIRE(r.retry_after_s <= 86400);
	REQUIRE(!r.result || answer);
	REQUIRE(memchr(r.description, '\0', sizeof r.description));
	for (const char *p = r.description; *p; p++)
		REQUIRE((unsigned char)*p >= 0x20 && *p != 0x7f);
	REQUIRE(bot_answer_update_id(text, len) >= 0);
	json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	switch (data[0] % 5) {
	case 0:
		try_item(text, size - 1);
		break;
	case 1:
		try_revocation(text, size - 1);
		break;
	case 2:
		try_journal(data + 1, size - 1);
		break;
	default:
		try_answer(text, size - 1, data[0] % 5 == 3 ? 200 : 429);
	}
	return 0;
}
