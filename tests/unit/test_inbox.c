/* What comes is verified, shown, and opened with the k-th good share. */
#include "inbox_fixture.h"

#include "later.h"

#include <pthread.h>

#define REPORT "Shared/alice/report.pdf"

static const struct ix_spec report = {
	.name = "report.pdf", .size = 100000, .k = 2, .n = 3};

static void expect_open(struct ix *ix, const struct ix_set *s, const char *path,
			size_t size)
{
	assert_true(ix_holds(ix->fx->vault, path, 0, size));
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 1);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	assert_int_equal(ix_spooled(ix, ".set"), 0);
	assert_int_equal(ix_spooled(ix, ".new"), 0);
	assert_int_equal(ix_spooled(ix, ".stage"), 0);
	assert_false(inbox_has_entries(ix->in));
}

static void test_scan__opens_a_file_in_every_order(void **state)
{
	/* manifest, share 1, share 3, parts: all orders */
	for (int order = 0; order < 24; order++) {
		struct ix *ix;
		struct ix_set *s;
		int left[4] = {0, 1, 2, 3}, rest = order;
		bool manifest = false;

		assert_int_equal(ix_setup(state), 0);
		ix = *state;
		s = ix_make(ix, &report);
		for (int i = 4; i > 0; i--) {
			int at = rest % i, what = left[at];

			rest /= i;
			memmove(left + at, left + at + 1,
				(size_t)(i - at - 1) * sizeof *left);
			if (what == 0)
				ix_deliver(ix, &s->manifest, ".env");
			else if (what == 3)
				ix_deliver_parts(ix, s);
			else
				ix_deliver(ix, &s->share[2 * what - 1], ".env");
			manifest |= what == 0;
			ix_scan(ix);
			if (order & 1)
				ix_reopen(ix), ix_scan(ix);
			if (i > 1)
				assert_int_equal(
					ix_locked(ix->fx->vault, REPORT),
					manifest ? 1 : -1);
		}
		expect_open(ix, s, REPORT, report.size);
		ix_free(s);
		ix_teardown(state);
	}
}

static void test_scan__shows_what_is_announced(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	struct inbox_set *set = calloc(1, sizeof *set);
	struct inbox_entry e = {0};
	struct ix_set *s;
	struct statx stx;
	char *text = NULL;

	spec.direct = 1;
	s = ix_make(ix, &spec);
	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &s->share[1], ".env");
	ix_scan(ix);
	stx = ix_stat(ix->fx->vault, REPORT);
	assert_int_equal(stx.stx_size, chunk_backing_len(spec.size));
	assert_int_equal(stx.stx_mtime.tv_sec, 1700000000);
	assert_int_equal(stx.stx_mode & 07777, 0644);
	assert_int_equal(
		ix_stat(ix->fx->vault, "Shared/alice").stx_mode & 07777, 0700);
	assert_int_equal(ix->changes, 3);
	assert_string_equal(ix->last_change, REPORT);
	assert_int_equal(inbox_entry_of(ix->in, &stx, &e), 0);
	assert_int_equal(e.error, -ENOKEY);
	assert_false(e.granted);
	assert_true(ix_find_set(ix, s->set_id, set));
	assert_int_equal(set->state, INBOX_WAITING_SHARES);
	assert_int_equal(set->k, 2);
	assert_int_equal(set->n, 3);
	assert_int_equal(set->have_mask, 1);
	assert_int_equal(set->asked_mask, 6);
	assert_string_equal(set->holders[1], "carol");
	assert_string_equal(set->sender_name, "alice");
	assert_string_equal(set->path, REPORT);
	assert_int_equal(set->size, spec.size);
	assert_int_equal(set->content_have, 0);
	assert_int_equal(set->content_need, chunk_backing_len(spec.size));
	assert_false(set->ack_due);
	assert_int_equal(inbox_describe(ix->in, &e, &text), 0);
	assert_non_null(strstr(text, "state=waiting for shares\n"));
	assert_non_null(strstr(text, "have=1\nneed=2\nof=3\n"));
	assert_non_null(strstr(text, "missing=2 carol, 3 dave\n"));
	assert_non_null(strstr(text, set->code));
	free(text);
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	assert_true(ix_find_set(ix, s->set_id, set));
	assert_true(set->ack_due);
	assert_int_equal(set->content_have, set->content_need);
	free(set);
	ix_free(s);
}

