// SPDX-License-Identifier: MIT

import { read } from './array.js';

const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/** A copy of what was received. */
export class Message {
  #memory;
  #offset;
  #size;

  /** Where its bytes are: a Buffer is only made for who looks at them, as that costs 45 ns. */
  constructor(memory, offset, size, typeId) {
    this.#memory = memory;
    this.#offset = offset;
    this.#size = size;
    this.typeId = typeId;
  }

  get data() {
    if (this.#memory.length !== this.#size) {
      this.#memory = this.#memory.subarray(this.#offset, this.#offset + this.#size);
    }
    return this.#memory;
  }

  /** The array that it is. */
  array() {
    return read(this.data, this.#size);
  }

  [INSPECT]() {
    return { data: this.data, typeId: this.typeId };
  }
}
