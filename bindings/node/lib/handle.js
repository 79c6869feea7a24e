// SPDX-License-Identifier: MIT
// One end of a connection, as the library knows it: what the public classes share.

import { EAGAIN, ECANCELED, EINTR, EMSGSIZE, ClosedError, TachyonError, check, errorOf } from './errors.js';
import { Message } from './message.js';
import { allocate, native } from './native.js';
import { RingView } from './view.js';
import { Turn, Watcher, breath } from './wait.js';
import { out, outInts, outUints, outWords } from './words.js';

const SCRATCH = 4096; // messages up to this are copied once more, in JavaScript: that is quicker
const SMALL = 64; // bytes that a loop copies quicker than a call
const POOL = 8192;
const MOST_LOOKS = 200; // some 20 us
const SHORT = 0.2; // milliseconds: after a sleep that was shorter, looking would have been quicker
const SLICE = 100e6; // nanoseconds for which a call blocks, at most: a worker can be terminated between
export const NO_DATA = Buffer.alloc(0);

const memory = allocate(SCRATCH + 64);
const scratch = memory.address;
const scratchBytes = Buffer.from(memory.bytes, 0, SCRATCH);
// Small messages share one piece of memory after the other, as Node's own small Buffers do.
let pool = Buffer.allocUnsafeSlow(POOL);
let pooled = 0;
const typeId = allocate(4);
const typeIdView = new Uint32Array(typeId.bytes);

/** Bytes of a payload: a string becomes UTF-8. */
export function bytesOf(data) {
  if (data instanceof Uint8Array) return data;
  if (typeof data === 'string') return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  throw new TypeError(`a payload is a string, an ArrayBuffer or a view of one, and not ${typeof data}`);
}

export function checkTypeId(value) {
  if (!(Number.isInteger(value) && value >= 0 && value <= 0xffffffff)) {
    throw new RangeError(`a typeId is a whole number from 0 to 2**32 - 1, and not ${value}`);
  }
}

export function checkSize(name, value, least = 0) {
  if (!(Number.isSafeInteger(value) && value >= least)) {
    throw new RangeError(`${name} is a whole number, ${least} or more, and not ${value}`);
  }
}

/** What the library fills in for a message: read off the words it was written to. */
function message() {
  return { data: outWords[0], size: Number(outWords[1]), lease: outWords[2], typeId: outUints[8] };
}

export function copied(address, size) {
  if (size === 0) return NO_DATA;
  const data = Buffer.allocUnsafe(size);
  native.memcpy(data, address, size);
  return data;
}

const open = new Set(); // handles to be closed when the process ends in good order
process.on('exit', () => {
  for (const handle of open) handle.close();
});

// What was dropped without close() or release().
const forgottenHandles = new FinalizationRegistry((handle) => handle.close());
const forgottenLeases = new FinalizationRegistry(({ bus, lease }) => native.release(bus, lease));

export class Handle {
  receiving = new Turn();
  sending = new Turn();
  slot = null; // what is being written in the ring
  #watchers = null;
  #sleeps = new Set();
  #looks = MOST_LOOKS;

  constructor(bus, rpc = null) {
    this.bus = bus;
    this.rpc = rpc;
    this.closed = false;
    open.add(this);
  }