static void test_scan__imports_sizes_at_the_edges(void **state)
{
	static const size_t sizes[] = {0,    1,	    4095,    4096,   4097,
				       8192, 40000, 1 << 20, 3 << 20};
	struct ix *ix = *state;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct ix_spec spec = {.size = sizes[i], .k = 1, .n = 1};
		char name[32], path[64];
		struct ix_set *s;

		snprintf(name, sizeof name, "file%zu", i);
		snprintf(path, sizeof path, "Shared/alice/%s", name);
		spec.name = name;
		s = ix_make(ix, &spec);
		ix_deliver_all(ix, s);
		ix_scan(ix);
		assert_true(ix_holds(ix->fx->vault, path, 0, sizes[i]));
		assert_int_equal(ix_stat(ix->fx->vault, path).stx_mtime.tv_sec,
				 1700000000);
		ix_free(s);
	}
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
}

static void test_scan__refuses_what_comes_again(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	uint8_t packed[SLIP39_PACKED_LEN];
	struct ix_blob again;

	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &s->share[1], ".env");
	ix_scan(ix);
	slip39_pack(&s->shares[0], packed);
	again = ix_seal(ix, ix->alice, STATEMENT_SHARE, 1, s->set_id, packed,
			sizeof packed);
	ix_deliver(ix, &again, ".env");
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 2);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "share 1 came again"), 1);
	assert_int_equal(ix_logged(ix, VLOG_RECEIVED, NULL), 2);
	ix_deliver(ix, &s->share[3], ".env");
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	expect_open(ix, s, REPORT, report.size);
	/* everything once more, now and after a mount */
	for (int i = 0; i < 2; i++) {
		ix_deliver_all(ix, s);
		ix_scan(ix);
		assert_int_equal(ix_state(ix, s), -1);
		assert_int_equal(ix_spooled(ix, ".env"), 0);
		assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
		/* the second share is new, and nobody needs it */
		assert_int_equal(
			ix_logged(ix, VLOG_REFUSED, "was finished before"),
			3 * (i + 1));
		assert_int_equal(ix_logged(ix, VLOG_REFUSED, "after the set"),
				 i + 1);
		ix_reopen(ix);
	}
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 1);
	free(again.bytes);
	ix_free(s);
}

static void test_scan__refuses_bad_shares_one_by_one(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report), *other = ix_make(ix, &report);
	uint8_t packed[SLIP39_PACKED_LEN];
	struct ix_blob mixed, foreign, future, altered = s->share[2];
	struct slip39_share forged = s->shares[1];

	/* a share of another set under this set's id */
	slip39_pack(&other->shares[0], packed);
	mixed = ix_seal(ix, ix->alice, STATEMENT_SHARE, 1, s->set_id, packed,
			sizeof packed);
	/* the right share, signed by somebody else */
	slip39_pack(&s->shares[0], packed);
	foreign = ix_seal(ix, ix->carol, STATEMENT_SHARE, 1, s->set_id, packed,
			  sizeof packed);
	future =
		ix_seal_at(ix, ix->alice, STATEMENT_SHARE, 1, s->set_id, packed,
			   sizeof packed, (uint64_t)time(NULL) + 2 * 86400);
	forged.value[5] ^= 1;
	slip39_pack(&forged, packed);
	struct ix_blob wrong = ix_seal(ix, ix->alice, STATEMENT_SHARE, 2,
				       s->set_id, packed, sizeof packed);

	altered.bytes = malloc(altered.len);
	memcpy(altered.bytes, s->share[2].bytes, altered.len);
	altered.bytes[altered.len - 9] ^= 1;
	ix_deliver(ix, &foreign, ".env");
	ix_scan(ix);
	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &mixed, ".env");
	ix_deliver(ix, &future, ".env");
	ix_deliver(ix, &wrong, ".env");
	ix_deliver(ix, &altered, ".env");
	ix_deliver(ix, &s->share[3], ".env");
	ix_scan(ix);
	ix_deliver(ix, &foreign, ".env");
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "share 1 is not the one"),
			 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "share 2 is not the one"),
			 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "somebody else"), 2);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "future"), 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "altered"), 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 6);
	assert_int_equal(ix_spooled(ix, ".env"), 2);
	assert_int_equal(ix_state(ix, s), INBOX_WAITING_SHARES);
	/* and the good ones still open it */
	ix_deliver(ix, &s->share[2], ".env");
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	expect_open(ix, s, REPORT, report.size);
	free(mixed.bytes);
	free(foreign.bytes);
	free(future.bytes);
	free(wrong.bytes);
	free(altered.bytes);
	ix_free(other);
	ix_free(s);
}

