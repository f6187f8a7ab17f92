/*
 * parse.c: the request parser (see parse.h), after RFC 9110 and RFC 9112.
 *
 * The end of the head is searched line by line, from where the last search stopped, so a head that
 * comes byte by byte costs no more than one that comes whole.  It is taken apart once, when complete.
 */
#include "http/parse.h"

#include <string.h>
#include <strings.h>

#include "extension/hex.h"

/*
 * Bytes of extensions and trailers in one chunked body: no client needs more, and none may send them for
 * ever.
 */
#define MAX_CHUNK_OVERHEAD 16384
#define MAX_CHUNK_DIGITS 15

/* RFC 9110, 5.6.2: letters, digits and !#$%&'*+-.^_`|~, a bit each. */
static bool is_token_char(char c)
{
	static const uint64_t characters[] = {UINT64_C(0x03FF6CFA00000000), UINT64_C(0x57FFFFFFC7FFFFFE)};
	unsigned char code = (unsigned char)c;

	return code < 128 && (characters[code >> 6] >> (code & 63) & 1);
}

static bool is_token(struct slice slice)
{
	for (size_t i = 0; i < slice.len; i++)
	{
		if (!is_token_char(slice.bytes[i]))
			return false;
	}
	return slice.len > 0;
}

static bool is_word(struct slice slice, const char *word)
{
	return slice.len == strlen(word) && strncasecmp(slice.bytes, word, slice.len) == 0;
}

static struct slice trim(struct slice slice)
{
	while (slice.len > 0 && (slice.bytes[0] == ' ' || slice.bytes[0] == '\t'))
	{
		slice.bytes++;
		slice.len--;
	}
	while (slice.len > 0 && (slice.bytes[slice.len - 1] == ' ' || slice.bytes[slice.len - 1] == '\t'))
		slice.len--;
	return slice;
}

static ssize_t bad(struct http_head *head, int status)
{
	head->status = status;
	return HTTP_BAD;
}

void http_head_start(struct http_head *head)
{
	/* Not the headers themselves: nheaders says how many of them count. */
	memset(head, 0, offsetof(struct http_head, headers));
	head->has_length = head->chunked = head->keep_alive = head->expects_continue = false;
	head->content_length = 0;
}

/* ---- the end of the head ------------------------------------------------- */

/* Empty lines in front of a request are passed over (RFC 9112, 2.2). */
static size_t skip_empty_lines(const char *bytes, size_t len)
{
	size_t n = 0;

	while (len - n >= 2 && bytes[n] == '\r' && bytes[n + 1] == '\n')
		n += 2;
	return n;
}

static ssize_t find_end(struct http_head *head, const char *bytes, size_t len)
{
	size_t first = skip_empty_lines(bytes, len);

	if (head->searched < first)
		head->searched = head->line = (uint32_t)first;
	if (len > first && bytes[first] != '\r' && !is_token_char(bytes[first]))
		return bad(head, 400);
	while (head->searched < len)
	{
		const char *lf = memchr(bytes + head->searched, '\n', len - head->searched);
		size_t at;

		if (lf == NULL)
		{
			head->searched = (uint32_t)len;
			break;
		}
		at = (size_t)(lf - bytes);
		if (at == head->line || bytes[at - 1] != '\r')
			return bad(head, 400);
		head->searched = (uint32_t)at + 1;
		if (at - head->line == 1)
			return (ssize_t)at + 1;
		head->line = head->searched;
	}
	return HTTP_MORE;
}

/* ---- the request line ---------------------------------------------------- */

static struct http_span span_of(const char *base, struct slice slice)
{
	return (struct http_span){(uint32_t)(slice.bytes - base), (uint32_t)slice.len};
}

static int parse_version(struct http_head *head, struct slice version)
{
	if (version.len != 8 || memcmp(version.bytes, "HTTP/", 5) != 0 || version.bytes[6] != '.' ||
		version.bytes[5] < '0' || version.bytes[5] > '9' || version.bytes[7] < '0' || version.bytes[7] > '9')
		return 400;
	if (version.bytes[5] != '1')
		return 505;
	head->minor_version = version.bytes[7] - '0';
	head->keep_alive = head->minor_version > 0;
	return 0;
}

static int parse_request_line(struct http_head *head, const char *base, struct slice line)
{
	const char *end = line.bytes + line.len;
	const char *space = memchr(line.bytes, ' ', line.len);
	struct slice method, target, version;

	if (space == NULL)
		return 400;
	method = (struct slice){line.bytes, (size_t)(space - line.bytes)};
	target.bytes = space + 1;
	space = memchr(target.bytes, ' ', (size_t)(end - target.bytes));
	if (space == NULL)
		return 400;
	target.len = (size_t)(space - target.bytes);
	version = (struct slice){space + 1, (size_t)(end - space - 1)};
	if (!is_token(method) || target.len == 0)
		return 400;
	for (size_t i = 0; i < target.len; i++)
	{
		if ((unsigned char)target.bytes[i] <= ' ' || target.bytes[i] == 0x7F)
			return 400;
	}
	head->method = span_of(base, method);
	head->target = span_of(base, target);
	return parse_version(head, version);
}

