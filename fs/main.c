/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdfuse: mounts the disk inside a VHD image as a raw file.
 *
 * The order of a life: options; the image, so that what is wrong with it is told while somebody
 * listens; the mount; the fork; the threads; and back in the reverse order. The threads of loop.c
 * serve until the mount is gone or leave.c stops them; nothing touches the image after that but
 * compact_run and disk_close.
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "fs/compact.h"
#include "fs/daemon.h"
#include "fs/disk.h"
#include "fs/leave.h"
#include "fs/loop.h"
#include "fs/opts.h"
#include "fs/say.h"
#include "fs/session.h"
#include "fs/status.h"
#include "fs/timer.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* The statuses of vhdimg(1), which is who tells the user of our end. */
enum {
	END_OK = 0,
	END_FAILED = 1,
	END_NO_SPACE = 6,
	END_DAMAGED = 65,
	END_IO_ERROR = 74,
	END_INTERRUPTED = 130,
	END_TERMINATED = 143,
};

/* All that a running driver has. */
struct driver {
	struct opts opts;
	struct disk disk;
	struct session session;
	struct loop loop;
	struct timer timer;
	struct leave leave;
	struct status_file status;
};

static int end_status(int ret)
{
	switch (-ret) {
	case 0:
		return END_OK;
	case ENOSPC:
	case EDQUOT:
		return END_NO_SPACE;
	case EILSEQ:
		return END_DAMAGED;
	case EIO:
	case ENXIO:
	case ENODEV:
	case EREMOTEIO:
	case ETIMEDOUT:
	case ESTALE:
	case ENOTCONN:
		return END_IO_ERROR;
	default:
		return END_FAILED;
	}
}

static int close_disk(struct driver *driver)
{
	struct vhd_err err;
	int ret = disk_close(&driver->disk, &err);

	if (ret < 0)
		say("%s", err.msg);
	return end_status(ret);
}

static int open_disk(struct driver *driver, struct vhd_err *err)
{
	int ret = disk_open(&driver->disk, &driver->opts, err);

	if (ret < 0 || !driver->opts.is_compacting)
		return ret;
	ret = compact_check(&driver->disk, err);
	if (ret < 0)
		disk_close(&driver->disk, NULL);
	return ret;
}

static int say_stopped(const struct driver *driver, int number)
{
	say("%s: stopped before it was compacted; vhdimg compact goes on from there",
	    driver->opts.image);
	return number == SIGINT ? END_INTERRUPTED : END_TERMINATED;
}

/* Whoever does not wait for those who hold the file will not wait for this. */
static int compact_disk(struct driver *driver)
{
	struct vhd_err err;
	int stopped_by = SIGTERM;
	int ret = -ECANCELED;

	if (!driver->leave.is_forced)
		ret = compact_run(&driver->disk, &stopped_by, &err);
	if (ret == -ECANCELED)
		return say_stopped(driver, stopped_by);
	if (ret < 0)
		say("%s", err.msg);
	return end_status(ret);
}

/* The end of one that has served. What was written counts more than what was to be gained. */
static int end_disk(struct driver *driver)
{
	int compacted = driver->opts.is_compacting ? compact_disk(driver) : END_OK;
	int closed = close_disk(driver);

	return closed == END_OK ? compacted : closed;
}

/* The image and the mount. A status of mount(8). */
static int set_up(struct driver *driver)
{
	struct vhd_err err;
	int status;

	if (open_disk(driver, &err) < 0) {
		say("%s", err.msg);
		return STATUS_IMAGE;
	}
	leave_block_signals();
	status = session_open(&driver->session, &driver->opts, &driver->disk);
	if (status != STATUS_OK)
		close_disk(driver);
	return status;
}

static int start_threads(struct driver *driver)
{
	int ret;

	/* Where permitted: our own allocations then never wait for what we have to write out. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	driver->leave.disk = &driver->disk;
	driver->leave.loop = &driver->loop;
	driver->leave.session = &driver->session;
	driver->leave.seconds = driver->opts.term_timeout;
	ret = loop_start(&driver->loop, driver->session.fuse,
			 driver->opts.is_single ? 1 : LOOP_MAX_THREADS);
	if (ret < 0)
		return ret;
	ret = timer_start(&driver->timer, &driver->disk, driver->opts.commit_seconds);
	if (ret < 0)
		goto out_loop;
	ret = leave_start(&driver->leave);
	if (ret < 0)
		goto out_timer;
	return 0;
out_timer:
	timer_stop(&driver->timer);
out_loop:
	loop_stop(&driver->loop);
	loop_join(&driver->loop);
	return ret;
}

static void announce(struct driver *driver)
{
	int ret = status_begin(&driver->status, driver->session.device);

	if (ret < 0)
		say("%s: nobody will be able to wait for the unmount: no status file: %s",
		    driver->opts.image, strerror(-ret));
}

/* Serves until the end. ready is for daemon_ready, or -1 in the foreground. */
static int serve(struct driver *driver, int ready)
{
	bool is_open;
	int status;
	int ret;

	announce(driver);
	ret = start_threads(driver);
	if (ret < 0) {
		say("%s: cannot start threads: %s", driver->opts.image, strerror(-ret));
		session_close(&driver->session);
		status_end(&driver->status, close_disk(driver));
		return STATUS_SYSTEM;
	}
	is_open = loop_wait_open(&driver->loop);
	if (is_open)
		session_tune(&driver->session);
	else
		say("%s: the kernel does not talk to us", driver->opts.image);
	if (ready >= 0)
		daemon_ready(ready, is_open ? STATUS_OK : STATUS_SYSTEM);
	loop_join(&driver->loop);
	leave_stop(&driver->leave);
	timer_stop(&driver->timer);
	session_close(&driver->session);
	status = is_open ? end_disk(driver) : close_disk(driver);
	status_end(&driver->status, status);
	return is_open ? status : STATUS_SYSTEM;
}

/* In the foreground process, when the daemon did not come up. */
static int give_up(struct driver *driver)
{
	say("%s: the driver died before it could serve", driver->opts.image);
	session_close(&driver->session);
	return STATUS_SYSTEM;
}

static int run(struct driver *driver)
{
	int status = STATUS_SYSTEM;
	int ready = -1;
	int ret;

	if (driver->opts.is_foreground)
		return serve(driver, -1);
	ret = daemon_fork(&ready, &status);
	if (ret == 0)
		return serve(driver, ready);
	if (ret > 0)
		return status < 0 ? give_up(driver) : status;
	say("%s: cannot go to the background: %s", driver->opts.image, strerror(-ret));
	session_close(&driver->session);
	close_disk(driver);
	return STATUS_SYSTEM;
}

int main(int argc, char **argv)
{
	static struct driver driver;
	int status;

	daemon_fill_descriptors();
	status = opts_parse(&driver.opts, argc, argv);
	if (status < 0)
		status = set_up(&driver);
	else
		goto out;
	if (status == STATUS_OK)
		status = run(&driver);
out:
	opts_free(&driver.opts);
	return status;
}
