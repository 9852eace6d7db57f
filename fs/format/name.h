/*
 * Names of directory entries and extended attributes as the backing directory
 * has them (frondfs-format(5), "Names"). Pure: no I/O.
 */
#ifndef FROND_NAME_H
#define FROND_NAME_H

#include "header.h"
#include "siv.h"

#include <stdbool.h>

enum {
	NAME_PLAIN_MAX = 255,
	/* base64url of SIV and 255 bytes */
	NAME_FULL_MAX = (16 + NAME_PLAIN_MAX) * 4 / 3 + 1,
	NAME_BACKING_MAX = 255,
	NAME_LONG_LEN = 1 + 43, /* "@" and base64url of 32 bytes */
	NAME_XATTR_MAX = 255,
};

#define NAME_DIRID_FILE ".dirid"
#define NAME_VAULT_DIR ".frondfs"
#define NAME_LONG_SUFFIX ".name" /* after a long name's "@..." */
#define NAME_LINK_SUFFIX ".link" /* after "@" and 32 hex digits */
#define NAME_TEMP_PREFIX ".tmp-" /* something being made or removed */
#define NAME_XATTR_PREFIX "user.frondfs."

/* A name as it stands in the backing directory. */
struct backing_name {
	char entry[NAME_BACKING_MAX + 1]; /* what the entry is called */
	bool is_long; /* entry is "@...", and the full name must lie beside */
	char full[NAME_FULL_MAX + 1]; /* the encoded name, long or not */
};

enum name_kind {
	NAME_KIND_ENTRY,    /* an encoded name */
	NAME_KIND_LONG,	    /* "@" and a hash: the full name lies beside */
	NAME_KIND_INTERNAL, /* .dirid, .frondfs, "@....name", "@....link",
			       ".tmp-...": ours, never shown */
	NAME_KIND_FOREIGN,  /* nothing we make */
};

/*
 * Encode a plain name (1 to 255 bytes, no "/" and no NUL) within directory
 * dirid. -ENAMETOOLONG, -EINVAL, or an error of siv_seal.
 */
MUST_CHECK int name_encode(const struct siv *siv,
			   const uint8_t dirid[static DIRID_LEN],
			   const char *plain, size_t len,
			   struct backing_name *out);

/* What sort of entry of a backing directory is this? */
enum name_kind name_classify(const char *entry);

/*
 * Decode a full encoded name (the entry itself, or what a ".name" file
 * holds). plain gets a closing NUL; *len_out may be NULL. -EBADMSG: it was
 * not made in this directory with this key, or decodes to what no name is.
 */
MUST_CHECK int name_decode(const struct siv *siv,
			   const uint8_t dirid[static DIRID_LEN],
			   const char *full, size_t full_len,
			   char plain[static NAME_PLAIN_MAX + 1],
			   size_t *len_out);

/* The "@..." that stands for a full name longer than 255 characters. */
void name_long_entry(const char *full, size_t full_len,
		     char entry[static NAME_LONG_LEN + 1]);

/*
 * Encode an extended attribute's name; the result includes NAME_XATTR_PREFIX.
 * Names whose encoding does not fit 255 characters become prefix "@" and
 * base64url(BLAKE2b-256 of the encoding); xattr values hold the name as well.
 */
MUST_CHECK int name_xattr_encode(const struct siv *siv, const char *plain,
				 char out[static NAME_XATTR_MAX + 1]);

#endif
