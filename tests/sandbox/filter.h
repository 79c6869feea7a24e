/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_SANDBOX_FILTER_H
#define TACHYON_SANDBOX_FILTER_H
/*
 * A seccomp filter made of a table, without any library. What a process with an
 * open bus needs is DATA_PATH and no more; docs/syscalls.md has the same table,
 * and tests/sandbox/run compares the two.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef __x86_64__
#error "the numbers of system calls are those of x86-64; aarch64 has no poll(), which is ppoll() there"
#endif
#define FILTER_ARCHITECTURE AUDIT_ARCH_X86_64

struct filter_rule {
        int number;       /* of the system call */
        uint32_t action;  /* SECCOMP_RET_* */
        int argument;     /* 1 + which must match, or 0: whatever they are */
        uint32_t mask;    /* these bits of its lower half ... */
        uint32_t value;   /* ... must be this */
};

#define ALLOWED(name) { .number = SYS_##name, .action = SECCOMP_RET_ALLOW }
#define FAILS(name, error) { .number = SYS_##name, .action = SECCOMP_RET_ERRNO | (error) }
#define FAILS_WITH(name, error, n, bits, is) \
        { .number = SYS_##name, .action = SECCOMP_RET_ERRNO | (error), .argument = 1 + (n), .mask = (bits), .value = (is) }

/* DATA_PATH: after the bus is open, until it is closed. */
#define DATA_PATH \
        ALLOWED(ppoll), ALLOWED(poll), ALLOWED(sendto), ALLOWED(recvfrom), ALLOWED(membarrier), \
                ALLOWED(clock_gettime), ALLOWED(restart_syscall), ALLOWED(rt_sigreturn), ALLOWED(exit_group)
/* Closing, and freeing. */
#define CLOSE_PATH ALLOWED(shutdown), ALLOWED(close), ALLOWED(munmap), ALLOWED(sched_yield)

#define FILTER_MOST_RULES 32

static inline int filter_install(const struct filter_rule *rules, size_t count, uint32_t otherwise) {
        struct sock_filter code[4 + 6 * FILTER_MOST_RULES], *next = code;
        struct sock_fprog program = { .filter = code };

        if (count > FILTER_MOST_RULES)
                return -E2BIG;
        *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCHITECTURE, 1, 0);
        *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        for (size_t i = 0; i < count; i++) {
                const struct filter_rule *rule = &rules[i];
                uint32_t place = rule->argument ? (uint32_t)(offsetof(struct seccomp_data, args) +
                                                             (size_t)(rule->argument - 1) * sizeof(uint64_t))
                                                : 0; /* the number: any mask of 0 fits */

                *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
                *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->number, 0, 4);
                *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place);
                *next++ = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, rule->mask);
                *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1);
                *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rule->action);
        }
        *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
        program.len = (unsigned short)(next - code);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
                return -errno;
        return 0;
}

#endif
