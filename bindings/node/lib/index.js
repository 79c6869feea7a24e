// SPDX-License-Identifier: MIT

export { Bus, Listener } from './bus.js';
export {
  ClosedError,
  LeasesError,
  MessageSizeError,
  PeerDeadError,
  ProtocolError,
  ReleasedError,
  RpcCode,
  RpcError,
  TachyonError,
  TimeoutError,
} from './errors.js';
export { Lease, Records } from './lease.js';
export { Message } from './message.js';
export { Caller, Request, Server, ServerListener } from './rpc.js';
export { RingSlot, RingView } from './view.js';
import { native } from './native.js';

/** The library's version. */
export const version = native.version();
