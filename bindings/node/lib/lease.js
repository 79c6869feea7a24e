// SPDX-License-Identifier: MIT

import { ReleasedError } from './errors.js';
import { view } from './native.js';
import { checkSecret } from './secret.js';
import { RingView, endView } from './view.js';

/** A message that lies in the ring, until release(). */
export class Lease extends RingView {
  #handle;
  #lease;

  constructor(secret, handle, { data, size, lease, typeId }) {
    super(secret, data, size);
    this.typeId = typeId;
    this.#handle = handle;
    this.#lease = lease;
    handle.watchLease(this, lease);
  }

  /** Gives the place in the ring back. What is read of this afterwards is an error; again: nothing. */
  release() {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    endView(this);
    handle.release(this, this.#lease);
  }

  [Symbol.dispose]() {
    this.release();
  }
}

/** A run of messages of one size in the ring, until release(). */
export class Records {
  #handle;
  #lease;
  #view;
  #stride;
  #recordSize;
  #count;

  constructor(secret, handle, { data, count, stride, lease }, recordSize) {
    checkSecret(secret, 'records come from recvRecords()');
    this.#handle = handle;
    this.#lease = lease;
    this.#view = new DataView(view(data, (count - 1) * stride + recordSize));
    this.#stride = stride;
    this.#recordSize = recordSize;
    this.#count = count;
    handle.watchLease(this, lease);
  }

  get length() {
    return this.#count;
  }

  #at(index, offset, size) {
    if (this.#view === null) throw new ReleasedError('these records were released');
    // One comparison each, which also fails for what is not a number.
    if (!(index >= 0 && index < this.#count && offset >= 0 && offset + size <= this.#recordSize)) {
      throw new RangeError(
        `there is no byte ${offset} of record ${index}: ${this.#count} records of ${this.#recordSize} bytes`,
      );
    }
    return index * this.#stride + offset;
  }

  getUint8(index, offset) {
    const at = this.#at(index, offset, 1);
    return this.#view.getUint8(at);
  }
  getInt8(index, offset) {
    const at = this.#at(index, offset, 1);
    return this.#view.getInt8(at);
  }
  getUint16(index, offset) {
    const at = this.#at(index, offset, 2);
    return this.#view.getUint16(at, true);
  }
  getInt16(index, offset) {
    const at = this.#at(index, offset, 2);
    return this.#view.getInt16(at, true);
  }
  getUint32(index, offset) {
    const at = this.#at(index, offset, 4);
    return this.#view.getUint32(at, true);
  }
  getInt32(index, offset) {
    const at = this.#at(index, offset, 4);
    return this.#view.getInt32(at, true);
  }
  getBigUint64(index, offset) {
    const at = this.#at(index, offset, 8);
    return this.#view.getBigUint64(at, true);
  }
  getBigInt64(index, offset) {
    const at = this.#at(index, offset, 8);
    return this.#view.getBigInt64(at, true);
  }
  getFloat32(index, offset) {
    const at = this.#at(index, offset, 4);
    return this.#view.getFloat32(at, true);
  }
  getFloat64(index, offset) {
    const at = this.#at(index, offset, 8);
    return this.#view.getFloat64(at, true);
  }

  /** A copy of all, packed. */
  toBuffer() {
    this.#at(0, 0, this.#recordSize);
    const copy = Buffer.allocUnsafe(this.#count * this.#recordSize);
    const source = new Uint8Array(this.#view.buffer);
    for (let i = 0; i < this.#count; i++) {
      const start = i * this.#stride;
      copy.set(source.subarray(start, start + this.#recordSize), i * this.#recordSize);
    }
    return copy;
  }

  release() {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = this.#view = null;
    handle.release(this, this.#lease);
  }

  [Symbol.dispose]() {
    this.release();
  }
}
