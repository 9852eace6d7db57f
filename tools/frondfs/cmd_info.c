#include "behind.h"
#include "chunk.h"
#include "cmd.h"
#include "json.h"
#include "mount_counters.h"
#include "report.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

const char cmd_info_help[] =
	"Usage: frondfs info [--json] BACKING | PATH-IN-A-MOUNT\n"
	"\n"
	"Tell about a vault: id, version, key slots, whether it is mounted; "
	"or about one\n"
	"file in a mounted vault: its backing file, file id, chunks, sizes. Of "
	"a mount\n"
	"point also what the kernel has asked of it since it was mounted.\n"
	"  --json            the same as one JSON object\n"
	"  --help            this text\n";

/* What is known about something in a mount. */
struct path_info {
	const char *path;
	struct stat st;
	char backing[PATH_MAX];	      /* "" when unknown */
	char id[2 * FILE_ID_LEN + 1]; /* "" when it has none */
	uint64_t backing_size;
};

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "character device";
	default:
		return "block device";
	}
}

/* The kernel keeps user.* from anything but files and directories, so for
 * the rest only the directory can tell that it is in a mount. */
static bool parent_is_in_mount(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	char backing[PATH_MAX];

	return copy && getxattr(dirname(copy), "user.frondfs.backing", backing,
				sizeof backing) > 0;
}

static void get_text_xattr(const char *path, const char *name, char *out,
			   size_t size)
{
	ssize_t len = lgetxattr(path, name, out, size - 1);

	out[len > 0 ? len : 0] = '\0';
}

/* Something without attributes of its own. What lies behind it the mount tells
 * of its mount point alone. */
static bool is_in_mount(struct path_info *info)
{
	struct behind b;

	if (!S_ISREG(info->st.st_mode) && !S_ISDIR(info->st.st_mode) &&
	    parent_is_in_mount(info->path))
		return true;
	if (!behind_get(info->path, &b))
		return false;
	if (b.is_mount_point)
		strcpy(info->backing, b.backing);
	return true;
}

/* False: path is not in a mounted vault. */
static bool look_up_path(const char *path, struct path_info *info)
{
	struct stat st;

	if (lstat(path, &info->st) < 0)
		return false;
	info->path = path;
	get_text_xattr(path, "user.frondfs.backing", info->backing,
		       sizeof info->backing);
	get_text_xattr(path, "user.frondfs.id", info->id, sizeof info->id);
	if (!info->backing[0] && !is_in_mount(info))
		return false;
	info->backing_size = chunk_backing_len((uint64_t)info->st.st_size);
	if (lstat(info->backing, &st) == 0)
		info->backing_size = (uint64_t)st.st_size;
	return true;
}

static void put_text(const char *label, const char *text)
{
	printf("%-14s", label);
	json_put_plain(stdout, text[0] ? text : "unknown");
	putchar('\n');
}

static void put_json_text(const char *key, const char *text)
{
	printf(", \"%s\": ", key);
	if (text[0])
		json_put_string(stdout, text);
	else
		(void)fputs("null", stdout);
}

static void print_path(const struct path_info *info)
{
	uint64_t size = (uint64_t)info->st.st_size;
	struct control_counters counters;

	put_text("path:", info->path);
	put_text("type:", type_name(info->st.st_mode));
	put_text("backing file:", info->backing);
	if (info->id[0])
		put_text("id:", info->id);
	if (mount_counters_get(info->path, &counters))
		mount_counters_print(&counters);
	if (!S_ISREG(info->st.st_mode))
		return;
	printf("size:         %" PRIu64 " bytes\n", size);
	printf("chunks:       %" PRIu64 " of %d bytes\n",
	       chunk_last_index(size) + 1, CHUNK_SIZE);
	printf("backing size: %" PRIu64 " bytes\n", info->backing_size);
}

static void print_path_json(const struct path_info *info)
{
	uint64_t size = (uint64_t)info->st.st_size;
	struct control_counters counters;

	printf("{\"path\": ");
	json_put_string(stdout, info->path);
	put_json_text("type", type_name(info->st.st_mode));
	put_json_text("backing", info->backing);
	put_json_text("id", info->id);
	if (S_ISREG(info->st.st_mode))
		printf(", \"size\": %" PRIu64 ", \"chunks\": %" PRIu64
		       ", \"backing_size\": %" PRIu64,
		       size, chunk_last_index(size) + 1, info->backing_size);
	if (mount_counters_get(info->path, &counters))
		mount_counters_print_json(&counters);
	puts("}");
}

