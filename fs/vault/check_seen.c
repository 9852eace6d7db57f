/* What somebody has put back: this machine has seen what came after it. */
#include "check_content.h"
#include "memory.h"

void content_compare(struct check *c, struct content *f, uint64_t first,
		     size_t count, const uint64_t *sealed_s)
{
	for (size_t at = 0; f->seen && at < count; at++) {
		at += memory_file_judge(f->seen, first + at, count - at,
					sealed_s + at);
		if (at < count)
			content_fault(c, f,
				      &(struct chunk_fault){
					      CHECK_OLDER, first + at,
					      first + at, sealed_s[at]});
	}
}

bool check_seen(struct check *c, struct check_dir *dir, const char *entry,
		const char *plain, uint64_t born_s, const uint8_t *dirid)
{
	const struct memory_place place = {.parent = dir->id, .entry = entry};

	if (!memory_place_is_old(c->vault, &place, born_s, dirid))
		return true;
	check_entry_trouble(c, CHECK_PUT_BACK, dir, entry, plain, 0);
	return false;
}
