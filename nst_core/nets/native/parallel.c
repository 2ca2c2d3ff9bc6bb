#define _GNU_SOURCE
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* How long a thread looks for the next loop before it sleeps, in ns: most loops of a picture follow each other sooner,
   and a processor needs long to wake up. */
enum { PATIENCE_NS = 300000, LOOKS = 16, MOST_HELPERS = 255 };

static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER, ended = PTHREAD_COND_INITIALIZER;
static long helpers; /* threads that wait for loops */
/* The items of a loop are divided among the threads; who is done with its own part helps with those of the others. So
   a thread mostly reads what it has made in the loop before, and has in its cache. For each part, the upper half is the
   number of the loop, and the lower one that of the items that nobody has taken. A thread reads what the loop is, then
   takes an item: that fails if another loop has begun meanwhile. */
static struct {
    _Alignas(64) _Atomic uint64_t state;
} parts[MOST_HELPERS + 1];
/* Items that are not done. A thread counts its own when there are no more to take: no other loop begins before. */
static atomic_long unfinished;
/* The loop. */
static _Atomic Item run_item;
static void *_Atomic run_context;
static atomic_long items_of_loop, threads_of_loop;

static inline void pause_briefly(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static inline long left_of(uint64_t s) { return s & UINT32_MAX; }

/* Whether there is something for a helper, or for the caller, which is thread 0. */
static int has_items(long me) {
    long threads = threads_of_loop;
    for (long part = 0; me < threads && part < threads; part++)
        if (left_of(parts[part].state)) return 1;
    return 0;
}

static int has_ended(long me) {
    (void)me;
    return !unfinished;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

/* Looks until something is true, or patience is over. */
static void look_for(int (*is_true)(long), long me) {
    int64_t end = now_ns() + PATIENCE_NS;
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (is_true(me)) return;
            pause_briefly();
        }
    } while (now_ns() < end);
}

static inline long end_of(long part, long items, long threads) { return items * (part + 1) / threads; }

/* Runs items of a part until there are none to take; returns how many. */
static long work_on(long part, long me) {
    long done = 0;
    uint64_t s = parts[part].state;
    while (left_of(s) && me < threads_of_loop) {
        Item run = run_item;
        void *context = run_context;
        long end = end_of(part, items_of_loop, threads_of_loop);
        if (!atomic_compare_exchange_weak(&parts[part].state, &s, s - 1)) continue;
        run(context, end - left_of(s), me);
        done++;
        s = parts[part].state;
    }
    return done;
}

/* Runs items until there are none to take: those of the thread's own part, then others. */
static void work(long me) {
    long done = 0, threads = threads_of_loop;
    for (long i = 0; i < threads; i++) done += work_on((me + i) % threads, me);
    if (!done || atomic_fetch_sub(&unfinished, done) > done || me == 0) return;
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
}

static void *help(void *number) {
    long me = (long)number;
    for (;;) {
        work(me);
        look_for(has_items, me);
        pthread_mutex_lock(&lock);
        while (!has_items(me)) pthread_cond_wait(&begun, &lock);
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

/* Threads do not outlive a fork, and a lock may be held there by one that is gone. */
static void forget(void) {
    pthread_mutex_init(&callers, 0);
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&begun, 0);
    pthread_cond_init(&ended, 0);
    helpers = unfinished = 0;
    for (long i = 0; i <= MOST_HELPERS; i++) parts[i].state = 0;
}

static void prepare(void) { pthread_atfork(0, 0, forget); }

/* Starts threads until there are `wanted`, or as many as the system allows. They leave signals to the others. */
static void start_helpers(long wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pthread_t thread; helpers < wanted && helpers < MOST_HELPERS; helpers++) {
        if (pthread_create(&thread, 0, help, (void *)(helpers + 1))) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

void parallel(Item run, void *context, long items, int threads) {
    if (threads > MOST_HELPERS) threads = MOST_HELPERS + 1;
    if (threads < 2 || items < 2 || items > UINT32_MAX || pthread_mutex_trylock(&callers)) {
        for (long item = 0; item < items; item++) run(context, item, 0);
        return;
    }
    if (helpers < threads - 1) start_helpers(threads - 1);
    pthread_mutex_lock(&lock); /* so that no helper falls asleep after it has looked */
    run_item = run, run_context = context, items_of_loop = unfinished = items, threads_of_loop = threads;
    for (long part = 0, begin = 0; part < threads; part++) {
        long end = end_of(part, items, threads);
        parts[part].state = ((parts[part].state >> 32) + 1) << 32 | (uint64_t)(end - begin);
        begin = end;
    }
    pthread_cond_broadcast(&begun);
    pthread_mutex_unlock(&lock);
    work(0);
    look_for(has_ended, 0);
    pthread_mutex_lock(&lock);
    while (unfinished) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&callers);
}
