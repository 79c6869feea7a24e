// SPDX-License-Identifier: MIT
// Arrays that describe themselves: from and to typed arrays.

import { EBADMSG, TachyonError, check } from './errors.js';
import { allocate, native, view } from './native.js';
import { out, outWords } from './words.js';

const SIZE = 552;
const NDIM = 64;
const TYPES = new Map([
  ['<f4', Float32Array], ['<f8', Float64Array], ['|i1', Int8Array], ['|u1', Uint8Array], ['|b1', Uint8Array],
  ['<i2', Int16Array], ['<u2', Uint16Array], ['<i4', Int32Array], ['<u4', Uint32Array],
  ['<i8', BigInt64Array], ['<u8', BigUint64Array],
]); // prettier-ignore

const header = allocate(SIZE);
const words = new BigUint64Array(header.bytes);
const halves = new Uint32Array(header.bytes);
const dtypes = new Map(); // dtype: its address, NUL-terminated

function dtypeOf(array) {
  for (const [dtype, type] of TYPES) if (array instanceof type) return dtype;
  if (array instanceof Uint8ClampedArray) return '|u1';
  throw new TypeError('an array is a typed array');
}

function dtypeAddress(dtype) {
  if (!dtypes.has(dtype)) {
    const { address, bytes } = allocate(8);
    Buffer.from(bytes).write(`${dtype}\0`, 'latin1');
    dtypes.set(dtype, address);
  }
  return dtypes.get(dtype);
}

/** Describes the array for write(): gives the bytes of the message. */
export function describe(array, shape = [array.length]) {
  const dtype = dtypeOf(array);
  if (!Array.isArray(shape) || shape.length > NDIM || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new RangeError(`a shape is at most ${NDIM} whole numbers, and not ${shape}`);
  }
  if (shape.reduce((product, n) => product * n, 1) !== array.length) {
    throw new RangeError(`${array.length} elements do not have the shape ${shape.join(' x ')}`);
  }
  words[2] = BigInt(array.BYTES_PER_ELEMENT);
  words[3] = dtypeAddress(dtype);
  halves[8] = 0;
  halves[9] = shape.length;
  shape.forEach((n, i) => (words[5 + i] = BigInt(n)));
  const size = Number(native.arraySize(header.address));
  if (size === 0) throw new RangeError(`there can be no array of the shape ${shape.join(' x ')}`);
  return size;
}

/** Writes the array that was described into size bytes at an address. */
export function write(array, shape, address, size) {
  describe(array, shape); // others may have come in between
  check(native.arrayWrite(header.address, address, size, out), 'write an array');
  if (array.byteLength > 0) native.memcpy(outWords[0], array, array.byteLength);
}

/** The array in a message, copied: address is where it lies, or a Buffer with it. */
export function read(address, size) {
  const result = native.arrayRead(header.address, address, size);
  if (result === EBADMSG) throw new TachyonError('this message is not an array', 'EBADMSG', -EBADMSG);
  check(result, 'read an array');
  const dtype = Buffer.from(view(words[3], Math.min(halves[8], 256))).toString('latin1');
  const type = TYPES.get(dtype);
  if (!type || words[2] !== BigInt(type.BYTES_PER_ELEMENT)) {
    throw new TachyonError(`there is no typed array for elements of dtype ${dtype}`, 'EBADMSG', -EBADMSG);
  }
  const bytes = Number(words[1]);
  const data = new type(bytes / type.BYTES_PER_ELEMENT);
  const shape = Array.from(words.subarray(5, 5 + halves[9]), Number);
  if (bytes > 0) native.memcpy(data, words[0], bytes);
  return { data, shape, dtype };
}