/* ---- headers ------------------------------------------------------------- */

static int take_length(struct http_head *head, struct slice value)
{
	uint64_t length = 0;

	if (value.len == 0)
		return 400;
	for (size_t i = 0; i < value.len; i++)
	{
		unsigned digit = (unsigned char)value.bytes[i] - '0';

		if (digit > 9)
			return 400;
		length = length > (UINT64_MAX - digit) / 10 ? UINT64_MAX : length * 10 + digit;
	}
	if (head->has_length && head->content_length != length)
		return 400;
	head->has_length = true;
	head->content_length = length;
	return 0;
}

static int take_transfer_encoding(struct http_head *head, struct slice value)
{
	/* Said twice, or in a list: the last one must be "chunked", and only that one is known here. */
	if (head->chunked)
		return 400;
	if (is_word(value, "chunked"))
	{
		head->chunked = true;
		return 0;
	}
	return value.len == 0 ? 400 : 501;
}

static void take_connection(struct http_head *head, struct slice value)
{
	const char *p = value.bytes;
	const char *end = value.bytes + value.len;

	while (p < end)
	{
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct slice option = {p, (size_t)((comma != NULL ? comma : end) - p)};

		option = trim(option);
		if (is_word(option, "close"))
			head->keep_alive = false;
		else if (is_word(option, "keep-alive") && head->minor_version == 0)
			head->keep_alive = true;
		p = comma != NULL ? comma + 1 : end;
	}
}

/* Takes note of the headers that say something about framing. */
static int take_header(struct http_head *head, struct slice name, struct slice value, unsigned *hosts)
{
	switch (name.len)
	{
		case 4:
			if (is_word(name, "Host"))
				(*hosts)++;
			return 0;
		case 6:
			if (!is_word(name, "Expect") || head->minor_version == 0)
				return 0;
			head->expects_continue = is_word(value, "100-continue");
			return head->expects_continue ? 0 : 417;
		case 10:
			if (is_word(name, "Connection"))
				take_connection(head, value);
			return 0;
		case 14:
			return is_word(name, "Content-Length") ? take_length(head, value) : 0;
		case 17:
			return is_word(name, "Transfer-Encoding") ? take_transfer_encoding(head, value) : 0;
		default:
			return 0;
	}
}

/* Whether one of eight bytes may be a control character. */
static bool has_control(const char *bytes)
{
	const uint64_t each = UINT64_C(0x0101010101010101);
	uint64_t word, deleted;

	memcpy(&word, bytes, sizeof(word));
	deleted = word ^ each * 0x7F;
	return (((word - each * ' ') & ~word) | ((deleted - each) & ~deleted)) & each * 0x80;
}

/* No control characters but tabs. */
static bool is_text(struct slice value)
{
	size_t at = 0;

	while (at < value.len)
	{
		unsigned char c = (unsigned char)value.bytes[at];

		if (value.len - at >= 8 && !has_control(value.bytes + at))
			at += 8;
		else if ((c < ' ' && c != '\t') || c == 0x7F)
			return false;
		else
			at++;
	}
	return true;
}

static int parse_header(struct http_head *head, const char *base, struct slice line, unsigned *hosts)
{
	const char *colon = memchr(line.bytes, ':', line.len);
	struct slice name, value;

	if (colon == NULL)
		return 400;
	name = (struct slice){line.bytes, (size_t)(colon - line.bytes)};
	value = (struct slice){colon + 1, line.len - name.len - 1};
	/* A folded line begins with white space, which no name does. */
	if (!is_token(name))
		return 400;
	if (!is_text(value))
		return 400;
	if (head->nheaders == HTTP_MAX_HEADERS)
		return 431;
	value = trim(value);
	head->headers[head->nheaders].name = span_of(base, name);
	head->headers[head->nheaders].value = span_of(base, value);
	head->nheaders++;
	return take_header(head, name, value, hosts);
}

/* What only shows once all headers are known. */
static int check_framing(const struct http_head *head, unsigned hosts)
{
	if (head->chunked && (head->has_length || head->minor_version == 0))
		return 400;
	if (hosts > 1 || (hosts == 0 && head->minor_version > 0))
		return 400;
	return 0;
}

