/*
 * Many nodes at once, as far as nbd-server can tell: each client connects from an address of its own with the attacher's
 * handshake and its way of trying again, and then holds its connection.
 *
 *   nbd-storm ADDRESS PORT EXPORT COUNT FIRST-SOURCE LIMIT-SECONDS
 *
 * All connect in the same instant. For every line on stdin all of them drop their connections and connect again; the end of
 * stdin ends the program. A round ends when all are attached, or after the limit, with a line of JSON: who does not hang is
 * attached by then.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "../rootfs/nbd-attach/handshake.h"

static void heartbeat(void) {}

struct client {
    struct target target;
    int fd;
    int tries;
    double seconds;
};

static pthread_barrier_t begin, end;
static atomic_int over;
static struct client *clients;
static int limit_s;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void *live(void *argument)
{
    struct client *client = argument;

    for (;;) {
        struct disk disk;
        double start;
        struct patience patience = fresh;

        pthread_barrier_wait(&begin);
        if (over)
            return NULL;
        if (client->fd >= 0) {
            abort_connection(client->fd);
            close(client->fd);
        }
        client->tries = 0;
        start = now();
        do {
            if (client->tries > 0)
                back_off(&patience);
            client->tries++;
            client->fd = open_disk(&client->target, &disk, &patience);
        } while (client->fd < 0 && now() - start < limit_s);
        client->seconds = now() - start;
        pthread_barrier_wait(&end);
    }
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct client *)a)->seconds, y = ((const struct client *)b)->seconds;

    return (x > y) - (x < y);
}

static void report(int count)
{
    struct client *sorted = malloc(count * sizeof *sorted);
    int attached = 0, tries = 0;

    memcpy(sorted, clients, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_time);
    for (int i = 0; i < count; i++) {
        attached += clients[i].fd >= 0;
        tries += clients[i].tries;
    }
    printf("{\"clients\":%d,\"attached\":%d,\"tries\":%d,\"medianSeconds\":%.2f,\"lastSeconds\":%.2f}\n", count, attached, tries,
           sorted[count / 2].seconds, sorted[count - 1].seconds);
    fflush(stdout);
    free(sorted);
}

int main(int argc, char **argv)
{
    int count = argc == 7 ? atoi(argv[4]) : 0;
    struct in_addr first;
    pthread_attr_t small;
    char line[64];

    if (count < 1 || inet_pton(AF_INET, argv[5], &first) != 1) {
        fprintf(stderr, "usage: nbd-storm ADDRESS PORT EXPORT COUNT FIRST-SOURCE LIMIT-SECONDS\n");
        return 2;
    }
    limit_s = atoi(argv[6]);
    srand(time(NULL));
    clients = calloc(count, sizeof *clients);
    pthread_barrier_init(&begin, NULL, count + 1);
    pthread_barrier_init(&end, NULL, count + 1);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        struct client *client = clients + i;
        client->fd = -1;
        client->target.export_name = argv[3];
        client->target.server.sin_family = AF_INET;
        client->target.server.sin_port = htons(atoi(argv[2]));
        client->target.source.s_addr = htonl(ntohl(first.s_addr) + i);
        if (inet_pton(AF_INET, argv[1], &client->target.server.sin_addr) != 1 || pthread_create(&thread, &small, live, client)) {
            perror("nbd-storm");
            return 1;
        }
    }
    do {
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        report(count);
    } while (fgets(line, sizeof line, stdin));
    over = 1;
    pthread_barrier_wait(&begin);
    return 0;
}
