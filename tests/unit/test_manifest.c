#include "manifest.h"

#include "chunk.h"
#include "sharing_known.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>

#include <cmocka.h>

static struct identity alice, bob;
static uint8_t set_id[SET_ID_LEN];

static int setup(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	known_identity(KNOWN_ALICE_SEED, &alice);
	known_identity(KNOWN_BOB_SEED, &bob);
	known_bytes(KNOWN_SET_ID, set_id);
	return 0;
}

static const char *const known[] = {KNOWN_MANIFEST_SENT, KNOWN_MANIFEST_FOLDER,
				    KNOWN_MANIFEST_GRANTED};

/* In memory of exactly their length, so that a sanitizer sees overreads. */
static uint8_t *bytes_of(const char *hex, size_t *len)
{
	uint8_t *bytes = malloc(strlen(hex) / 2);

	assert_non_null(bytes);
	known_bytes(hex, bytes);
	*len = strlen(hex) / 2;
	return bytes;
}

static struct manifest *parse(const char *hex)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct manifest *m = NULL;
	size_t len;

	bytes = bytes_of(hex, &len);
	assert_int_equal(manifest_parse(bytes, len, &m), 0);
	return m;
}

static int parse_error(const uint8_t *bytes, size_t len)
{
	CLEANUP_FREE uint8_t *exact = malloc(len ? len : 1);
	struct manifest *m = NULL;
	int err;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	err = manifest_parse(exact, len, &m);
	assert_true(err ? !m : !!m);
	manifest_free(m);
	return err;
}

/* Commitments and code */

static void test_manifest_commit__gives_the_known_hashes(void **state)
{
	uint8_t nonce[32], packed[SLIP39_PACKED_LEN], secret[32];
	uint8_t expected[32], out[32];
	struct manifest m = {0};
	char code[7];

	(void)state;
	known_bytes(KNOWN_NONCE, nonce);
	known_bytes(KNOWN_PAYLOAD, packed);
	known_bytes(KNOWN_SECRET, secret);
	known_bytes(KNOWN_COMMITTED_SHARE, expected);
	manifest_commit_share(nonce, set_id, 1, packed, out);
	assert_memory_equal(out, expected, 32);
	manifest_commit_share(nonce, set_id, 2, packed, out);
	assert_memory_not_equal(out, expected, 32);
	known_bytes(KNOWN_COMMITTED_SECRET, expected);
	manifest_commit_secret(nonce, set_id, secret, out);
	assert_memory_equal(out, expected, 32);
	memcpy(m.secret_commitment, out, 32);
	manifest_code(&m, set_id, &alice.pub, &bob.pub, code);
	assert_string_equal(code, KNOWN_CODE);
}

/* Known answers */

static void test_manifest_parse__reads_a_sent_file(void **state)
{
	struct manifest *m = parse(KNOWN_MANIFEST_SENT);
	const struct manifest_entry *e = m->entries;
	uint8_t hash[32];

	(void)state;
	assert_int_equal(m->kind, MANIFEST_SEND);
	assert_int_equal(m->k, 2);
	assert_int_equal(m->n, 3);
	assert_true(m->shares[0].direct && !m->shares[1].direct);
	assert_string_equal(m->shares[0].holder, "bob");
	assert_string_equal(m->shares[2].holder, "d\xc3\xa4ve");
	known_bytes(KNOWN_COMMITTED_SHARE, hash);
	assert_memory_equal(m->shares[0].commitment, hash, 32);
	known_bytes(KNOWN_COMMITTED_SECRET, hash);
	assert_memory_equal(m->secret_commitment, hash, 32);
	assert_int_equal(m->expires_s, 0);
	assert_false(m->no_content || m->folder);
	assert_string_equal(m->name, "report.pdf");
	assert_string_equal(m->note, "Hi Bob,\nread this.");
	assert_int_equal(m->entry_count, 1);
	assert_int_equal(e->type, MANIFEST_FILE);
	assert_string_equal(e->path, "report.pdf");
	assert_int_equal(e->size, 100000);
	assert_int_equal(e->mode, 0640);
	assert_int_equal(e->mtime_s, 1700000000);
	assert_int_equal(e->mtime_ns, 123456789);
	assert_false(e->has_key_token);
	assert_null(e->backing_path);
	assert_int_equal(e->part_count, 3);
	assert_int_equal(e->parts[0].len, 50000);
	assert_int_equal(e->parts[0].len + e->parts[1].len + e->parts[2].len,
			 chunk_backing_len(100000));
	manifest_free(m);
}

static void test_manifest_parse__reads_a_folder(void **state)
{
	struct manifest *m = parse(KNOWN_MANIFEST_FOLDER);

	(void)state;
	assert_true(m->folder && m->no_content);
	assert_int_equal(m->expires_s, 1800000000);
	assert_int_equal(m->entry_count, 4);
	assert_string_equal(m->entries[0].path, "a");
	assert_true(m->entries[0].has_key_token);
	assert_int_equal(m->entries[0].size, 0);
	assert_int_equal(m->entries[1].type, MANIFEST_DIR);
	assert_int_equal(m->entries[1].mode, 0750);
	assert_int_equal(m->entries[1].mtime_s, -5);
	assert_string_equal(m->entries[2].path, "b/\xc3\xbc");
	assert_string_equal(m->entries[3].path, "b!");
	manifest_free(m);
}

