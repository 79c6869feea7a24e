// SPDX-License-Identifier: MIT
// Waiting without blocking the event loop.

import { poll } from './native.js';
import { ETIMEDOUT, TimeoutError } from './errors.js';

const timeOver = () => new TimeoutError('the time is over', 'ETIMEDOUT', -ETIMEDOUT);

const aborts = new WeakMap(); // signal: [who listens to it, set]; one listener, however many wait

function onAbort(signal, callback) {
  if (!aborts.has(signal)) {
    const callbacks = new Set();
    aborts.set(signal, [() => [...callbacks].forEach((call) => call()), callbacks]);
  }
  const [listener, callbacks] = aborts.get(signal);
  if (callbacks.size === 0) signal.addEventListener('abort', listener);
  callbacks.add(callback);
}

function offAbort(signal, callback) {
  const [listener, callbacks] = aborts.get(signal);
  if (callbacks.delete(callback) && callbacks.size === 0) signal.removeEventListener('abort', listener);
}

/** How long a wait may take: a timeout in milliseconds, an AbortSignal, both, or neither. */
export class Limit {
  #deadline;
  #signal;

  constructor({ timeout, signal } = {}) {
    if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) {
      throw new TypeError(`timeout is milliseconds, 0 or more, and not ${timeout}`);
    }
    signal?.throwIfAborted();
    this.#deadline = timeout === undefined ? Infinity : performance.now() + timeout;
    this.#signal = signal;
  }

  /** Nanoseconds for the library, at most some: -1 is never needed, who waits looks again. */
  nanoseconds(most) {
    return Math.max(0, Math.round(Math.min((this.#deadline - performance.now()) * 1e6, most)));
  }

  check() {
    this.#signal?.throwIfAborted();
    if (performance.now() >= this.#deadline) throw timeOver();
  }

  /**
   * Wait until start's resolve is called. start returns what ends its waiting, which is called
   * before the promise is settled: nobody can resolve what was given up.
   */
  wait(start) {
    return new Promise((resolve, reject) => {
      this.check();
      const signal = this.#signal;
      let timer, stop;
      let over = false;
      const ending = (settle) => (value) => {
        if (over) return;
        over = true;
        clearTimeout(timer);
        if (signal) offAbort(signal, abort);
        stop?.();
        settle(value);
      };
      const give = ending(resolve);
      const fail = ending(reject);
      const abort = () => fail(signal.reason);
      const tick = () => {
        const left = this.#deadline - performance.now();
        if (left <= 0) fail(timeOver());
        else timer = setTimeout(tick, Math.min(Math.ceil(left), 2 ** 30));
      };
      if (signal) onAbort(signal, abort);
      if (this.#deadline !== Infinity) tick();
      if (over) return;
      try {
        stop = start(give, fail);
      } catch (error) {
        fail(error);
      }
      if (over) stop?.();
    });
  }
}

export const FOREVER = new Limit();

/** One at a time: who comes later waits for its turn. */
export class Turn {
  #taken = false;
  #queue = new Set();

  take() {
    if (this.#taken) return false;
    this.#taken = true;
    return true;
  }

  async wait(limit) {
    if (this.take()) return;
    let mine;
    await limit.wait((resolve) => {
      this.#queue.add((mine = resolve));
      return () => void this.#queue.delete(mine);
    });
  }

  give() {
    if (this.#queue.size === 0) {
      this.#taken = false;
      return;
    }
    const [next] = this.#queue;
    this.#queue.delete(next);
    next();
  }
}

/** A descriptor of the library's that is watched only while somebody waits for it. */
export class Watcher {
  #fd;
  #handle = null;
  #callbacks = new Set();
  #ready = () => {
    for (const callback of [...this.#callbacks]) callback();
  };

  constructor(fd) {
    this.#fd = fd;
  }

  add(callback) {
    if (this.#callbacks.size === 0) {
      if (this.#handle) this.#handle.start({ readable: true }, this.#ready);
      else this.#handle = poll(this.#fd, { readable: true }, this.#ready);
    }
    this.#callbacks.add(callback);
  }

  delete(callback) {
    if (this.#callbacks.delete(callback) && this.#callbacks.size === 0) this.#handle?.stop();
  }

  close() {
    this.#callbacks.clear();
    this.#handle?.close();
    this.#handle = null;
  }
}

let turned = performance.now();
let steps = 0;
let due = false;
let breathing = null;

/** Whether to take a breath() before going on: looked at now and then. */
export function breathes() {
  if (++steps % 64 === 0) due = performance.now() - turned >= 1;
  return due;
}

/**
 * Lets the event loop turn: calls that never have to wait would otherwise keep it from its other
 * work, as promises alone do not let it turn. One breath for all who want it: the first to go on
 * would keep the others from theirs.
 */
export function breath() {
  breathing ??= new Promise((resolve) => {
    setImmediate(() => {
      turned = performance.now();
      due = false;
      breathing = null;
      resolve();
    });
  });
  return breathing;
}
