/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NTFS, through libntfs-3g, which reads the file table and its attributes for us; the verdict is
 * ours. The library gets a device that can do nothing but read the window.
 *
 * A hibernated system is told before anything else that may be wrong: it concerns the whole disk.
 */
#include "config.h"

#include <stdio.h>

#include "vhd/guest/fs_ntfs.h"

static bool probe(const struct window *window, struct verdict *verdict)
{
	uint8_t sector[512];

	if (window_read(window, sector, sizeof(sector), 0) || !ntfs_boot_is_one(sector))
		return false;
	snprintf(verdict->filesystem, sizeof(verdict->filesystem), "ntfs");
	return true;
}

#ifdef HAVE_NTFS

static int gravity(enum guest_state state)
{
	switch (state) {
	case GUEST_HIBERNATED:
		return 3;
	case GUEST_UNCLEAN:	/* then damage may be what its log would mend */
		return 2;
	case GUEST_NOTHING:
		return 0;
	default:
		return 1;
	}
}

/* The gravest of what its log, a hibernation file and its flags say. */
static int check_state(struct ntfs *ntfs, struct verdict *verdict)
{
	static int (*const checks[])(struct ntfs *, struct verdict *) = {
		ntfs_log_check, ntfs_hiberfile_check, ntfs_flags_check,
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		struct verdict found = { .state = GUEST_NOTHING };
		int rc = checks[i](ntfs, &found);

		if (rc)
			return rc;
		if (gravity(found.state) > gravity(verdict->state))
			verdict_set(verdict, found.state, "%s", found.why);
	}
	return 0;
}

static int scan_opened(struct ntfs *ntfs, struct freemap *map, struct verdict *verdict)
{
	int rc = check_state(ntfs, verdict);

	if (!rc && verdict->state == GUEST_NOTHING)
		rc = ntfs_shadow_check(ntfs->window, verdict);
	if (!rc && verdict->state == GUEST_NOTHING)
		rc = ntfs_bitmap_read(ntfs, map, verdict);
	if (!rc && verdict->state == GUEST_NOTHING)
		rc = ntfs_files_check(ntfs, map, verdict);
	/* A read that failed and that the library made light of. */
	if (!rc)
		rc = ntfs->rc;
	if (!rc && verdict->state == GUEST_NOTHING)
		verdict->state = GUEST_CLEAN;
	return rc;
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct ntfs ntfs = { .window = window };
	int rc;

	verdict->state = GUEST_NOTHING;
	rc = ntfs_boot_read(window, &ntfs.boot, verdict);
	if (!rc && verdict->state == GUEST_NOTHING)
		rc = ntfs_open(&ntfs, verdict);
	if (ntfs.volume) {
		rc = scan_opened(&ntfs, map, verdict);
		ntfs_close(&ntfs);
	}
	return rc;
}

#else

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	(void)window;
	(void)map;
	return verdict_set(verdict, GUEST_UNSUPPORTED, "this program was built without libntfs-3g");
}

#endif

const struct fs_reader fs_ntfs = { "ntfs", probe, scan };
