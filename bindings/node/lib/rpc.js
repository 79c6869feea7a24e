// SPDX-License-Identifier: MIT

import { setTimeout } from 'node:timers/promises';

import { BaseListener, acceptOne, connect, connectSync } from './connect.js';
import { End, handleOf } from './end.js';
import { ClosedError, MessageSizeError, RpcCode, RpcError, TachyonError, TimeoutError, check, errorOf } from './errors.js';
import { NO_DATA, bytesOf, checkTypeId, copied } from './handle.js';
import { allocate, native } from './native.js';
import { SECRET } from './secret.js';
import { Stream, limitOf } from './stream.js';
import { FOREVER, Limit } from './wait.js';
import { out, outWords } from './words.js';

const CALLS_AT_ONCE = 100;
const SHORT_OF = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS']); // errors of accept() that pass
const BACK_OFF = 100; // milliseconds
const OVER = Symbol('no call is left');
const reply = allocate(64);
const replyWords = new BigUint64Array(reply.bytes);
const replyInts = new Uint32Array(reply.bytes);
const COUNTERS = ['outstanding', 'stored', 'requests', 'replies', 'failures', 'dropped'];

function rpcOver(bus) {
  const result = native.rpcCreate(out, bus);
  if (result < 0) {
    native.free(bus);
    throw errorOf(result, 'request and reply');
  }
  return outWords[0];
}

/** What Caller and Server have in common. */
class RpcEnd extends End {
  constructor(secret, connection) {
    super(secret, connection, rpcOver);
  }

  /** Counters. */
  stats() {
    const handle = handleOf(this);
    handle.check();
    outWords[0] = 56n;
    check(native.rpcStats(handle.rpc, out), 'stats');
    return Object.fromEntries(COUNTERS.map((name, i) => [name, Number(outWords[i + 1])]));
  }
}

/** The reply or request in the words, copied; its place is given back. */
function take(handle) {
  try {
    const data = copied(replyWords[0], Number(replyWords[1]));
    return { data, id: replyWords[3], typeId: replyInts[8] };
  } finally {
    check(native.rpcRelease(handle.rpc, reply.address), 'release');
  }
}

function failure({ typeId, data }) {
  const [words] = data.toString().split('\0', 1);
  return new RpcError(typeId, words);
}

/**
 * How long a caller looks for replies: until there is no call left, which ends its sleep as a reply
 * would. Its only wait is that sleep, as nothing else receives there.
 */
class WhileCalled extends Limit {
  #give;

