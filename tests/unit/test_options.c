#include "mount.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct mount_options parsed(const char *text)
{
	struct mount_options opt;
	char *bad = NULL;

	mount_options_init(&opt);
	assert_int_equal(mount_options_parse(&opt, text, &bad), 0);
	assert_null(bad);
	return opt;
}

static void assert_refused(const char *text, const char *offender)
{
	struct mount_options opt;
	char *bad = NULL;

	mount_options_init(&opt);
	assert_int_equal(mount_options_parse(&opt, text, &bad), -EINVAL);
	assert_string_equal(bad, offender);
	free(bad);
	mount_options_fini(&opt);
}

static void test_options__nothing_asked_is_safe(void **state)
{
	struct mount_options opt = parsed("");

	(void)state;
	assert_false(opt.read_only || opt.allow_other || opt.allow_root);
	assert_false(opt.shared || opt.suid || opt.dev || opt.noexec);
	assert_false(opt.nonempty);
	assert_true(opt.xattr && opt.writeback);
	assert_int_equal(opt.idle_min, 0);
	assert_null(opt.fsname);
	assert_null(opt.fuse_options);
	mount_options_fini(&opt);
}

static void test_options__each_word_sets_its_field(void **state)
{
	struct mount_options opt = parsed("ro,allow_other,shared,suid,dev,"
					  "noexec,nonempty,idle=15,xattr=off,"
					  "writeback=on,fsname=mine");

	(void)state;
	assert_true(opt.read_only && opt.allow_other && opt.shared);
	assert_true(opt.suid && opt.dev && opt.noexec && opt.nonempty);
	assert_true(opt.writeback);
	assert_false(opt.xattr || opt.allow_root);
	assert_int_equal(opt.idle_min, 15);
	assert_string_equal(opt.fsname, "mine");
	mount_options_fini(&opt);
}

static void test_options__the_last_word_wins(void **state)
{
	struct mount_options opt =
		parsed("ro,rw,suid,nosuid,dev,nodev,noexec,exec,xattr=off,"
		       "xattr=on,writeback=on,writeback=off,idle=1,idle=2,"
		       "fsname=a,fsname=b");

	(void)state;
	assert_false(opt.read_only || opt.suid || opt.dev || opt.noexec);
	assert_false(opt.writeback);
	assert_true(opt.xattr);
	assert_int_equal(opt.idle_min, 2);
	assert_string_equal(opt.fsname, "b");
	mount_options_fini(&opt);
}

static void test_options__several_arguments_add_up(void **state)
{
	struct mount_options opt = parsed("ro,sync");
	char *bad = NULL;

	(void)state;
	assert_int_equal(mount_options_parse(&opt, "shared,noatime", &bad), 0);
	assert_true(opt.read_only && opt.shared);
	assert_string_equal(opt.fuse_options, "sync,noatime");
	mount_options_fini(&opt);
}

static void test_options__an_escaped_comma_is_part_of_the_value(void **state)
{
	struct mount_options opt =
		parsed("passfile=/a\\,b\\\\c,extpass=pass show x\\, y,"
		       "fsname=back\\slash,log=a\\,b");

	(void)state;
	assert_string_equal(opt.passfile, "/a,b\\c");
	assert_string_equal(opt.extpass, "pass show x, y");
	assert_string_equal(opt.fsname, "back\\slash");
	assert_string_equal(opt.log, "a,b");
	mount_options_fini(&opt);
}

static void test_options__what_libfuse_takes_is_passed_on_escaped(void **state)
{
	struct mount_options opt = parsed(
		"max_read=65536,context=\"u:r:t:s0:c1\\,c2\",debug,dirsync");

	(void)state;
	assert_string_equal(opt.fuse_options,
			    "max_read=65536,context=\"u:r:t:s0:c1\\,c2\","
			    "debug,dirsync");
	mount_options_fini(&opt);
}

static void test_options__notes_for_mount_8_are_passed_over(void **state)
{
	struct mount_options opt = parsed(
		"defaults,auto,noauto,nofail,_netdev,user,users,user=alice,"
		"x-systemd.automount,x-gvfs-show,X-mount.mkdir,comment=hi,"
		"relatime,lazytime,default_permissions,,");

	(void)state;
	assert_null(opt.fuse_options);
	assert_false(opt.allow_other || opt.read_only);
	mount_options_fini(&opt);
}

static void test_options__the_offender_is_named(void **state)
{
	(void)state;
	assert_refused("ro,bogus,rw", "bogus");
	assert_refused("idle=0", "idle=0");
	assert_refused("idle=", "idle=");
	assert_refused("idle=-5", "idle=-5");
	assert_refused("idle=5m", "idle=5m");
	assert_refused("idle=99999999999999999999",
		       "idle=99999999999999999999");
	assert_refused("idle", "idle");
	assert_refused("writeback=maybe", "writeback=maybe");
	assert_refused("xattr", "xattr");
	assert_refused("fsname=", "fsname=");
	assert_refused("passfile", "passfile");
	assert_refused("subtype=other", "subtype=other");
	assert_refused("blkdev", "blkdev");
	assert_refused("remount", "remount");
	assert_refused("max_read", "max_read");
	assert_refused("roo", "roo");
	assert_refused("a\\,b", "a,b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options__nothing_asked_is_safe),
		cmocka_unit_test(test_options__each_word_sets_its_field),
		cmocka_unit_test(test_options__the_last_word_wins),
		cmocka_unit_test(test_options__several_arguments_add_up),
		cmocka_unit_test(
			test_options__an_escaped_comma_is_part_of_the_value),
		cmocka_unit_test(
			test_options__what_libfuse_takes_is_passed_on_escaped),
		cmocka_unit_test(
			test_options__notes_for_mount_8_are_passed_over),
		cmocka_unit_test(test_options__the_offender_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
