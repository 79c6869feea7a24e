// SPDX-License-Identifier: MIT
// Memory that a call fills in and the next one may overwrite: JavaScript has one thread here.

import { allocate } from './native.js';

const words = allocate(64);
/** Its address, and what is there as words of each kind. */
export const out = words.address;
export const outWords = new BigUint64Array(words.bytes);
export const outInts = new Int32Array(words.bytes);
export const outUints = new Uint32Array(words.bytes);
