#include "vault_ini.h"

#include "text.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* inih cuts longer lines (newline and NUL included) in two without a word. */
enum { LINE_ROOM = 200 };

#define MIB UINT64_C(1048576)
#define ARRAY_LEN(a) (sizeof(a) / sizeof(a)[0])
#define SLOT_PREFIX "slot "

/* Values: text of one key to its place, false when it is not that */

static bool read_number(const char *value, uint64_t min, uint64_t max,
			uint64_t *out)
{
	uint64_t n = 0;

	if (*value < '1' || *value > '9')
		return false;
	for (; *value >= '0' && *value <= '9'; value++) {
		if (n > (UINT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (uint64_t)(*value - '0');
	}
	if (*value || n < min || n > max)
		return false;
	*out = n;
	return true;
}

static bool read_bytes(const char *value, void *to, size_t len)
{
	uint8_t bytes[64];
	size_t got;

	if (base64url_decode(value, strlen(value), bytes, len, &got) != 0 ||
	    got != len)
		return false;
	memcpy(to, bytes, len);
	return true;
}

static bool read_version(const char *value, void *to)
{
	uint64_t version;

	if (!read_number(value, 1, VAULT_VERSION, &version))
		return false;
	*(unsigned *)to = (unsigned)version;
	return true;
}

static bool read_id(const char *value, void *to)
{
	return hex_decode(value, strlen(value), to, VAULT_ID_LEN) == 0;
}

static bool read_created(const char *value, void *to)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";

	if (strlen(value) != sizeof shape - 1)
		return false;
	for (size_t i = 0; shape[i]; i++) {
		bool digit = value[i] >= '0' && value[i] <= '9';

		if (shape[i] == 'd' ? !digit : value[i] != shape[i])
			return false;
	}
	memcpy(to, value, sizeof shape);
	return true;
}

static bool read_type(const char *value, void *to)
{
	(void)to;
	return strcmp(value, "passphrase") == 0;
}

static bool read_kdf(const char *value, void *to)
{
	(void)to;
	return strcmp(value, "argon2id") == 0;
}

static bool read_ops(const char *value, void *to)
{
	return read_number(value, 1, KDF_MAX_OPS, to);
}

static bool read_mem(const char *value, void *to)
{
	uint64_t mem;

	/* Argon2 counts in KiB: no two values may mean the same. */
	if (!read_number(value, KDF_MIN_MEM_MIB * MIB, KDF_MAX_MEM_MIB * MIB,
			 &mem) ||
	    mem % 1024 != 0)
		return false;
	*(uint64_t *)to = mem;
	return true;
}

static bool read_salt(const char *value, void *to)
{
	return read_bytes(value, to, KDF_SALT_LEN);
}

static bool read_token(const char *value, void *to)
{
	uint8_t token[FERNET_TOKEN_LEN(VAULT_SLOT_PLAIN_LEN)];
	size_t len;

	if (strlen(value) != VAULT_SLOT_TEXT_LEN ||
	    base64url_decode_padded(value, VAULT_SLOT_TEXT_LEN, token,
				    sizeof token, &len) != 0 ||
	    len != sizeof token)
		return false;
	memcpy(to, value, VAULT_SLOT_TEXT_LEN + 1);
	return true;
}

static bool read_mac(const char *value, void *to)
{
	return read_bytes(value, to, VAULT_MAC_LEN);
}

struct key {
	const char *name;
	bool (*read)(const char *value, void *to);
	size_t offset; /* of its place, in the section's struct */
};

static const struct key vault_keys[] = {
	{"version", read_version, offsetof(struct vault_ini, version)},
	{"id", read_id, offsetof(struct vault_ini, id)},
	{"created", read_created, offsetof(struct vault_ini, created)},
};

static const struct key slot_keys[] = {
	{"type", read_type, 0},
	{"kdf", read_kdf, 0},
	{"ops", read_ops, offsetof(struct vault_slot, ops)},
	{"mem", read_mem, offsetof(struct vault_slot, mem_bytes)},
	{"salt", read_salt, offsetof(struct vault_slot, salt)},
	{"token", read_token, offsetof(struct vault_slot, token)},
};

static const struct key seal_keys[] = {
	{"mac", read_mac, offsetof(struct vault_ini, mac)},
};

/* What has been read so far, and which keys of each section were there. */
struct reader {
	struct vault_ini ini;
	unsigned vault_seen, seal_seen, slot_seen[VAULT_SLOTS_MAX];
};

static bool take(const struct key *keys, size_t n, unsigned *seen, void *base,
		 const char *name, const char *value)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(keys[i].name, name) != 0)
			continue;
		if (*seen & 1U << i)
			return false;
		*seen |= 1U << i;
		return keys[i].read(value, (char *)base + keys[i].offset);
	}
	return false;
}

