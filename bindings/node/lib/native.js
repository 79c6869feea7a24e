// SPDX-License-Identifier: MIT
// The library's functions, by koffi. Handles and addresses are BigInts: koffi takes them twice as
// fast as numbers or buffers.

import koffi from 'koffi';

const ABI_MAJOR = 1;
const ABI_MINOR = 0;
const SYSTEM = process.platform === 'darwin' ? 'libtachyon.1.dylib' : 'libtachyon.so.1';

function load() {
  const path = process.env.TACHYON_LIBRARY || SYSTEM;
  const from = process.env.TACHYON_LIBRARY ? 'TACHYON_LIBRARY says so' : 'set TACHYON_LIBRARY to its path, or install it';
  let library;
  try {
    library = koffi.load(path);
  } catch (error) {
    throw new Error(`${path} cannot be loaded (${from}): ${error.message}`, { cause: error });
  }
  const version = library.func('uint32_t tachyon_abi_version()')();
  if (version >>> 16 !== ABI_MAJOR || (version & 0xffff) < ABI_MINOR) {
    throw new Error(
      `${path} has ABI ${version >>> 16}.${version & 0xffff}, and this package needs ${ABI_MAJOR}.${ABI_MINOR} or a later minor`,
    );
  }
  return library;
}

const library = load();
const bus = 'void *bus';
const rpc = 'void *rpc';
const timeout = 'int64_t timeout_ns';
const payload = 'void *data, size_t size, uint32_t type_id';

export const native = {
  strerror: library.func('str tachyon_strerror(int error)'),
  errorDetail: library.func('str tachyon_error_detail()'),
  version: library.func('str tachyon_version()'),

  listenerCreate: library.func('int tachyon_listener_create(void *listenerp, str path, void *options)'),
  listenerAccept: library.func(`int tachyon_listener_accept(void *listener, void *busp, ${timeout})`),
  listenerFd: library.func('int tachyon_listener_fd(void *listener)'),
  listenerFree: library.func('void tachyon_listener_free(void *listener)'),

  connect: library.func(`int tachyon_bus_connect(void *busp, str path, void *options, ${timeout})`),
  free: library.func(`void tachyon_bus_free(${bus})`),
  properties: library.func(`int tachyon_bus_properties(${bus}, void *properties)`),
  stats: library.func(`int tachyon_bus_stats(${bus}, void *stats)`),

  trySend: library.func(`int tachyon_bus_try_send(${bus}, void *data, uint32_t size, uint32_t type_id)`),
  send: library.func(`int tachyon_bus_send(${bus}, ${payload}, ${timeout})`),
  reserve: library.func(`int tachyon_bus_reserve(${bus}, void *datap, size_t size, ${timeout})`),
  commit: library.func(`int tachyon_bus_commit(${bus}, size_t size, uint32_t type_id)`),
  cancel: library.func(`int tachyon_bus_cancel(${bus})`),
  sendRecords: library.func(
    `int64_t tachyon_bus_send_records(${bus}, void *records, size_t record_size, size_t count, uint32_t type_id, ${timeout})`,
  ),

  recv: library.func(`int tachyon_bus_recv(${bus}, void *message, ${timeout})`),
  recvCopy: library.func(
    `int64_t tachyon_bus_recv_copy(${bus}, void *buffer, size_t capacity, void *type_id, ${timeout})`,
  ),
  release: library.func(`int tachyon_bus_release(${bus}, uint64_t lease)`),
  putBack: library.func(`int tachyon_bus_put_back(${bus}, void *message)`),
  recvRecords: library.func(
    `int64_t tachyon_bus_recv_records(${bus}, void *records, size_t record_size, size_t max, void *type_id, ${timeout})`,
  ),

  arraySize: library.func('uint64_t tachyon_array_size(void *array)'),
  arrayWrite: library.func('int tachyon_array_write(void *array, void *message, uint64_t size, void *datap)'),
  arrayRead: library.func('int tachyon_array_read(void *array, void *message, uint64_t size)'),

  waitData: library.func(`int tachyon_bus_wait_data(${bus}, ${timeout})`),
  waitSpace: library.func(`int tachyon_bus_wait_space(${bus}, size_t size, ${timeout})`),
  arm: library.func(`int tachyon_bus_arm(${bus})`),
  armSpace: library.func(`int tachyon_bus_arm_space(${bus}, size_t size)`),
  disarmSpace: library.func(`int tachyon_bus_disarm_space(${bus})`),
  fds: library.func(`int tachyon_bus_fds(${bus}, void *data, void *room, void *death)`),

  rpcCreate: library.func(`int tachyon_rpc_create(void *rpcp, ${bus})`),
  rpcFree: library.func(`void tachyon_rpc_free(${rpc})`),
  rpcSubmit: library.func(`int tachyon_rpc_submit(${rpc}, ${payload}, void *idp, ${timeout})`),
  rpcWait: library.func(`int tachyon_rpc_wait(${rpc}, uint64_t id, void *message, ${timeout})`),
  rpcPoll: library.func(`int tachyon_rpc_poll(${rpc}, void *message, ${timeout})`),
  rpcWaitRoom: library.func(`int tachyon_rpc_wait_room(${rpc}, size_t size, ${timeout})`),
  rpcStats: library.func(`int tachyon_rpc_stats(${rpc}, void *counters)`),
  rpcForget: library.func(`int tachyon_rpc_forget(${rpc}, uint64_t id)`),
  rpcRelease: library.func(`int tachyon_rpc_release(${rpc}, void *message)`),
  rpcServe: library.func(`int tachyon_rpc_serve(${rpc}, void *message, ${timeout})`),
  rpcReply: library.func(`int tachyon_rpc_reply(${rpc}, uint64_t id, ${payload}, ${timeout})`),
  rpcFail: library.func(
    `int tachyon_rpc_fail(${rpc}, uint64_t id, uint32_t code, void *text, size_t size, ${timeout})`,
  ),

  memcpy: koffi.load(null).func('void memcpy(void *target, void *source, size_t size)'),
};

/** Memory of C's, that does not move: its address, and a view of it. Lives as long as the process. */
export function allocate(size) {
  const address = koffi.alloc('uint64_t', Math.ceil(size / 8));
  return { address, bytes: view(address, size) };
}

/** The memory at an address, not copied: whoever calls this sees to it that it is not outlived. */
export function view(address, size) {
  return size === 0 ? new ArrayBuffer(0) : koffi.view(address, size);
}

/** Where a Buffer's bytes are, for as long as it lives and is not transferred to another thread. */
export const addressOf = koffi.address;

export const poll = koffi.node.poll;
