#include "siv.h"

#include "secret.h"
#include "siv_x86.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

/*
 * A context serves one message: libcrypto's SIV adds each message's datum to
 * those before it. Keying a new one costs 2.5 us, copying a keyed one 1 us;
 * copying only reads, so that any number of threads may do it.
 */
struct siv {
	EVP_CIPHER_CTX *seal, *open;
	struct siv_x86 *x86; /* instead, where the CPU can; or NULL */
};

static void cleanup_cipher_ctx_(EVP_CIPHER_CTX *const *ctx)
{
	EVP_CIPHER_CTX_free(*ctx);
}

#define CLEANUP_CIPHER_CTX __attribute__((cleanup(cleanup_cipher_ctx_)))

static bool set_keys(struct siv *siv, const uint8_t *key)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-SIV", NULL);
	bool ok = cipher &&
		  EVP_EncryptInit_ex2(siv->seal, cipher, key, NULL, NULL) &&
		  EVP_DecryptInit_ex2(siv->open, cipher, key, NULL, NULL);

	EVP_CIPHER_free(cipher);
	return ok;
}

static int seal_by_libcrypto(const struct siv *siv, const uint8_t *ad,
			     size_t ad_len, const uint8_t *plaintext,
			     size_t len, uint8_t *out)
{
	CLEANUP_CIPHER_CTX EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	if (!ctx)
		return -ENOMEM;
	if (!EVP_CIPHER_CTX_copy(ctx, siv->seal) ||
	    !EVP_EncryptUpdate(ctx, NULL, &n, ad, (int)ad_len) ||
	    !EVP_EncryptUpdate(ctx, out + SIV_TAG_LEN, &n, plaintext,
			       (int)len) ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SIV_TAG_LEN, out) !=
		    1)
		return -EIO;
	return 0;
}

#ifdef FROND_HAVE_SIV_X86

/* Does it seal what libcrypto seals? */
static bool agrees(const struct siv *siv, const struct siv_x86 *x86)
{
	static const uint8_t ad[] = "a directory's id",
			     name[] = "a name that is longer than two blocks";
	uint8_t ours[SIV_TAG_LEN + sizeof name], theirs[sizeof ours];

	siv_x86_seal(x86, ad, sizeof ad, name, sizeof name, ours);
	return !seal_by_libcrypto(siv, ad, sizeof ad, name, sizeof name,
				  theirs) &&
	       memcmp(ours, theirs, sizeof ours) == 0;
}

/* Without it libcrypto does all of it. */
static void try_x86(struct siv *siv, const uint8_t *key)
{
	if (!siv_x86_usable() || sodium_init() < 0)
		return;
	siv->x86 = secret_alloc(sizeof *siv->x86);
	if (!siv->x86)
		return;
	siv_x86_init(siv->x86, key);
	if (!agrees(siv, siv->x86))
		secret_free(TAKE_PTR(siv->x86));
}

#else

static void try_x86(struct siv *siv, const uint8_t *key)
{
	(void)siv;
	(void)key;
}

#endif

int siv_new(const uint8_t key[static SIV_KEY_LEN], struct siv **out)
{
	struct siv *siv = calloc(1, sizeof *siv);

	if (!siv)
		return -ENOMEM;
	siv->seal = EVP_CIPHER_CTX_new();
	siv->open = EVP_CIPHER_CTX_new();
	if (!siv->seal || !siv->open) {
		siv_free(siv);
		return -ENOMEM;
	}
	if (!set_keys(siv, key)) {
		siv_free(siv);
		return -EIO;
	}
	try_x86(siv, key);
	*out = siv;
	return 0;
}

void siv_free(struct siv *siv)
{
	if (!siv)
		return;
	secret_free(siv->x86);
	EVP_CIPHER_CTX_free(siv->seal);
	EVP_CIPHER_CTX_free(siv->open);
	free(siv);
}

int siv_seal(const struct siv *siv, const uint8_t *ad, size_t ad_len,
	     const uint8_t *plaintext, size_t len, uint8_t *out)
{
	if (len < 1 || len > INT_MAX || ad_len < 1 || ad_len > INT_MAX)
		return -EIO;
#ifdef FROND_HAVE_SIV_X86
	if (siv->x86) {
		siv_x86_seal(siv->x86, ad, ad_len, plaintext, len, out);
		return 0;
	}
#endif
	return seal_by_libcrypto(siv, ad, ad_len, plaintext, len, out);
}

int siv_open(const struct siv *siv, const uint8_t *ad, size_t ad_len,
	     const uint8_t *sealed, size_t sealed_len, uint8_t *out)
{
	CLEANUP_CIPHER_CTX EVP_CIPHER_CTX *ctx = NULL;
	uint8_t tag[SIV_TAG_LEN];
	int n;

	if (sealed_len <= SIV_TAG_LEN || sealed_len > INT_MAX || ad_len < 1 ||
	    ad_len > INT_MAX)
		return -EBADMSG;
#ifdef FROND_HAVE_SIV_X86
	if (siv->x86)
		return siv_x86_open(siv->x86, ad, ad_len, sealed, sealed_len,
				    out);
#endif
	ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return -ENOMEM;
	memcpy(tag, sealed, sizeof tag);
	if (!EVP_CIPHER_CTX_copy(ctx, siv->open) ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SIV_TAG_LEN, tag) !=
		    1 ||
	    !EVP_DecryptUpdate(ctx, NULL, &n, ad, (int)ad_len))
		return -EIO;
	/* Wipes out itself when the tag does not fit. */
	if (!EVP_DecryptUpdate(ctx, out, &n, sealed + SIV_TAG_LEN,
			       (int)(sealed_len - SIV_TAG_LEN)))
		return -EBADMSG;
	return 0;
}
