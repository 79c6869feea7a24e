// SPDX-License-Identifier: MIT
// Memory in the ring, reached through methods that check that it is still ours: a typed array
// over it could be kept, and would show what comes there later.

import { ReleasedError } from './errors.js';
import { view } from './native.js';
import { checkSecret } from './secret.js';

const LITTLE = true;

let live;
/** Ends a view: for whom the memory belongs to. */
export let endView;

/** Readable bytes of a message that lies in the ring. */
export class RingView {
  #view;

  static {
    live = (ringView) => ringView.#live;
    endView = (ringView) => void (ringView.#view = null);
  }

  constructor(secret, address, size) {
    checkSecret(secret, 'what lies in the ring comes from recvLease() and sendInPlace()');
    this.#view = new DataView(view(address, size));
  }

  get #live() {
    if (this.#view === null) throw new ReleasedError('this memory was released');
    return this.#view;
  }

  get byteLength() {
    return this.#live.byteLength;
  }

  getUint8(offset) {
    return this.#live.getUint8(offset);
  }
  getInt8(offset) {
    return this.#live.getInt8(offset);
  }
  getUint16(offset) {
    return this.#live.getUint16(offset, LITTLE);
  }
  getInt16(offset) {
    return this.#live.getInt16(offset, LITTLE);
  }
  getUint32(offset) {
    return this.#live.getUint32(offset, LITTLE);
  }
  getInt32(offset) {
    return this.#live.getInt32(offset, LITTLE);
  }
  getBigUint64(offset) {
    return this.#live.getBigUint64(offset, LITTLE);
  }
  getBigInt64(offset) {
    return this.#live.getBigInt64(offset, LITTLE);
  }
  getFloat32(offset) {
    return this.#live.getFloat32(offset, LITTLE);
  }
  getFloat64(offset) {
    return this.#live.getFloat64(offset, LITTLE);
  }

  /** Copies bytes into a typed array, as many as fit from offset on; gives how many. */
  copyTo(target, offset = 0) {
    const source = this.#live;
    const into = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    const size = Math.min(into.length, source.byteLength - offset);
    if (!(Number.isInteger(offset) && size >= 0)) throw new RangeError(`there is no offset ${offset} here`);
    into.set(new Uint8Array(source.buffer, source.byteOffset + offset, size));
    return size;
  }

  toBuffer() {
    const copy = Buffer.allocUnsafe(this.byteLength);
    this.copyTo(copy);
    return copy;
  }
}

/** Bytes in the ring to be written, until the message is sent. */
export class RingSlot extends RingView {
  setUint8(offset, value) {
    live(this).setUint8(offset, value);
  }
  setInt8(offset, value) {
    live(this).setInt8(offset, value);
  }
  setUint16(offset, value) {
    live(this).setUint16(offset, value, LITTLE);
  }
  setInt16(offset, value) {
    live(this).setInt16(offset, value, LITTLE);
  }
  setUint32(offset, value) {
    live(this).setUint32(offset, value, LITTLE);
  }
  setInt32(offset, value) {
    live(this).setInt32(offset, value, LITTLE);
  }
  setBigUint64(offset, value) {
    live(this).setBigUint64(offset, value, LITTLE);
  }
  setBigInt64(offset, value) {
    live(this).setBigInt64(offset, value, LITTLE);
  }
  setFloat32(offset, value) {
    live(this).setFloat32(offset, value, LITTLE);
  }
  setFloat64(offset, value) {
    live(this).setFloat64(offset, value, LITTLE);
  }

  /** Copies a typed array in, from offset on. */
  set(source, offset = 0) {
    const target = live(this);
    const from = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(from, offset);
  }

  fill(value) {
    const target = live(this);
    new Uint8Array(target.buffer, target.byteOffset, target.byteLength).fill(value);
  }
}
