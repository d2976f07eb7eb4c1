/*
 * TFTP clients for `cardless bench protocols`: many at once, cheap enough that the server is what gets measured.
 *
 * Each client has an address of its own and, for each transfer, a port of its own (RFC 1350 section 4). One thread and
 * one epoll set play them all. Where the content is not asked for, only the head of each packet is copied out of the
 * kernel: its true length comes with MSG_TRUNC. Faults (loss, duplication, reordering) are made here by a seeded
 * generator, in both directions, so that every server meets the same weather.
 *
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OP_RRQ = 1, OP_DATA = 3, OP_ACK = 4, OP_ERROR = 5, OP_OACK = 6 };
enum { MAX_CLIENTS = 1024, MAX_PACKET = 65536, HEAD = 128, BATCH = 32, MAX_DELAYED = 4096 };
/* Latencies from 1 us to over a minute, 16 steps to each power of two: 6 % apart. */
enum { STEPS = 16, BUCKETS = 32 * STEPS };

typedef enum { IDLE, ASKING, RECEIVING, DONE, FAILED } phase_t;

typedef struct {
	phase_t phase;
	int fd;
	struct sockaddr_in local;
	unsigned generation;
	unsigned blksize, windowsize;
	uint64_t last; /* number of the last block in order, not reduced to 16 bits */
	unsigned in_window;
	bool gap_told;
	uint64_t offset; /* bytes received of this transfer */
	uint64_t total; /* and of all */
	uint64_t started_ns, ended_ns, heard_ns, ack_ns;
} client_t;

typedef struct {
	uint64_t due_ns;
	int client;
	unsigned generation;
	bool outgoing;
	size_t length;
	uint8_t *bytes;
} delayed_t;

static struct {
	struct sockaddr_in server;
	uint32_t first_address;
	int clients;
	const char *file;
	unsigned blksize, windowsize;
	double seconds, limit;
	double loss, dup, reorder;
	uint64_t seed;
	uint64_t resend_ns;
	const uint8_t *expected;
	uint64_t expected_bytes;
} opt = { .clients = 1, .blksize = 512, .windowsize = 1, .limit = 60, .seed = 1, .resend_ns = 1000000000ull };

static struct {
	uint64_t completed, failed, resends, duplicates, mismatches, latencies;
	unsigned blksize, windowsize;
	uint64_t buckets[BUCKETS];
	char error[256];
} seen;

static client_t clients[MAX_CLIENTS];
static delayed_t delayed[MAX_DELAYED];
static int delayed_count;
static int epoll_fd;
static int active;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "tftp-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift64*: the same seed gives the same faults. */
static double chance(void)
{
	opt.seed ^= opt.seed >> 12;
	opt.seed ^= opt.seed << 25;
	opt.seed ^= opt.seed >> 27;
	return (double)((opt.seed * 2685821657736338717ull) >> 11) / 9007199254740992.0;
}

static bool has_faults(void)
{
	return opt.loss > 0 || opt.dup > 0 || opt.reorder > 0;
}

static void note_latency(uint64_t ns)
{
	uint64_t us16 = ns * STEPS / 1000;
	int power = us16 < STEPS ? 0 : 63 - __builtin_clzll(us16 / STEPS);
	int step = us16 < STEPS ? (int)us16 : (int)((us16 >> power) - STEPS);
	int bucket = us16 < STEPS ? step : (power + 1) * STEPS + step;
	seen.buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	seen.latencies++;
}

static double percentile_us(double share)
{
	uint64_t wanted = (uint64_t)((double)seen.latencies * share), sum = 0;
	for (int i = 0; i < BUCKETS; i++) {
		sum += seen.buckets[i];
		if (sum > wanted) {
			int power = i / STEPS - 1;
			return power < 0 ? (double)i / STEPS : (double)(STEPS + i % STEPS) / STEPS * (double)(1ull << power);
		}
	}
	return 0;
}

static void send_now(client_t *c, const uint8_t *bytes, size_t length)
{
	if (c->phase == ASKING)
		sendto(c->fd, bytes, length, 0, (struct sockaddr *)&opt.server, sizeof opt.server);
	else
		send(c->fd, bytes, length, 0);
}

static void delay(client_t *c, bool outgoing, const uint8_t *bytes, size_t length)
{
	if (delayed_count == MAX_DELAYED)
		return;
	delayed_t *d = &delayed[delayed_count++];
	d->due_ns = now_ns() + 1000000ull + (uint64_t)(chance() * 4e6);
	d->client = (int)(c - clients);
	d->generation = c->generation;
	d->outgoing = outgoing;
	d->length = length;
	d->bytes = malloc(length);
	if (!d->bytes)
		die("malloc");
	memcpy(d->bytes, bytes, length);
}

