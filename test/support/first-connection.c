/*
 * The attacher's first connection without a kernel that has nbd: first-connection ADDRESS PORT EXPORT PACE
 * Prints "attached", or why not. Nothing waits, and every look at the clock finds it PACE seconds later.
 */
#define _GNU_SOURCE
#include <time.h>

static time_t moment, pace;

static int look(struct timespec *now)
{
    now->tv_sec = moment += pace;
    now->tv_nsec = 0;
    return 0;
}

static int no_sleep(const struct timespec *wanted)
{
    return (void)wanted, 0;
}

#define nanosleep(wanted, left) no_sleep(wanted)
#define clock_gettime(clock, now) look(now)
#define main attach_main
#include "nbd-attach.c"
#undef main

int main(int argc, char **argv)
{
    struct disk disk = { 0 };
    char *args[] = { argv[0], "0", argv[1], argv[2], argv[3] };

    if (argc != 5)
        return attach_main(argc, argv);
    pace = atoi(argv[4]);
    puts(set_target(args) || first_connection(&disk) < 0 ? strerror(errno) : "attached");
    return 0;
}
