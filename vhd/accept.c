/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether another program would take an image that is sound, and as the disk that it is.
 *
 * What each wants is from its documents or sources, or was tried; see docs/format.md. Only what is
 * known is held against an image: one that a program is not known to refuse is taken.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vhd/image.h"
#include "vhd/layout.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)

struct accept {
	struct vhd_image *img;
	vhd_reason_fn report;
	void *arg;
	unsigned reasons;
};

static void reason(struct accept *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void reason(struct accept *a, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	a->reasons++;
	a->report(a->arg, text);
}

static const char *type_word(const struct vhd_image *img)
{
	return image_is_fixed(img) ? "fixed" : img->footer.type == VHD_DYNAMIC ? "dynamic" :
	       "differencing";
}

static unsigned long long bytes(uint64_t n)
{
	return n;
}

static void want_trailer(struct accept *a)
{
	if (a->img->footer_state & IMAGE_T_MISSING)
		reason(a, "the trailing footer is missing; check --repair writes it");
	if (a->img->footer_state & IMAGE_T_INSIDE)
		reason(a, "bytes follow the footer, which is sought at the end of the file; "
		       "check --repair cuts them off");
	if (a->img->footer_state & IMAGE_T_SHORT)
		reason(a, "the trailing footer has 511 bytes; mounting it for writing completes "
		       "it");
}

/* Hyper-V, Virtual PC, the disk management of Windows. */
static void judge_windows(struct accept *a)
{
	const struct vhd_image *img = a->img;
	uint32_t block = img->map.block_size;

	want_trailer(a);
	if (img->size < 3 * MIB)
		reason(a, "the disk has %llu bytes, and 3 MiB is the least", bytes(img->size));
	if (image_is_fixed(img))
		return;
	if (block != 512 * KIB && block != 2 * MIB)
		reason(a, "the block size is %u, and only 512 KiB and 2 MiB are served", block);
	if (img->header.next != FMT_NO_OFFSET)
		reason(a, "the dynamic header's next offset is 0x%llx, and all ones are wanted",
		       bytes(img->header.next));
	if (img->parent && img->parent->is_raw)
		reason(a, "the parent is a raw disk, and no VHD");
	if (img->parent && img->parent->size != img->size)
		reason(a, "the disk has %llu bytes and its parent's %llu, and they have to be "
		       "equal", bytes(img->size), bytes(img->parent->size));
}

/* What is uploaded as it is, by a tool that converts nothing. */
static void judge_azure(struct accept *a)
{
	const struct vhd_image *img = a->img;

	want_trailer(a);
	if (!image_is_fixed(img))
		reason(a, "the type is %s, and fixed is wanted; vhdimg convert --type=fixed "
		       "--align-size=1M makes one", type_word(img));
	if (img->size % MIB)
		reason(a, "the disk has %llu bytes, which is no whole number of MiB",
		       bytes(img->size));
	if (img->size < 20 * MIB)
		reason(a, "the disk has %llu bytes, and 20 MiB is the least", bytes(img->size));
	if (img->size > 32 * MIB * MIB)
		reason(a, "the disk has %llu bytes, and 32 TiB is the most", bytes(img->size));
}

/* The first block that lies before the end of what is metadata, or UINT32_MAX. */
static uint32_t block_below(const struct vhd_image *img, uint64_t end)
{
	for (uint32_t blk = 0; blk < img->map.blocks; blk++)
		if (img->map.entry[blk] != FMT_UNUSED && map_entry_off(img->map.entry[blk]) < end)
			return blk;
	return UINT32_MAX;
}

/* blktap, and its checker. */
static void judge_xen(struct accept *a)
{
	const struct vhd_image *img = a->img;
	struct fmt_geometry is = img->footer.geometry, most = fmt_geometry_of(img->size);
	uint32_t blk;

	if (is.cylinders > most.cylinders ||
	    (is.cylinders == most.cylinders && (is.heads > most.heads ||
	     (is.heads == most.heads && is.sectors > most.sectors))))
		reason(a, "the geometry %u/%u/%u is more than the %u/%u/%u of the disk's size",
		       is.cylinders, is.heads, is.sectors, most.cylinders, most.heads,
		       most.sectors);
	if (image_is_fixed(img))
		return;
	if (img->map.block_size != 2 * MIB)
		reason(a, "the block size is %u, and only 2 MiB is served", img->map.block_size);
	blk = block_below(img, layout_metadata_end(img, img->trailer));
	if (blk != UINT32_MAX)
		reason(a, "block %u lies before the end of the block table and the parent "
		       "locators, and is taken for damage; vhdimg compact --output-file lays it "
		       "anew", blk);
}

static void judge_virtualbox(struct accept *a)
{
	if (a->img->parent && a->img->parent->is_raw)
		reason(a, "the parent is a raw disk, and no VHD");
}

/* The creators whose images qemu up to 9.2 takes at their current size. */
static bool has_exact_size(const struct vhd_image *img)
{
	static const char exact[][5] = { "win ", "qem2", "d2v ", "tap", "CTXS" };

	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
		if (!memcmp(img->footer.creator, exact[i], 4))
			return true;
	return false;
}

static void judge_qemu(struct accept *a)
{
	const struct vhd_image *img = a->img;
	struct fmt_geometry g = img->footer.geometry;
	uint64_t sectors = (uint64_t)g.cylinders * g.heads * g.sectors;

	if (sectors * FMT_SECTOR != img->size && sectors != 65535ull * 16 * 255 &&
	    !has_exact_size(img))
		reason(a, "the disk has %llu bytes, and %llu by its geometry, which is what "
		       "versions before 10 take for images of this creator", bytes(img->size),
		       bytes(sectors * FMT_SECTOR));
	if (img->footer_state & IMAGE_T_INSIDE)
		want_trailer(a);
	if (img->footer.type == VHD_DIFFERENCING)
		reason(a, "the type is differencing, and the parent is not looked at; vhdimg "
		       "commit --into makes an image without");
	if (img->footer_state & IMAGE_L_MISSING)
		reason(a, "the leading copy of the footer is missing; check --repair writes it");
	if (img->footer_state & IMAGE_L_DIFFERS)
		reason(a, "the copies of the footer differ, and the leading one is believed; "
		       "mounting it for writing makes them equal");
	if (img->data_limit != UINT64_MAX)
		reason(a, "the last block of the file is cut by its end; check --repair mends it");
}

int vhd_accepts(vhd_image *img, enum vhd_program program, vhd_reason_fn report, void *arg)
{
	static void (*const judges[])(struct accept *) = {
		[VHD_FOR_WINDOWS] = judge_windows, [VHD_FOR_AZURE] = judge_azure,
		[VHD_FOR_XEN] = judge_xen, [VHD_FOR_VIRTUALBOX] = judge_virtualbox,
		[VHD_FOR_QEMU] = judge_qemu,
	};
	struct accept a = { .img = img, .report = report, .arg = arg };

	judges[program](&a);
	return (int)a.reasons;
}
