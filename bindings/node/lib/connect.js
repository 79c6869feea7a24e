// SPDX-License-Identifier: MIT
// Opening a connection. The listener's side sleeps on a descriptor. The connector's side has none:
// it shakes hands on one of the few threads that Node has for files and names as well, so it looks
// for the listener's socket without them, and then takes one for a quarter of a second, then for
// half of one, and so on: to make large rings takes longer, and who gives up does not wait for it.

import { existsSync } from 'node:fs';

import { ETIMEDOUT, EAGAIN, EINTR, ClosedError, ECANCELED, check, errorOf } from './errors.js';
import { open } from './handle.js';
import { native } from './native.js';
import { optionsFor } from './options.js';
import { SECRET } from './secret.js';
import { Stream } from './stream.js';
import { Limit, Turn, Watcher } from './wait.js';
import { out, outWords } from './words.js';

const SLICE = 250e6;
const LONGEST_SLICE = 32e9;
const NOT_YET = new Set([ETIMEDOUT, EAGAIN, EINTR]);
const SHORT = 50e6;
const LONGEST_PAUSE = 20; // milliseconds between two looks for the listener

function connectOnThread(path, options, nanoseconds) {
  const handle = new BigUint64Array(1);
  return new Promise((resolve, reject) => {
    native.connect.async(handle, path, options, nanoseconds, (error, result) => {
      if (error) reject(error);
      else resolve({ result, bus: handle[0] });
    });
  });
}

/** One try in this thread, for so long: the address of a bus, or null: not yet. */
function tryConnect(path, given, nanoseconds) {
  const result = native.connect(out, path, given, nanoseconds);
  if (result === 0) return outWords[0];
  if (!NOT_YET.has(result)) throw errorOf(result, `connect to ${path}`);
  return null;
}

async function shakeHands(path, given, limit, slice) {
  // What was given up goes on in its thread until its time is over: a bus would be freed then.
  let gone = false;
  const trying = connectOnThread(path, given, limit.nanoseconds(slice));
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
  if (NOT_YET.has(tried.result)) return null;
  // Only the thread that met the error knows the reason: meet it again in this one.
  const bus = tryConnect(path, given, SHORT);
  if (bus === null) throw errorOf(tried.result, `connect to ${path}`, native.strerror(-tried.result));
  return bus;
}

/** A connection to the listener of a path. */
export async function connect(kind, path, options) {
  const limit = new Limit(options);
  const given = optionsFor(kind, options);
  let pause = 1;
  let slice = SLICE;
  for (;;) {
    const listens = existsSync(path);
    const bus = listens ? await shakeHands(path, given, limit, slice) : tryConnect(path, given, 0);
    if (bus !== null) return { bus, spin: options?.spin };
    limit.check();
    if (listens) {
      slice = Math.min(slice * 2, LONGEST_SLICE);
      continue;
    }
    await limit.wait((resolve) => {
      const timer = setTimeout(resolve, pause);
      return () => clearTimeout(timer);
    });
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

export function connectSync(kind, path, options) {
  const limit = new Limit(options);
  const given = optionsFor(kind, options);
  let slice = SLICE;
  for (;;) {
    const bus = tryConnect(path, given, limit.nanoseconds(slice));
    if (bus !== null) return { bus, spin: options?.spin };
    limit.check();
    if (existsSync(path)) slice = Math.min(slice * 2, LONGEST_SLICE);
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
    open.add(this);
  }

  closedError() {
    return new ClosedError('this listener was closed', 'ECANCELED', -ECANCELED);
  }

  close() {
    if (this.listener === null) return;
    open.delete(this);
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
  #End;
  #spin;

  constructor(kind, End, path, options) {
    this.#End = End;
    this.#path = path;
    this.#spin = options?.spin;
    this.#socket = new Socket(kind, path, options);
    forgotten.register(this, this.#socket, this);
  }

  get path() {
    return this.#path;
  }

  /** The end of whoever connects next. */
  async accept(options) {
    const limit = new Limit(options);
    await this.#turn.wait(limit);
    try {
      for (;;) {
        const end = this.#tryAccept(0);
        if (end !== null) return end;
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

  acceptSync(options) {
    const limit = new Limit(options);
    for (;;) {
      const end = this.#tryAccept(limit.nanoseconds(SLICE));
      if (end !== null) return end;
      limit.check();
    }
  }

  #tryAccept(nanoseconds) {
    if (this.#socket.listener === null) throw this.#socket.closedError();
    const result = native.listenerAccept(this.#socket.listener, out, nanoseconds);
    if (result === 0) return new this.#End(SECRET, { bus: outWords[0], spin: this.#spin });
    if (NOT_YET.has(result)) return null;
    throw errorOf(result, `accept on ${this.#path}`);
  }

  /** Ends, until the listener is closed. */
  [Symbol.asyncIterator]() {
    return new Stream(() => this.accept());
  }

  /** Stops listening; accepted connections live on. */
  close() {
    forgotten.unregister(this);
    this.#socket.close();
  }

  [Symbol.dispose]() {
    this.close();
  }
}

/** The end of the one that connects. */
export async function acceptOne(listener, options) {
  try {
    return await listener.accept(options);
  } finally {
    listener.close();
  }
}
