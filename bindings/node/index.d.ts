/// <reference types="node" />

/** How long a call may wait: milliseconds (0: not at all; default: for ever), and what ends it. */
export interface Waiting {
  timeout?: number;
  signal?: AbortSignal;
}

/** How long a call that blocks may do so, in milliseconds. */
export interface Blocking {
  timeout?: number;
}

/** Of a listener or a connection; what is left out has its default. Sizes are bytes. */
export interface Options extends Waiting {
  /** Of the ring from connector to listener; the listener says. Default 1 MiB. */
  capacity?: number;
  /** Of the ring from listener to connector. Default: as capacity. */
  replyCapacity?: number;
  /** The largest ring to make or to map. */
  maxCapacity?: number;
  /**
   * How long a wait looks for a message before it sleeps, in milliseconds; 0: not at all. Default:
   * learned, up to 0.02 for promises and 0.1 for calls that block. Other promises go on meanwhile, and the
   * event loop turns every millisecond.
   */
  spin?: number;
  prefault?: boolean;
  mlock?: boolean;
  hugePages?: boolean;
  /** Both ends may write in both rings. */
  trusted?: boolean;
  numaNode?: number;
  /** Permission bits of the listener's socket. Default 0o600. */
  socketMode?: number;
  /** Users whose processes may connect. Default: our own. */
  allowedUids?: Iterable<number>;
  /** How long a connection may take to introduce itself, in milliseconds. */
  handshakeTimeout?: number;
  maxPending?: number;
}

/** What can be sent; a string as UTF-8. */
export type Payload = string | ArrayBuffer | ArrayBufferView;

/** The typed array for elements of each dtype, which is called as in NumPy. */
export interface ElementTypes {
  '<f4': Float32Array;
  '<f8': Float64Array;
  '|i1': Int8Array;
  '|u1': Uint8Array;
  '|b1': Uint8Array;
  '<i2': Int16Array;
  '<u2': Uint16Array;
  '<i4': Int32Array;
  '<u4': Uint32Array;
  '<i8': BigInt64Array;
  '<u8': BigUint64Array;
}

export type ElementArray = ElementTypes[keyof ElementTypes] | Uint8ClampedArray;

/** An array in C order: the last index runs fastest. Its dtype tells what its data is. */
export type NdArray = {
  [D in keyof ElementTypes]: { data: ElementTypes[D]; shape: number[]; dtype: D };
}[keyof ElementTypes];

/** A copy of what was received. */
export class Message {
  private constructor();
  readonly data: Buffer;
  /** The sender's tag. */
  readonly typeId: number;
  /** The array that it is; throws where it is none. */
  array(): NdArray;
}

/** Bytes in the ring, little-endian. Every method throws ReleasedError after their end. */
export class RingView {
  protected constructor();
  readonly byteLength: number;
  getUint8(offset: number): number;
  getInt8(offset: number): number;
  getUint16(offset: number): number;
  getInt16(offset: number): number;
  getUint32(offset: number): number;
  getInt32(offset: number): number;
  getBigUint64(offset: number): bigint;
  getBigInt64(offset: number): bigint;
  getFloat32(offset: number): number;
  getFloat64(offset: number): number;
  /** Copies bytes from offset on, as many as fit; gives how many. */
  copyTo(target: ArrayBufferView, offset?: number): number;
  toBuffer(): Buffer;
}

/** Bytes in the ring to be written. */
export class RingSlot extends RingView {
  setUint8(offset: number, value: number): void;
  setInt8(offset: number, value: number): void;
  setUint16(offset: number, value: number): void;
  setInt16(offset: number, value: number): void;
  setUint32(offset: number, value: number): void;
  setInt32(offset: number, value: number): void;
  setBigUint64(offset: number, value: bigint): void;
  setBigInt64(offset: number, value: bigint): void;
  setFloat32(offset: number, value: number): void;
  setFloat64(offset: number, value: number): void;
  /** Copies a typed array in, from offset on. */
  set(source: ArrayBufferView, offset?: number): void;
  fill(value: number): void;
}

/** A message that lies in the ring. */
export class Lease extends RingView {
  private constructor();
  readonly typeId: number;
  /** Gives its place back; once more does nothing. */
  release(): void;
  [Symbol.dispose](): void;
}

