/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the log of XFS has anything left to replay.
 *
 * The log is a ring of 512 byte sectors, each stamped with the number of the round (cycle) in which
 * it was written. The head is where the present round's stamps give way to those of the round
 * before. A clean unmount leaves as the last record before the head one that says so, alone; with
 * anything else there, or with stamps out of order anywhere near the head, the log is not clean.
 *
 *	0                                  head                              sectors
 *	|  cycle  |  cycle  |  U: unmount  |  cycle - 1  |  cycle - 1  |  ...
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/guest/crc32c.h"
#include "vhd/guest/fs_xfs.h"

#define SECTOR 512u
/* What may be in flight at once, 8 buffers of 256 KiB: a crash disorders no more than that. */
#define NEAR 4096u
#define CHUNK 2048u		/* sectors read at once */
#define RECORD_MAX 1024u	/* sectors of the unmount record: rounded up to a stripe's unit */
#define RECORD_MAGIC 0xfeedbabeu
#define HEADER_COVERS 32768u	/* bytes of data whose stamps one header sector has room for */
#define UNMOUNT_FLAG 0x20u
#define UNMOUNT_OP 20u		/* bytes: an operation's header, and what it says */

/* Where in a record's header, in an operation's header. */
enum {
	REC_CYCLE = 4, REC_VERSION = 8, REC_LEN = 12, REC_LSN = 16, REC_CRC = 32, REC_OPS = 40,
	REC_UUID = 304, REC_SIZE = 320, REC_HEAD_LEN = 328, REC_HEAD_LEN_32BIT = 324,
	REC_MORE_LEN = 260,
	OP_CLIENT = 8, OP_FLAGS = 9, OP_DATA = 12,
	OP_CLIENT_LOG = 0xaa,
};

struct log {
	struct xfs *fs;
	uint64_t start;		/* bytes of the window */
	uint32_t sectors;
	uint32_t head;		/* the sector that would be written next */
	uint32_t cycle;		/* of what is before the head, unless that is the ring's end */
	uint8_t *buf;		/* CHUNK sectors */
};

static int unclean(struct log *log)
{
	verdict_set(log->fs->verdict, GUEST_UNCLEAN, "its log has to be replayed: mount and "
		    "unmount it, or start the guest and shut it down cleanly");
	return 1;
}

/* Reads count (up to CHUNK) sectors from sector on, around the ring's end if need be. */
static int read_log(struct log *log, uint32_t sector, uint32_t count)
{
	uint32_t part = log->sectors - sector < count ? log->sectors - sector : count;
	int rc = xfs_read(log->fs, log->buf, (size_t)part * SECTOR,
			  log->start + (uint64_t)sector * SECTOR, "its log");

	if (!rc && count > part)
		rc = xfs_read(log->fs, log->buf + (size_t)part * SECTOR,
			      (size_t)(count - part) * SECTOR, log->start, "its log");
	return rc;
}

/* A record's header has its magic number where other sectors have their stamp. */
static uint32_t stamp_of(const uint8_t *sector)
{
	return be32(sector) == RECORD_MAGIC ? be32(sector + REC_CYCLE) : be32(sector);
}

static int read_stamp(struct log *log, uint32_t sector, uint32_t *stamp)
{
	int rc = read_log(log, sector, 1);

	*stamp = stamp_of(log->buf);
	return rc;
}

/* The stamp that a sector of a log in order has. */
static uint32_t stamp_due(const struct log *log, uint32_t sector)
{
	return sector < log->head ? log->cycle : log->cycle - 1;
}

/* Halves the stretch in which the stamps change. */
static int find_head(struct log *log)
{
	uint32_t low = 0, high = log->sectors - 1, first, last, stamp;
	int rc = read_stamp(log, low, &first);

	if (!rc)
		rc = read_stamp(log, high, &last);
	if (rc)
		return rc;
	if (first == last) {	/* the round is complete, and the next begins at the start */
		log->cycle = first + 1;
		return 0;
	}
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		rc = read_stamp(log, middle, &stamp);
		if (rc)
			return rc;
		if (stamp == first)
			low = middle;
		else
			high = middle;
	}
	log->head = high;
	log->cycle = first;
	return 0;
}

/*
 * Checks the stamps of count sectors from sector on. *record is the last of them that begins a
 * record, and is left as it was if none does. Without record these are ahead of the head, where
 * xfs_repair, xfs_copy and xfs_admin leave some unwritten when they make a log anew.
 */
static int check_stamps(struct log *log, uint32_t sector, uint32_t count, uint32_t *record)
{
	while (count) {
		uint32_t part = count < CHUNK ? count : CHUNK;
		int rc = read_log(log, sector, part);

		if (rc)
			return rc;
		for (uint32_t i = 0; i < part; i++) {
			const uint8_t *data = log->buf + (size_t)i * SECTOR;
			uint32_t at = (sector + i) % log->sectors, stamp = stamp_of(data);

			if (stamp != stamp_due(log, at) && (record || stamp))
				return unclean(log);
			if (record && be32(data) == RECORD_MAGIC)
				*record = at;
		}
		sector = (sector + part) % log->sectors;
		count -= part;
	}
	return 0;
}

