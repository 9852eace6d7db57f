/* What the two halves of manifest.h have in common. */
#ifndef FROND_MANIFEST_INTERNAL_H
#define FROND_MANIFEST_INTERNAL_H

#include "manifest.h"

/*
 * The layout (integers big-endian):
 *
 *   version u8 = 1 | kind u8 | flags u8 | k u8 | n u8 | nonce 32 |
 *   secret commitment 32 | expires u64 | replaces 16 |
 *   vault id 16, only of a grant |
 *   n times: commitment 32 | direct u8 (0, 1) | holder length u8 | holder |
 *   name length u8 | name | note length u16 | note |
 *   entry count u32 | entries
 *
 * An entry:
 *
 *   type u8 | mode u16 | mtime seconds i64 | mtime nanoseconds u32 |
 *   path length u16 | path
 *   and of a file:
 *   size u64 | file id 16 | key token length u8 (0, 121) | key token
 *   of a file that is sent:
 *   part count u32 | parts: length u64 | BLAKE2b-256 32
 *   of a file that is granted:
 *   backing path length u16 | backing path
 *
 * Entries stand in the order of their paths, byte by byte with "/" before
 * all others, so what lies in a directory follows the directory: duplicates,
 * a file where a directory is, and directories that are missing show in two
 * neighbours, and a set has one encoding.
 */
enum {
	MANIFEST_FLAG_NO_CONTENT = 1,
	MANIFEST_FLAG_FOLDER = 2,
	MANIFEST_PART_LEN = 8 + MANIFEST_HASH_LEN,
	MANIFEST_ENTRY_MIN_LEN = 1 + 2 + 8 + 4 + 2,
	MANIFEST_MODE_FILE = 0666,
	MANIFEST_MODE_DIR = 0777,
};

/* Negative, 0, positive, as a comes before, is, or comes after b. */
int manifest_path_order(const char *a, const char *b);

#endif
