/* Manifests that lie, told through the encoder, which asks the parser. */
#include "manifest.h"

#include "chunk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static int encode_error(const struct manifest *m)
{
	uint8_t *bytes = NULL;
	size_t len;
	int err = manifest_encode(m, &bytes, &len);

	assert_true(err ? !bytes : !!bytes);
	free(bytes);
	return err;
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

/* A set with entries at these paths; "x/" is a directory. */
struct built {
	struct manifest m;
	struct manifest_entry entries[8];
	struct manifest_part parts[8];
	char paths[8][32];
};

static void build(struct built *b, const char *const *paths)
{
	*b = (struct built){.m = {.kind = MANIFEST_SEND,
				  .k = 1,
				  .n = 1,
				  .folder = true,
				  .name = "folder"}};
	b->m.entries = b->entries;
	for (size_t i = 0; paths[i]; i++) {
		size_t len = strlen(paths[i]);
		bool dir = len > 1 && paths[i][len - 1] == '/';

		(void)snprintf(b->paths[i], sizeof b->paths[i], "%.*s",
			       (int)(dir ? len - 1 : len), paths[i]);
		b->parts[i].len = chunk_backing_len(5000);
		b->entries[i] = (struct manifest_entry){
			.type = dir ? MANIFEST_DIR : MANIFEST_FILE,
			.path = b->paths[i],
			.mode = dir ? 0700 : 0600,
			.size = 5000,
			.has_key_token = true,
			.parts = &b->parts[i],
			.part_count = 1};
		b->m.entry_count = i + 1;
	}
}

#define PATHS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int encode_paths(const char *const *paths)
{
	struct built b;

	build(&b, paths);
	return encode_error(&b.m);
}

static void test_manifest_encode__takes_any_order_of_good_paths(void **state)
{
	(void)state;
	assert_int_equal(encode_paths(PATHS("a", "b")), 0);
	assert_int_equal(encode_paths(PATHS("b", "a")), 0);
	assert_int_equal(
		encode_paths(PATHS("a/b/c", "a-b", "a/", "a/b/", "a0")), 0);
	assert_int_equal(
		encode_paths(PATHS("a/", "a!/", "a/z", "a!/z", "\xff", " ")),
		0);
	assert_int_equal(encode_paths(PATHS("...", ".x", "-", "a\\b", "\xc3")),
			 0);
}

static void test_manifest_encode__refuses_paths_that_conflict(void **state)
{
	(void)state;
	assert_int_equal(encode_paths(PATHS("a", "b", "a")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a/", "a")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a/", "a/")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a", "a/b")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a", "a!", "a-", "a/b")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a/", "a/b", "a/b/c")), -EINVAL);
	/* directories nobody told of */
	assert_int_equal(encode_paths(PATHS("a/b")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a/", "a/b/c")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("ab/", "a/c")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a/", "ab/c")), -EINVAL);
	assert_int_equal(encode_paths(PATHS("a/", "a/b/", "c/b/d")), -EINVAL);
}

static const char *const bad_paths[] = {
	"",	"/",	     "/a",	  "..",	      ".",
	"../a", "a//b",	     "a/.",	  "./a",      "a/..",
	"a\n",	"\x7f",	     "\x1b[2Jx",  "a/",	      "\x01",
	"a\tb", "\xc2\x9bJ", "x\xc2\x80", "a/../../b"};

static void test_manifest_encode__refuses_paths_that_escape(void **state)
{
	char component[257];

	(void)state;
	for (size_t i = 0; i < sizeof bad_paths / sizeof *bad_paths; i++) {
		struct built b;

		build(&b, PATHS("a"));
		b.entries[0].path = (char *)(uintptr_t)bad_paths[i];
		assert_int_equal(encode_error(&b.m), -EINVAL);
		/* as a directory, and with a parent that is known */
		b.entries[0].type = MANIFEST_DIR;
		assert_int_equal(encode_error(&b.m), -EINVAL);
		build(&b, PATHS("a/", "x"));
		b.entries[1].path = (char *)(uintptr_t)bad_paths[i];
		assert_int_equal(encode_error(&b.m), -EINVAL);
		/* one component is the same rule for a set's name */
		build(&b, PATHS("a"));
		(void)snprintf(b.m.name, sizeof b.m.name, "%s", bad_paths[i]);
		assert_int_equal(encode_error(&b.m), -EINVAL);
	}
	for (size_t len = 255; len <= 256; len++) {
		struct built b;

		build(&b, PATHS("a"));
		memset(component, 'x', len);
		component[len] = '\0';
		b.entries[0].path = component;
		assert_int_equal(encode_error(&b.m), len == 255 ? 0 : -EINVAL);
	}
}

