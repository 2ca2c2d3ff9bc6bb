#define _GNU_SOURCE
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

/* How often a thread looks for the next loop before it sleeps: some 0.1 ms, since most loops follow each other. */
enum { LOOKS = 2000, MOST_HELPERS = 255 };

static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER, ended = PTHREAD_COND_INITIALIZER;
static long helpers;        /* threads that wait for loops */
static atomic_long running; /* items of other threads that have begun */
static atomic_long left;    /* items that have not */
/* The loop. */
static Item run_item;
static void *run_context;
static long threads_of_loop;

static inline void pause_briefly(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

/* The next item of a loop, for which the caller has the lock; negative if there is none. */
static long taken(void) { return left > 0 ? --left : -1; }

static void *help(void *number) {
    long me = (long)number;
    pthread_mutex_lock(&lock);
    for (;;) {
        long item = me < threads_of_loop ? taken() : -1;
        if (item >= 0) {
            Item run = run_item;
            void *context = run_context;
            running++;
            pthread_mutex_unlock(&lock);
            run(context, item, me);
            pthread_mutex_lock(&lock);
            if (--running == 0) pthread_cond_signal(&ended);
            continue;
        }
        pthread_mutex_unlock(&lock);
        for (int i = 0; i < LOOKS && left <= 0; i++) pause_briefly();
        pthread_mutex_lock(&lock);
        if (left <= 0 || me >= threads_of_loop) pthread_cond_wait(&begun, &lock);
    }
    return 0;
}

/* Threads do not outlive a fork, and a lock may be held there by one that is gone. */
static void forget(void) {
    pthread_mutex_init(&callers, 0);
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&begun, 0);
    pthread_cond_init(&ended, 0);
    helpers = running = left = 0;
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
    if (threads < 2 || items < 2 || pthread_mutex_trylock(&callers)) {
        for (long item = 0; item < items; item++) run(context, item, 0);
        return;
    }
    pthread_mutex_lock(&lock);
    if (helpers < threads - 1) start_helpers(threads - 1);
    run_item = run, run_context = context, threads_of_loop = threads, left = items;
    pthread_cond_broadcast(&begun);
    for (long item; (item = taken()) >= 0;) {
        pthread_mutex_unlock(&lock);
        run(context, item, 0);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < LOOKS && running; i++) pause_briefly();
    pthread_mutex_lock(&lock);
    while (running) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&callers);
}
