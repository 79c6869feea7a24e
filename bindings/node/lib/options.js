// SPDX-License-Identifier: MIT

import { checkSize } from './handle.js';
import { allocate } from './native.js';

const SIZE = 88;
const KINDS = { stream: 1, rpc: 2 };
const FLAGS = { prefault: 1, mlock: 2, hugePages: 4, trusted: 8 };
const NAMES = new Set([
  'capacity', 'replyCapacity', 'maxCapacity', 'prefault', 'mlock', 'hugePages', 'trusted', 'numaNode',
  'socketMode', 'allowedUids', 'handshakeTimeout', 'maxPending', 'timeout', 'signal',
]); // prettier-ignore

/** struct tachyon_options: copied by the library, and kept here until then by `keep`. */
export function optionsFor(kind, options = {}) {
  for (const name of Object.keys(options)) {
    if (!NAMES.has(name)) throw new TypeError(`there is no option ${name}: ${[...NAMES].join(', ')}`);
  }
  const view = new DataView(new ArrayBuffer(SIZE));
  const u64 = (offset, name, scale = 1) => {
    if (options[name] === undefined) return;
    checkSize(name, options[name], 1);
    view.setBigUint64(offset, BigInt(options[name] * scale), true);
  };
  view.setBigUint64(0, BigInt(SIZE), true);
  u64(8, 'capacity');
  u64(16, 'replyCapacity');
  u64(24, 'maxCapacity');
  let flags = 0;
  for (const [name, flag] of Object.entries(FLAGS)) if (options[name]) flags |= flag;
  view.setUint32(40, flags, true);
  view.setUint32(44, KINDS[kind], true);
  if (options.numaNode !== undefined) {
    checkSize('numaNode', options.numaNode);
    view.setInt32(48, options.numaNode + 1, true);
  }
  if (options.socketMode !== undefined) {
    checkSize('socketMode', options.socketMode, 1);
    view.setUint32(52, options.socketMode, true);
  }
  if (options.allowedUids !== undefined) {
    const uids = Uint32Array.from(options.allowedUids);
    const copy = allocate(Math.max(uids.byteLength, 8)); // some bytes, for as long as the process lives
    new Uint32Array(copy.bytes).set(uids);
    view.setBigUint64(56, copy.address, true);
    view.setBigUint64(64, BigInt(uids.length), true);
  }
  u64(72, 'handshakeTimeout', 1e6);
  u64(80, 'maxPending');
  return new Uint8Array(view.buffer);
}
