#define _GNU_SOURCE
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* How long a thread looks for the next loop before it sleeps, in ns: most loops of a picture follow each other sooner,
   and a processor needs long to wake up. */
enum { PATIENCE_NS = 300000, LOOKS = 16, MOST_HELPERS = 255, TEAMS = 2 };

/* The items of a loop are divided among the threads; who is done with its own part helps with those of the others. So
   a thread mostly reads what it has made in the loop before, and has in its cache. For each part, the upper half is the
   number of the loop, and the lower one that of the items that nobody has taken. A thread reads what the loop is, then
   takes an item: that fails if another loop has begun meanwhile. */
typedef struct {
    _Alignas(64) _Atomic uint64_t state;
} Part;

/* A caller and the threads that help with its loops. */
typedef struct {
    pthread_mutex_t caller, lock;
    pthread_cond_t begun, ended;
    long helpers; /* threads that wait for loops */
    Part parts[MOST_HELPERS + 1];
    /* Items that are not done. A thread counts its own when there are no more to take: no other loop begins before. */
    atomic_long unfinished;
    /* The loop. */
    _Atomic Item run_item;
    void *_Atomic run_context;
    atomic_long items_of_loop, threads_of_loop;
} Team;

static Team teams[TEAMS];

static inline void pause_briefly(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static inline long left_of(uint64_t s) { return s & UINT32_MAX; }

/* Whether there is something for a helper, or for the caller, which is thread 0. */
static int has_items(Team *team, long me) {
    long threads = team->threads_of_loop;
    for (long part = 0; me < threads && part < threads; part++)
        if (left_of(team->parts[part].state)) return 1;
    return 0;
}

static int has_ended(Team *team, long me) {
    (void)me;
    return !team->unfinished;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

/* Looks until something is true, or patience is over. */
static void look_for(int (*is_true)(Team *, long), Team *team, long me) {
    int64_t end = now_ns() + PATIENCE_NS;
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (is_true(team, me)) return;
            pause_briefly();
        }
    } while (now_ns() < end);
}

static inline long end_of(long part, long items, long threads) { return items * (part + 1) / threads; }

/* Runs items of a part until there are none to take; returns how many. */
static long work_on(Team *team, long part, long me) {
    long done = 0;
    _Atomic uint64_t *state = &team->parts[part].state;
    uint64_t s = *state;
    while (left_of(s) && me < team->threads_of_loop) {
        Item run = team->run_item;
        void *context = team->run_context;
        long end = end_of(part, team->items_of_loop, team->threads_of_loop);
        if (!atomic_compare_exchange_weak(state, &s, s - 1)) continue;
        run(context, end - left_of(s), me);
        done++;
        s = *state;
    }
    return done;
}

/* Runs items until there are none to take: those of the thread's own part, then others. */
static void work(Team *team, long me) {
    long done = 0, threads = team->threads_of_loop;
    for (long i = 0; i < threads; i++) done += work_on(team, (me + i) % threads, me);
    if (!done || atomic_fetch_sub(&team->unfinished, done) > done || me == 0) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_signal(&team->ended);
    pthread_mutex_unlock(&team->lock);
}

/* Who a helper is: its team, and its number there. */
static inline void *helper(long team, long me) { return (void *)(team * (MOST_HELPERS + 1) + me); }

static void *help(void *number) {
    Team *team = &teams[(long)number / (MOST_HELPERS + 1)];
    long me = (long)number % (MOST_HELPERS + 1);
    for (;;) {
        work(team, me);
        look_for(has_items, team, me);
        pthread_mutex_lock(&team->lock);
        while (!has_items(team, me)) pthread_cond_wait(&team->begun, &team->lock);
        pthread_mutex_unlock(&team->lock);
    }
    return 0;
}

/* Teams without helpers. Threads do not outlive a fork, and a lock may be held there by one that is gone. */
static void form_teams(void) {
    for (Team *team = teams; team < teams + TEAMS; team++) {
        pthread_mutex_init(&team->caller, 0);
        pthread_mutex_init(&team->lock, 0);
        pthread_cond_init(&team->begun, 0);
        pthread_cond_init(&team->ended, 0);
        team->helpers = team->unfinished = 0;
        for (long i = 0; i <= MOST_HELPERS; i++) team->parts[i].state = 0;
    }
}

static void prepare(void) {
    form_teams();
    pthread_atfork(0, 0, form_teams);
}

/* Starts threads until there are `wanted`, or as many as the system allows. They leave signals to the others. */
static void start_helpers(Team *team, long wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pthread_t thread; team->helpers < wanted && team->helpers < MOST_HELPERS; team->helpers++) {
        if (pthread_create(&thread, 0, help, helper(team - teams, team->helpers + 1))) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

/* A team without a caller, which is the caller's now, or NULL. */
static Team *free_team(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    for (Team *team = teams; team < teams + TEAMS; team++)
        if (!pthread_mutex_trylock(&team->caller)) return team;
    return 0;
}

void parallel(Item run, void *context, long items, int threads) {
    if (threads > MOST_HELPERS) threads = MOST_HELPERS + 1;
    Team *team = threads < 2 || items < 2 || items > UINT32_MAX ? 0 : free_team();
    if (!team) {
        for (long item = 0; item < items; item++) run(context, item, 0);
        return;
    }
    if (team->helpers < threads - 1) start_helpers(team, threads - 1);
    pthread_mutex_lock(&team->lock); /* so that no helper falls asleep after it has looked */
    team->run_item = run, team->run_context = context;
    team->items_of_loop = team->unfinished = items, team->threads_of_loop = threads;
    for (long part = 0, begin = 0; part < threads; part++) {
        long end = end_of(part, items, threads);
        _Atomic uint64_t *state = &team->parts[part].state;
        *state = ((*state >> 32) + 1) << 32 | (uint64_t)(end - begin);
        begin = end;
    }
    pthread_cond_broadcast(&team->begun);
    pthread_mutex_unlock(&team->lock);
    work(team, 0);
    look_for(has_ended, team, 0);
    pthread_mutex_lock(&team->lock);
    while (team->unfinished) pthread_cond_wait(&team->ended, &team->lock);
    pthread_mutex_unlock(&team->lock);
    pthread_mutex_unlock(&team->caller);
}