/* Takes a complete head apart; returns 0 or the status of the error. */
static int parse_lines(struct http_head *head, const char *base, size_t start, size_t end)
{
	const char *p = base + start;
	const char *stop = base + end - 2; /* the empty line */
	unsigned hosts = 0;
	bool first = true;

	while (p < stop)
	{
		const char *lf = memchr(p, '\n', (size_t)(stop - p));
		struct slice line = {p, (size_t)(lf - 1 - p)};
		int status = first ? parse_request_line(head, base, line) : parse_header(head, base, line, &hosts);

		if (status != 0)
			return status;
		first = false;
		p = lf + 1;
	}
	return check_framing(head, hosts);
}

ssize_t http_parse_head(struct http_head *head, const char *bytes, size_t len, size_t max_head)
{
	ssize_t used = find_end(head, bytes, len < max_head ? len : max_head);
	int status;

	if (used == HTTP_MORE && len >= max_head)
	{
		/* The reply depends on the version, the path and the headers: on what of them is complete. */
		parse_lines(head, bytes, skip_empty_lines(bytes, max_head), head->line + 2);
		return bad(head, 431);
	}
	if (used < 0)
		return used;
	status = parse_lines(head, bytes, skip_empty_lines(bytes, (size_t)used), (size_t)used);
	return status == 0 ? used : bad(head, status);
}

/* ---- chunked bodies ------------------------------------------------------ */

static bool chunk_size_char(struct http_chunked *chunked, char c)
{
	int digit = hex_value(c);

	if (digit >= 0)
	{
		chunked->chunk_left = chunked->chunk_left << 4 | (uint64_t)digit;
		return ++chunked->digits <= MAX_CHUNK_DIGITS;
	}
	if (chunked->digits == 0)
		return false;
	if (c == ';' || c == ' ' || c == '\t')
		chunked->state = HTTP_CHUNK_EXTENSION;
	else if (c == '\r')
		chunked->state = HTTP_CHUNK_SIZE_LF;
	else
		return false;
	return true;
}

/* A byte of an extension or a trailer: passed over, within bounds. */
static bool overhead_char(struct http_chunked *chunked, char c, enum http_chunk_state at_end)
{
	if (c == '\r')
		chunked->state = at_end;
	else if ((unsigned char)c < ' ' && c != '\t')
		return false;
	return ++chunked->overhead <= MAX_CHUNK_OVERHEAD;
}

static bool expect_char(struct http_chunked *chunked, char c, char wanted, enum http_chunk_state next)
{
	chunked->state = next;
	return c == wanted;
}

/* Takes one byte that is not data; false when it must not stand there. */
static bool framing_char(struct http_chunked *chunked, char c)
{
	switch (chunked->state)
	{
		case HTTP_CHUNK_SIZE:
			return chunk_size_char(chunked, c);
		case HTTP_CHUNK_EXTENSION:
			return overhead_char(chunked, c, HTTP_CHUNK_SIZE_LF);
		case HTTP_CHUNK_SIZE_LF:
			chunked->digits = 0;
			return expect_char(chunked, c, '\n',
							   chunked->chunk_left > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER_START);
		case HTTP_CHUNK_DATA_CR:
			return expect_char(chunked, c, '\r', HTTP_CHUNK_DATA_LF);
		case HTTP_CHUNK_DATA_LF:
			return expect_char(chunked, c, '\n', HTTP_CHUNK_SIZE);
		case HTTP_CHUNK_TRAILER_START:
			chunked->state = c == '\r' ? HTTP_CHUNK_END_LF : HTTP_CHUNK_TRAILER;
			return c == '\r' || is_token_char(c);
		case HTTP_CHUNK_TRAILER:
			return overhead_char(chunked, c, HTTP_CHUNK_TRAILER_LF);
		case HTTP_CHUNK_TRAILER_LF:
			return expect_char(chunked, c, '\n', HTTP_CHUNK_TRAILER_START);
		case HTTP_CHUNK_END_LF:
			return expect_char(chunked, c, '\n', HTTP_CHUNK_DONE);
		case HTTP_CHUNK_DATA:
		case HTTP_CHUNK_DONE:
			break;
	}
	return false;
}

ssize_t http_chunked_read(struct http_chunked *chunked, const char *bytes, size_t len, struct slice *data)
{
	size_t used = 0;

	*data = (struct slice){bytes, 0};
	while (used < len && chunked->state != HTTP_CHUNK_DONE)
	{
		if (chunked->state == HTTP_CHUNK_DATA)
		{
			data->bytes = bytes + used;
			data->len = len - used < chunked->chunk_left ? len - used : (size_t)chunked->chunk_left;
			chunked->chunk_left -= data->len;
			if (chunked->chunk_left == 0)
				chunked->state = HTTP_CHUNK_DATA_CR;
			return (ssize_t)(used + data->len);
		}
		if (!framing_char(chunked, bytes[used]))
			return HTTP_BAD;
		used++;
		/* Lets the caller see the size of a chunk before its data. */
		if (chunked->state == HTTP_CHUNK_DATA)
			return (ssize_t)used;
	}
	return (ssize_t)used;
}
