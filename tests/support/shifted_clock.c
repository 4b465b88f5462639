/*
 * A wall clock of its own for one process: loaded before the C library (LD_PRELOAD), it adds to CLOCK_REALTIME as many
 * nanoseconds as stand in the file OUTDIAL_TEST_CLOCK, which is mapped, so a step is seen by the next reading. Clocks
 * that only go forward (monotonic, boot time) are the machine's own. What waits until an instant of the wall clock
 * waits in slices, so that it also wakes when the clock is stepped over that instant.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SLICE (SECOND / 4)
/* A condition may count by a clock of its own choice: boot time is far from here for the next thirty years. */
#define OF_THE_WALL_CLOCK(at) ((at)->tv_sec > 1000000000)

static _Atomic int64_t standing;
static _Atomic int64_t *offset = &standing;
static int (*cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*semaphore_timedwait)(sem_t *, const struct timespec *);
static int (*mutex_timedlock)(pthread_mutex_t *, const struct timespec *);

static void *next_of(const char *name)
{
    /* without a version the oldest is found, which cannot be mixed with the others of a condition */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("OUTDIAL_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *map = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
        if (map != MAP_FAILED)
            offset = map;
        close(file);
    }
    cond_timedwait = next_of("pthread_cond_timedwait");
    semaphore_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    mutex_timedlock = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
}

static int64_t count(const struct timespec *at) { return at->tv_sec * SECOND + at->tv_nsec; }

static struct timespec instant(int64_t nanoseconds)
{
    struct timespec at = {.tv_sec = nanoseconds / SECOND, .tv_nsec = nanoseconds % SECOND};
    return at;
}

static int64_t true_now(void)
{
    struct timespec at;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &at);
    return count(&at);
}

static int64_t shifted_now(void) { return true_now() + *offset; }

int clock_gettime(clockid_t which, struct timespec *at)
{
    static int (*_Atomic real)(clockid_t, struct timespec *);
    /* the C library's own, which needs no system call; asked for before the constructor ran, too */
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, at);
    if (result == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE || which == CLOCK_TAI))
        *at = instant(count(at) + *offset);
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, at) == 0 ? base : 0;
}

/* The end, by the machine's clock, of the slice that is waited for next. */
static struct timespec slice_until(const struct timespec *at)
{
    int64_t now = true_now(), end = count(at) - *offset;
    return instant(end < now + SLICE ? end : now + SLICE);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict at)
{
    if (!OF_THE_WALL_CLOCK(at))
        return cond_timedwait(condition, mutex, at);
    for (;;) {
        struct timespec until = slice_until(at);
        int result = cond_timedwait(condition, mutex, &until);
        if (result != ETIMEDOUT || shifted_now() >= count(at))
            return result;
    }
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict at)
{
    for (;;) {
        struct timespec until = slice_until(at);
        int result = semaphore_timedwait(semaphore, &until);
        if (result == 0 || errno != ETIMEDOUT || shifted_now() >= count(at))
            return result;
    }
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at)
{
    for (;;) {
        struct timespec until = slice_until(at);
        int result = mutex_timedlock(mutex, &until);
        if (result != ETIMEDOUT || shifted_now() >= count(at))
            return result;
    }
}
