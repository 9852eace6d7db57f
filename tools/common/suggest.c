#include "suggest.h"

#include <string.h>

enum { WORD_MAX = 24, MISTAKES_MAX = 2 };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * The optimal string alignment distance: Levenshtein's, with a swap of
 * neighbours as one mistake. Neither word is longer than WORD_MAX.
 */
static size_t mistakes(const char *a, const char *b)
{
	size_t d[WORD_MAX + 1][WORD_MAX + 1];
	size_t a_len = strlen(a), b_len = strlen(b);

	for (size_t i = 0; i <= a_len; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= b_len; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		for (size_t j = 1; j <= b_len; j++) {
			size_t wrong = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			d[i][j] = least(wrong,
					least(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[a_len][b_len];
}

const char *suggest_nearest(const char *word, const char *const *candidates,
			    size_t count)
{
	size_t len = strlen(word), best = least(MISTAKES_MAX + 1, len);
	const char *nearest = NULL;

	if (len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(candidates[i]) <= WORD_MAX
				   ? mistakes(word, candidates[i])
				   : best;

		if (n < best) {
			best = n;
			nearest = candidates[i];
		}
	}
	return nearest;
}
