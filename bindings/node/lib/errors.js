// SPDX-License-Identifier: MIT

import { constants } from 'node:os';

import { native } from './native.js';

/** What the library reports. `code` is a name as Node's errors have it, `errno` its number. */
export class TachyonError extends Error {
  constructor(message, code = '', errno = 0) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.errno = errno;
  }
}

/** The bus was closed in good order, by the peer or by this side. */
export class ClosedError extends TachyonError {}
/** The peer's process died without closing. */
export class PeerDeadError extends TachyonError {}
/** The peer broke the protocol. */
export class ProtocolError extends TachyonError {}
/** The peer cannot send what it has before some leases are released. */
export class LeasesError extends TachyonError {}
/** The time was over. */
export class TimeoutError extends TachyonError {}
/** A message does not fit into the ring. */
export class MessageSizeError extends TachyonError {}
/** A lease, a slot or a view was used after its end. */
export class ReleasedError extends TachyonError {}

/** The server failed the call: `code` is its number, `message` its words. */
export class RpcError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'RpcError';
    this.code = code;
  }
}

/** Codes of failed calls that mean the same everywhere. */
export const RpcCode = Object.freeze({ UNKNOWN_TYPE: 0x7fff0001, EXCEPTION: 0x7fff0002, TOO_LARGE: 0x7fff0003 });

const mac = process.platform === 'darwin';
export const EAGAIN = mac ? -35 : -11;
export const EINTR = -4;
export const ETIMEDOUT = mac ? -60 : -110;
export const EMSGSIZE = mac ? -40 : -90;
export const EBADMSG = mac ? -94 : -74;
export const ECANCELED = mac ? -89 : -125;

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [-number, name]));
NAMES.set(mac ? -105 : -130, 'EOWNERDEAD').set(EAGAIN, 'EAGAIN');

const CLASSES = new Map([
  [-32, ClosedError],
  [ECANCELED, ClosedError],
  [mac ? -105 : -130, PeerDeadError],
  [mac ? -100 : -71, ProtocolError],
  [mac ? -55 : -105, LeasesError],
  [EAGAIN, TimeoutError],
  [ETIMEDOUT, TimeoutError],
  [EMSGSIZE, MessageSizeError],
]);

/** The error for a result below 0, straight after the call. */
export function errorOf(result, doing, detail = native.errorDetail()) {
  const words = detail || native.strerror(-result);
  const kind = CLASSES.get(result) ?? TachyonError;
  return new kind(`${doing}: ${words}`, NAMES.get(result) ?? `E${-result}`, -result);
}

export function check(result, doing) {
  if (result < 0) throw errorOf(result, doing);
  return result;
}
