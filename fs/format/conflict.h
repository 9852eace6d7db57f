/*
 * What synchronising services and editors add to the name of a file of which
 * they keep a second copy: " (conflicted copy 2026-11-21)", " (1)",
 * ".sync-conflict-20261121-120000-ABCDEFG", "_conflict-20261121-120000", "~",
 * "-DESKTOP-AB12", " - Copy" and the like. Encoded names have no extension,
 * so that it always comes last. Pure text.
 */
#ifndef FROND_CONFLICT_H
#define FROND_CONFLICT_H

#include <stddef.h>

/*
 * The first place at or behind from (at least 1) where such an addition may
 * begin; 0 when there is none.
 */
size_t conflict_cut(const char *name, size_t from);

#endif
