// SPDX-License-Identifier: MIT

/** Known to this package alone: what lies in C's memory is made by nobody else. */
export const SECRET = Symbol('made by the package');

export function checkSecret(secret, how) {
  if (secret !== SECRET) throw new TypeError(how);
}
