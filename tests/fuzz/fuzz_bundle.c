/* Bundles, read as a tool reads them: head by head, passing over the rest. */
#include "fuzz.h"

#include "bundle.h"
#include "envelope.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at = BUNDLE_MAGIC_LEN;

	if (size < at || memcmp(data, BUNDLE_MAGIC, BUNDLE_MAGIC_LEN) != 0)
		return 0;
	while (size - at >= BUNDLE_HEAD_LEN) {
		uint8_t again[BUNDLE_HEAD_LEN], type;
		uint64_t len, left = size - at - BUNDLE_HEAD_LEN;
		int err = bundle_head_parse(data + at, left, &type, &len);

		if (err) {
			REQUIRE(err == -EBADMSG);
			return 0;
		}
		REQUIRE(len <= left);
		REQUIRE(type != BUNDLE_ENVELOPE || len <= ENVELOPE_MAX_LEN);
		bundle_head_format(type, len, again);
		REQUIRE(memcmp(again, data + at, sizeof again) == 0);
		at += BUNDLE_HEAD_LEN + (size_t)len;
	}
	return 0;
}