/* Whoever has announced something does not announce something else. */
static void test_scan__believes_the_first_manifest(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	struct ix_set *s = ix_make(ix, &report), *second;

	spec.name = "second.pdf";
	spec.size += 5000;
	spec.set_id = s->set_id;
	second = ix_make(ix, &spec);
	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	ix_deliver_all(ix, second);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, REPORT, 0, report.size));
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	ix_free(s);
	ix_free(second);
}

static void test_scan__keeps_two_senders_of_one_set_id_apart(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	struct ix_set *s = ix_make(ix, &report), *rival;

	ix_befriend(ix, ix->carol, "carol");
	spec.from = ix->carol;
	rival = ix_make(ix, &spec);
	memcpy(rival->set_id, s->set_id, SET_ID_LEN);
	free(rival->manifest.bytes);
	for (unsigned i = 1; i <= 3; i++)
		free(rival->share[i].bytes);
	ix_split(rival, &spec);
	ix_wrap(ix, rival, ix->carol);
	ix_deliver(ix, &rival->manifest, ".env");
	ix_scan(ix);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	/* alice's shares and manifest came in one go, in any order */
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, REPORT, 0, report.size));
	ix_deliver_all(ix, rival);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, "Shared/carol/report.pdf", 0,
			     report.size));
	ix_free(s);
	ix_free(rival);
}

static void test_scan__refuses_what_nobody_can_read(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s;
	struct identity *me = ix->me, *bob2 = ix_person();
	struct ix_blob junk = {(uint8_t *)"hello", 5}, odd;

	ix->me = bob2;
	s = ix_make(ix, &report);
	ix->me = me;
	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &junk, ".env");
	/* right bytes, wrong name */
	ix_deliver_as(ix, me->pub.sign, &s->share[1], ".env");
	odd = ix_seal(ix, ix->alice, STATEMENT_SHARE, 1, s->set_id, "x", 1);
	ix_deliver(ix, &odd, ".env");
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 4);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "not for us"), 2);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "newer version"), 1);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared"), -1);
	free(odd.bytes);
	ix_free(s);
	secret_free(bob2);
}

static void test_scan__says_when_shares_do_not_make_the_secret(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	struct ix_set *s;

	spec.wrong_secret = true;
	s = ix_make(ix, &spec);
	ix_deliver_all(ix, s);
	for (int i = 0; i < 3; i++) {
		ix_scan(ix);
		assert_int_equal(ix_state(ix, s), INBOX_DAMAGED);
		assert_int_equal(ix_error(ix, REPORT), -EKEYREJECTED);
		assert_int_equal(
			ix_logged(ix, VLOG_REFUSED, "announced secret"), 1);
		ix_reopen(ix);
	}
	ix_free(s);
}

static void test_scan__says_when_content_is_not_what_was_sealed(void **state)
{
	static const struct ix_file files[] = {
		{"a", 50000, false}, {"b", 50000, false}, {"c", 0, false}};
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "pile",
			       .folder = true,
			       .files = files,
			       .file_count = 3,
			       .k = 1,
			       .n = 1,
			       .liar = 2};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/pile/a", 0, 50000));
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/pile/c", 2, 0));
	assert_int_equal(ix_locked(ix->fx->vault, "Shared/alice/pile/b"), 1);
	assert_int_equal(ix_error(ix, "Shared/alice/pile/b"), -EKEYREJECTED);
	assert_int_equal(ix_state(ix, s), INBOX_DAMAGED);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "b: the content"), 1);
	assert_int_equal(ix_spooled(ix, ".new"), 0);
	ix_reopen(ix);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_DAMAGED);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 1);
	ix_free(s);
}

static void test_scan__refuses_a_size_that_is_a_lie(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	struct ix_set *s;

	spec.wrong_size = true;
	s = ix_make(ix, &spec);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_DAMAGED);
	assert_int_equal(ix_locked(ix->fx->vault, REPORT), 1);
	ix_free(s);
}

