#include "qr.h"

#include <errno.h>
#include <qrencode.h>
#include <sodium.h>
#include <stdbool.h>

enum { QUIET_ZONE = 4 }; /* modules around it (ISO 18004) */

static bool is_dark(const QRcode *code, int x, int y)
{
	x -= QUIET_ZONE;
	y -= QUIET_ZONE;
	return x >= 0 && y >= 0 && x < code->width && y < code->width &&
	       (code->data[y * code->width + x] & 1);
}

/* Blocks are drawn where it is light: terminals are mostly dark, and the
 * colours are set for those that are not. */
static void draw_line(FILE *out, const QRcode *code, int y)
{
	fputs("\033[97;40m", out);
	for (int x = 0; x < code->width + 2 * QUIET_ZONE; x++) {
		bool upper = !is_dark(code, x, y);
		bool lower = !is_dark(code, x, y + 1);

		fputs(upper && lower ? "█"
		      : upper	     ? "▀"
		      : lower	     ? "▄"
				     : " ",
		      out);
	}
	fputs("\033[0m\n", out);
}

int qr_draw(FILE *out, const char *text)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
	int height;

	if (!code)
		return errno == ERANGE ? -EMSGSIZE : -ENOMEM;
	height = code->width + 2 * QUIET_ZONE;
	for (int y = 0; y < height; y += 2)
		draw_line(out, code, y);
	sodium_memzero(code->data, (size_t)code->width * (size_t)code->width);
	QRcode_free(code);
	return 0;
}
