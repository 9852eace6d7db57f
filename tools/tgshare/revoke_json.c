#include "escape.h"
#include "revoke.h"

#include <errno.h>
#include <string.h>

int revoke_format(const struct revocation *r, char **text)
{
	json_t *victims = json_array(), *kept = json_array(),
	       *files = json_array();
	json_t *root;
	char *out;

	for (size_t i = 0; i < r->victim_count; i++)
		json_array_append_new(victims,
				      escape_hex(r->victims[i], SET_ID_LEN));
	for (size_t i = 0; i < r->kept_count; i++)
		json_array_append_new(
			kept, json_pack("[o,o]",
					escape_hex(r->kept[i][0], SET_ID_LEN),
					escape_hex(r->kept[i][1], SET_ID_LEN)));
	for (size_t i = 0; i < r->file_count; i++)
		json_array_append_new(
			files,
			json_pack("[o,o]", escape_json(r->files[i].path),
				  escape_hex(r->files[i].id, FILE_ID_LEN)));
	root = json_pack("{si,si,so,so,so}", "version", 1, "stage",
			 (int)r->stage, "victims", victims, "kept", kept,
			 "files", files);
	out = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	json_decref(root);
	if (!out)
		return -ENOMEM;
	*text = out;
	return 0;
}

static bool parse_victims(const json_t *list, struct revocation *r)
{
	r->victim_count = json_array_size(list);
	r->victims = calloc(r->victim_count + 1, sizeof *r->victims);
	for (size_t i = 0; r->victims && i < r->victim_count; i++)
		if (!escape_unhex(json_string_value(json_array_get(list, i)),
				  r->victims[i], SET_ID_LEN))
			return false;
	return r->victims;
}

static bool parse_kept(const json_t *list, struct revocation *r)
{
	r->kept_count = json_array_size(list);
	r->kept = calloc(r->kept_count + 1, sizeof *r->kept);
	for (size_t i = 0; r->kept && i < r->kept_count; i++) {
		const char *before, *after;

		if (json_unpack(json_array_get(list, i), "[s,s]", &before,
				&after) ||
		    !escape_unhex(before, r->kept[i][0], SET_ID_LEN) ||
		    !escape_unhex(after, r->kept[i][1], SET_ID_LEN))
			return false;
	}
	return r->kept;
}

static bool parse_files(const json_t *list, struct revocation *r)
{
	size_t count = json_array_size(list);

	r->files = calloc(count + 1, sizeof *r->files);
	for (size_t i = 0; r->files && i < count; i++) {
		const char *path, *id;

		if (json_unpack(json_array_get(list, i), "[s,s]", &path, &id) ||
		    !escape_unhex(id, r->files[i].id, FILE_ID_LEN) ||
		    escape_undo(path, &r->files[i].path))
			return false;
		r->file_count++;
	}
	return r->files;
}

int revoke_parse(const char *text, size_t len, struct revocation *r)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	int version = 0, stage = 0;
	bool good = root &&
		    json_unpack(root, "{si,si}", "version", &version, "stage",
				&stage) == 0 &&
		    version == 1 && (stage == 1 || stage == 2) &&
		    parse_victims(json_object_get(root, "victims"), r) &&
		    parse_kept(json_object_get(root, "kept"), r) &&
		    parse_files(json_object_get(root, "files"), r);

	r->stage = (unsigned)stage;
	json_decref(root);
	return good ? 0 : -EBADMSG;
}

void revoke_fini(struct revocation *r)
{
	for (size_t i = 0; i < r->file_count; i++)
		free(r->files[i].path);
	free(r->files);
	free(r->victims);
	free(r->kept);
	memset(r, 0, sizeof *r);
}
