/* SPDX-License-Identifier: MIT */
/*
 * The public header alone, as strict C11 and as C++17: it needs nothing before
 * it, and the bytes that programs were compiled with are still where they were.
 */
#include "../include/tachyon.h"

#include <errno.h>

#ifdef __cplusplus
#define ASSERT static_assert
#else
#define ASSERT _Static_assert
#endif

/* Where a field is, and that it is the last: one added behind it has to be added here. */
#define AT(type, field, offset) ASSERT(offsetof(type, field) == (offset), #type "." #field " has moved")
#define SIZE(type, size) ASSERT(sizeof(type) == (size), #type " has another size")

AT(tachyon_message, data, 0);
AT(tachyon_message, size, 8);
AT(tachyon_message, lease, 16);
AT(tachyon_message, correlation_id, 24);
AT(tachyon_message, type_id, 32);
AT(tachyon_message, flags, 36);
SIZE(tachyon_message, 40);

AT(tachyon_records, data, 0);
AT(tachyon_records, count, 8);
AT(tachyon_records, stride, 16);
AT(tachyon_records, lease, 24);
SIZE(tachyon_records, 32);

AT(tachyon_array, data, 0);
AT(tachyon_array, data_size, 8);
AT(tachyon_array, itemsize, 16);
AT(tachyon_array, dtype, 24);
AT(tachyon_array, dtype_size, 32);
AT(tachyon_array, ndim, 36);
AT(tachyon_array, shape, 40);
SIZE(tachyon_array, 40 + 8 * TACHYON_ARRAY_MAX_NDIM);

AT(tachyon_options, struct_size, 0);
AT(tachyon_options, capacity, 8);
AT(tachyon_options, reply_capacity, 16);
AT(tachyon_options, max_capacity, 24);
AT(tachyon_options, spin_ns, 32);
AT(tachyon_options, flags, 40);
AT(tachyon_options, kind, 44);
AT(tachyon_options, numa_node, 48);
AT(tachyon_options, socket_mode, 52);
AT(tachyon_options, allowed_uids, 56);
AT(tachyon_options, allowed_uid_count, 64);
AT(tachyon_options, handshake_timeout_ns, 72);
AT(tachyon_options, max_pending, 80);
SIZE(tachyon_options, 88);

AT(tachyon_properties, struct_size, 0);
AT(tachyon_properties, send_capacity, 8);
AT(tachyon_properties, recv_capacity, 16);
AT(tachyon_properties, max_send_size, 24);
AT(tachyon_properties, max_recv_size, 32);
AT(tachyon_properties, spin_ns, 40);
AT(tachyon_properties, peer_pid, 48);
AT(tachyon_properties, peer_uid, 52);
AT(tachyon_properties, kind, 56);
AT(tachyon_properties, layout_version, 60);
AT(tachyon_properties, is_listener, 64);
AT(tachyon_properties, isolation, 68);
AT(tachyon_properties, barrier, 72);
AT(tachyon_properties, huge_pages, 76);
AT(tachyon_properties, watches_pid, 80);
AT(tachyon_properties, trusted, 84);
SIZE(tachyon_properties, 88);

AT(tachyon_stats, struct_size, 0);
AT(tachyon_stats, sent_messages, 8);
AT(tachyon_stats, sent_bytes, 16);
AT(tachyon_stats, received_messages, 24);
AT(tachyon_stats, received_bytes, 32);
AT(tachyon_stats, send_used, 40);
AT(tachyon_stats, recv_used, 48);
AT(tachyon_stats, leases, 56);
AT(tachyon_stats, doorbells, 64);
AT(tachyon_stats, data_sleeps, 72);
AT(tachyon_stats, space_sleeps, 80);
SIZE(tachyon_stats, 88);

ASSERT(TACHYON_ECLOSED == EPIPE && TACHYON_EFORK == ECHILD && TACHYON_EPEERDEAD == EOWNERDEAD &&
               TACHYON_ELEASES == ENOBUFS,
       "errors are plain errno values");

AT(tachyon_rpc_counters, struct_size, 0);
AT(tachyon_rpc_counters, outstanding, 8);
AT(tachyon_rpc_counters, stored, 16);
AT(tachyon_rpc_counters, requests, 24);
AT(tachyon_rpc_counters, replies, 32);
AT(tachyon_rpc_counters, failures, 40);
AT(tachyon_rpc_counters, dropped, 48);
SIZE(tachyon_rpc_counters, 56);

/* Numbers that programs were compiled with; abidiff sees none of them. */
ASSERT(TACHYON_CORRELATED == 2 && TACHYON_REPLY == 4 && TACHYON_FAILURE == 8, "flags of messages");
ASSERT(TACHYON_KIND_STREAM == 1 && TACHYON_KIND_RPC == 2, "kinds");
ASSERT(TACHYON_PREFAULT == 1 && TACHYON_MLOCK == 2 && TACHYON_HUGE_PAGES == 4 && TACHYON_TRUSTED == 8,
       "flags of options");
ASSERT(TACHYON_RPC_UNKNOWN_TYPE == 0x7fff0001 && TACHYON_RPC_EXCEPTION == 0x7fff0002 &&
               TACHYON_RPC_TOO_LARGE == 0x7fff0003,
       "codes of failures");
ASSERT(TACHYON_ARRAY_MAX_NDIM == 64 && TACHYON_ARRAY_MAX_DTYPE == 65536, "limits of arrays");
ASSERT(TACHYON_ABI_MAJOR == 1, "the soname is libtachyon.so.1");

/* The initialiser fits the struct, and the functions link, from either language. */
int test_abi_from_here(void);

int test_abi_from_here(void) {
        const tachyon_options options = TACHYON_OPTIONS_INIT;

        return options.struct_size == sizeof(options) && tachyon_abi_version() != 0;
}