static void transmit(client_t *c, const uint8_t *bytes, size_t length)
{
	if (has_faults()) {
		if (chance() < opt.loss)
			return;
		if (chance() < opt.dup)
			delay(c, true, bytes, length);
		if (chance() < opt.reorder) {
			delay(c, true, bytes, length);
			return;
		}
	}
	send_now(c, bytes, length);
}

static void ask(client_t *c)
{
	uint8_t packet[600] = { 0, OP_RRQ };
	size_t at = 2;
	at += (size_t)sprintf((char *)packet + at, "%s", opt.file) + 1;
	at += (size_t)sprintf((char *)packet + at, "octet") + 1;
	if (opt.blksize != 512) {
		at += (size_t)sprintf((char *)packet + at, "blksize") + 1;
		at += (size_t)sprintf((char *)packet + at, "%u", opt.blksize) + 1;
	}
	if (opt.windowsize > 1) {
		at += (size_t)sprintf((char *)packet + at, "windowsize") + 1;
		at += (size_t)sprintf((char *)packet + at, "%u", opt.windowsize) + 1;
	}
	transmit(c, packet, at);
}

static void acknowledge(client_t *c, uint64_t at_ns)
{
	uint8_t packet[4] = { 0, OP_ACK, (uint8_t)(c->last >> 8), (uint8_t)c->last };
	c->in_window = 0;
	c->ack_ns = at_ns;
	transmit(c, packet, sizeof packet);
}

static void begin(client_t *c)
{
	c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	int bytes = 4 << 20;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	if (bind(c->fd, (struct sockaddr *)&c->local, sizeof c->local) < 0)
		die("bind");
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("epoll_ctl");
	c->generation++;
	c->phase = ASKING;
	c->blksize = 512;
	c->windowsize = 1;
	c->last = 0;
	c->in_window = 0;
	c->gap_told = false;
	c->offset = 0;
	c->ack_ns = 0;
	c->heard_ns = now_ns();
	active++;
	ask(c);
}

static void end(client_t *c, phase_t phase)
{
	close(c->fd);
	c->phase = phase;
	c->ended_ns = now_ns();
	active--;
}

static void fail(client_t *c, const char *why)
{
	seen.failed++;
	if (seen.error[0] == 0)
		snprintf(seen.error, sizeof seen.error, "%s", why);
	end(c, FAILED);
}

static void complete(client_t *c)
{
	seen.completed++;
	if (opt.expected && c->offset != opt.expected_bytes)
		seen.mismatches++;
	end(c, DONE);
	if (opt.seconds > 0)
		begin(c);
}

static void on_oack(client_t *c, const uint8_t *bytes, size_t length)
{
	size_t at = 2;
	while (at < length) {
		const char *name = (const char *)bytes + at;
		at += strnlen(name, length - at) + 1;
		if (at >= length)
			break;
		const char *value = (const char *)bytes + at;
		at += strnlen(value, length - at) + 1;
		if (strcasecmp(name, "blksize") == 0)
			c->blksize = (unsigned)atoi(value);
		if (strcasecmp(name, "windowsize") == 0)
			c->windowsize = (unsigned)atoi(value);
	}
	c->heard_ns = now_ns();
	acknowledge(c, c->heard_ns);
}

static void on_data(client_t *c, const uint8_t *bytes, size_t length)
{
	uint64_t at_ns = now_ns();
	uint16_t block = (uint16_t)(bytes[2] << 8 | bytes[3]);
	size_t size = length - 4;
	if (block != (uint16_t)(c->last + 1)) {
		if (block == (uint16_t)c->last) {
			/* Said again: our ACK was lost, or came late. PC tools answer it again. */
			seen.duplicates++;
			if (c->windowsize == 1)
				acknowledge(c, at_ns);
		} else if (!c->gap_told && (uint16_t)(block - c->last) < 0x8000) {
			/* RFC 7440 section 4: tell the last block that came in order, once for each gap. */
			c->gap_told = true;
			acknowledge(c, at_ns);
		}
		return;
	}
	if (c->ack_ns != 0) {
		note_latency(at_ns - c->ack_ns);
		c->ack_ns = 0;
	}
	if (opt.expected && (c->offset + size > opt.expected_bytes || memcmp(bytes + 4, opt.expected + c->offset, size) != 0))
		seen.mismatches++;
	c->last++;
	c->gap_told = false;
	c->heard_ns = at_ns;
	c->offset += size;
	c->total += size;
	if (size < c->blksize) {
		acknowledge(c, at_ns);
		complete(c);
	} else if (++c->in_window >= c->windowsize) {
		acknowledge(c, at_ns);
	}
}