/* Sectors of a record's header: version 2 has one more for every further 32 KiB of buffer. */
static uint32_t header_sectors(const uint8_t *header)
{
	uint32_t size = be32(header + REC_SIZE);

	if (!(be32(header + REC_VERSION) & 2) || size <= HEADER_COVERS)
		return 1;
	return size / HEADER_COVERS + (size % HEADER_COVERS != 0);
}

static bool is_unmount_op(const uint8_t *op)
{
	/*
	 * The first word is the stamp's, the second a length that newer kernels leave at 0. What it
	 * says is in the byte order of who wrote it.
	 */
	return op[OP_CLIENT] == OP_CLIENT_LOG && op[OP_FLAGS] == UNMOUNT_FLAG &&
	       (le16(op + OP_DATA) == 0x556e || be16(op + OP_DATA) == 0x556e);
}

/*
 * Of the header's first head_len bytes, of the stamps kept in its further sectors, and of len bytes
 * of data behind its headers.
 */
static uint32_t record_crc(const uint8_t *header, size_t head_len, uint32_t headers, uint32_t len)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, header, REC_CRC);

	crc = crc32c(crc, zero, sizeof(zero));
	crc = crc32c(crc, header + REC_CRC + sizeof(zero), head_len - REC_CRC - sizeof(zero));
	for (uint32_t i = 1; i < headers && i * HEADER_COVERS < len; i++)
		crc = crc32c(crc, header + (size_t)i * SECTOR, REC_MORE_LEN);
	return crc32c(crc, header + (size_t)headers * SECTOR, len);
}

/* mkfs and repair write no checksum; kernels of 32 bits count a shorter header. */
static bool has_right_crc(const uint8_t *header, uint32_t headers, uint32_t len)
{
	uint32_t crc = le32(header + REC_CRC);

	return !crc || crc == record_crc(header, REC_HEAD_LEN, headers, len) ||
	       crc == record_crc(header, REC_HEAD_LEN_32BIT, headers, len);
}

/* Whether the record in buf, at sector `at`, is that of an unmount and ends at the head. */
static bool is_unmount(const struct log *log, uint32_t at, uint32_t room)
{
	const uint8_t *header = log->buf;
	uint32_t headers = header_sectors(header), len = be32(header + REC_LEN);
	uint32_t data = len / SECTOR + (len % SECTOR != 0);
	uint64_t lsn = (uint64_t)be32(header + REC_CYCLE) << 32 | at;

	if (headers >= room || data > room - headers || len < UNMOUNT_OP ||
	    (at + headers + data) % log->sectors != log->head)
		return false;
	return be64(header + REC_LSN) == lsn && be32(header + REC_OPS) == 1 &&
	       is_unmount_op(header + (size_t)headers * SECTOR) &&
	       (!log->fs->has_crc || has_right_crc(header, headers, len));
}

static int check_last_record(struct log *log, uint32_t at)
{
	static const uint8_t none[16];
	const uint8_t *uuid = log->buf + REC_UUID;
	uint32_t room = RECORD_MAX < log->sectors ? RECORD_MAX : log->sectors;
	int rc = read_log(log, at, room);

	if (rc)
		return rc;
	if (!is_unmount(log, at, room))
		return unclean(log);
	if (memcmp(uuid, log->fs->uuid, sizeof(none)) != 0 && memcmp(uuid, none, sizeof(none)) != 0)
		return xfs_damaged(log->fs, "its log is another filesystem's");
	log->fs->last_lsn = be64(log->buf + REC_LSN);
	return 0;
}

static int check(struct log *log)
{
	uint32_t near = log->sectors / 2 < NEAR ? log->sectors / 2 : NEAR;
	uint32_t record = UINT32_MAX;
	int rc = find_head(log);

	if (!rc)
		rc = check_stamps(log, (log->head + log->sectors - near) % log->sectors, near,
				  &record);
	if (!rc)
		rc = check_stamps(log, log->head, near, NULL);
	if (rc)
		return rc;
	return record == UINT32_MAX ? unclean(log) : check_last_record(log, record);
}

int xfs_log_check(struct xfs *fs)
{
	struct log log = { .fs = fs };
	uint64_t block = (uint64_t)fs->log_ag * fs->ag_blocks + fs->log_block;
	int rc;

	log.start = block * fs->block_size;
	log.sectors = fs->log_blocks * (fs->block_size / SECTOR);
	log.buf = malloc((size_t)CHUNK * SECTOR);
	if (!log.buf)
		return -ENOMEM;
	rc = check(&log);
	free(log.buf);
	return rc;
}
