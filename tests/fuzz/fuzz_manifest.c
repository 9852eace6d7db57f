/*
 * Manifests. What is accepted keeps every promise that those who write files
 * by it rely on, and has one encoding.
 */
#include "fuzz.h"

#include "chunk.h"
#include "manifest.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return sodium_init() < 0;
}

/* Checked otherwise than the parser does it: over a copy, cut at slashes. */
static void check_path(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	char *rest = copy, *component;

	REQUIRE(copy && strlen(path) <= MANIFEST_PATH_MAX);
	while ((component = strsep(&rest, "/"))) {
		REQUIRE(*component && strlen(component) <= 255);
		REQUIRE(strcmp(component, ".") != 0);
		REQUIRE(strcmp(component, "..") != 0);
	}
	for (const char *p = path; *p; p++)
		REQUIRE((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_file(const struct manifest *m, const struct manifest_entry *e)
{
	uint64_t sum = 0;

	REQUIRE((e->mode & ~0666U) == 0);
	if (m->kind == MANIFEST_GRANT) {
		REQUIRE(e->backing_path && !e->parts);
		check_path(e->backing_path);
		return;
	}
	REQUIRE(!e->backing_path);
	for (size_t i = 0; i < e->part_count; i++)
		REQUIRE(!__builtin_add_overflow(sum, e->parts[i].len, &sum));
	REQUIRE(sum == chunk_backing_len(e->size));
}

/* Every ancestor of entry i is a directory that comes before it. Quadratic,
 * as the parser must not be: only for few entries. */
static void check_place(const struct manifest *m, size_t i)
{
	const char *path = m->entries[i].path;

	for (const char *slash = strchr(path, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		size_t len = (size_t)(slash - path), j = 0;

		while (j < i && (strncmp(m->entries[j].path, path, len) != 0 ||
				 m->entries[j].path[len]))
			j++;
		REQUIRE(j < i && m->entries[j].type == MANIFEST_DIR);
	}
	for (size_t j = 0; j < i; j++)
		REQUIRE(strcmp(m->entries[j].path, path) != 0);
}

static void check(const struct manifest *m)
{
	REQUIRE(m->k >= 1 && m->k <= m->n && m->n <= SLIP39_SHARES_MAX);
	REQUIRE(strlen(m->name) <= 255 && !strchr(m->name, '/'));
	REQUIRE(strlen(m->note) <= MANIFEST_NOTE_MAX);
	check_path(m->name);
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct manifest_entry *e = &m->entries[i];

		check_path(e->path);
		if (m->entry_count <= 200)
			check_place(m, i);
		if (e->type == MANIFEST_FILE)
			check_file(m, e);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest *m = NULL;
	uint8_t *again;
	size_t len;
	int err = manifest_parse(data, size, &m);

	if (err) {
		REQUIRE(err == -EBADMSG || err == -EPROTONOSUPPORT);
		REQUIRE(!m);
		return 0;
	}
	check(m);
	REQUIRE(manifest_encode(m, &again, &len) == 0);
	REQUIRE(len == size && memcmp(again, data, size) == 0);
	free(again);
	manifest_free(m);
	return 0;
}
