/* Who the owner knows, and who the vault itself is. */
#include "inbox_fixture.h"

static void test_load__leaves_out_what_is_no_card(void **state)
{
	struct ix *ix = *state;
	struct vault *v = ix->fx->vault;
	struct contacts c;
	char text[CARD_TEXT_MAX], around[CARD_TEXT_MAX + 40];

	ix_card_text(ix->carol, "whatever she says", text);
	snprintf(around, sizeof around, "my card:\n  %s\n", text);
	ix_put_file(v, CONTACTS_DIR, "carol.card", around, strlen(around));
	ix_put_file(v, CONTACTS_DIR, "broken.card", text, strlen(text) - 5);
	ix_put_file(v, CONTACTS_DIR, "no suffix", text, strlen(text));
	ix_put_file(v, CONTACTS_DIR, "-x.card", text, strlen(text));
	ix_put_file(v, CONTACTS_DIR, ".card", text, strlen(text));
	ix_put_file(v, CONTACTS_ATTACHED_DIR, "carol", "/srv/carol\n", 11);
	ix_put_file(v, CONTACTS_ATTACHED_DIR, "alice", "srv/alice", 9);
	assert_int_equal(contacts_load(v, &c), 0);
	assert_int_equal(c.count, 2);
	assert_string_equal(c.list[0].name, "alice");
	assert_null(c.list[0].attached);
	assert_string_equal(c.list[1].name, "carol");
	assert_string_equal(c.list[1].attached, "/srv/carol");
	assert_ptr_equal(contacts_find(&c, &ix->carol->pub), &c.list[1]);
	assert_null(contacts_find(&c, &ix->me->pub));
	contacts_fini(&c);
	assert_int_equal(c.count, 0);
}

static void test_load__nobody(void **state)
{
	struct fixture *fx = *state;
	struct contacts c = {.count = 9};

	assert_int_equal(contacts_load(fx->vault, &c), 0);
	assert_int_equal(c.count, 0);
	contacts_fini(&c);
}

static void test_identity__is_made_once_and_stays(void **state)
{
	struct fixture *fx = *state;
	struct identity *a = NULL, *b = NULL;
	struct stat st;
	uint8_t byte;
	int fd;

	assert_int_equal(vault_identity(fx->vault, false, &a), -ENOENT);
	assert_false(fx_exists(fx->vault->meta_fd, "identity"));
	assert_int_equal(vault_identity(fx->vault, true, &a), 0);
	assert_int_equal(vault_identity(fx->vault, true, &b), 0);
	assert_memory_equal(a, b, sizeof *a);
	secret_free(b);
	assert_int_equal(fstatat(fx->vault->meta_fd, "identity", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fx_count_temps(fx->vault->meta_fd), 0);
	fd = openat(fx->vault->meta_fd, "identity", O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, 40), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 40), 1);
	close(fd);
	/* damaged: never silently replaced by another */
	assert_int_equal(vault_identity(fx->vault, true, &b), -EBADMSG);
	secret_free(a);
}

#define TEST(name, part)                                                       \
	cmocka_unit_test_setup_teardown(name, part##_setup, part##_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_load__leaves_out_what_is_no_card, ix),
		TEST(test_load__nobody, fx),
		TEST(test_identity__is_made_once_and_stays, fx),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