static void test_manifest_encode__refuses_parts_that_do_not_add_up(void **state)
{
	struct manifest_part parts[3] = {{.len = 1}};
	struct built b;

	(void)state;
	build(&b, PATHS("a"));
	b.parts[0].len++;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.parts[0].len -= 2;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.parts[0].len = 0;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.entries[0].part_count = 0;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.entries[0].parts = parts;
	b.entries[0].part_count = 3;
	parts[1].len = chunk_backing_len(5000) - 2;
	parts[2].len = 1;
	assert_int_equal(encode_error(&b.m), 0);
	/* a part of nothing */
	parts[1].len += 1;
	parts[2].len = 0;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	/* a sum that wraps around */
	parts[0].len = UINT64_MAX;
	parts[1].len = chunk_backing_len(5000);
	parts[2].len = 1;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	/* sizes that no file has */
	parts[0].len = UINT64_MAX;
	b.entries[0].part_count = 1;
	b.entries[0].size = UINT64_MAX;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.entries[0].size = (uint64_t)CHUNK_MAX_PLAIN_LEN + 1;
	parts[0].len = chunk_backing_len(b.entries[0].size);
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.entries[0].size--;
	parts[0].len = chunk_backing_len(b.entries[0].size);
	assert_int_equal(encode_error(&b.m), 0);
}

static void test_manifest_encode__refuses_a_key_for_several_files(void **state)
{
	struct built b;

	(void)state;
	build(&b, PATHS("a", "b", "c/"));
	b.entries[0].has_key_token = false;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.entries[1].type = MANIFEST_DIR;
	assert_int_equal(encode_error(&b.m), 0);
}

static void test_manifest_encode__refuses_more_than_one_bare_file(void **state)
{
	struct built b;

	(void)state;
	build(&b, PATHS("folder"));
	b.m.folder = false;
	assert_int_equal(encode_error(&b.m), 0);
	(void)snprintf(b.m.name, sizeof b.m.name, "other");
	assert_int_equal(encode_error(&b.m), -EINVAL);
	build(&b, PATHS("folder/"));
	b.m.folder = false;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	build(&b, PATHS("folder", "b"));
	b.m.folder = false;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.m.entry_count = 0;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.m.folder = true; /* an empty folder */
	assert_int_equal(encode_error(&b.m), 0);
}

static void
test_manifest_encode__refuses_thresholds_that_cannot_be(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= 18; n++)
		for (unsigned k = 0; k <= 18; k++) {
			struct built b;
			bool good = n <= 16 && k >= 1 && k <= n;

			build(&b, PATHS("a"));
			b.m.k = (uint8_t)k;
			b.m.n = (uint8_t)n;
			assert_int_equal(encode_error(&b.m),
					 good ? 0 : -EINVAL);
		}
}

static void test_manifest_encode__refuses_texts_that_deceive(void **state)
{
	static const char *const notes[] = {"\x1b[2J", "a\xe2\x80\xaex", "\xff",
					    "\r", "\xc2\x9b"};
	static const char *const holders[] = {"a/b", "-x", "\xe2\x80\x8b",
					      "a,b", "\n"};
	struct built b;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		build(&b, PATHS("a"));
		(void)snprintf(b.m.note, sizeof b.m.note, "%s", notes[i]);
		assert_int_equal(encode_error(&b.m), -EINVAL);
		build(&b, PATHS("a"));
		(void)snprintf(b.m.shares[0].holder, 8, "%s", holders[i]);
		assert_int_equal(encode_error(&b.m), -EINVAL);
	}
	build(&b, PATHS("a"));
	memset(b.m.note, 'n', MANIFEST_NOTE_MAX);
	memset(b.m.shares[0].holder, 'h', CARD_NAME_MAX);
	memset(b.m.name, 'm', 255);
	assert_int_equal(encode_error(&b.m), 0);
	b.m.note[MANIFEST_NOTE_MAX] = 'n';
	assert_int_equal(encode_error(&b.m), -EINVAL);
}