static void test_manifest_parse__reads_a_grant(void **state)
{
	struct manifest *m = parse(KNOWN_MANIFEST_GRANTED);
	static const uint8_t zeros[16];

	(void)state;
	assert_int_equal(m->kind, MANIFEST_GRANT);
	assert_memory_not_equal(m->vault_id, zeros, 16);
	assert_memory_not_equal(m->replaces, zeros, 16);
	assert_memory_equal(m->entries[0].backing_path, "AAAA/", 5);
	assert_int_equal(m->entries[0].part_count, 0);
	assert_null(m->entries[0].parts);
	manifest_free(m);
}

static void test_manifest_encode__gives_the_known_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		CLEANUP_FREE uint8_t *bytes = NULL, *again = NULL;
		struct manifest *m = parse(known[i]);
		size_t len, again_len;

		bytes = bytes_of(known[i], &len);
		assert_int_equal(manifest_encode(m, &again, &again_len), 0);
		assert_int_equal(again_len, len);
		assert_memory_equal(again, bytes, len);
		manifest_free(m);
	}
}

static void test_manifest_parse__refuses_any_cut_or_tail(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		CLEANUP_FREE uint8_t *bytes = NULL;
		size_t len;

		bytes = bytes_of(known[i], &len);
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(parse_error(bytes, cut), -EBADMSG);
		bytes = realloc(bytes, len + 1);
		assert_non_null(bytes);
		bytes[len] = 0;
		assert_int_equal(parse_error(bytes, len + 1), -EBADMSG);
	}
}

/* Whatever a changed byte makes of it: refused, or another manifest with
 * exactly these bytes. */
static void test_manifest_parse__knows_one_encoding(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		CLEANUP_FREE uint8_t *bytes = NULL;
		size_t len;

		bytes = bytes_of(known[i], &len);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			CLEANUP_FREE uint8_t *again = NULL;
			struct manifest *m = NULL;
			size_t again_len;
			int err;

			bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
			err = manifest_parse(bytes, len, &m);
			if (!err) {
				assert_int_equal(
					manifest_encode(m, &again, &again_len),
					0);
				assert_int_equal(again_len, len);
				assert_memory_equal(again, bytes, len);
			} else if (err != -EPROTONOSUPPORT || bit >= 8) {
				assert_int_equal(err, -EBADMSG);
			}
			manifest_free(m);
			bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		}
	}
}

static void test_manifest_parse__knows_versions(void **state)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	size_t len;

	(void)state;
	bytes = bytes_of(KNOWN_MANIFEST_SENT, &len);
	bytes[0] = 2;
	assert_int_equal(parse_error(bytes, len), -EPROTONOSUPPORT);
	assert_int_equal(parse_error(bytes, 1), -EPROTONOSUPPORT);
	bytes[0] = 0;
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
}

/* Known bytes, with one character of a text made NUL wherever it stands. */
static void assert_nul_refused(const char *hex, const char *text, size_t places)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	size_t len, found = 0;
	uint8_t *at, *end;

	bytes = bytes_of(hex, &len);
	end = bytes + len;
	for (at = bytes;
	     (at = memmem(at, (size_t)(end - at), text, strlen(text))); at++) {
		for (size_t c = 0; c < strlen(text); c++) {
			uint8_t kept = at[c];

			at[c] = 0;
			assert_int_equal(parse_error(bytes, len), -EBADMSG);
			at[c] = kept;
		}
		found++;
	}
	assert_int_equal(found, places);
}

static void test_manifest_parse__refuses_nul_in_texts(void **state)
{
	(void)state;
	assert_nul_refused(KNOWN_MANIFEST_SENT, "report.pdf", 2);
	assert_nul_refused(KNOWN_MANIFEST_SENT, "Hi Bob,", 1);
	assert_nul_refused(KNOWN_MANIFEST_SENT, "carol", 1);
	assert_nul_refused(KNOWN_MANIFEST_FOLDER, "b/\xc3\xbc", 1);
	assert_nul_refused(KNOWN_MANIFEST_FOLDER, "plans", 1);
	assert_nul_refused(KNOWN_MANIFEST_GRANTED, "AAAA/", 1);
}

/* Counts that say more than is there must not be believed. */
static void test_manifest_parse__allocates_no_more_than_it_reads(void **state)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	size_t len;
	uint8_t *at;

	(void)state;
	bytes = bytes_of(KNOWN_MANIFEST_SENT, &len);
	/* part count 3, before the length 50000 of the first */
	at = memmem(bytes, len, "\0\0\0\3\0\0\0\0\0\0\xc3\x50", 12);
	assert_non_null(at);
	memcpy(at, "\xff\xff\xff\xff", 4);
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
	memcpy(at, "\0\x0f\xff\xff", 4);
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
	memcpy(at, "\0\0\0\3", 4);
	/* entry count 1, behind the note */
	at = memmem(bytes, len, "this.\0\0\0\1", 9);
	assert_non_null(at);
	memcpy(at + 5, "\0\0\xff\xff", 4);
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
	memcpy(at + 5, "\xff\xff\xff\xff", 4);
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manifest_commit__gives_the_known_hashes),
		cmocka_unit_test(test_manifest_parse__reads_a_sent_file),
		cmocka_unit_test(test_manifest_parse__reads_a_folder),
		cmocka_unit_test(test_manifest_parse__reads_a_grant),
		cmocka_unit_test(test_manifest_parse__refuses_any_cut_or_tail),
		cmocka_unit_test(test_manifest_parse__knows_one_encoding),
		cmocka_unit_test(test_manifest_parse__knows_versions),
		cmocka_unit_test(test_manifest_parse__refuses_nul_in_texts),
		cmocka_unit_test(
			test_manifest_parse__allocates_no_more_than_it_reads),
		cmocka_unit_test(test_manifest_encode__gives_the_known_bytes),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