/* inih's handler: 0 makes the line an error. */
static int on_key(void *arg, const char *section, const char *name,
		  const char *value)
{
	struct reader *r = arg;

	if (strcmp(section, "vault") == 0)
		return take(vault_keys, ARRAY_LEN(vault_keys), &r->vault_seen,
			    &r->ini, name, value);
	if (strcmp(section, "seal") == 0)
		return take(seal_keys, ARRAY_LEN(seal_keys), &r->seal_seen,
			    &r->ini, name, value);
	if (strncmp(section, SLOT_PREFIX, sizeof SLOT_PREFIX - 1) != 0)
		return 0;
	section += sizeof SLOT_PREFIX - 1;
	for (size_t i = 0; i < r->ini.slot_count; i++)
		if (strcmp(section, r->ini.slots[i].name) == 0)
			return take(slot_keys, ARRAY_LEN(slot_keys),
				    &r->slot_seen[i], &r->ini.slots[i], name,
				    value);
	return 0;
}

static bool all_seen(const struct reader *r)
{
	for (size_t i = 0; i < r->ini.slot_count; i++)
		if (r->slot_seen[i] != (1U << ARRAY_LEN(slot_keys)) - 1)
			return false;
	return r->vault_seen == (1U << ARRAY_LEN(vault_keys)) - 1 &&
	       r->seal_seen == (1U << ARRAY_LEN(seal_keys)) - 1;
}

/* Shape: what inih would let pass */

static bool is_slot_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* "key = value": a lower-case word and printable characters but no space */
static bool is_key_line(const char *line, size_t len)
{
	size_t i = 0;

	while (i < len && line[i] >= 'a' && line[i] <= 'z')
		i++;
	if (i == 0 || len - i <= 3 || memcmp(line + i, " = ", 3) != 0)
		return false;
	for (i += 3; i < len; i++)
		if (line[i] <= ' ' || line[i] > '~')
			return false;
	return true;
}

/* Is the section "slot NAME" new and well named? Then it is added. */
static bool add_slot(struct vault_ini *ini, const char *name, size_t len)
{
	struct vault_slot *slot;

	if (ini->slot_count == VAULT_SLOTS_MAX || len < 1 ||
	    len > VAULT_SLOT_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_slot_char(name[i]))
			return false;
	slot = &ini->slots[ini->slot_count];
	memcpy(slot->name, name, len);
	slot->name[len] = '\0';
	for (size_t i = 0; i < ini->slot_count; i++)
		if (strcmp(ini->slots[i].name, slot->name) == 0)
			return false;
	ini->slot_count++;
	return true;
}

/* Where in the order of sections the scan is. */
enum place { BEFORE_ALL, IN_VAULT, IN_SLOTS, AT_SEAL, AT_MAC };

static bool line_is(const char *line, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(line, text, len) == 0;
}

static bool enter_section(struct vault_ini *ini, enum place *place,
			  const char *line, size_t len)
{
	const size_t prefix = sizeof "[" SLOT_PREFIX - 1;

	if (*place == BEFORE_ALL) {
		*place = IN_VAULT;
		return line_is(line, len, "[vault]");
	}
	if (*place == IN_SLOTS && line_is(line, len, "[seal]")) {
		*place = AT_SEAL;
		return true;
	}
	*place = IN_SLOTS;
	return len > prefix && line[len - 1] == ']' &&
	       memcmp(line, "[" SLOT_PREFIX, prefix) == 0 &&
	       add_slot(ini, line + prefix, len - prefix - 1);
}

/* One line's shape, and its place in the order of things. */
static bool scan_line(struct vault_ini *ini, enum place *place,
		      const char *line, size_t len)
{
	if (*place == AT_MAC || len + 2 > LINE_ROOM)
		return false;
	if (*place == AT_SEAL) {
		*place = AT_MAC;
		return is_key_line(line, len);
	}
	if (len == 0)
		return *place != BEFORE_ALL;
	if (line[0] == '[')
		return enter_section(ini, place, line, len);
	return *place != BEFORE_ALL && is_key_line(line, len);
}

/*
 * Judge every line's shape and the order of sections; collect the slots'
 * names and where the seal begins.
 */
