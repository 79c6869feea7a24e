// SPDX-License-Identifier: MIT
// What Bus, Caller and Server have in common: they are ends of a connection, to be closed.

import { Handle } from './handle.js';
import { checkSecret } from './secret.js';

export let handleOf;

export class End {
  #handle;

  static {
    handleOf = (end) => end.#handle;
  }

  constructor(secret, { bus, spin }, rpcOver = null) {
    checkSecret(secret, `a ${new.target.name} is made by listen(), connect() or accept()`);
    this.#handle = new Handle(this, bus, rpcOver && rpcOver(bus), spin);
  }

  get closed() {
    return this.#handle.closed;
  }

  /** Ends the connection: the peer gets what was sent, then the end. Waits of this side fail. */
  close() {
    this.#handle.close();
  }

  [Symbol.dispose]() {
    this.close();
  }
}
