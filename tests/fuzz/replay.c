/* Runs a target over every file of the directories named. */
#include "fuzz.h"

#include "cleanup.h"

#include <stdio.h>

enum { INPUT_MAX = 1 << 20 };

static int replay_file(const char *dir, const char *name)
{
	char path[4096];
	CLEANUP_FREE uint8_t *data = NULL;
	size_t len;
	FILE *file;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return -1;
	file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return -1;
	}
	data = malloc(INPUT_MAX);
	len = data ? fread(data, 1, INPUT_MAX, file) : 0;
	if (!data || ferror(file) || fclose(file) != 0)
		return -1;
	/* exactly as long as the input, so that a sanitizer sees overreads */
	uint8_t *exact = realloc(data, len ? len : 1);

	if (exact)
		data = exact;
	return LLVMFuzzerTestOneInput(data, len);
}

static int replay_dir(const char *path, unsigned *count)
{
	CLEANUP_DIR DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir) {
		perror(path);
		return -1;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay_file(path, entry->d_name) != 0)
			return -1;
		++*count;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	if (LLVMFuzzerInitialize(&argc, &argv) != 0)
		return 1;
	for (int i = 1; i < argc; i++)
		if (replay_dir(argv[i], &count) != 0)
			return 1;
	(void)printf("%u inputs\n", count);
	return count > 0 ? 0 : 1;
}