/** Messages of one size in the ring. */
export class Records {
  private constructor();
  /** How many. */
  readonly length: number;
  getUint8(index: number, offset: number): number;
  getInt8(index: number, offset: number): number;
  getUint16(index: number, offset: number): number;
  getInt16(index: number, offset: number): number;
  getUint32(index: number, offset: number): number;
  getInt32(index: number, offset: number): number;
  getBigUint64(index: number, offset: number): bigint;
  getBigInt64(index: number, offset: number): bigint;
  getFloat32(index: number, offset: number): number;
  getFloat64(index: number, offset: number): number;
  /** A copy of all, packed. */
  toBuffer(): Buffer;
  /** Gives their place back; once more does nothing. */
  release(): void;
  [Symbol.dispose](): void;
}

/** Facts of a bus that do not change; sizes are bytes. */
export interface Properties {
  sendCapacity: number;
  recvCapacity: number;
  maxSendSize: number;
  maxRecvSize: number;
  /** The longest that a call that blocks looks before it sleeps, in milliseconds. */
  spin: number;
  /** 0 where it cannot be known. */
  peerPid: number;
  peerUid: number;
  /** The kernel refuses to let the peer write our ring, or us its. */
  isolated: boolean;
  /** Our ring lies on huge pages. */
  hugePages: boolean;
  /** Both ends asked for it. */
  trusted: boolean;
}

export interface Stats {
  sentMessages: number;
  sentBytes: number;
  receivedMessages: number;
  receivedBytes: number;
  /** Bytes of the ring that the peer has not given back yet. */
  sendUsed: number;
  /** Bytes of the ring that were received or wait, and are not released. */
  recvUsed: number;
  /** Leases and records that are not released. */
  leases: number;
  /** Times that the peer was woken. */
  doorbells: number;
  /** Times that this side slept for a message. */
  dataSleeps: number;
  /** Times that this side slept for room. */
  spaceSleeps: number;
}

export interface RpcStats {
  /** Calls made and not over. */
  outstanding: number;
  /** Those of them whose reply is here. */
  stored: number;
  /** Made, or served. */
  requests: number;
  /** Received, or given; failures among them. */
  replies: number;
  failures: number;
  /** Replies to calls that were given up. */
  dropped: number;
}

/** One end of a connection. Belongs to the thread that made it. */
export class Bus implements AsyncIterable<Message> {
  private constructor();
  /** Waits for one connection on a path. */
  static listen(path: string, options?: Options): Promise<Bus>;
  static listenSync(path: string, options?: Options): Bus;
  /** Connects to a listener, and waits for it. */
  static connect(path: string, options?: Options): Promise<Bus>;
  static connectSync(path: string, options?: Options): Bus;

  /** Sends a copy; waits for room: until then the data is to stay as it is. */
  send(data: Payload, typeId?: number, options?: Waiting): Promise<void>;
  /** False where there is no room, or another send waits. */
  trySend(data: Payload, typeId?: number): boolean;
  sendSync(data: Payload, typeId?: number, options?: Blocking): void;
  /** fill writes the message in the ring, and gives the bytes used, or nothing: all. */
  sendInPlace(size: number, fill: (slot: RingSlot) => number | void, typeId?: number, options?: Waiting): Promise<void>;
  sendInPlaceSync(size: number, fill: (slot: RingSlot) => number | void, typeId?: number, options?: Blocking): void;
  /** Each record becomes a message of recordSize bytes; gives how many: fewer only where the time was over. */
  sendRecords(data: Payload, recordSize: number, typeId?: number, options?: Waiting): Promise<number>;
  sendRecordsSync(data: Payload, recordSize: number, typeId?: number, options?: Blocking): number;
  sendArray(array: ElementArray, shape?: number[], typeId?: number, options?: Waiting): Promise<void>;
  sendArraySync(array: ElementArray, shape?: number[], typeId?: number, options?: Blocking): void;

  recv(options?: Waiting): Promise<Message>;
  tryRecv(): Message | null;
  recvSync(options?: Blocking): Message;
  /** Waits for a message, and takes all that there are, at most max (1000), copied. */
  recvBatch(options?: Waiting & { max?: number }): Promise<Message[]>;
  recvBatchSync(options?: Blocking & { max?: number }): Message[];
  /** Messages until the end in good order. The timeout is for all of them. */
  messages(options?: Waiting): AsyncIterableIterator<Message>;
  [Symbol.asyncIterator](): AsyncIterableIterator<Message>;
  recvLease(options?: Waiting): Promise<Lease>;
  recvLeaseSync(options?: Blocking): Lease;
  /** Waits for a record, and takes all that there are where they lie, at most max, of one type if it is given. */
  recvRecords(recordSize: number, options?: Waiting & { max?: number; typeId?: number }): Promise<Records>;
  recvRecordsSync(recordSize: number, options?: Blocking & { max?: number; typeId?: number }): Records;
  recvArray(options?: Waiting): Promise<NdArray>;
  recvArraySync(options?: Blocking): NdArray;