static void take(client_t *c, const uint8_t *bytes, size_t length)
{
	if (length < 4 || (c->phase != ASKING && c->phase != RECEIVING))
		return;
	switch (bytes[1]) {
	case OP_OACK:
		if (c->last == 0)
			on_oack(c, bytes, length);
		break;
	case OP_DATA:
		on_data(c, bytes, length);
		break;
	case OP_ERROR: {
		char text[HEAD];
		snprintf(text, sizeof text, "the server said: %.*s", (int)(length - 4 < 80 ? length - 4 : 80), (const char *)bytes + 4);
		fail(c, text);
		break;
	}
	default:
		break;
	}
	if (c->phase == RECEIVING || c->phase == ASKING) {
		seen.blksize = c->blksize;
		seen.windowsize = c->windowsize;
	}
}

static void deliver(client_t *c, const uint8_t *bytes, size_t length)
{
	if (has_faults()) {
		if (chance() < opt.loss)
			return;
		if (chance() < opt.dup)
			delay(c, false, bytes, length);
		if (chance() < opt.reorder) {
			delay(c, false, bytes, length);
			return;
		}
	}
	take(c, bytes, length);
}

/* The first answer comes from the port that is the server's half of the transfer's name. */
static void on_first(client_t *c)
{
	static uint8_t packet[MAX_PACKET];
	struct sockaddr_in from;
	socklen_t size = sizeof from;
	ssize_t got = recvfrom(c->fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &size);
	if (got < 0)
		return;
	if (connect(c->fd, (struct sockaddr *)&from, size) < 0)
		die("connect");
	c->phase = RECEIVING;
	deliver(c, packet, (size_t)got);
}

static void on_readable(client_t *c)
{
	static uint8_t packets[BATCH][MAX_PACKET / BATCH];
	if (c->phase == ASKING) {
		on_first(c);
		return;
	}
	size_t room = opt.expected ? sizeof packets[0] : HEAD;
	if (c->windowsize == 1) {
		ssize_t got = recv(c->fd, packets[0], room, MSG_TRUNC);
		if (got >= 0)
			deliver(c, packets[0], (size_t)got);
		else if (errno == ECONNREFUSED)
			fail(c, "the server closed the port of the transfer");
		return;
	}
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ packets[i], room };
		messages[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &vectors[i], .msg_iovlen = 1 } };
	}
	int count = recvmmsg(c->fd, messages, BATCH, MSG_TRUNC, NULL);
	unsigned generation = c->generation;
	for (int i = 0; i < count && c->generation == generation && c->phase == RECEIVING; i++)
		deliver(c, packets[i], messages[i].msg_len);
}

static void run_delayed(uint64_t at_ns)
{
	for (int i = 0; i < delayed_count;) {
		delayed_t d = delayed[i];
		if (d.due_ns > at_ns) {
			i++;
			continue;
		}
		delayed[i] = delayed[--delayed_count];
		client_t *c = &clients[d.client];
		if (c->generation == d.generation && (c->phase == ASKING || c->phase == RECEIVING)) {
			if (d.outgoing)
				send_now(c, d.bytes, d.length);
			else
				take(c, d.bytes, d.length);
		}
		free(d.bytes);
	}
}

static void run_timers(uint64_t at_ns)
{
	for (int i = 0; i < opt.clients; i++) {
		client_t *c = &clients[i];
		if ((c->phase != ASKING && c->phase != RECEIVING) || at_ns - c->heard_ns < opt.resend_ns)
			continue;
		seen.resends++;
		c->heard_ns = at_ns;
		if (c->phase == ASKING)
			ask(c);
		else
			acknowledge(c, at_ns);
	}
}

/* An ERROR ends the transfer at the server too, so that nothing of it disturbs what is measured next. */
static void stop_all(void)
{
	static const uint8_t packet[] = { 0, OP_ERROR, 0, 0, 'd', 'o', 'n', 'e', 0 };
	for (int i = 0; i < opt.clients; i++) {
		client_t *c = &clients[i];
		if (c->phase == RECEIVING)
			send(c->fd, packet, sizeof packet, 0);
		if (c->phase == RECEIVING || c->phase == ASKING)
			end(c, IDLE);
	}
}