  wait(start) {
    return super.wait((give, fail) => start((this.#give = give), fail));
  }

  end() {
    this.#give?.();
  }
}

/** The calling end. */
export class Caller extends RpcEnd {
  #handle;
  #pending = new Map(); // id: { resolve, reject }
  #submitting = 0;
  #pumping = null; // a WhileCalled, while replies are waited for

  constructor(secret, connection) {
    super(secret, connection);
    this.#handle = handleOf(this);
  }

  static async connect(path, options) {
    return new Caller(SECRET, await connect('rpc', path, options));
  }

  static connectSync(path, options) {
    return new Caller(SECRET, connectSync('rpc', path, options));
  }

  /** Calls a procedure and waits for its reply, a Buffer. Many calls may be out. */
  async call(data, procedure = 0, options) {
    const handle = this.#handle;
    const limit = limitOf(options);
    const bytes = bytesOf(data);
    checkTypeId(procedure);
    let id = null;
    let waiting;
    const answered = new Promise((resolve, reject) => (waiting = { resolve, reject }));
    answered.catch(() => {}); // who waits below is told; where nobody does any more, nobody need be
    const attempt = () => {
      if ((id = this.#trySubmit(bytes, procedure)) === null) return null;
      this.#pending.set(id, waiting); // at once: the reply may be taken in before this goes on
      return id;
    };
    try {
      this.#submitting++;
      try {
        const sending = handle.transmit(attempt, bytes.length, limit);
        this.#pump(); // a server that waits for room itself goes on when its replies are taken
        await sending;
      } finally {
        this.#submitting--;
      }
      this.#pump();
      if (limit === FOREVER) return await answered;
      return await limit.wait((resolve, reject) => void answered.then(resolve, reject));
    } finally {
      if (id !== null && this.#pending.delete(id) && !handle.closed) native.rpcForget(handle.rpc, id);
      if (this.#pending.size === 0 && this.#submitting === 0) this.#pumping?.end();
    }
  }

  #trySubmit(bytes, procedure) {
    const handle = this.#handle;
    handle.check();
    const result = native.rpcSubmit(handle.rpc, bytes, bytes.length, procedure, out, 0);
    return handle.done(result, 'call') ? outWords[0] : null;
  }

  /** One reply, to whom it belongs; null where there is none. */
  #tryReply() {
    const handle = this.#handle;
    handle.check();
    const result = native.rpcPoll(handle.rpc, reply.address, 0);
    if (!handle.done(result, 'call')) return null;
    const found = take(handle);
    const call = this.#pending.get(found.id);
    this.#pending.delete(found.id);
    if (result === 1) call?.reject(failure(found));
    else call?.resolve(found.data);
    return found;
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = new WhileCalled();
    const called = () => this.#pending.size > 0 || this.#submitting > 0;
    try {
      while (called()) await this.#handle.receive(() => (called() ? this.#tryReply() : OVER), this.#pumping);
    } catch (error) {
      for (const { reject } of this.#pending.values()) reject(error);
    } finally {
      this.#pumping = null;
    }
  }

  /** The blocking twin, for worker threads: no other call may be out. */
  callSync(data, procedure = 0, options) {
    const handle = this.#handle;
    const limit = limitOf(options);
    const bytes = bytesOf(data);
    checkTypeId(procedure);
    if (this.#pending.size > 0) throw new TachyonError('another call of this end is out', 'EBUSY', 16);
    const id = handle.transmitSync(() => this.#trySubmit(bytes, procedure), bytes.length, limit);
    let over = false;
    try {
      for (;;) {
        const result = native.rpcWait(handle.rpc, id, reply.address, limit.nanoseconds(100e6));
        if (result >= 0) {
          over = true;
          const found = take(handle);
          if (result === 1) throw failure(found);
          return found.data;
        }
        const error = errorOf(result, 'call');
        if (!(error instanceof TimeoutError || error.code === 'EINTR')) throw error;
        limit.check();
      }
    } finally {
      if (!over) native.rpcForget(handle.rpc, id);
    }
  }
}

/** A call that was received: to be replied to, or failed, once. */
export class Request {
  #server; // kept, as the collector would close it
  #id;

  constructor(server, { data, id, typeId }) {
    this.data = data;
    this.typeId = typeId;
    this.#server = server;
    this.#id = id;
  }

  async #answer(attempt, size, options) {
    if (this.#id === null) throw new TypeError('this request has been answered');
    const handle = handleOf(this.#server);
    const id = this.#id;
    this.#id = null;
    const answering = () => {
      handle.check();
      return handle.done(attempt(handle.rpc, id), 'reply') || null;
    };
    try {
      await handle.transmit(answering, size, limitOf(options));
    } catch (error) {
      if (!handle.closed) this.#id = id; // it can still be failed
      throw error;
    }
  }

  async reply(data, type = 0, options) {
    const bytes = bytesOf(data);
    checkTypeId(type);
    await this.#answer((rpc, id) => native.rpcReply(rpc, id, bytes, bytes.length, type, 0), bytes.length, options);
  }

  async fail(code, words, options) {
    const text = Buffer.from(String(words));
    checkTypeId(code);
    await this.#answer((rpc, id) => native.rpcFail(rpc, id, code, text, text.length, 0), text.length, options);
  }
}

/** The serving end of one connection. */
export class Server extends RpcEnd {
  #handle;

  constructor(secret, connection) {
    super(secret, connection);
    this.#handle = handleOf(this);
  }

  static async listen(path, options) {
    return acceptOne(new ServerListener(path, options), options);
  }

  #tryServe() {
    const handle = this.#handle;
    handle.check();
    const result = native.rpcServe(handle.rpc, reply.address, 0);
    return handle.done(result, 'serve') ? new Request(this, take(handle)) : null;
  }

  /** Waits for a call. */
  async recv(options) {
    return this.#handle.receive(() => this.#tryServe(), limitOf(options));
  }

  /** Calls, until the caller closes. */
  requests(options) {
    const limit = limitOf(options);
    return new Stream(() => this.#handle.receive(() => this.#tryServe(), limit));
  }

  [Symbol.asyncIterator]() {
    return this.requests();
  }

  /**
   * Replies with what handler(request) gives, or its promise, until the caller closes. Calls are
   * handled side by side, at most `concurrency`. An error that it throws fails the call.
   */
  async serve(handler, { concurrency = CALLS_AT_ONCE, ...options } = {}) {
    const running = new Set();
    for await (const request of this.requests(options)) {
      const handling = answer(handler, request).finally(() => running.delete(handling));
      running.add(handling);
      if (running.size >= concurrency) await Promise.race(running);
    }
    await Promise.all(running);
  }
}

async function answer(handler, request) {
  try {
    try {
      await request.reply((await handler(request)) ?? NO_DATA);
    } catch (error) {
      if (error instanceof RpcError) await request.fail(error.code, error.message);
      else if (error instanceof MessageSizeError) await request.fail(RpcCode.TOO_LARGE, error.message);
      else await request.fail(RpcCode.EXCEPTION, `${error?.name ?? 'Error'}: ${error?.message ?? error}`);
    }
  } catch {
    // The caller has ended, or the handler has answered by itself: there is nobody to tell.
  }
}

/** Accepts callers on a path. */
export class ServerListener extends BaseListener {
  constructor(path, options) {
    super('rpc', Server, path, options);
  }

  /** Accepts callers and serves each, until the listener is closed and they have ended, or the signal comes. */
  async serve(handler, { signal, concurrency } = {}) {
    const servers = new Map(); // server: its end
    try {
      for (;;) {
        const server = await this.#acceptOnceThereIsRoom(signal);
        const serving = server
          .serve(handler, { signal, concurrency })
          .catch(() => {}) // this caller's end is not the others'
          .finally(() => {
            server.close();
            servers.delete(server);
          });
        servers.set(server, serving);
      }
    } catch (error) {
      if (!(error instanceof ClosedError)) {
        for (const server of servers.keys()) server.close();
        throw error;
      }
      await Promise.all(servers.values());
    }
  }

  async #acceptOnceThereIsRoom(signal) {
    for (;;) {
      try {
        return await this.accept({ signal });
      } catch (error) {
        if (!(error instanceof TachyonError && SHORT_OF.has(error.code))) throw error;
        await setTimeout(BACK_OFF, undefined, { signal });
      }
    }
  }
}