  properties(): Properties;
  stats(): Stats;
  readonly closed: boolean;
  /** The peer gets what was sent, then the end; waits of this side fail. */
  close(): void;
  [Symbol.dispose](): void;
}

/** Accepts connections on a path. */
export class Listener implements AsyncIterable<Bus> {
  constructor(path: string, options?: Options);
  readonly path: string;
  accept(options?: Waiting): Promise<Bus>;
  acceptSync(options?: Blocking): Bus;
  /** Stops listening; accepted buses live on. */
  close(): void;
  [Symbol.dispose](): void;
  [Symbol.asyncIterator](): AsyncIterableIterator<Bus>;
}

/** The calling end of a connection. */
export class Caller {
  private constructor();
  static connect(path: string, options?: Options): Promise<Caller>;
  static connectSync(path: string, options?: Options): Caller;
  /** Many calls may be out at a time. Throws RpcError where the server failed it. */
  call(data: Payload, procedure?: number, options?: Waiting): Promise<Buffer>;
  /** Blocks; no other call may be out. */
  callSync(data: Payload, procedure?: number, options?: Blocking): Buffer;
  stats(): RpcStats;
  readonly closed: boolean;
  close(): void;
  [Symbol.dispose](): void;
}

/** A call that was received. */
export class Request {
  private constructor();
  readonly data: Buffer;
  /** Which procedure. */
  readonly typeId: number;
  reply(data: Payload, typeId?: number, options?: Waiting): Promise<void>;
  fail(code: number, words: string, options?: Waiting): Promise<void>;
}

/** What replies to a request; an error that it throws fails the call. */
export type Handler = (request: Request) => Payload | void | Promise<Payload | void>;

/** The serving end of a connection. */
export class Server implements AsyncIterable<Request> {
  private constructor();
  static listen(path: string, options?: Options): Promise<Server>;
  recv(options?: Waiting): Promise<Request>;
  requests(options?: Waiting): AsyncIterableIterator<Request>;
  [Symbol.asyncIterator](): AsyncIterableIterator<Request>;
  /** Until the caller closes. At most `concurrency` (100) handlers run at a time. */
  serve(handler: Handler, options?: Waiting & { concurrency?: number }): Promise<void>;
  stats(): RpcStats;
  readonly closed: boolean;
  close(): void;
  [Symbol.dispose](): void;
}

/** Accepts callers on a path. */
export class ServerListener implements AsyncIterable<Server> {
  constructor(path: string, options?: Options);
  readonly path: string;
  accept(options?: Waiting): Promise<Server>;
  [Symbol.asyncIterator](): AsyncIterableIterator<Server>;
  /**
   * Serves all who connect, until the listener is closed and they have ended (returns), or the signal
   * comes or the listener fails (closes them, throws).
   */
  serve(handler: Handler, options?: { signal?: AbortSignal; concurrency?: number }): Promise<void>;
  close(): void;
  [Symbol.dispose](): void;
}

/** What the library reports: `code` is a name like 'EADDRINUSE'. */
export class TachyonError extends Error {
  readonly code: string;
  readonly errno: number;
}
/** The bus was closed in good order, by the peer (EPIPE) or here (ECANCELED). */
export class ClosedError extends TachyonError {}
/** The peer's process died without closing. */
export class PeerDeadError extends TachyonError {}
/** The peer broke the protocol. */
export class ProtocolError extends TachyonError {}
/** The peer cannot send what it has before some leases are released. */
export class LeasesError extends TachyonError {}
export class TimeoutError extends TachyonError {}
/** A message does not fit into the ring. */
export class MessageSizeError extends TachyonError {}
/** A lease, records or a slot were used after their end. */
export class ReleasedError extends TachyonError {}
/** The server failed the call. */
export class RpcError extends Error {
  constructor(code: number, message: string);
  readonly code: number;
}
/** Codes of failed calls that mean the same everywhere. */
export const RpcCode: { readonly UNKNOWN_TYPE: number; readonly EXCEPTION: number; readonly TOO_LARGE: number };
/** The library's version. */
export const version: string;
