/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands, one file each, and what they share. */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

#include <signal.h>

#include "tools/cli.h"
#include "vhd/vhd.h"

int cmd_info(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_map(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_check(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_create(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_zero(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_compact(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_shrink(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_compare(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_convert(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_commit(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_rebase(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_resize(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_snapshot(struct cli *cli, const char *image, struct vhd_err *err);
int cmd_umount(struct cli *cli, const char *mountpoint, struct vhd_err *err);

/* Puts code and a sentence of the tool's own in err. Returns code. */
int cmd_fail(struct vhd_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Says what err has, for an error that is served further on. Returns code. */
int cmd_said(int code, const struct vhd_err *err);

/* A vhd_warn_fn; arg is the struct cli. */
void cmd_warn(void *arg, const char *sentence);

/* The first of the VHDs in the image's folder that have it for their parent: the caller's to free,
 * or NULL where there is none. 0 or -errno. */
int cmd_first_child(vhd_image *img, char **child, struct vhd_err *err);

/* Signals that would end us are held back from here on: where the host has no nameless files, one
 * under a passing name would stay behind. For what is a matter of a few MiB. */
void cmd_hold_signals(sigset_t *before);

/* Opens an image to look at it; what has to be known of it goes to stderr unless -q. */
int cmd_open(vhd_image **img, struct cli *cli, const char *image, bool force_share,
	     struct vhd_err *err);

#endif
