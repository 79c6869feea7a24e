// SPDX-License-Identifier: MIT

import { checkSize } from './handle.js';
import { addressOf } from './native.js';

const SIZE = 88;
const KINDS = { stream: 1, rpc: 2 };
const FLAGS = { prefault: 1, mlock: 2, hugePages: 4, trusted: 8 };
const NAMES = new Set([
  'capacity', 'replyCapacity', 'maxCapacity', 'spin', 'prefault', 'mlock', 'hugePages', 'trusted', 'numaNode',
  'socketMode', 'allowedUids', 'handshakeTimeout', 'maxPending', 'timeout', 'signal',
]); // prettier-ignore

/** struct tachyon_options, which the library copies. */
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
  if (options.spin !== undefined) {
    if (!(typeof options.spin === 'number' && options.spin >= 0 && options.spin <= 1e6)) {
      throw new RangeError(`spin is milliseconds, 0 (not at all) to 1e6, and not ${options.spin}`);
    }
    view.setBigInt64(32, options.spin > 0 ? BigInt(Math.max(1, Math.round(options.spin * 1e6))) : -1n, true);
  }
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
  const struct = new Uint8Array(view.buffer);
  if (options.allowedUids !== undefined) {
    const uids = [...options.allowedUids];
    if (uids.length === 0) throw new RangeError('allowedUids names nobody: leave it out for our own user');
    uids.forEach((uid) => checkSize('a user id', uid));
    struct.uids = Uint32Array.from(uids); // lives as long
    view.setBigUint64(56, addressOf(struct.uids), true);
    view.setBigUint64(64, BigInt(struct.uids.length), true);
  }
  u64(72, 'handshakeTimeout', 1e6);
  u64(80, 'maxPending');
  return struct;
}
