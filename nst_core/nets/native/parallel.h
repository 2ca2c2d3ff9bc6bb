/* Loops on several threads. */

#pragma once

/* Runs one item of a loop; `thread` is less than the number of threads, and no two items have the same at once. */
typedef void (*Item)(void *context, long item, int thread);

/* Runs items 0 to `items` - 1 on as many threads, in any order; returns when all are done.

   Each thread begins with a part of its own, in the order of the items: loops over the same places, one after the
   other, find what they read in the thread's cache. The caller takes items like all others, and only waits for items
   that have begun. So a thread that gets no processor, because other programs run on it, delays nothing but its own
   item, where one of OpenMP would hold up the others at the end of each loop. Two callers at once have threads of their
   own; a third caller runs its loops on its own thread alone. */
void parallel(Item run, void *context, long items, int threads);