/* point: "" when it is not mounted, or where is not known. */
static void print_vault(const char *path, const struct vault_ini *ini,
			bool mounted, const char *point)
{
	char id[2 * VAULT_ID_LEN + 1];

	hex_encode(ini->id, VAULT_ID_LEN, id);
	put_text("vault:", path);
	put_text("id:", id);
	put_text("created:", ini->created);
	printf("version:      %u\n", ini->version);
	for (size_t i = 0; i < ini->slot_count; i++)
		printf("slot:         %s (argon2id, %" PRIu64
		       " %s over %" PRIu64 " MiB)\n",
		       ini->slots[i].name, ini->slots[i].ops,
		       ini->slots[i].ops == 1 ? "pass" : "passes",
		       ini->slots[i].mem_bytes >> 20);
	put_text("mounted:", mounted ? "yes" : "no");
	if (point[0])
		put_text("mounted on:", point);
}

static void print_vault_json(const char *path, const struct vault_ini *ini,
			     bool mounted, const char *point)
{
	char id[2 * VAULT_ID_LEN + 1];

	hex_encode(ini->id, VAULT_ID_LEN, id);
	printf("{\"path\": ");
	json_put_string(stdout, path);
	printf(", \"type\": \"vault\", \"id\": \"%s\"", id);
	put_json_text("created", ini->created);
	printf(", \"version\": %u, \"slots\": [", ini->version);
	for (size_t i = 0; i < ini->slot_count; i++)
		printf("%s{\"name\": \"%s\", \"kdf\": \"argon2id\", "
		       "\"ops\": %" PRIu64 ", \"mem\": %" PRIu64 "}",
		       i ? ", " : "", ini->slots[i].name, ini->slots[i].ops,
		       ini->slots[i].mem_bytes);
	printf("], \"mounted\": %s", mounted ? "true" : "false");
	put_json_text("mountpoint", point);
	puts("}");
}

static int info_vault(const char *path, bool json)
{
	CLEANUP_FREE char *real = realpath(path, NULL);
	struct vault_fault fault = {0};
	struct vault_ini ini;
	char point[PATH_MAX];
	bool mounted;
	int err = vault_probe(path, &ini, &fault);

	if ((err == -ENOMEDIUM && !report_is_of_vault(path)) ||
	    err == -ENOTDIR) {
		report("'%s' is neither a vault nor in a mounted one; name a "
		       "backing directory or a path in a mount",
		       path);
		return CMD_NOT_A_VAULT;
	}
	if (err)
		return report_vault(err, path, &fault);
	mounted = vault_wait_unlocked(path, 0) == -EBUSY;
	if (!mounted || !behind_find(real ? real : path, point))
		point[0] = '\0';
	if (json)
		print_vault_json(real ? real : path, &ini, mounted, point);
	else
		print_vault(real ? real : path, &ini, mounted, point);
	return CMD_OK;
}

/* Whoever mistypes a name in a mount does not want to hear of vaults. */
static bool is_missing_in_mount(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	CLEANUP_FREE struct behind *b = malloc(sizeof *b);
	struct stat st;

	return copy && b && lstat(path, &st) < 0 && errno == ENOENT &&
	       behind_get(dirname(copy), b);
}

/* As a symbolic link in a mount is told of, one elsewhere leads to what is told
 * of. */
static bool look_up(const char *path, const char *real, struct path_info *info)
{
	return look_up_path(path, info) ||
	       (real && S_ISLNK(info->st.st_mode) && look_up_path(real, info));
}

static int info(const char *path, bool json)
{
	CLEANUP_FREE char *real = realpath(path, NULL);
	struct path_info about = {0};

	if (is_missing_in_mount(path)) {
		report("there is no file or directory '%s' in the mounted "
		       "vault; check the name",
		       path);
		return CMD_FAILED;
	}
	if (!look_up(path, real, &about))
		return info_vault(path, json);
	if (json)
		print_path_json(&about);
	else
		print_path(&about);
	return CMD_OK;
}

int cmd_info(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'h')
			return fputs(cmd_info_help, stdout) < 0 ? CMD_FAILED
								: CMD_OK;
		else
			return report_bad_option("info", c, argv);
	}
	if (argc - optind != 1)
		return report_usage("info", "info wants one path");
	return info(argv[optind], json);
}
