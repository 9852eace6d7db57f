/* What synchronising services add to names is recognised, and little else. */
#include "conflict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void additions_begin_where_they_were_added(void **state)
{
	static const char *const additions[] = {
		"~",
		" (1)",
		" (12)",
		" 2",
		" 123",
		" (conflicted copy 2026-11-21)",
		" (Alice's conflicted copy)",
		" - Copy",
		" - copy (3)",
		".sync-conflict-20261121-120000-ABCDEFG",
		".Conflict",
		".conflict-1",
		"_conflict-20261121-120000",
		"-DESKTOP-4F1",
		"-PC",
	};
	static const char *const bases[] = {"a", "report.pdf", "with-dash",
					    "x y", "\xc3\xa4"};
	char name[256];

	(void)state;
	for (size_t b = 0; b < sizeof bases / sizeof *bases; b++)
		for (size_t i = 0; i < sizeof additions / sizeof *additions;
		     i++) {
			snprintf(name, sizeof name, "%s%s", bases[b],
				 additions[i]);
			assert_int_equal(conflict_cut(name, 1),
					 strlen(bases[b]));
		}
}

static void ordinary_names_have_none(void **state)
{
	static const char *const names[] = {
		"",
		"a",
		"report.pdf",
		"~",
		"a~b",
		"a (1",
		"a ()",
		"a (1).txt",
		"a 1234",
		"a 1b",
		"a ",
		"a -",
		"a-b",
		"a-",
		"a-A",
		"a--",
		"a-PC.txt",
		"conflict",
		"a_conflict",
		"a.sync-conflict",
		"a-TOOLONGNAMEOFAHOST",
		"(1)",
		"a(1)",
	};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_int_equal(conflict_cut(names[i], *names[i] ? 1 : 0), 0);
}

static void there_may_be_several_places(void **state)
{
	const char *name = "a (1) (2)";

	(void)state;
	assert_int_equal(conflict_cut(name, 1), 1);
	assert_int_equal(conflict_cut(name, 2), 5);
	assert_int_equal(conflict_cut(name, 6), 0);
	assert_int_equal(conflict_cut("a-PC~", 1), 4);
	assert_int_equal(conflict_cut("a (x)~", 1), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(additions_begin_where_they_were_added),
		cmocka_unit_test(ordinary_names_have_none),
		cmocka_unit_test(there_may_be_several_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