static void
test_manifest_encode__masks_modes_and_the_parser_insists(void **state)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct manifest *m = NULL;
	struct built b;
	size_t len;

	(void)state;
	build(&b, PATHS("a/", "b"));
	b.entries[0].mode = 047777;
	b.entries[1].mode = 0104755;
	assert_int_equal(manifest_encode(&b.m, &bytes, &len), 0);
	assert_int_equal(manifest_parse(bytes, len, &m), 0);
	assert_int_equal(m->entries[0].mode, 0777);
	assert_int_equal(m->entries[1].mode, 0644);
	manifest_free(m);
	/* type 1, mode 0644: the file's entry */
	uint8_t *at = memmem(bytes, len, "\1\1\xa4", 3);

	assert_non_null(at);
	at[2] = 0xed; /* 0755 */
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
	at[2] = 0xa4;
	at[1] = 0x09; /* set-user-id */
	assert_int_equal(parse_error(bytes, len), -EBADMSG);
}

static void test_manifest_encode__knows_what_a_grant_is(void **state)
{
	static const char *const bad[] = {
		"", "/x", "a/../b", ".frondfs/vault.ini", "a/.dirid", "a//b"};
	char path[] = "AAAA/@BBBB";
	struct built b;

	(void)state;
	build(&b, PATHS("folder"));
	b.m.kind = MANIFEST_GRANT;
	assert_int_equal(encode_error(&b.m), -EINVAL); /* no backing path */
	b.entries[0].backing_path = path;
	assert_int_equal(encode_error(&b.m), 0);
	b.m.no_content = true;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	b.m.no_content = false;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		b.entries[0].backing_path = (char *)(uintptr_t)bad[i];
		assert_int_equal(encode_error(&b.m), -EINVAL);
	}
	b.m.kind = 3;
	assert_int_equal(encode_error(&b.m), -EINVAL);
}

static void test_manifest_encode__refuses_what_cannot_be_written(void **state)
{
	struct built b;

	(void)state;
	build(&b, PATHS("a"));
	b.entries[0].path = NULL;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	build(&b, PATHS("a"));
	b.entries[0].mtime_ns = 1000000000;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	build(&b, PATHS("a"));
	b.entries[0].type = 3;
	assert_int_equal(encode_error(&b.m), -EINVAL);
	build(&b, PATHS("a"));
	b.m.entry_count = MANIFEST_ENTRIES_MAX + 1;
	assert_int_equal(encode_error(&b.m), -EINVAL);
}

/* As many as there may be, in the worst order: n log n, not n squared. */
static void test_manifest_encode__is_quick_with_the_most_entries(void **state)
{
	CLEANUP_FREE struct manifest_entry *entries = NULL;
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct manifest_part part = {.len = chunk_backing_len(0)};
	struct manifest m = {.kind = MANIFEST_SEND,
			     .k = 1,
			     .n = 1,
			     .folder = true,
			     .name = "many"};
	struct manifest *again = NULL;
	struct timespec begin, end;
	size_t len;

	(void)state;
	m.entry_count = MANIFEST_ENTRIES_MAX;
	m.entries = entries = calloc(m.entry_count, sizeof *entries);
	assert_non_null(entries);
	for (size_t i = 0; i < m.entry_count; i++) {
		entries[i] = (struct manifest_entry){.type = MANIFEST_FILE,
						     .has_key_token = true,
						     .parts = &part,
						     .part_count = 1};
		assert_true(asprintf(&entries[i].path, "%060zu",
				     m.entry_count - i) > 0);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_int_equal(manifest_encode(&m, &bytes, &len), 0);
	assert_int_equal(manifest_parse(bytes, len, &again), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 10);
	assert_int_equal(again->entry_count, m.entry_count);
	manifest_free(again);
	for (size_t i = 0; i < m.entry_count; i++)
		free(entries[i].path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_manifest_encode__takes_any_order_of_good_paths),
		cmocka_unit_test(
			test_manifest_encode__refuses_paths_that_conflict),
		cmocka_unit_test(
			test_manifest_encode__refuses_paths_that_escape),
		cmocka_unit_test(
			test_manifest_encode__refuses_parts_that_do_not_add_up),
		cmocka_unit_test(
			test_manifest_encode__refuses_a_key_for_several_files),
		cmocka_unit_test(
			test_manifest_encode__refuses_more_than_one_bare_file),
		cmocka_unit_test(
			test_manifest_encode__refuses_thresholds_that_cannot_be),
		cmocka_unit_test(
			test_manifest_encode__refuses_texts_that_deceive),
		cmocka_unit_test(
			test_manifest_encode__masks_modes_and_the_parser_insists),
		cmocka_unit_test(test_manifest_encode__knows_what_a_grant_is),
		cmocka_unit_test(
			test_manifest_encode__refuses_what_cannot_be_written),
		cmocka_unit_test(
			test_manifest_encode__is_quick_with_the_most_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