static void test_scan__waits_for_parts_and_drops_altered_ones(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	struct ix_blob bad = s->parts[1];
	uint8_t hash[ENVELOPE_HASH_LEN];

	bad.bytes = malloc(bad.len);
	memcpy(bad.bytes, s->parts[1].bytes, bad.len);
	bad.bytes[77] ^= 4;
	envelope_hash(s->parts[1].bytes, bad.len, hash);
	ix_deliver_all(ix, s);
	ix_deliver_as(ix, hash, &bad, ".part");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_WAITING_CONTENT);
	assert_int_equal(ix_spooled(ix, ".part"), (int)s->part_count - 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "not what its name"), 1);
	assert_int_equal(ix_locked(ix->fx->vault, REPORT), 1);
	/* shorter than announced */
	bad.len -= 10;
	ix_deliver_as(ix, hash, &bad, ".part");
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "not what its name"), 2);
	assert_int_equal(ix_spooled(ix, ".part"), (int)s->part_count - 1);
	ix_deliver(ix, &s->parts[1], ".part");
	ix_scan(ix);
	expect_open(ix, s, REPORT, report.size);
	free(bad.bytes);
	ix_free(s);
}

static void log_sent(struct ix *ix, const struct ix_set *s,
		     const struct identity *to)
{
	struct vlog_record r = {.event = VLOG_SENT, .peer = to->pub};

	memcpy(r.set_id, s->set_id, sizeof r.set_id);
	assert_int_equal(vlog_append(ix->log, &r), 0);
}

static void test_scan__logs_an_acknowledgement_once(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	uint8_t ack[] = {ACK_OPENED, 0}, odd[] = {99, 99};
	struct ix_blob a = ix_seal(ix, ix->alice, STATEMENT_ACK, 0, s->set_id,
				   ack, sizeof ack);
	struct ix_blob again = ix_seal_at(ix, ix->alice, STATEMENT_ACK, 0,
					  s->set_id, ack, sizeof ack, 1000);
	struct ix_blob stranger = ix_seal(ix, ix->carol, STATEMENT_ACK, 0,
					  s->set_id, ack, sizeof ack);
	struct ix_blob bad = ix_seal(ix, ix->alice, STATEMENT_ACK, 0, s->set_id,
				     odd, sizeof odd);

	/* of what nobody was sent */
	ix_deliver(ix, &a, ".env");
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_ACKNOWLEDGED, NULL), 0);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "were not sent"), 1);
	log_sent(ix, s, ix->alice);
	ix_deliver(ix, &a, ".env");
	ix_deliver(ix, &again, ".env");
	ix_deliver(ix, &stranger, ".env");
	ix_deliver(ix, &bad, ".env");
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_logged(ix, VLOG_ACKNOWLEDGED, NULL), 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 3);
	/* and by a contact who was not sent it */
	ix_befriend(ix, ix->carol, "carol");
	ix_deliver(ix, &stranger, ".env");
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_ACKNOWLEDGED, NULL), 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "were not sent"), 2);
	free(a.bytes);
	free(again.bytes);
	free(stranger.bytes);
	free(bad.bytes);
	ix_free(s);
}

static void test_scan__waits_for_a_card(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	char fingerprint[IDENTITY_FINGERPRINT_LEN + 1], path[128];
	struct ix_set *first, *second;

	spec.from = ix->carol;
	first = ix_make(ix, &spec);
	second = ix_make(ix, &spec);
	ix_deliver_all(ix, first);
	ix_scan(ix);
	ix_deliver_all(ix, second);
	ix_scan(ix);
	identity_fingerprint(&ix->carol->pub, fingerprint);
	for (char *c = fingerprint; *c; c++)
		if (*c == ' ')
			*c = '-';
	snprintf(path, sizeof path, "Shared/unverified-%s/2", fingerprint);
	assert_int_equal(ix_locked(ix->fx->vault, path), 1);
	assert_int_equal(ix_error(ix, path), -ENOKEY);
	assert_int_equal(ix_state(ix, second), INBOX_WAITING_CARD);
	ix_reopen(ix);
	assert_int_equal(ix_error(ix, path), -ENOKEY);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared"), 1);
	ix_befriend(ix, ix->carol, "carol");
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared"), 1);
	assert_true(ix_holds(ix->fx->vault, "Shared/carol/report.pdf", 0,
			     report.size));
	assert_true(ix_holds(ix->fx->vault, "Shared/carol/report (2).pdf", 0,
			     report.size));
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
	ix_free(first);
	ix_free(second);
}

