// SPDX-License-Identifier: MIT

import { describe, read, write } from './array.js';
import { BaseListener, connect, connectSync } from './connect.js';
import { EBADMSG, EMSGSIZE, check, errorOf } from './errors.js';
import { Handle, bytesOf, checkSize, checkTypeId } from './handle.js';
import { Lease, Records } from './lease.js';
import { Stream, limitOf } from './stream.js';
import { allocate, native } from './native.js';
import { FOREVER } from './wait.js';
import { RingSlot, RingView } from './view.js';
import { out, outWords } from './words.js';

const typeId = allocate(8);
const typeIdView = new Uint32Array(typeId.bytes);
const facts = allocate(128);
const factWords = new BigUint64Array(facts.bytes);
const factInts = new Int32Array(facts.bytes);
const SECRET = Symbol('made by listen, connect and accept');

/** One end of a connection. */
export class Bus {
  #handle;

  constructor(secret, bus) {
    if (secret !== SECRET) throw new TypeError('use Bus.listen(), Bus.connect() or Listener.accept()');
    this.#handle = Handle.of(this, bus);
  }

  static async listen(path, options) {
    const listener = new Listener(path, options);
    try {
      return await listener.accept(options);
    } finally {
      listener.close();
    }
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
    const handle = this.#handle;
    const bytes = bytesOf(data);
    await handle.transmit(() => handle.trySend(bytes, type), bytes.length, limitOf(options));
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
    handle.transmitSync(() => handle.trySend(bytes, type), bytes.length, limitOf(options));
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
    if (!handle.done(native.reserve(handle.bus, out, size, 0), 'send')) return false;
    const slot = (handle.slot = new RingSlot(outWords[0], size)); // close() would end it
    let used = size;
    try {
      const given = fill(slot);
      if (given !== undefined) used = given;
      if (!(Number.isInteger(used) && used >= 0 && used <= size)) {
        throw new TypeError(`fill() gives the bytes used, 0 to ${size}, or nothing, at once`);
      }
    } catch (error) {
      RingView.end(slot);
      if (!handle.closed) native.cancel(handle.bus);
      throw error;
    }
    RingView.end(slot);
    handle.check();
    check(native.commit(handle.bus, used, type), 'send');
    return true;
  }

  /** Sends packed records, each a message of recordSize bytes; gives their number. */
  async sendRecords(data, recordSize, type = 0, options) {
    const sending = this.#records(data, recordSize, type);
    await this.#handle.transmit(sending.attempt, recordSize, limitOf(options));
    return sending.count;
  }

  sendRecordsSync(data, recordSize, type = 0, options) {
    const { attempt, count } = this.#records(data, recordSize, type);
    this.#handle.transmitSync(attempt, recordSize, limitOf(options));
    return count;
  }

  #records(data, recordSize, type) {
    const bytes = bytesOf(data);
    checkSize('recordSize', recordSize, 1);
    checkTypeId(type);
    const count = bytes.length / recordSize;
    if (!Number.isInteger(count)) {
      throw new RangeError(`${bytes.length} bytes are not a number of records of ${recordSize} bytes`);
    }
    const handle = this.#handle;
    let sent = 0;
    const attempt = () => {
      handle.check();
      while (sent < count) {
        const rest = bytes.subarray(sent * recordSize);
        const result = native.sendRecords(handle.bus, rest, recordSize, count - sent, type, 0);
        if (!handle.done(result, `send records, of which ${sent} are sent`)) return false;
        sent += result;
      }
      return true;
    };
    return { attempt, count };
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
    if (!handle.done(native.reserve(handle.bus, out, size, 0), 'send')) return false;
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
    return this.#recv(limitOf(options));
  }

  #recv(limit) {
    const handle = this.#handle;
    return handle.receive(() => handle.tryRecv(), limit);
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
    const handle = this.#handle;
    return handle.receiveSync(() => handle.tryRecv(), limitOf(options));
  }

  /** Messages until the peer closes. */
  messages(options) {
    const limit = limitOf(options);
    return new Stream(() => this.#recv(limit));
  }

  [Symbol.asyncIterator]() {
    return new Stream(() => this.#recv(FOREVER));
  }

  #lease() {
    return () => {
      const found = this.#handle.tryRecvLease();
      return found && new Lease(this.#handle, found);
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
      return new Records(handle, found, recordSize);
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
    return () => {
      const handle = this.#handle;
      const found = handle.tryRecvLease();
      if (found === null) return null;
      let array;
      try {
        array = read(found.data, found.size);
      } catch (error) {
        // Another's to receive: it is the next one again. The words of the message were overwritten.
        outWords[0] = found.data;
        outWords[1] = BigInt(found.size);
        outWords[2] = found.lease;
        check(native.putBack(handle.bus, out), 'put back');
        throw error;
      }
      check(native.release(handle.bus, found.lease), 'release');
      return array;
    };
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
    return {
      sendCapacity: Number(factWords[1]),
      recvCapacity: Number(factWords[2]),
      maxSendSize: Number(factWords[3]),
      maxRecvSize: Number(factWords[4]),
      peerPid: factInts[12],
      peerUid: factInts[13] >>> 0,
    };
  }

  /** Counters. */
  stats() {
    this.#handle.check();
    factWords[0] = 88n;
    check(native.stats(this.#handle.bus, facts.address), 'stats');
    const [, sentMessages, sentBytes, receivedMessages, receivedBytes, , , leases] = Array.from(factWords, Number);
    return { sentMessages, sentBytes, receivedMessages, receivedBytes, leases };
  }

  get closed() {
    return this.#handle.closed;
  }

  /** Ends the bus: the peer gets what was sent, then the end. Waits of this side fail. */
  close() {
    this.#handle.close();
  }

  [Symbol.dispose ?? Symbol.for('nodejs.dispose')]() {
    this.close();
  }
}

/** Accepts connections on a path. */
export class Listener extends BaseListener {
  constructor(path, options) {
    super('stream', path, options);
  }

  async accept(options) {
    return new Bus(SECRET, await this.acceptBus(options));
  }

  acceptSync(options) {
    return new Bus(SECRET, this.acceptBusSync(options));
  }

  /** Buses, until the listener is closed. */
  [Symbol.asyncIterator]() {
    return new Stream(() => this.accept());
  }
}