static int scan(const char *text, size_t len, struct vault_ini *ini,
		unsigned *bad_line)
{
	enum place place = BEFORE_ALL;
	size_t at = 0;

	for (unsigned number = 1; at < len; number++) {
		const char *end = memchr(text + at, '\n', len - at);

		if (!end || !scan_line(ini, &place, text + at,
				       (size_t)(end - text) - at)) {
			*bad_line = number;
			return -EBADMSG;
		}
		if (place == AT_SEAL)
			ini->sealed_len = at;
		at = (size_t)(end - text) + 1;
	}
	if (place != AT_MAC) {
		*bad_line = 0;
		return -EBADMSG;
	}
	return 0;
}

/* The version, which is looked for in whatever else is there */

static int on_any_key(void *arg, const char *section, const char *name,
		      const char *value)
{
	uint64_t version;

	if (strcmp(section, "vault") == 0 && strcmp(name, "version") == 0 &&
	    read_number(value, VAULT_VERSION + 1, UINT_MAX, &version))
		*(bool *)arg = true;
	return 1;
}

static bool is_newer(const char *text)
{
	bool newer = false;

	(void)ini_parse_string(text, on_any_key, &newer);
	return newer;
}

int vault_ini_parse(const char *text, size_t len, struct vault_ini *out,
		    unsigned *bad_line)
{
	char copy[VAULT_INI_MAX + 1];
	struct reader r = {.vault_seen = 0};
	int line, err;

	if (len > VAULT_INI_MAX) {
		*bad_line = 0;
		return -EBADMSG;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (is_newer(copy))
		return -EPROTONOSUPPORT;
	err = scan(text, len, &r.ini, bad_line);
	if (err)
		return err;
	line = ini_parse_string(copy, on_key, &r);
	if (line != 0 || !all_seen(&r)) {
		*bad_line = line > 0 ? (unsigned)line : 0;
		return -EBADMSG;
	}
	*out = r.ini;
	return 0;
}

/* The seal */

static void compute_mac(const char *text, size_t len,
			const uint8_t seal_key[32], uint8_t mac[VAULT_MAC_LEN])
{
	(void)crypto_generichash(mac, VAULT_MAC_LEN, (const uint8_t *)text, len,
				 seal_key, 32);
}

int vault_ini_verify(const struct vault_ini *ini, const char *text,
		     const uint8_t seal_key[32])
{
	uint8_t mac[VAULT_MAC_LEN];

	compute_mac(text, ini->sealed_len, seal_key, mac);
	return sodium_memcmp(mac, ini->mac, sizeof mac) == 0 ? 0 : -EBADMSG;
}

/* Writing */

struct writer {
	char text[VAULT_INI_MAX];
	size_t len;
	bool full;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w,
						      const char *fmt, ...)
{
	size_t room = sizeof w->text - w->len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(w->text + w->len, room, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room)
		w->full = true;
	else
		w->len += (size_t)n;
}

static void put_slot(struct writer *w, const struct vault_slot *slot)
{
	char salt[BASE64URL_LEN(KDF_SALT_LEN) + 1];

	base64url_encode(slot->salt, sizeof slot->salt, salt);
	put(w, "[slot %s]\ntype = passphrase\nkdf = argon2id\n", slot->name);
	put(w, "ops = %llu\nmem = %llu\n", (unsigned long long)slot->ops,
	    (unsigned long long)slot->mem_bytes);
	put(w, "salt = %s\ntoken = %s\n\n", salt, slot->token);
}

int vault_ini_format(const struct vault_ini *ini, const uint8_t seal_key[32],
		     char *text, size_t *len_out)
{
	struct writer w = {.len = 0};
	char id[2 * VAULT_ID_LEN + 1];
	uint8_t mac[VAULT_MAC_LEN];
	char mac_text[BASE64URL_LEN(VAULT_MAC_LEN) + 1];

	hex_encode(ini->id, sizeof ini->id, id);
	put(&w, "[vault]\nversion = %u\nid = %s\ncreated = %s\n\n",
	    ini->version, id, ini->created);
	for (size_t i = 0; i < ini->slot_count; i++)
		put_slot(&w, &ini->slots[i]);
	compute_mac(w.text, w.len, seal_key, mac);
	base64url_encode(mac, sizeof mac, mac_text);
	put(&w, "[seal]\nmac = %s\n", mac_text);
	if (w.full)
		return -EMSGSIZE;
	memcpy(text, w.text, w.len);
	*len_out = w.len;
	return 0;
}
