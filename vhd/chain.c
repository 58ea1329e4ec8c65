/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parents of a differencing image: where they may be, which one is right.
 *
 * Names in an image are hints by somebody else, and their writers disagree about what a field
 * holds: what counts is the unique id. A relative name is taken from the child's real folder, ".."
 * included (chains do span sibling folders); of an absolute one only the last component is, and is
 * sought in the child's folder: an image cannot point at whatever lies on this host. A raw parent,
 * which has no id to tell it by, is sought in the child's folder alone.
 *
 * A candidate's id is looked at before its own parents are, and once it is right, whatever goes
 * wrong behind it is final: the work is linear in the chain, however hostile its files are.
 */
#include "vhd/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid.h>

#define MAX_BLOB (64u << 10)	/* bytes of a locator's text */
#define NO_CHARACTER 0xfffdu

/* What is known of a file that has the right id. */
struct candidate {
	struct vhd_io_stat st;
	uint64_t size;		/* of the disk, bytes */
};

struct search {
	struct vhd_image *img;
	const struct vhd_open_opts *opts;
	const struct chain_link *link;
	bool is_raw;		/* the parent is no VHD, as blktap has it */
	char **found;		/* its path is wanted alone; NULL: it is to be opened */
	char *folder;		/* the child's real one, ends with "/" */
	char *tried;		/* the paths, ", " between them */
	bool is_over;		/* found, or an error that is final: code then tells which */
	int code;		/* of the best error so far; 0: nothing but absent files */
	struct vhd_err why;	/* its sentence */
};

/* Text. */

/* Appends one character as UTF-8 where it fits whole, with room for the final NUL. */
static bool put_utf8(uint32_t c, char **to, const char *end)
{
	static const uint8_t first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if ((size_t)(end - *to) <= n)
		return false;
	if (n == 1) {
		*(*to)++ = (char)c;
		return true;
	}
	*(*to)++ = (char)(first[n] | c >> 6 * (n - 1));
	while (--n)
		*(*to)++ = (char)(0x80 | (c >> 6 * (n - 1) & 0x3f));
	return true;
}

static uint32_t utf16_unit(const uint8_t *p, bool is_big)
{
	return is_big ? (uint32_t)(p[0] << 8 | p[1]) : (uint32_t)(p[1] << 8 | p[0]);
}

/* The text up to the first NUL, as UTF-8; an unpaired surrogate is U+FFFD. Returns how many bytes
 * of src were used. */
static size_t utf16_to_utf8(const uint8_t *src, size_t len, bool is_big, char *to, size_t size)
{
	const char *end = to + size;
	size_t i = 0;

	while (i + 2 <= len) {
		uint32_t c = utf16_unit(src + i, is_big), low = 0;
		bool is_pair;

		if (!c)
			break;
		if (i + 4 <= len)
			low = utf16_unit(src + i + 2, is_big);
		is_pair = c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000;
		if (is_pair)
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		else if (c >= 0xd800 && c < 0xe000)
			c = NO_CHARACTER;
		if (!put_utf8(c, &to, end))
			break;
		i += is_pair ? 4 : 2;
	}
	*to = '\0';
	return i;
}

void chain_parent_name(const struct fmt_header *header, char *buf, size_t len)
{
	if (len)
		utf16_to_utf8(header->parent_name, sizeof(header->parent_name), true, buf, len);
}

/* Whether all that follows a text's end is zero: padding, not a name with a NUL in it. */
static bool is_padding(const uint8_t *p, size_t len)
{
	while (len && !*p) {
		p++;
		len--;
	}
	return !len;
}

static bool text_from_utf16(const uint8_t *blob, size_t len, char *to, size_t size)
{
	size_t used = utf16_to_utf8(blob, len, false, to, size);

	return is_padding(blob + used, len - used);
}

