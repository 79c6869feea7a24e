// SPDX-License-Identifier: MIT
// Opening a connection. The listener's side sleeps on a descriptor; the connector's side, which
// has none, on koffi's threads, a quarter of a second at a time.

import { ETIMEDOUT, EAGAIN, EINTR, ClosedError, ECANCELED, check, errorOf } from './errors.js';
import { native } from './native.js';
import { optionsFor } from './options.js';
import { Limit, Turn, Watcher } from './wait.js';
import { out, outWords } from './words.js';

const SLICE = 250e6;
const NOT_YET = new Set([ETIMEDOUT, EAGAIN, EINTR]);
const SHORT = 50e6;

function connectOnThread(path, options, nanoseconds) {
  const handle = new BigUint64Array(1);
  return new Promise((resolve, reject) => {
    native.connect.async(handle, path, options, nanoseconds, (error, result) => {
      if (error) reject(error);
      else resolve({ result, bus: handle[0] });
    });
  });
}

/** The address of a bus that is connected to the listener of a path. */
export async function connect(kind, path, options) {
  const limit = new Limit(options);
  const given = optionsFor(kind, options);
  for (;;) {
    // What was given up goes on in its thread until its time is over: a bus would be freed then.
    let gone = false;
    const trying = connectOnThread(path, given, limit.nanoseconds(SLICE));
    trying.then(({ result, bus }) => {
      if (gone && result === 0) native.free(bus);
    }, () => {});
    let tried;
    try {
      tried = await limit.wait((resolve, reject) => void trying.then(resolve, reject));
    } catch (error) {
      gone = true;
      throw error;
    }
    if (tried.result === 0) return tried.bus;
    if (NOT_YET.has(tried.result)) {
      limit.check();
      continue;
    }
    // Only the thread that met the error knows the reason: meet it again in this one.
    const result = native.connect(out, path, given, SHORT);
    if (result === 0) return outWords[0];
    if (!NOT_YET.has(result)) throw errorOf(result, `connect to ${path}`);
    throw errorOf(tried.result, `connect to ${path}`, native.strerror(-tried.result));
  }
}

export function connectSync(kind, path, options) {
  const limit = new Limit(options);
  const given = optionsFor(kind, options);
  for (;;) {
    const result = native.connect(out, path, given, limit.nanoseconds(SLICE));
    if (result === 0) return outWords[0];
    if (!NOT_YET.has(result)) throw errorOf(result, `connect to ${path}`);
    limit.check();
  }
}

const forgotten = new FinalizationRegistry((socket) => socket.close());

/** What a listener owns, without the class that users see. */
class Socket {
  constructor(kind, path, options) {
    check(native.listenerCreate(out, path, optionsFor(kind, options)), `listen on ${path}`);
    this.listener = outWords[0];
    this.watcher = new Watcher(check(native.listenerFd(this.listener), `listen on ${path}`));
    this.waiting = new Set();
  }

  closedError() {
    return new ClosedError('this listener was closed', 'ECANCELED', -ECANCELED);
  }

  close() {
    if (this.listener === null) return;
    this.watcher.close();
    native.listenerFree(this.listener);
    this.listener = null;
    for (const fail of [...this.waiting]) fail(this.closedError());
  }
}

/** Owns a path and accepts connections; of what kind, and as which class, its children say. */
export class BaseListener {
  #socket;
  #turn = new Turn();
  #path;

  constructor(kind, path, options) {
    this.#path = path;
    this.#socket = new Socket(kind, path, options);
    forgotten.register(this, this.#socket, this);
  }

  get path() {
    return this.#path;
  }

  /** The address of the bus of whoever connects next. */
  async acceptBus(options) {
    const limit = new Limit(options);
    await this.#turn.wait(limit);
    try {
      for (;;) {
        const bus = this.#tryAccept();
        if (bus !== null) return bus;
        const socket = this.#socket;
        await limit.wait((resolve, reject) => {
          socket.waiting.add(reject);
          socket.watcher.add(resolve);
          return () => {
            socket.waiting.delete(reject);
            socket.watcher.delete(resolve);
          };
        });
      }
    } finally {
      this.#turn.give();
    }
  }

  #tryAccept() {
    if (this.#socket.listener === null) throw this.#socket.closedError();
    const result = native.listenerAccept(this.#socket.listener, out, 0);
    if (result === 0) return outWords[0];
    if (NOT_YET.has(result)) return null;
    throw errorOf(result, `accept on ${this.#path}`);
  }

  acceptBusSync(options) {
    const limit = new Limit(options);
    for (;;) {
      if (this.#socket.listener === null) throw this.#socket.closedError();
      const result = native.listenerAccept(this.#socket.listener, out, limit.nanoseconds(SLICE));
      if (result === 0) return outWords[0];
      if (!NOT_YET.has(result)) throw errorOf(result, `accept on ${this.#path}`);
      limit.check();
    }
  }

  /** Stops listening; accepted buses live on. */
  close() {
    forgotten.unregister(this);
    this.#socket.close();
  }
}
