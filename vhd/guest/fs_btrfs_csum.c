/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checksums that btrfs may guard its blocks with: crc32c, and where the libraries are there
 * xxhash64 (libxxhash), SHA-256 and BLAKE2b (libsodium).
 *
 * sodium_init is left out on purpose: it seeds a random generator, which opens a device that the
 * sandbox has not. Hashing without it takes the plain C code, and is as right.
 */
#include "config.h"

#include "vhd/guest/fs_btrfs.h"

#include <string.h>

#ifdef HAVE_SODIUM
#include <sodium/crypto_generichash_blake2b.h>
#include <sodium/crypto_hash_sha256.h>
#endif
#ifdef HAVE_XXHASH
#include <xxhash.h>
#endif

#include "vhd/guest/crc32c.h"

#define CSUM_MAX 32u	/* bytes that a block keeps for its checksum, whatever the kind */

typedef void (*csum_fn)(uint8_t out[CSUM_MAX], const uint8_t *buf, size_t len);

static void put_le(uint8_t *out, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++, value >>= 8)
		out[i] = (uint8_t)value;
}

static void csum_crc32c(uint8_t out[CSUM_MAX], const uint8_t *buf, size_t len)
{
	put_le(out, crc32c(0, buf, len), 4);
}

#ifdef HAVE_XXHASH
static void csum_xxhash64(uint8_t out[CSUM_MAX], const uint8_t *buf, size_t len)
{
	put_le(out, XXH64(buf, len, 0), 8);
}
#else
#define csum_xxhash64 NULL
#endif

#ifdef HAVE_SODIUM
static void csum_sha256(uint8_t out[CSUM_MAX], const uint8_t *buf, size_t len)
{
	crypto_hash_sha256(out, buf, len);
}

static void csum_blake2b(uint8_t out[CSUM_MAX], const uint8_t *buf, size_t len)
{
	crypto_generichash_blake2b(out, CSUM_MAX, buf, len, NULL, 0);
}
#else
#define csum_sha256 NULL
#define csum_blake2b NULL
#endif

/* As the superblock numbers them. */
static const struct {
	const char *name;
	size_t size;
	csum_fn make;
} kinds[] = {
	{ "crc32c", 4, csum_crc32c },
	{ "xxhash64", 8, csum_xxhash64 },
	{ "sha256", 32, csum_sha256 },
	{ "blake2b", 32, csum_blake2b },
};

const char *btrfs_csum_name(unsigned type)
{
	return type < sizeof(kinds) / sizeof(kinds[0]) ? kinds[type].name : NULL;
}

bool btrfs_csum_is_served(unsigned type)
{
	return btrfs_csum_name(type) && kinds[type].make;
}

bool btrfs_csum_is_right(unsigned type, const uint8_t *block, size_t len)
{
	uint8_t sum[CSUM_MAX];

	kinds[type].make(sum, block + CSUM_MAX, len - CSUM_MAX);
	return memcmp(sum, block, kinds[type].size) == 0;
}