static void test_scan__bounds_what_strangers_may_send(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 5, .k = 1, .n = 1};
	struct ix_set *s;

	for (int i = 0; i < INBOX_SETS_UNKNOWN + 3; i++) {
		struct identity *stranger = ix_person();

		spec.from = stranger;
		s = ix_make(ix, &spec);
		ix_deliver(ix, &s->manifest, ".env");
		ix_free(s);
		secret_free(stranger);
	}
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), INBOX_SETS_UNKNOWN);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "too many sets"), 3);
	/* and contacts still may */
	spec.from = NULL;
	s = ix_make(ix, &spec);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/x", 0, 5));
	ix_free(s);
}

static void test_scan__bounds_the_messages_of_a_set(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	uint8_t packed[SLIP39_PACKED_LEN];

	slip39_pack(&s->shares[0], packed);
	for (int i = 0; i < INBOX_ENVELOPES_PER_SET + 5; i++) {
		struct ix_blob b = ix_seal(ix, ix->alice, STATEMENT_SHARE, 1,
					   s->set_id, packed, sizeof packed);

		ix_deliver(ix, &b, ".env");
		free(b.bytes);
	}
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), INBOX_ENVELOPES_PER_SET);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "too many messages"), 5);
	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 2);
	ix_free(s);
}

static void test_scan__drops_the_oldest_parts_that_nobody_named(void **state)
{
	struct ix *ix = *state;
	const struct timespec older = {.tv_sec = time(NULL) - 1000},
			      old[2] = {older, older};
	struct ix_set *s = ix_make(ix, &report);
	uint8_t hash[ENVELOPE_HASH_LEN];
	char name[80];

	for (uint8_t i = 0; i < 5; i++) {
		int fd;

		memset(hash, i + 1, sizeof hash);
		hex_encode(hash, sizeof hash, name);
		strcat(name, ".part");
		fd = openat(ix->spool, name, O_RDWR | O_CREAT, 0600);
		assert_int_equal(ftruncate(fd, (off_t)1 << 30), 0);
		if (i == 3)
			assert_int_equal(futimens(fd, old), 0);
		close(fd);
	}
	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), 4 + (int)s->part_count);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "nobody announced"), 1);
	memset(hash, 4, sizeof hash);
	hex_encode(hash, sizeof hash, name);
	strcat(name, ".part");
	assert_false(fx_exists(ix->spool, name));
	ix_free(s);
}

static void test_scan__says_that_a_set_expired(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = report;
	struct ix_set *s;

	spec.expires_s = (uint64_t)time(NULL) + 1000;
	s = ix_make(ix, &spec);
	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	assert_int_equal(ix_error(ix, REPORT), -ENOKEY);
	later_s = 1000;
	assert_int_equal(ix_error(ix, REPORT), -EKEYEXPIRED);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_EXPIRED);
	assert_int_equal(ix_logged(ix, VLOG_EXPIRED, NULL), 1);
	assert_int_equal(ix_locked(ix->fx->vault, REPORT), 1);
	ix_reopen(ix);
	assert_int_equal(ix_error(ix, REPORT), -EKEYEXPIRED);
	later_s = 0;
	ix_free(s);
}

static void test_scan__lets_senders_take_back(void **state)
{
	struct ix *ix = *state;
	uint8_t reason = REVOKE_WITHDRAWN;
	struct ix_set *s = ix_make(ix, &report);
	struct ix_blob theirs = ix_seal(ix, ix->carol, STATEMENT_REVOKE, 0,
					s->set_id, &reason, 1);
	struct ix_blob hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0,
				      s->set_id, &reason, 1);

	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &s->share[1], ".env");
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	ix_deliver(ix, &theirs, ".env");
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "somebody else"), 1);
	assert_int_equal(ix_error(ix, REPORT), -ENOKEY);
	ix_deliver(ix, &hers, ".env");
	ix_scan(ix);
	assert_int_equal(ix_error(ix, REPORT), -EKEYREVOKED);
	assert_int_equal(ix_state(ix, s), INBOX_REVOKED);
	assert_int_equal(ix_logged(ix, VLOG_WITHDRAWN, NULL), 1);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	ix_reopen(ix);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_error(ix, REPORT), -EKEYREVOKED);
	assert_int_equal(ix_logged(ix, VLOG_WITHDRAWN, NULL), 1);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	free(theirs.bytes);
	free(hers.bytes);
	ix_free(s);
}

