// SPDX-License-Identifier: MIT

import { ClosedError } from './errors.js';
import { FOREVER, Limit } from './wait.js';

export function limitOf(options) {
  return options === undefined ? FOREVER : new Limit(options);
}

/** An async iterator over what next() gives, until the end in good order. */
export class Stream {
  #next;

  constructor(next) {
    this.#next = next;
  }

  async next() {
    if (this.#next === null) return { value: undefined, done: true };
    try {
      const value = this.#next();
      return { value: value instanceof Promise ? await value : value, done: false }; // to await costs 60 ns
    } catch (error) {
      this.#next = null;
      if (error instanceof ClosedError) return { value: undefined, done: true };
      throw error;
    }
  }

  async return(value) {
    this.#next = null;
    return { value, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}