  static of(owner, bus, rpc = null) {
    const handle = new Handle(bus, rpc);
    forgottenHandles.register(owner, handle, handle);
    return handle;
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    open.delete(this);
    forgottenHandles.unregister(this);
    if (this.slot) RingView.end(this.slot);
    for (const watcher of this.#watchers ?? []) watcher?.close();
    if (this.rpc !== null) native.rpcFree(this.rpc);
    else native.free(this.bus);
    for (const fail of [...this.#sleeps]) fail(this.closedError());
  }

  closedError() {
    return new ClosedError('this bus was closed', 'ECANCELED', -ECANCELED);
  }

  check() {
    if (this.closed) throw this.closedError();
  }

  /** Send bytes now: true, or false where there is no room. */
  trySend(bytes, type) {
    if (this.closed) throw this.closedError();
    if (!(type >>> 0 === type)) checkTypeId(type);
    const size = bytes.length;
    let result;
    if (size <= SMALL) {
      for (let i = 0; i < size; i++) scratchBytes[i] = bytes[i];
      result = native.trySend(this.bus, scratch, size, type);
    } else {
      result = native.send(this.bus, bytes, size, type, 0);
    }
    return result === 0 || this.done(result, 'send');
  }

  /** A result of a call that did not wait: true, or false where it would have to. */
  done(result, doing) {
    if (result >= 0) return true;
    if (result === EAGAIN || result === EINTR) return false;
    throw errorOf(result, doing);
  }

  /** The next message, copied, or null. */
  tryRecv() {
    if (this.closed) throw this.closedError();
    const size = native.recvCopy(this.bus, scratch, SCRATCH, typeId.address, 0);
    if (size > SMALL) {
      const data = Buffer.allocUnsafe(size);
      scratchBytes.copy(data, 0, 0, size);
      return new Message(data, 0, size, typeIdView[0]);
    }
    if (size >= 0) {
      if (pooled + size >= pool.length) {
        pool = Buffer.allocUnsafeSlow(POOL);
        pooled = 0;
      }
      for (let i = 0; i < size; i++) pool[pooled + i] = scratchBytes[i];
      const message = new Message(pool, pooled, size, typeIdView[0]);
      pooled += (size + 7) & ~7;
      return message;
    }
    if (size === EAGAIN) return null;
    if (size === EMSGSIZE) {
      check(native.recv(this.bus, out, 0), 'receive');
      const { data, size: large, lease, typeId: type } = message();
      const copy = copied(data, large);
      check(native.release(this.bus, lease), 'release');
      return new Message(copy, 0, large, type);
    }
    this.done(size, 'receive');
    return null;
  }

  /** The next message where it lies, as message() has it; or null. */
  tryRecvLease() {
    this.check();
    return this.done(native.recv(this.bus, out, 0), 'receive') ? message() : null;
  }

  /** Give a lease back when the owner has been collected, unless that is given up before. */
  watchLease(owner, lease) {
    forgottenLeases.register(owner, { bus: this.bus, lease }, owner);
  }

  release(owner, lease) {
    forgottenLeases.unregister(owner);
    check(native.release(this.bus, lease), 'release');
  }

  #watch() {
    if (!this.#watchers) {
      check(native.fds(this.bus, out, out + 4n, out + 8n), 'wait');
      const [data, room, death] = outInts;
      this.#watchers = [new Watcher(data), new Watcher(room), death < 0 ? null : new Watcher(death)];
    }
    return this.#watchers;
  }

  #sleep(which, limit) {
    const watchers = this.#watch();
    const watched = [watchers[which], watchers[2]].filter(Boolean);
    return limit.wait((resolve, reject) => {
      this.#sleeps.add(reject);
      for (const watcher of watched) watcher.add(resolve);
      return () => {
        this.#sleeps.delete(reject);
        for (const watcher of watched) watcher.delete(resolve);
      };
    });
  }

  /** Until receiving is worth another try: there is something, or news that it will tell. */
  async waitData(limit) {
    this.check();
    if (native.arm(this.bus) === 0) await this.#sleep(0, limit);
    else limit.check();
  }

  async waitSpace(size, limit) {
    this.check();
    if (native.armSpace(this.bus, size) !== 0) return limit.check();
    try {
      await this.#sleep(1, limit);
    } finally {
      if (!this.closed) native.disarmSpace(this.bus);
    }
  }

  /**
   * attempt() until it gives something, one caller at a time. It looks some times before it
   * sleeps, and learns from how long the sleeps are: round trips are over before a sleep has
   * begun, and where nothing comes, looking keeps the event loop from its other work.
   */
  async receive(attempt, limit) {
    if (!this.receiving.take()) await this.receiving.wait(limit);
    try {
      const pause = breath();
      if (pause) await pause;
      for (;;) {
        for (let looks = this.#looks; looks >= 0; looks--) {
          const got = attempt();
          if (got !== null) return got;
        }
        const begin = performance.now();
        await this.waitData(limit);
        this.#looks = performance.now() - begin < SHORT ? MOST_LOOKS : this.#looks >> 1;
      }
    } finally {
      this.receiving.give();
    }
  }

  /** attempt() until it gives true, one caller at a time; size is what it wants room for. */
  async transmit(attempt, size, limit) {
    if (!this.sending.take()) await this.sending.wait(limit);
    try {
      const pause = breath();
      if (pause) await pause;
      while (!attempt()) await this.waitSpace(size, limit);
    } finally {
      this.sending.give();
    }
  }

  /** The blocking twins, for worker threads and scripts. */
  receiveSync(attempt, limit) {
    if (!this.receiving.take()) throw new TachyonError('another receive waits on this bus', 'EBUSY', 16);
    try {
      for (;;) {
        const got = attempt();
        if (got !== null) return got;
        limit.check();
        native.waitData(this.bus, limit.nanoseconds(SLICE));
      }
    } finally {
      this.receiving.give();
    }
  }

  transmitSync(attempt, size, limit) {
    if (!this.sending.take()) throw new TachyonError('another send waits on this bus', 'EBUSY', 16);
    try {
      while (!attempt()) {
        limit.check();
        native.waitSpace(this.bus, size, limit.nanoseconds(SLICE));
      }
    } finally {
      this.sending.give();
    }
  }
}