static void test_scan__takes_a_withdrawal_that_comes_first(void **state)
{
	struct ix *ix = *state;
	uint8_t reason = REVOKE_WITHDRAWN;
	struct ix_set *s = ix_make(ix, &report);
	struct ix_blob hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0,
				      s->set_id, &reason, 1);

	/* a share waits for its manifest */
	ix_deliver(ix, &s->share[1], ".env");
	ix_scan(ix);
	ix_deliver(ix, &hers, ".env");
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_state(ix, s), -1);
	ix_reopen(ix);
	ix_deliver_all(ix, s);
	ix_deliver(ix, &hers, ".env");
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared"), -1);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 0);
	assert_int_equal(ix_logged(ix, VLOG_WITHDRAWN, NULL), 1);
	free(hers.bytes);
	ix_free(s);
}

/* Until it is called again. */
static const struct inbox_kept *kept_of(const struct ix *ix,
					const struct ix_set *s, uint8_t index)
{
	static struct inbox_kept kept;

	kept = (struct inbox_kept){.sender = ix->alice->pub, .index = index};
	memcpy(kept.set_id, s->set_id, sizeof kept.set_id);
	return &kept;
}

static void test_custody__is_kept_until_released(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	char card[CARD_TEXT_MAX];
	uint8_t *payload = NULL, *inner = NULL;
	size_t len = 0, inner_len = 0;
	struct inbox_set *set = calloc(1, sizeof *set);
	struct card to;
	struct ix_blob kept;

	ix_card_text(ix->carol, "carol", card);
	assert_int_equal(message_format_custody(0, card, s->share[2].bytes,
						s->share[2].len, &payload,
						&len),
			 0);
	kept = ix_seal(ix, ix->alice, STATEMENT_CUSTODY, 2, s->set_id, payload,
		       len);
	ix_deliver(ix, &kept, ".env");
	ix_scan(ix);
	ix_reopen(ix);
	ix_scan(ix);
	assert_true(ix_find_set(ix, s->set_id, set));
	assert_int_equal(set->state, INBOX_CUSTODY);
	assert_int_equal(set->index, 2);
	assert_string_equal(set->recipient_name, "carol");
	assert_true(set->ack_due);
	assert_int_equal(ix_logged(ix, VLOG_CUSTODY, NULL), 1);
	assert_int_equal(inbox_release(ix->in, kept_of(ix, s, 1), &inner,
				       &inner_len, &to),
			 -ENOENT);
	assert_int_equal(inbox_release(ix->in, kept_of(ix, s, 2), &inner,
				       &inner_len, &to),
			 0);
	assert_int_equal(inner_len, s->share[2].len);
	assert_memory_equal(inner, s->share[2].bytes, inner_len);
	assert_string_equal(to.name, "carol");
	assert_int_equal(inbox_released(ix->in, kept_of(ix, s, 2)), 0);
	assert_int_equal(inbox_released(ix->in, kept_of(ix, s, 2)), -ENOENT);
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	ix_scan(ix);
	ix_deliver(ix, &kept, ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(ix_logged(ix, VLOG_RELEASED, NULL), 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "was finished before"), 1);
	free(set);
	free(inner);
	free(payload);
	free(kept.bytes);
	ix_free(s);
}

static struct ix_blob make_custody(struct ix *ix, const struct ix_set *s,
				   unsigned index, uint64_t expires_s)
{
	uint8_t *payload = NULL;
	char card[CARD_TEXT_MAX];
	struct ix_blob kept;
	size_t len = 0;

	ix_card_text(ix->carol, "carol", card);
	assert_int_equal(
		message_format_custody(expires_s, card, s->share[index].bytes,
				       s->share[index].len, &payload, &len),
		0);
	kept = ix_seal(ix, ix->alice, STATEMENT_CUSTODY, index, s->set_id,
		       payload, len);
	free(payload);
	return kept;
}

