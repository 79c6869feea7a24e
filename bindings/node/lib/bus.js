// SPDX-License-Identifier: MIT

import { describe, read, write } from './array.js';
import { BaseListener, acceptOne, connect, connectSync } from './connect.js';
import { EBADMSG, EMSGSIZE, TimeoutError, check, errorOf } from './errors.js';
import { End, handleOf } from './end.js';
import { bytesOf, checkSize, checkTypeId } from './handle.js';
import { Lease, Records } from './lease.js';
import { allocate, native } from './native.js';
import { SECRET } from './secret.js';
import { Stream, limitOf } from './stream.js';
import { RingSlot, endView } from './view.js';
import { out, outWords } from './words.js';

const BATCH = 1000; // messages, where no other number is asked for
const typeId = allocate(8);
const typeIdView = new Uint32Array(typeId.bytes);
const facts = allocate(96);
const factWords = new BigUint64Array(facts.bytes);
const factInts = new Int32Array(facts.bytes);
const COUNTERS = [
  'sentMessages', 'sentBytes', 'receivedMessages', 'receivedBytes', 'sendUsed', 'recvUsed', 'leases', 'doorbells',
  'dataSleeps', 'spaceSleeps',
]; // prettier-ignore

/** One end of a connection. */
export class Bus extends End {
  #handle;
  #tryRecv = () => this.#handle.tryRecv();

  constructor(secret, connection) {
    super(secret, connection);
    this.#handle = handleOf(this);
  }

  static async listen(path, options) {
    return acceptOne(new Listener(path, options), options);
  }

  static listenSync(path, options) {
    const listener = new Listener(path, options);
    try {
      return listener.acceptSync(options);
    } finally {
      listener.close();
    }
  }

  static async connect(path, options) {
    return new Bus(SECRET, await connect('stream', path, options));
  }

  static connectSync(path, options) {
    return new Bus(SECRET, connectSync('stream', path, options));
  }

  // ---- sending

  /** Sends a copy; waits for room. */
  async send(data, type = 0, options) {
    const bytes = bytesOf(data);
    await this.#handle.transmit(() => this.#handle.trySend(bytes, type) || null, bytes.length, limitOf(options));
  }

  trySend(data, type = 0) {
    const handle = this.#handle;
    if (!handle.sending.take()) return false;
    try {
      return handle.trySend(bytesOf(data), type);
    } finally {
      handle.sending.give();
    }
  }

  sendSync(data, type = 0, options) {
    const handle = this.#handle;
    const bytes = bytesOf(data);
    handle.transmitSync(() => handle.trySend(bytes, type) || null, bytes.length, limitOf(options));
  }

  /** fill(slot) writes the message in the ring and gives the bytes used; nothing: all. */
  async sendInPlace(size, fill, type = 0, options) {
    checkSize('size', size);
    checkTypeId(type);
    await this.#handle.transmit(() => this.#tryInPlace(size, fill, type), size, limitOf(options));
  }

  sendInPlaceSync(size, fill, type = 0, options) {
    checkSize('size', size);
    checkTypeId(type);
    this.#handle.transmitSync(() => this.#tryInPlace(size, fill, type), size, limitOf(options));
  }