/* Of an unknown code page: read as Latin-1, which is right for ASCII and for most of the West. */
static bool text_from_ansi(const uint8_t *blob, size_t len, char *to, size_t size)
{
	const char *end = to + size;
	size_t i = 0;

	while (i < len && blob[i] && put_utf8(blob[i], &to, end))
		i++;
	*to = '\0';
	return is_padding(blob + i, len - i);
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A file URL; blktap writes a relative path behind "file://". */
static bool text_from_url(const uint8_t *blob, size_t len, char *to, size_t size)
{
	static const char scheme[] = "file://", host[] = "localhost/";
	const char *end = to + size - 1;
	size_t i = 0;

	if (len >= strlen(scheme) && memcmp(blob, scheme, strlen(scheme)) == 0)
		i = strlen(scheme);
	if (len - i >= strlen(host) && memcmp(blob + i, host, strlen(host)) == 0)
		i += strlen(host) - 1;
	for (; i < len && blob[i] && to < end; to++) {
		int high = blob[i] == '%' && i + 2 < len ? hex_digit(blob[i + 1]) : -1;
		int low = high < 0 ? -1 : hex_digit(blob[i + 2]);

		*to = (char)(low < 0 ? blob[i] : high << 4 | low);
		i += low < 0 ? 1 : 3;
		if (!*to)
			return false;
	}
	*to = '\0';
	return is_padding(blob + i, len - i);
}

/* The search. */

static bool is_in_chain(const struct chain_link *link, const struct vhd_io_stat *st)
{
	for (; link; link = link->child)
		if ((st->dev || st->ino) && st->dev == link->st.dev && st->ino == link->st.ino)
			return true;
	return false;
}

static void warn(const struct search *s, const char *path, const char *what)
{
	char sentence[1024];

	if (!s->opts->warn)
		return;
	snprintf(sentence, sizeof(sentence), "%s: its parent %s %s", s->img->name, path, what);
	s->opts->warn(s->opts->warn_arg, sentence);
}

/* What is odd of a parent that has the right id, and is no reason to refuse it. */
static void warn_parent(const struct search *s, const char *path, const struct candidate *c)
{
	uint32_t stamp = s->img->header.parent_timestamp;

	if (stamp && FMT_EPOCH + (int64_t)stamp != c->st.mtime)
		warn(s, path, "was changed after the image was made from it, or copied without "
		     "its time");
	if ((c->size + FMT_SECTOR - 1) / FMT_SECTOR * FMT_SECTOR != s->img->size)
		warn(s, path, "has another size; what it does not have reads as zeros");
}

/* The parents are only read, so that they are never locked against other readers; but the first for
 * who is to write it. */
static struct vhd_open_opts parent_opts(const struct search *s)
{
	return (struct vhd_open_opts) {
		.is_readonly = !s->opts->write_parent,
		.no_lock = s->opts->no_lock,
		.force_share = s->opts->force_share,
		.allow_raw = s->is_raw,
		.warn = s->opts->warn,
		.warn_arg = s->opts->warn_arg,
	};
}

static int refuse_id(const struct search *s, const char *path, const uint8_t id[16],
		     struct vhd_err *err)
{
	char has[UUID_STR_LEN], wants[UUID_STR_LEN];

	uuid_unparse_lower(id, has);
	uuid_unparse_lower(s->img->header.parent_uuid, wants);
	return vhd_err_set(err, -EILSEQ, "%s has the unique id %s, and the parent's is %s", path,
			   has, wants);
}

void chain_next_id(const struct vhd_image *child, uint8_t id[16])
{
	uuid_generate_sha1(id, child->header.parent_uuid, (const char *)child->footer.uuid,
			   sizeof(child->footer.uuid));
}

/* A merge was cut off when all was done but the last: the child, which has nothing any more, does
 * not name the parent by its new id yet. */
static bool was_merged(const struct vhd_image *child, const struct vhd_image *parent)
{
	uint8_t next[16];

	chain_next_id(child, next);
	return !child->map.allocated && memcmp(parent->footer.uuid, next, sizeof(next)) == 0;
}

static int check_id(const struct search *s, const struct vhd_image *parent, const char *path,
		    struct vhd_err *err)
{
	if (s->is_raw && !parent->is_raw)
		return vhd_err_set(err, -EILSEQ, "%s is a VHD, and the parent is a raw disk", path);
	if (memcmp(parent->footer.uuid, s->img->header.parent_uuid, 16) == 0 ||
	    was_merged(s->img, parent))
		return 0;
	return refuse_id(s, path, parent->footer.uuid, err);
}

/* Whether path is an image with the right id: looks without a lock and without its parents. */
static int probe(const struct search *s, const char *path, struct candidate *c,
		 struct vhd_err *err)
{
	struct vhd_open_opts opts = {
		.is_readonly = true, .force_share = true, .allow_raw = s->is_raw,
	};
	struct vhd_image *parent;
	struct vhd_io *io;
	int rc = io_file_open(&io, path, true, err);

	if (rc)
		return rc;
	rc = io_stat(io, &c->st);
	if (rc)
		vhd_err_errno(err, rc, "%s: cannot be looked at", path);
	else if (is_in_chain(s->link, &c->st))
		rc = vhd_err_set(err, -ELOOP, "%s is a child itself in this chain", path);
	if (rc) {
		io->ops->close(io);
		return rc;
	}
	rc = image_load(&parent, io, path, &opts, err);
	if (rc)
		return rc;
	rc = check_id(s, parent, path, err);
	c->size = parent->size;
	image_free(parent);
	return rc;
}

/* The right one: what fails from here on is not mended by another name. */
static void open_right(struct search *s, const char *path, const struct candidate *c)
{
	struct vhd_open_opts opts = parent_opts(s);
	struct vhd_image *parent;
	int rc = image_open_link(&parent, path, &opts, s->link, &s->why);

	s->is_over = true;
	s->code = rc;
	if (rc)
		return;
	s->code = check_id(s, parent, path, &s->why);	/* it may have been replaced since */
	if (s->code) {
		image_free(parent);
		return;
	}
	s->img->parent = parent;
	warn_parent(s, path, c);
}

/* No memory: over, since what is found without looking everywhere may not be the first. */
static void give_up(struct search *s)
{
	s->is_over = true;
	s->code = vhd_err_errno(&s->why, -ENOMEM, "%s", s->img->name);
}

static void take_right(struct search *s, const char *path, const struct candidate *c)
{
	if (!s->found) {
		open_right(s, path, c);
		return;
	}
	*s->found = strdup(path);
	if (!*s->found) {
		give_up(s);
		return;
	}
	s->is_over = true;
	s->code = 0;	/* whatever other names led to */
	warn_parent(s, path, c);
}

/* Whether path is in the list already; if not, it is added. */
static bool was_tried(struct search *s, const char *path)
{
	size_t len = strlen(path);
	char *longer;

	for (const char *p = s->tried; p; p = strstr(p, ", ")) {
		if (*p == ',')
			p += 2;
		if (strncmp(p, path, len) == 0 &&
		    (!p[len] || strncmp(p + len, ", ", 2) == 0))
			return true;
	}
	if (asprintf(&longer, "%s%s%s", s->tried ? s->tried : "", s->tried ? ", " : "", path) < 0) {
		give_up(s);
		return true;
	}
	free(s->tried);
	s->tried = longer;
	return false;
}

static bool is_absent(int rc)
{
	return rc == -ENOENT || rc == -ENOTDIR || rc == -ENAMETOOLONG;
}

static void try_path(struct search *s, const char *path)
{
	struct candidate c;
	struct vhd_err why = { 0 };
	int rc;

	if (s->is_over || was_tried(s, path))
		return;
	rc = probe(s, path, &c, &why);
	if (!rc) {
		take_right(s, path, &c);
	} else if (!is_absent(rc) && !s->code) {	/* the first that was there tells most */
		s->code = rc;
		s->why = why;
	}
}

static void try_in_folder(struct search *s, const char *name)
{
	char *path;

	if (asprintf(&path, "%s%s", s->folder, name) < 0) {
		give_up(s);
		return;
	}
	try_path(s, path);
	free(path);
}

static const char *last_component(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash ? slash + 1 : name;
}

static bool is_name(const char *name)
{
	return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_absolute(const char *name)
{
	return name[0] == '/' || (name[0] && name[1] == ':' && name[2] == '/');
}

/* name has "/" between its components, whoever wrote it. */
static void try_name(struct search *s, const char *name)
{
	const char *last = last_component(name);

	if (!is_name(last))
		return;
	while (!is_absolute(name) && strncmp(name, "./", 2) == 0)
		name += 2;
	try_in_folder(s, s->is_raw || is_absolute(name) ? last : name);
}

static void backslashes_to_slashes(char *text)
{
	for (; *text; text++)
		if (*text == '\\')
			*text = '/';
}

static bool locator_text(uint32_t platform, const uint8_t *blob, size_t len, char *text,
			 size_t size)
{
	bool is_whole;

	if (platform == FMT_MACX)
		return text_from_url(blob, len, text, size);
	is_whole = platform == FMT_W2RU || platform == FMT_W2KU ?
		   text_from_utf16(blob, len, text, size) :
		   text_from_ansi(blob, len, text, size);
	backslashes_to_slashes(text);
	return is_whole;
}

static bool is_blob_in_file(const struct search *s, const struct fmt_locator *locator)
{
	uint64_t end;

	return locator->length && locator->length <= MAX_BLOB &&
	       !__builtin_add_overflow(locator->offset, locator->length, &end) &&
	       end <= s->img->file_size;
}

static int try_locator(struct search *s, const struct fmt_locator *locator)
{
	uint8_t *blob;
	size_t size;
	char *text;
	int rc;

	if (!is_blob_in_file(s, locator))
		return 0;
	size = 2 * (size_t)locator->length + 1;	/* no byte of any of them makes more than two */
	blob = malloc(locator->length);
	text = calloc(1, size);
	rc = blob && text ? io_pread(s->img->io, blob, locator->length, locator->offset) : -ENOMEM;
	if (!rc && locator_text(locator->platform, blob, locator->length, text, size))
		try_name(s, text);
	free(text);
	free(blob);
	return rc;
}

static int try_locators(struct search *s)
{
	/* Relative ones first: they are still right when the folder was moved as a whole. */
	static const uint32_t order[] = { FMT_W2RU, FMT_WI2R, FMT_MACX, FMT_W2KU, FMT_WI2K };
	int rc = 0;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		for (size_t slot = 0; !rc && !s->is_over && slot < FMT_LOCATORS; slot++)
			if (s->img->header.locators[slot].platform == order[i])
				rc = try_locator(s, &s->img->header.locators[slot]);
	return rc;
}

/* The name in the header: some writers have a path there. Its last component is sought as well. */
static void try_header_name(struct search *s)
{
	char name[sizeof(s->img->header.parent_name) / 2 * 3 + 1];

	chain_parent_name(&s->img->header, name, sizeof(name));
	backslashes_to_slashes(name);
	try_name(s, name);
	if (is_name(last_component(name)))
		try_in_folder(s, last_component(name));
}

/* The folder of the image's real file, so that a link to a child does not hide its parent. Where
 * the name is of no file (an io that a test made), the name's own. */
static char *folder_of(const char *name)
{
	char *path = realpath(name, NULL), *folder = NULL;
	const char *slash;

	if (!path)
		path = strdup(name);
	if (!path)
		return NULL;
	slash = strrchr(path, '/');
	folder = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup("");
	free(path);
	return folder;
}

static int search_all(struct search *s)
{
	int rc;

	if (s->opts->parent) {
		try_path(s, s->opts->parent);
		return 0;
	}
	s->folder = folder_of(s->img->name);
	if (!s->folder)
		return -ENOMEM;
	rc = try_locators(s);
	if (!rc)
		try_header_name(s);
	return rc;
}

static int search_result(const struct search *s, struct vhd_err *err)
{
	char name[256];

	if (s->img->parent || (s->found && *s->found))
		return 0;
	if (s->code && s->link->depth)	/* once, by the image that the user named */
		return vhd_err_set(err, s->code, "%s", s->why.msg);
	if (s->code)
		return vhd_err_set(err, s->code, "%s: a parent cannot be used: %s", s->img->name,
				   s->why.msg);
	chain_parent_name(&s->img->header, name, sizeof(name));
	return vhd_err_set(err, -ENOENT, "%s: its parent \"%s\" is not found; tried: %s",
			   s->img->name, name, s->tried ? s->tried : "nothing, for it names none");
}

static int check_link(const struct vhd_image *img, const struct chain_link *link,
		      struct vhd_err *err)
{
	if (link->depth > CHAIN_MAX_DEPTH)
		return vhd_err_set(err, -ELOOP, "%s: the chain of parents is deeper than %d",
				   img->name, CHAIN_MAX_DEPTH);
	if (is_in_chain(link->child, &link->st))
		return vhd_err_set(err, -ELOOP, "%s: is its own parent, the chain being a circle",
				   img->name);
	return 0;
}

/* As blktap has it; from anybody else no id is damage. */
static bool has_raw_parent(const struct vhd_image *img)
{
	return uuid_is_null(img->header.parent_uuid) && !memcmp(img->footer.creator, "tap", 3);
}

static int check_parent_id(const struct vhd_image *img, struct vhd_err *err)
{
	if (!uuid_is_null(img->header.parent_uuid))
		return 0;
	if (has_raw_parent(img))
		return 0;
	return vhd_err_set(err, -EILSEQ, "%s: the parent's unique id in the dynamic header is all "
			   "zeros", img->name);
}

static int search_parent(struct search *s, struct vhd_err *err)
{
	int rc = check_link(s->img, s->link, err);

	if (!rc)
		rc = check_parent_id(s->img, err);
	if (rc)
		return rc;
	s->is_raw = has_raw_parent(s->img);
	rc = search_all(s);
	if (rc)
		vhd_err_errno(err, rc, "%s: cannot read where its parent is", s->img->name);
	else
		rc = search_result(s, err);
	free(s->folder);
	free(s->tried);
	return rc;
}

int chain_open_parent(struct vhd_image *img, const struct vhd_open_opts *opts,
		      const struct chain_link *link, struct vhd_err *err)
{
	struct search s = { .img = img, .opts = opts, .link = link };

	return search_parent(&s, err);
}

int chain_find_parent(struct vhd_image *img, const struct vhd_open_opts *opts,
		      const struct chain_link *link, char **path, struct vhd_err *err)
{
	struct search s = { .img = img, .opts = opts, .link = link, .found = path };

	*path = NULL;
	return search_parent(&s, err);
}
