/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cannot be looked into, known by name: encryption, parts of RAIDs and pools, and filesystems
 * that there is no reader for.
 *
 * To be asked before any reader: some of these look like one of the filesystems that are read, as
 * a BitLocker volume for removable disks looks like FAT, or wrap one, as md does.
 */
#ifndef VHD_GUEST_OTHER_H
#define VHD_GUEST_OTHER_H

#include "vhd/guest/fs.h"

/*
 * True with a name and the verdict GUEST_UNSUPPORTED. What cannot be read is not recognised, nor
 * is a mark that something else may well have there by chance.
 */
bool other_recognise(const struct window *window, struct verdict *verdict);

#endif
