// The package as others install it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

test('a copy that npm installs works, from either kind of module', async (t) => {
  const cwd = mkdtempSync(join(tmpdir(), 'tachyon-node-package-'));
  t.after(() => rmSync(cwd, { recursive: true }));
  writeFileSync(join(cwd, 'package.json'), '{ "private": true }');
  const here = fileURLToPath(new URL('..', import.meta.url));
  await run('npm', ['install', '--install-links', '--prefer-offline', '--no-audit', '--no-fund', here], { cwd });
  const programs = {
    'module.mjs': `import { Bus, version } from 'tachyon'; console.log(Bus.name, version);`,
    'common.cjs': `import('tachyon').then(({ Bus, version }) => console.log(Bus.name, version));`,
  };
  for (const [name, source] of Object.entries(programs)) {
    writeFileSync(join(cwd, name), source);
    assert.match((await run('node', [name], { cwd })).stdout, /^Bus \d+\.\d+\.\d+\n$/);
  }
});

test('a library that is not there is named, and what to do', async () => {
  const program = ['--input-type=module', '--eval', `await import('tachyon')`];
  const options = { cwd: fileURLToPath(new URL('.', import.meta.url)), env: { ...process.env, TACHYON_LIBRARY: '/no/lib.so' } };
  await assert.rejects(run('node', program, options), ({ stderr }) => {
    return stderr.includes('/no/lib.so cannot be loaded (TACHYON_LIBRARY says so)');
  });
});
