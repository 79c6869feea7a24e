/* SPDX-License-Identifier: MIT */
/* The list of living handles, so that a forked child's copies can be made dead. */
#include "handle.h"
#include <pthread.h>
#include <stddef.h>

#include "../include/tachyon.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle *first;

static void before_fork(void) {
        pthread_mutex_lock(&lock);
        for (struct handle *handle = first; handle; handle = handle->next)
                if (handle->forking)
                        handle->forking(handle);
}

static void in_parent(void) {
        pthread_mutex_unlock(&lock);
}

static void in_child(void) {
        for (struct handle *handle = first; handle; handle = handle->next) {
                atomic_store_explicit(&handle->dead, TACHYON_EFORK, memory_order_relaxed);
                atomic_store_explicit(&handle->attention, 1, memory_order_relaxed);
                if (handle->forked)
                        handle->forked(handle);
        }
        first = NULL;
        pthread_mutex_unlock(&lock);
}

static void register_fork_handlers(void) {
        pthread_atfork(before_fork, in_parent, in_child);
}

void handle_add(struct handle *handle) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, register_fork_handlers);
        pthread_mutex_lock(&lock);
        handle->previous = NULL;
        handle->next = first;
        if (first)
                first->previous = handle;
        first = handle;
        pthread_mutex_unlock(&lock);
}

void handle_remove(struct handle *handle) {
        pthread_mutex_lock(&lock);
        /* In a forked child the list has been emptied already. */
        if (atomic_load_explicit(&handle->dead, memory_order_relaxed) != TACHYON_EFORK) {
                if (handle->previous)
                        handle->previous->next = handle->next;
                else
                        first = handle->next;
                if (handle->next)
                        handle->next->previous = handle->previous;
        }
        pthread_mutex_unlock(&lock);
}

bool handle_kill(struct handle *handle, int error) {
        int alive = 0;

        atomic_store_explicit(&handle->attention, 1, memory_order_relaxed);
        return atomic_compare_exchange_strong(&handle->dead, &alive, error);
}
