/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_LOAD_HOOK_H
#define TACHYON_LOAD_HOOK_H
/*
 * In every source of a fuzzing build, before all else (-include): each atomic
 * load runs a hook first, in which a target plays the peer and writes what it
 * likes. So memory changes between any two loads of the library's, as it would
 * under a hostile peer, but by the fuzzer's choice and the same in every run.
 */
#include <stdatomic.h>

extern void (*fuzz_before_load)(void);

#undef atomic_load_explicit
#undef atomic_load
#define atomic_load_explicit(object, order) \
        (fuzz_before_load ? fuzz_before_load() : (void)0, __c11_atomic_load(object, order))
#define atomic_load(object) atomic_load_explicit(object, memory_order_seq_cst)

#endif
