/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A window as the device on which libntfs-3g finds its volume.
 *
 * Reading at an offset is all that it can do; a write fails whatever the library thinks it does.
 * Nothing the library says is shown, and nothing outside of the window is looked at.
 */
#include "config.h"

#include "vhd/guest/fs_ntfs.h"

#ifdef HAVE_NTFS

static int device_open(struct ntfs_device *device, int flags)
{
	(void)flags;
	NDevSetReadOnly(device);
	NDevSetOpen(device);
	return 0;
}

static int device_close(struct ntfs_device *device)
{
	NDevClearOpen(device);
	return 0;
}

static s64 device_pread(struct ntfs_device *device, void *buf, s64 count, s64 off)
{
	struct ntfs *ntfs = device->d_private;
	int rc = count < 0 || off < 0 ? -ERANGE :
		 window_read(ntfs->window, buf, (size_t)count, (uint64_t)off);

	if (!rc)
		return count;
	if (rc != -ERANGE && !ntfs->rc)
		ntfs->rc = rc;
	errno = EIO;
	return -1;
}

static int device_sync(struct ntfs_device *device)
{
	(void)device;
	return 0;
}

/* The library seeks the volume's last sector, and reads on from there. */
static s64 device_seek(struct ntfs_device *device, s64 off, int whence)
{
	struct ntfs *ntfs = device->d_private;

	if (whence != SEEK_SET || off < 0 || (uint64_t)off > ntfs->window->size) {
		errno = EINVAL;
		return -1;
	}
	ntfs->at = off;
	return off;
}

static s64 device_read(struct ntfs_device *device, void *buf, s64 count)
{
	struct ntfs *ntfs = device->d_private;
	s64 done = device_pread(device, buf, count, ntfs->at);

	if (done > 0)
		ntfs->at += done;
	return done;
}

static s64 no_write(struct ntfs_device *device, const void *buf, s64 count)
{
	(void)device;
	(void)buf;
	(void)count;
	errno = EROFS;
	return -1;
}

static s64 no_pwrite(struct ntfs_device *device, const void *buf, s64 count, s64 off)
{
	(void)off;
	return no_write(device, buf, count);
}

static int no_stat(struct ntfs_device *device, struct stat *buf)
{
	(void)device;
	(void)buf;
	errno = EOPNOTSUPP;
	return -1;
}

static int no_ioctl(struct ntfs_device *device, unsigned long request, void *arg)
{
	(void)device;
	(void)request;
	(void)arg;
	errno = EOPNOTSUPP;
	return -1;
}

static struct ntfs_device_operations operations = {
	.open = device_open,
	.close = device_close,
	.seek = device_seek,
	.read = device_read,
	.write = no_write,
	.pread = device_pread,
	.pwrite = no_pwrite,
	.sync = device_sync,
	.stat = no_stat,
	.ioctl = no_ioctl,
};

int ntfs_unread(const struct ntfs *ntfs, struct verdict *verdict, const char *what)
{
	if (ntfs->rc)
		return ntfs->rc;
	return verdict_set(verdict, GUEST_DAMAGED, "%s cannot be read: " NTFS_CHKDSK, what);
}

int ntfs_open(struct ntfs *ntfs, struct verdict *verdict)
{
	const ntfs_mount_flags flags = NTFS_MNT_RDONLY | NTFS_MNT_FORENSIC;

	ntfs_log_set_handler(ntfs_log_handler_null);
	ntfs->device = ntfs_device_alloc("window", 0, &operations, ntfs);
	if (!ntfs->device)
		return -ENOMEM;
	errno = 0;
	ntfs->volume = ntfs_device_mount(ntfs->device, flags);
	if (ntfs->volume && ntfs_version_is_supported(ntfs->volume) == 0 &&
	    ntfs->volume->nr_clusters == (s64)ntfs->boot.clusters &&
	    ntfs->volume->cluster_size == ntfs->boot.cluster)
		return 0;
	if (ntfs->volume)
		verdict_set(verdict, GUEST_UNSUPPORTED, "it is of an unknown version");
	ntfs_close(ntfs);
	if (verdict->state != GUEST_NOTHING)
		return 0;
	if (errno == ENOMEM)
		return -ENOMEM;
	return ntfs_unread(ntfs, verdict, "its master file table, or the mirror of it,");
}

void ntfs_close(struct ntfs *ntfs)
{
	int kept = errno;

	if (ntfs->volume) {
		ntfs_umount(ntfs->volume, TRUE);	/* frees the device, too */
	} else if (ntfs->device) {
		NDevClearOpen(ntfs->device);
		ntfs_device_free(ntfs->device);
	}
	ntfs->volume = NULL;
	ntfs->device = NULL;
	errno = kept;
}

#endif