static void test_custody__ends_with_a_withdrawal(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	struct ix_blob one = make_custody(ix, s, 1, 0);
	struct ix_blob two = make_custody(ix, s, 2, 0);
	uint8_t reason = REVOKE_WITHDRAWN, *inner = NULL;
	struct ix_blob theirs = ix_seal(ix, ix->carol, STATEMENT_REVOKE, 0,
					s->set_id, &reason, 1);
	struct ix_blob hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0,
				      s->set_id, &reason, 1);
	struct card to;
	size_t len = 0;

	ix_deliver(ix, &one, ".env");
	ix_deliver(ix, &two, ".env");
	ix_scan(ix);
	ix_deliver(ix, &theirs, ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_CUSTODY);
	ix_deliver(ix, &hers, ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(
		inbox_release(ix->in, kept_of(ix, s, 1), &inner, &len, &to),
		-ENOENT);
	ix_reopen(ix);
	ix_deliver(ix, &two, ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(ix_logged(ix, VLOG_WITHDRAWN, NULL), 1);
	free(one.bytes);
	free(two.bytes);
	free(theirs.bytes);
	free(hers.bytes);
	ix_free(s);
}

static void test_custody__expires(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	struct ix_blob kept =
		make_custody(ix, s, 2, (uint64_t)time(NULL) - 100);
	struct ix_blob old =
		make_custody(ix, s, 1, (uint64_t)time(NULL) - 2 * 86400);
	uint8_t *inner = NULL;
	struct card to;
	size_t len = 0;

	ix_deliver(ix, &kept, ".env");
	ix_deliver(ix, &old, ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_EXPIRED);
	assert_int_equal(
		inbox_release(ix->in, kept_of(ix, s, 2), &inner, &len, &to),
		-EKEYEXPIRED);
	assert_int_equal(ix_spooled(ix, ".env"), 1);
	assert_int_equal(ix_logged(ix, VLOG_EXPIRED, NULL), 2);
	free(kept.bytes);
	free(old.bytes);
	ix_free(s);
}

static void test_scan__needs_an_identity(void **state)
{
	struct ix *ix = *state;

	ix_close(ix);
	assert_int_equal(unlinkat(ix->fx->vault->meta_fd, "identity", 0), 0);
	ix_open(ix);
	assert_int_equal(inbox_scan(ix->in, NULL), -ENOENT);
	assert_false(inbox_has_entries(ix->in));
}

static void test_scan__stops_when_told(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	atomic_bool stop = true;

	ix_deliver_all(ix, s);
	assert_int_equal(inbox_scan(ix->in, &stop), -EINTR);
	assert_int_equal(ix_spooled(ix, ".env"), 4);
	ix_scan(ix);
	expect_open(ix, s, REPORT, report.size);
	ix_free(s);
}

static void test_scan__of_two_mounts_of_a_shared_vault(void **state)
{
	struct ix *ix = *state, other = *ix;
	struct ix_set *s = ix_make(ix, &report);

	ix->fx->vault->shared = true;
	ix_reopen(ix);
	ix_open(&other);
	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	assert_int_equal(ix_error(ix, REPORT), -ENOKEY);
	ix_scan(&other);
	assert_int_equal(ix_error(&other, REPORT), -ENOKEY);
	ix_deliver(ix, &s->share[1], ".env");
	ix_deliver(ix, &s->share[3], ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(&other, s), INBOX_WAITING_SHARES);
	ix_deliver_parts(ix, s);
	ix_scan(&other);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
	expect_open(ix, s, REPORT, report.size);
	expect_open(&other, s, REPORT, report.size);
	ix_close(&other);
	ix_free(s);
}

struct asking {
	struct ix *ix;
	struct statx stx; /* of something that comes and goes */
	atomic_bool stop;
	atomic_ulong asked;
};

static void *ask(void *arg)
{
	struct asking *a = arg;
	struct inbox_set *set = calloc(1, sizeof *set);

	while (!atomic_load(&a->stop)) {
		uint8_t cursor[SET_ID_LEN] = {0}, index = 0;
		struct inbox_entry e = {0};
		char *text = NULL;

		while (inbox_next(a->ix->in, cursor, &index, set) == 0)
			atomic_fetch_add(&a->asked, 1);
		if (inbox_entry_of(a->ix->in, &a->stx, &e) == 0 &&
		    inbox_describe(a->ix->in, &e, &text) == 0)
			free(text);
		inbox_note_revoked(a->ix->in, &e);
	}
	free(set);
	return NULL;
}

static void test_threads__may_ask_while_it_scans(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 9000, .k = 1, .n = 1};
	struct ix_set *kept;
	struct asking a = {.ix = ix};
	pthread_t threads[2];

	/* one that waits all the time, so that there is something to ask */
	kept = ix_make(ix, &report);
	ix_deliver(ix, &kept->manifest, ".env");
	ix_scan(ix);
	a.stx = ix_stat(ix->fx->vault, REPORT);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &a), 0);
	for (int i = 0; i < 20; i++) {
		struct ix_set *s = ix_make(ix, &spec);

		ix_deliver(ix, &s->manifest, ".env");
		ix_scan(ix);
		if (i == 10)
			inbox_declined(ix->in, &a.stx);
		ix_deliver_all(ix, s);
		ix_scan(ix);
		ix_free(s);
	}
	atomic_store(&a.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&a.asked) > 0);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 21);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 20);
	assert_int_equal(ix_logged(ix, VLOG_DECLINED, NULL), 1);
	ix_free(kept);
}

