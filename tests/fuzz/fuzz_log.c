/*
 * The log and its head: what lies there is verified and read, and the log
 * goes on behind it. The first byte says how the rest becomes a log: as it is,
 * or as plaintexts of tokens, with numbers and digests made right where its
 * bits say so. The second byte is the head's.
 */
#include "fuzz_vault.h"

#include "bytes.h"
#include "fernet_text.h"
#include "vlog.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum {
	RECORD_LEN = 387,
	TOKEN_LEN = FERNET_TOKEN_LEN(RECORD_LEN),
	DIGEST_LEN = 32,
	RECORDS_MAX = 16,
};

static struct fernet_key key;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_subkey(KDF_LOG, &key);
	return 0;
}

static void digest_of(const uint8_t *token, uint8_t digest[DIGEST_LEN])
{
	(void)crypto_generichash(digest, DIGEST_LEN, token, TOKEN_LEN, NULL, 0);
}

static size_t make_log(unsigned how, const uint8_t *data, size_t size,
		       uint8_t *out, uint8_t digest[DIGEST_LEN])
{
	size_t count = 0;

	memset(digest, 0, DIGEST_LEN);
	for (; size > 0 && count < RECORDS_MAX; count++) {
		uint8_t plain[RECORD_LEN] = {0};
		size_t n = size < RECORD_LEN ? size : RECORD_LEN;

		memcpy(plain, data, n);
		data += n;
		size -= n;
		if (how & 2)
			be64_store(plain, count);
		if (how & 4)
			memcpy(plain + 8, digest, DIGEST_LEN);
		REQUIRE(fernet_seal_one(&key, plain, RECORD_LEN,
					out + count * TOKEN_LEN) == 0);
		digest_of(out + count * TOKEN_LEN, digest);
	}
	return count;
}

static void put_head(unsigned how, uint64_t count,
		     const uint8_t digest[DIGEST_LEN])
{
	uint8_t head[8 + DIGEST_LEN], token[FERNET_TOKEN_LEN(8 + DIGEST_LEN)];
	size_t len = sizeof token;

	be64_store(head, count + (how & 3) - 1);
	memcpy(head + 8, digest, DIGEST_LEN);
	REQUIRE(fernet_seal_one(&key, head, sizeof head, token) == 0);
	if (how & 4)
		token[how % len] ^= 1;
	if (how & 8)
		len = how;
	fuzz_put(fuzz_vault()->meta_fd, "log.head", token,
		 len < sizeof token ? len : sizeof token);
}

static void verify(struct vlog *log)
{
	enum vlog_fault what = VLOG_FAULT_NONE;
	uint64_t seq = 0;
	int err = vlog_verify(log, &what, &seq);

	REQUIRE(err == 0 || err == -EBADMSG);
	REQUIRE((err == 0) == (what == VLOG_FAULT_NONE));
}

static void use(struct vlog *log)
{
	struct vlog_record r, added = {.event = VLOG_SENT, .text = "added"};
	uint64_t count = vlog_count(log);

	verify(log);
	for (uint64_t n = 0; n <= count; n++) {
		int err = vlog_read(log, n, &r);

		REQUIRE(err == 0 || err == -EBADMSG || err == -ENODATA);
		if (!err)
			REQUIRE(memchr(r.text, 0, sizeof r.text));
	}
	REQUIRE(vlog_append(log, &added) == 0);
	REQUIRE(vlog_read(log, vlog_count(log) - 1, &r) == 0);
	REQUIRE(strcmp(r.text, "added") == 0);
	verify(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[RECORDS_MAX * TOKEN_LEN];
	uint8_t digest[DIGEST_LEN] = {0};
	struct vlog *log = NULL;
	size_t count = 0;

	if (size < 2)
		return 0;
	if (data[0] & 1) {
		count = make_log(data[0], data + 2, size - 2, bytes, digest);
		fuzz_put(fuzz_vault()->meta_fd, "log", bytes,
			 count * TOKEN_LEN - (data[0] & 8 && count ? 100 : 0));
	} else {
		fuzz_put(fuzz_vault()->meta_fd, "log", data + 2, size - 2);
	}
	put_head(data[1], count, digest);
	REQUIRE(vlog_open(fuzz_vault(), &log) == 0);
	use(log);
	vlog_close(log);
	return 0;
}
