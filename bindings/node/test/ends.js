// What the tests share: both ends of a bus, and other processes.

import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import { Bus } from 'tachyon';

const folder = mkdtempSync(join(tmpdir(), 'tachyon-node-'));
let number = 0;

export const newPath = () => join(folder, `${number++}`);

/** Both ends of a bus: the listener's and the connector's. */
export async function ends(test, options) {
  const path = newPath();
  const both = await Promise.all([Bus.listen(path, options), Bus.connect(path)]);
  test.after(() => both.forEach((bus) => bus.close()));
  return both;
}

/** A process that runs a module's source with PATH in its argv; it is killed at the test's end. */
export function script(test, source, path) {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source, '--', path], {
    cwd: import.meta.dirname ?? new URL('.', import.meta.url).pathname,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  test.after(() => child.kill('SIGKILL'));
  child.printed = (async () => {
    let text = '';
    for await (const chunk of child.stdout) text += chunk;
    return text;
  })();
  child.ended = once(child, 'exit').then(([code, signal]) => signal ?? code);
  return child;
}

/** Collects garbage until something is so: what was dropped is found in its own time. */
export async function collectUntil(isSo) {
  for (let i = 0; i < 1000 && !isSo(); i++) {
    global.gc();
    await setImmediate();
  }
  return isSo();
}