  #tryInPlace(size, fill, type) {
    const handle = this.#handle;
    handle.check();
    if (!handle.done(native.reserve(handle.bus, out, size, 0), 'send')) return null;
    let slot;
    let used = size;
    try {
      slot = handle.slot = new RingSlot(SECRET, outWords[0], size); // close() would end it
      const given = fill(slot);
      if (given !== undefined) used = given;
      if (!(Number.isInteger(used) && used >= 0 && used <= size)) {
        throw new TypeError(`fill() gives the bytes used, 0 to ${size}, or nothing, at once`);
      }
    } catch (error) {
      if (slot) endView(slot);
      if (!handle.closed) native.cancel(handle.bus);
      throw error;
    }
    endView(slot);
    handle.check();
    check(native.commit(handle.bus, used, type), 'send');
    return true;
  }

  /**
   * Sends packed records, each a message of recordSize bytes; gives how many: fewer than there are
   * only where the time was over.
   */
  async sendRecords(data, recordSize, type = 0, options) {
    const sending = this.#records(data, recordSize, type);
    try {
      await this.#handle.transmit(sending.attempt, recordSize, limitOf(options));
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
    return sending.sent;
  }

  sendRecordsSync(data, recordSize, type = 0, options) {
    const sending = this.#records(data, recordSize, type);
    try {
      this.#handle.transmitSync(sending.attempt, recordSize, limitOf(options));
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
    return sending.sent;
  }

  #records(data, recordSize, type) {
    const bytes = bytesOf(data);
    checkSize('recordSize', recordSize, 1);
    checkTypeId(type);
    const size = bytes.length;
    const count = size / recordSize;
    if (!Number.isInteger(count)) {
      throw new RangeError(`${size} bytes are not a number of records of ${recordSize} bytes`);
    }
    const sending = { sent: 0 };
    sending.attempt = () => {
      const handle = this.#handle;
      handle.check();
      if (bytes.length !== size) throw new TypeError('the memory of the records was resized or transferred meanwhile');
      while (sending.sent < count) {
        const rest = bytes.subarray(sending.sent * recordSize);
        const result = native.sendRecords(handle.bus, rest, recordSize, count - sending.sent, type, 0);
        if (!handle.done(result, `send records, of which ${sending.sent} are sent`)) return null;
        sending.sent += result;
      }
      return true;
    };
    return sending;
  }

  /** Sends a typed array with its shape and element type. */
  async sendArray(array, shape, type = 0, options) {
    const size = describe(array, shape);
    checkTypeId(type);
    const attempt = () => this.#tryArray(array, shape, size, type);
    await this.#handle.transmit(attempt, size, limitOf(options));
  }

  sendArraySync(array, shape, type = 0, options) {
    const size = describe(array, shape);
    checkTypeId(type);
    const attempt = () => this.#tryArray(array, shape, size, type);
    this.#handle.transmitSync(attempt, size, limitOf(options));
  }

  #tryArray(array, shape, size, type) {
    const handle = this.#handle;
    handle.check();
    if (!handle.done(native.reserve(handle.bus, out, size, 0), 'send')) return null;
    try {
      write(array, shape, outWords[0], size);
    } catch (error) {
      native.cancel(handle.bus);
      throw error;
    }
    check(native.commit(handle.bus, size, type), 'send');
    return true;
  }

  // ---- receiving

  /** Waits for a message and copies it. */
  async recv(options) {
    return this.#handle.receive(this.#tryRecv, limitOf(options));
  }

  /** A message, or null where there is none. */
  tryRecv() {
    const handle = this.#handle;
    if (!handle.receiving.take()) return null;
    try {
      return handle.tryRecv();
    } finally {
      handle.receiving.give();
    }
  }

  recvSync(options) {
    return this.#handle.receiveSync(this.#tryRecv, limitOf(options));
  }

  #batch({ max = BATCH } = {}) {
    checkSize('max', max, 1);
    return () => {
      const messages = [];
      let message = this.#handle.tryRecv();
      while (message !== null) {
        messages.push(message);
        if (messages.length === max) break;
        try {
          message = this.#handle.tryRecv();
        } catch {
          break; // the next call meets the error again
        }
      }
      return messages.length ? messages : null;
    };
  }

  /** Waits for a message and takes all that there are, at most max, copied. */
  async recvBatch(options) {
    return this.#handle.receive(this.#batch(options), limitOf(options));
  }

  recvBatchSync(options) {
    return this.#handle.receiveSync(this.#batch(options), limitOf(options));
  }

  /** Messages until the peer closes, or until the time that it may take in all is over. */
  messages(options) {
    const limit = limitOf(options);
    return new Stream(() => this.#handle.receive(this.#tryRecv, limit));
  }

  [Symbol.asyncIterator]() {
    return this.messages();
  }

  #lease() {
    return () => {
      const found = this.#handle.tryRecvLease();
      return found && new Lease(SECRET, this.#handle, found);
    };
  }

  /** The next message where it lies, to be released. */
  async recvLease(options) {
    return this.#handle.receive(this.#lease(), limitOf(options));
  }

  recvLeaseSync(options) {
    return this.#handle.receiveSync(this.#lease(), limitOf(options));
  }

  #run(recordSize, { max = Number.MAX_SAFE_INTEGER, typeId: wanted } = {}) {
    checkSize('recordSize', recordSize, 1);
    checkSize('max', max, 1);
    if (wanted !== undefined) checkTypeId(wanted);
    return () => {
      const handle = this.#handle;
      handle.check();
      if (wanted !== undefined) typeIdView[0] = wanted;
      const tag = wanted === undefined ? null : typeId.address;
      const result = native.recvRecords(handle.bus, out, recordSize, max, tag, 0);
      if (result === EMSGSIZE) throw errorOf(result, `the next message is not a record of ${recordSize} bytes`);
      if (result === EBADMSG) throw errorOf(result, `the next message does not have the type ${wanted}`);
      if (!handle.done(result, 'receive')) return null;
      const found = { data: outWords[0], count: result, stride: Number(outWords[2]), lease: outWords[3] };
      return new Records(SECRET, handle, found, recordSize);
    };
  }

  /** What there is of records of one size, at least one, where they lie: to be released. */
  async recvRecords(recordSize, options) {
    return this.#handle.receive(this.#run(recordSize, options), limitOf(options));
  }

  recvRecordsSync(recordSize, options) {
    return this.#handle.receiveSync(this.#run(recordSize, options), limitOf(options));
  }

  #array() {
    // What is no array is another's to receive: it stays the next message.
    return () => this.#handle.tryRecvBy(({ data, size }) => read(data, size));
  }

  /** The next message as an array, copied: a typed array, its shape and its dtype. */
  async recvArray(options) {
    return this.#handle.receive(this.#array(), limitOf(options));
  }

  recvArraySync(options) {
    return this.#handle.receiveSync(this.#array(), limitOf(options));
  }

  // ---- facts, and the end

  /** Facts that do not change. */
  properties() {
    this.#handle.check();
    factWords[0] = 88n;
    check(native.properties(this.#handle.bus, facts.address), 'properties');
    const [, sendCapacity, recvCapacity, maxSendSize, maxRecvSize, spin] = Array.from(factWords, Number);
    return {
      sendCapacity,
      recvCapacity,
      maxSendSize,
      maxRecvSize,
      spin: spin / 1e6,
      peerPid: factInts[12],
      peerUid: factInts[13] >>> 0,
      isolated: factInts[17] === 1,
      hugePages: factInts[19] === 1,
      trusted: factInts[21] === 1,
    };
  }

  /** Counters. */
  stats() {
    this.#handle.check();
    factWords[0] = 88n;
    check(native.stats(this.#handle.bus, facts.address), 'stats');
    return Object.fromEntries(COUNTERS.map((name, i) => [name, Number(factWords[i + 1])]));
  }
}

/** Accepts connections on a path. */
export class Listener extends BaseListener {
  constructor(path, options) {
    super('stream', Bus, path, options);
  }
}