static void map_expected(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat facts;
	if (fd < 0 || fstat(fd, &facts) < 0)
		die(path);
	opt.expected_bytes = (uint64_t)facts.st_size;
	opt.expected = mmap(NULL, opt.expected_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (opt.expected == MAP_FAILED)
		die("mmap");
	close(fd);
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "server", 1, 0, 's' }, { "first", 1, 0, 'f' }, { "clients", 1, 0, 'c' }, { "file", 1, 0, 'n' },
		{ "blksize", 1, 0, 'b' }, { "windowsize", 1, 0, 'w' }, { "seconds", 1, 0, 't' }, { "limit", 1, 0, 'l' },
		{ "loss", 1, 0, 'L' }, { "dup", 1, 0, 'D' }, { "reorder", 1, 0, 'R' }, { "seed", 1, 0, 'S' },
		{ "resend-ms", 1, 0, 'r' }, { "expect", 1, 0, 'e' }, { 0, 0, 0, 0 },
	};
	struct in_addr first = { 0 };
	opt.server.sin_family = AF_INET;
	opt.server.sin_port = htons(69);
	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (c) {
		case 's': if (inet_pton(AF_INET, optarg, &opt.server.sin_addr) != 1) exit(2); break;
		case 'f': if (inet_pton(AF_INET, optarg, &first) != 1) exit(2); break;
		case 'c': opt.clients = atoi(optarg); break;
		case 'n': opt.file = optarg; break;
		case 'b': opt.blksize = (unsigned)atoi(optarg); break;
		case 'w': opt.windowsize = (unsigned)atoi(optarg); break;
		case 't': opt.seconds = atof(optarg); break;
		case 'l': opt.limit = atof(optarg); break;
		case 'L': opt.loss = atof(optarg); break;
		case 'D': opt.dup = atof(optarg); break;
		case 'R': opt.reorder = atof(optarg); break;
		case 'S': opt.seed = strtoull(optarg, NULL, 10) | 1; break;
		case 'r': opt.resend_ns = strtoull(optarg, NULL, 10) * 1000000ull; break;
		case 'e': map_expected(optarg); break;
		default: exit(2);
		}
	}
	opt.first_address = ntohl(first.s_addr);
	if (!opt.file || strlen(opt.file) > 400 || opt.clients < 1 || opt.clients > MAX_CLIENTS || opt.blksize > 2000) {
		fprintf(stderr, "tftp-load: --server, --first, --file, --clients 1-%d and --blksize up to 2000 are needed\n", MAX_CLIENTS);
		exit(2);
	}
}

static void report(double seconds)
{
	uint64_t bytes = 0;
	double fastest = 0, slowest = 0;
	for (int i = 0; i < opt.clients; i++) {
		client_t *c = &clients[i];
		double took = (double)(c->ended_ns - c->started_ns) / 1e9;
		bytes += c->total;
		if (c->phase == DONE && (fastest == 0 || took < fastest))
			fastest = took;
		if (c->phase == DONE && took > slowest)
			slowest = took;
	}
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	for (char *p = seen.error; *p; p++)
		if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126)
			*p = '?';
	printf("{\"seconds\":%.4f,\"bytes\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"unfinished\":%d,"
	       "\"fastestSeconds\":%.4f,\"slowestSeconds\":%.4f,\"blockP50Us\":%.1f,\"blockP99Us\":%.1f,\"resends\":%" PRIu64 ","
	       "\"duplicates\":%" PRIu64 ",\"mismatches\":%" PRIu64 ",\"blksize\":%u,\"windowsize\":%u,\"clientCpuSeconds\":%.3f,"
	       "\"error\":\"%s\"}\n",
	       seconds, bytes, seen.completed, seen.failed, active, fastest, slowest, percentile_us(0.5), percentile_us(0.99),
	       seen.resends, seen.duplicates, seen.mismatches, seen.blksize, seen.windowsize, cpu, seen.error);
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1");
	for (int i = 0; i < opt.clients; i++) {
		clients[i].local.sin_family = AF_INET;
		clients[i].local.sin_addr.s_addr = htonl(opt.first_address + (uint32_t)i);
	}
	uint64_t started = now_ns(), timers = started;
	uint64_t stop = started + (uint64_t)((opt.seconds > 0 ? opt.seconds : opt.limit) * 1e9);
	for (int i = 0; i < opt.clients; i++) {
		clients[i].started_ns = started;
		begin(&clients[i]);
	}
	uint64_t at_ns = started;
	while (active > 0 && at_ns < stop) {
		struct epoll_event events[256];
		int count = epoll_wait(epoll_fd, events, 256, delayed_count > 0 ? 1 : 10);
		for (int i = 0; i < count; i++)
			on_readable(events[i].data.ptr);
		at_ns = now_ns();
		if (delayed_count > 0)
			run_delayed(at_ns);
		if (at_ns - timers > 10000000ull) {
			timers = at_ns;
			run_timers(at_ns);
		}
	}
	double seconds = (double)(now_ns() - started) / 1e9;
	report(seconds);
	stop_all();
	return 0;
}
