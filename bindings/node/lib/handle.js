// SPDX-License-Identifier: MIT
// One end of a connection, as the library knows it: what the public classes share.

import { cpus } from 'node:os';

import { EAGAIN, ECANCELED, EINTR, EMSGSIZE, ClosedError, TachyonError, check, errorOf } from './errors.js';
import { Message } from './message.js';
import { addressOf, allocate, native } from './native.js';
import { Turn, Watcher, breath, breathes } from './wait.js';
import { endView } from './view.js';
import { out, outInts, outUints, outWords } from './words.js';

const SMALL = 64; // bytes up to which a typed array may lie where C cannot see it: copied, that is quicker
const LARGEST = 4096; // a larger message gets memory of its own
const POOL = 16384;
// Milliseconds. Not availableParallelism(), which is 1 where each end is pinned to a core of its own.
const SPIN = cpus().length > 1 ? 0.02 : 0;
const SHORT = 0.2; // milliseconds: after a sleep that was shorter, looking would have been quicker
const SLICE = 100e6; // nanoseconds for which a call blocks, at most: a worker can be terminated between
export const NO_DATA = Buffer.alloc(0);

const memory = allocate(SMALL);
const scratch = memory.address;
const scratchBytes = Buffer.from(memory.bytes, 0, SMALL);
const typeId = allocate(4);
const typeIdView = new Uint32Array(typeId.bytes);

// Messages are received into one piece of memory after the other, as Node's own small Buffers are.
let pool, poolAddress, pooled;

function freshPool() {
  pool = Buffer.allocUnsafeSlow(POOL);
  poolAddress = addressOf(pool);
  pooled = 0;
}

freshPool();

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

/** What is to be closed when the process, or the worker, ends in good order. */
export const open = new Set();
process.on('exit', () => {
  for (const one of open) one.close();
});

// What was dropped without close() or release().
const forgottenHandles = new FinalizationRegistry((handle) => handle.close());
const forgottenLeases = new FinalizationRegistry(({ bus, lease }) => native.release(bus, lease));

export class Handle {
  receiving = new Turn();
  sending = new Turn();
  slot = null; // what is being written in the ring
  closed = false;
  #watchers = null;
  #sleeps = new Set();
  #learns;
  #spin;
  #mostSpin;

  constructor(owner, bus, rpc, spin) {
    this.bus = bus;
    this.rpc = rpc;
    this.#learns = spin === undefined;
    this.#spin = this.#mostSpin = spin ?? SPIN;
    open.add(this);
    forgottenHandles.register(owner, this, this);
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    open.delete(this);
    forgottenHandles.unregister(this);
    if (this.slot) endView(this.slot);
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
      scratchBytes.set(bytes);
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
    // Its length is 0 where the user has transferred the memory to another thread.
    if (pool.length - pooled < LARGEST) freshPool();
    const size = native.recvCopy(this.bus, poolAddress + BigInt(pooled), LARGEST, typeId.address, 0);
    if (size >= 0) {
      const message = new Message(pool, pooled, size, typeIdView[0]);
      pooled += (size + 7) & ~7;
      return message;
    }
    if (size === EMSGSIZE) {
      return this.tryRecvBy(({ data, size, typeId }) => new Message(copied(data, size), 0, size, typeId));
    }
    this.done(size, 'receive');
    return null;
  }

  /** What copy() makes of the next message, or null; where it throws, the message is the next one again. */
  tryRecvBy(copy) {
    const found = this.tryRecvLease();
    if (found === null) return null;
    let made;
    try {
      made = copy(found);
    } catch (error) {
      outWords[0] = found.data; // where copy() may have written
      outWords[1] = BigInt(found.size);
      outWords[2] = found.lease;
      check(native.putBack(this.bus, out), 'put back');
      throw error;
    }
    check(native.release(this.bus, found.lease), 'release');
    return made;
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
   * What attempt() gives, or a promise of it where it gives null at first. One caller at a time.
   * attempt is to keep its owner: the collector closes what nobody else has, waited on or not.
   */
  receive(attempt, limit) {
    return this.#now(this.receiving, attempt) ?? this.#received(attempt, limit);
  }

  /** As receive(); size is what attempt() wants room for. */
  transmit(attempt, size, limit) {
    return this.#now(this.sending, attempt) ?? this.#transmitted(attempt, size, limit);
  }

  #now(turn, attempt) {
    if (breathes() || !turn.take()) return null;
    try {
      return attempt();
    } finally {
      turn.give();
    }
  }

  /**
   * Looks for a while before it sleeps, and learns for how long from the sleeps: round trips are
   * over before a sleep has begun, and where nothing comes, looking keeps the event loop from
   * its other work.
   */
  async #received(attempt, limit) {
    if (!this.receiving.take()) await this.receiving.wait(limit);
    try {
      if (breathes()) await breath();
      for (;;) {
        const until = performance.now() + this.#spin;
        do {
          const got = attempt();
          if (got !== null) return got;
          // Lets other promises go on: one may have the reply that the peer waits for.
          await (breathes() ? breath() : null);
        } while (performance.now() < until);
        const begin = performance.now();
        await this.waitData(limit);
        if (this.#learns) this.#spin = performance.now() - begin < SHORT ? this.#mostSpin : this.#spin / 2;
      }
    } finally {
      this.receiving.give();
    }
  }

  async #transmitted(attempt, size, limit) {
    if (!this.sending.take()) await this.sending.wait(limit);
    try {
      if (breathes()) await breath();
      for (;;) {
        const got = attempt();
        if (got !== null) return got;
        await this.waitSpace(size, limit);
      }
    } finally {
      this.sending.give();
    }
  }

  /** The blocking twins, for worker threads and scripts. */
  receiveSync(attempt, limit) {
    return this.#block(this.receiving, 'receive', attempt, limit, () => {
      native.waitData(this.bus, limit.nanoseconds(SLICE));
    });
  }

  transmitSync(attempt, size, limit) {
    return this.#block(this.sending, 'send', attempt, limit, () => {
      // A caller takes replies in meanwhile: its server may wait for room itself.
      if (this.rpc !== null) native.rpcWaitRoom(this.rpc, size, limit.nanoseconds(SLICE));
      else native.waitSpace(this.bus, size, limit.nanoseconds(SLICE));
    });
  }

  #block(turn, what, attempt, limit, wait) {
    if (!turn.take()) throw new TachyonError(`another ${what} waits on this bus`, 'EBUSY', 16);
    try {
      for (;;) {
        const got = attempt();
        if (got !== null) return got;
        limit.check();
        wait();
      }
    } finally {
      turn.give();
    }
  }
}
