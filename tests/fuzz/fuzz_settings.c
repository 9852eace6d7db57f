/*
 * How tgshare sends: the first byte chooses, settings.ini or the transport
 * beside a good one. What was read is within its bounds and is read the same
 * once it was written.
 */
#include "fuzz_vault.h"

#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char good_ini[] =
	"[me]\nname = alice\n[telegram]\napi_base = https://api.example.org\n"
	"bot = @our_bot\npart_mib = 19\n";
static struct mounted mounted;
static int dir_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int meta = fuzz_vault()->meta_fd;

	(void)argc;
	(void)argv;
	REQUIRE(mkdirat(meta, "mounted", 0700) == 0);
	mounted.fd = openat(meta, "mounted", O_RDONLY | O_DIRECTORY);
	REQUIRE(mounted.fd >= 0 &&
		settings_open_dir(&mounted, "", &dir_fd) == 0);
	return 0;
}

static bool is_ended(const char *text, size_t room)
{
	return memchr(text, '\0', room);
}

static void check(const struct settings *s)
{
	REQUIRE(is_ended(s->name, sizeof s->name));
	REQUIRE(is_ended(s->transport, sizeof s->transport));
	REQUIRE(is_ended(s->api_base, sizeof s->api_base));
	REQUIRE(is_ended(s->bot, sizeof s->bot));
	REQUIRE(is_ended(s->part_mib, sizeof s->part_mib));
	REQUIRE(!strchr(s->transport, '\n'));
}

static bool same(const struct settings *a, const struct settings *b)
{
	return strcmp(a->name, b->name) == 0 &&
	       strcmp(a->transport, b->transport) == 0 &&
	       strcmp(a->api_base, b->api_base) == 0 &&
	       strcmp(a->bot, b->bot) == 0 &&
	       strcmp(a->part_mib, b->part_mib) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings one = {0}, two = {0}, three = {0};
	bool ini = size > 0 && data[0] % 2 == 0;
	int err;

	if (size == 0)
		return 0;
	fuzz_put(dir_fd, "settings.ini", ini ? data + 1 : (void *)good_ini,
		 ini ? size - 1 : sizeof good_ini - 1);
	fuzz_put(dir_fd, "transport", data + 1, ini ? 0 : size - 1);
	err = settings_load(&mounted, &one);
	REQUIRE(err == 0 || err == -EBADMSG || err == -EFBIG);
	if (err)
		return 0;
	check(&one);
	REQUIRE(ini || strcmp(one.name, "alice") == 0);
	/* white space and comments go, once */
	REQUIRE(settings_save(&mounted, &one) == 0);
	REQUIRE(settings_load(&mounted, &two) == 0);
	REQUIRE(settings_save(&mounted, &two) == 0);
	REQUIRE(settings_load(&mounted, &three) == 0);
	check(&two);
	REQUIRE(same(&two, &three));
	return 0;
}