/* A manifest that calls the part of another set its own, and lies about it. */
static struct ix_set *make_part_liar(struct ix *ix, const struct identity *from,
				     const struct ix_set *victim)
{
	struct ix_spec spec = report;
	struct ix_set *s;
	struct manifest_part *parts;

	spec.from = from;
	s = ix_make(ix, &spec);
	parts = s->m.entries[0].parts;
	memcpy(parts[0].hash, victim->m.entries[0].parts[0].hash,
	       sizeof parts[0].hash);
	parts[0].len -= 5;
	parts[1].len += 5;
	free(s->manifest.bytes);
	for (unsigned i = 1; i <= 3; i++)
		free(s->share[i].bytes);
	ix_wrap(ix, s, from);
	return s;
}

static void test_scan__lets_no_lie_hurt_the_parts_of_others(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report), *stranger, *contact;
	struct identity *dave = ix_person();

	ix_befriend(ix, ix->carol, "carol");
	stranger = make_part_liar(ix, dave, s);
	contact = make_part_liar(ix, ix->carol, s);
	ix_deliver_all(ix, stranger);
	ix_deliver_all(ix, contact);
	ix_deliver_parts(ix, s);
	for (int i = 0; i < 2; i++) {
		ix_scan(ix);
		assert_int_equal(ix_logged(ix, VLOG_REFUSED, "another length"),
				 1);
		assert_int_equal(ix_state(ix, contact), INBOX_DAMAGED);
		assert_int_equal(ix_error(ix, "Shared/carol/report.pdf"),
				 -EKEYREJECTED);
		ix_reopen(ix);
	}
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, REPORT, 0, report.size));
	ix_free(s);
	ix_free(stranger);
	ix_free(contact);
	secret_free(dave);
}

static void test_scan__fills_no_log_with_rubbish(void **state)
{
	struct ix *ix = *state;

	for (uint32_t i = 0; i < 500; i++) {
		const struct ix_blob junk = {(uint8_t *)&i, sizeof i};

		ix_deliver(ix, &junk, ".env");
	}
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 33);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "468 more"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ix_setup, ix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan__opens_a_file_in_every_order),
		TEST(test_scan__shows_what_is_announced),
		TEST(test_scan__imports_sizes_at_the_edges),
		TEST(test_scan__refuses_what_comes_again),
		TEST(test_scan__refuses_bad_shares_one_by_one),
		TEST(test_scan__believes_the_first_manifest),
		TEST(test_scan__keeps_two_senders_of_one_set_id_apart),
		TEST(test_scan__refuses_what_nobody_can_read),
		TEST(test_scan__says_when_shares_do_not_make_the_secret),
		TEST(test_scan__says_when_content_is_not_what_was_sealed),
		TEST(test_scan__refuses_a_size_that_is_a_lie),
		TEST(test_scan__waits_for_parts_and_drops_altered_ones),
		TEST(test_scan__logs_an_acknowledgement_once),
		TEST(test_scan__waits_for_a_card),
		TEST(test_scan__bounds_what_strangers_may_send),
		TEST(test_scan__bounds_the_messages_of_a_set),
		TEST(test_scan__drops_the_oldest_parts_that_nobody_named),
		TEST(test_scan__says_that_a_set_expired),
		TEST(test_scan__lets_senders_take_back),
		TEST(test_scan__takes_a_withdrawal_that_comes_first),
		TEST(test_custody__is_kept_until_released),
		TEST(test_custody__ends_with_a_withdrawal),
		TEST(test_custody__expires),
		TEST(test_scan__needs_an_identity),
		TEST(test_scan__stops_when_told),
		TEST(test_scan__lets_no_lie_hurt_the_parts_of_others),
		TEST(test_scan__fills_no_log_with_rubbish),
		TEST(test_scan__of_two_mounts_of_a_shared_vault),
		TEST(test_threads__may_ask_while_it_scans),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
