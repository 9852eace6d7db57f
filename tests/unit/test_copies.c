/* Copies that somebody else made, under names of any length and kind;
 * cases/sync_conflicts.py has the rest. */
#include "vault_fixture.h"

#define REMARK " (conflicted copy 2026-11-21)"

static int shown(const struct fixture *fx, const char *entry,
		 char plain[static NAME_PLAIN_MAX + 1])
{
	return vdir_copy_name(fx->vault, fx->vault->root_fd, fx->root_id, entry,
			      plain);
}

static int find(const struct fixture *fx, const char *plain,
		struct backing_name *out)
{
	return vdir_backing_name(fx->vault, fx->vault->root_fd, fx->root_id,
				 plain, out);
}

/* Some backing file systems list names that are longer than any of ours. */
static void test_copies__of_any_length(void **state)
{
	const struct fixture *fx = *state;
	char entry[1200], plain[NAME_PLAIN_MAX + 1];

	for (size_t len = 0; len < sizeof entry - sizeof " (1)"; len += 7) {
		memset(entry, 'n', len);
		strcpy(entry + len, len ? " (1)" : "");
		assert_int_equal(shown(fx, entry, plain), -EBADMSG);
		entry[0] = '@';
		assert_int_equal(shown(fx, entry, plain), -EBADMSG);
	}
}

/* A name that could be a copy's, were there room for it. */
static void test_copies__that_no_entry_can_have(void **state)
{
	const struct fixture *fx = *state;
	struct backing_name name, own;
	char plain[NAME_PLAIN_MAX + 1];

	for (size_t len = 1; len < NAME_PLAIN_MAX - 4; len++) {
		memset(plain, 'n', NAME_PLAIN_MAX);
		plain[len] = ' ';
		plain[len + 1] = '(';
		plain[NAME_PLAIN_MAX - 1] = ')';
		plain[NAME_PLAIN_MAX] = '\0';
		own = fx_name(fx, fx->root_id, plain);
		assert_int_equal(find(fx, plain, &name), 0);
		assert_string_equal(name.entry, own.entry);
		assert_true(name.is_long);
	}
}

/* What lies beside a long name is another's: a copy comes and goes without. */
static void test_copies__have_nothing_beside_them(void **state)
{
	const struct fixture *fx = *state;
	struct backing_name name;
	char base[160], plain[NAME_PLAIN_MAX + 1], entry[512];

	fx_fill(base, 'n', 150);
	name = fx_name(fx, fx->root_id, base);
	assert_false(name.is_long);
	snprintf(entry, sizeof entry, "%s" REMARK, name.entry);
	fx_write(fx->vault->root_fd, entry, "x", 1);
	assert_int_equal(shown(fx, entry, plain), 0);
	assert_memory_equal(plain, base, strlen(base));
	assert_string_equal(plain + strlen(base), REMARK);
	assert_true(fx_name(fx, fx->root_id, plain).is_long);
	assert_int_equal(find(fx, plain, &name), 0);
	assert_string_equal(name.entry, entry);
	assert_string_equal(name.full, entry);
	assert_false(name.is_long);
}

/* What somebody calls so, and is as long as our long names are. */
static void test_copies__of_what_is_not_ours(void **state)
{
	const struct fixture *fx = *state;
	struct backing_name name;
	char entry[64], plain[NAME_PLAIN_MAX + 1];

	fx_fill(entry, 'n', NAME_LONG_LEN);
	strcat(entry, " (1)");
	for (int i = 0; i < 2; i++) {
		fx_write(fx->vault->root_fd, entry, "x", 1);
		assert_int_equal(shown(fx, entry, plain), i ? 0 : -EBADMSG);
		assert_int_equal(find(fx, entry, &name), 0);
		assert_int_equal(strcmp(name.entry, entry) == 0, i);
		entry[0] = '@';
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_copies__of_any_length),
		CASE(test_copies__that_no_entry_can_have),
		CASE(test_copies__have_nothing_beside_them),
		CASE(test_copies__of_what_is_not_ours),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
