import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { test } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';

import { Bus, ClosedError, LeasesError, Listener, MessageSizeError, TachyonError, TimeoutError } from 'tachyon';

import { ends, newPath, script } from './ends.js';

test('what is sent arrives, in order, with its tag', async (t) => {
  const [a, b] = await ends(t);
  const sent = [Buffer.from('hello'), Buffer.alloc(0), Buffer.alloc(64, 1), Buffer.alloc(65, 2), Buffer.alloc(100_000, 3)];
  for (const [i, data] of sent.entries()) await a.send(data, i);
  await a.send(new Float64Array([1.5]), 0xffffffff);
  for (const [i, data] of sent.entries()) {
    const message = await b.recv();
    assert.deepEqual([message.data, message.typeId], [data, i]);
  }
  const last = await b.recv();
  assert.equal(last.data.readDoubleLE(), 1.5);
  assert.equal(last.typeId, 0xffffffff);
  assert.equal(b.tryRecv(), null);
});

test('a message is a copy: later ones leave it as it is', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096 });
  await a.send('first');
  const first = await b.recv();
  for (let i = 0; i < 1000; i++) {
    await a.send(`later ${i}`);
    assert.equal((await b.recv()).data.toString(), `later ${i}`);
  }
  assert.equal(first.data.toString(), 'first');
});

test('a loop over a bus ends when the peer has closed, and not before all is received', async (t) => {
  const [a, b] = await ends(t);
  const words = [];
  const reading = (async () => {
    for await (const message of b) words.push(message.data.toString());
  })();
  for (let i = 0; i < 500; i++) await a.send(`${i}`);
  a.close();
  await reading;
  assert.deepEqual(words, Array.from({ length: 500 }, (_, i) => `${i}`));
  await assert.rejects(b.recv(), (error) => error instanceof ClosedError && error.code === 'EPIPE');
  await assert.rejects(a.send('x'), (error) => error instanceof ClosedError && error.code === 'ECANCELED');
});

test('a full ring makes send() wait, and trySend() give up', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096 });
  let sent = 0;
  while (a.trySend(Buffer.alloc(100), sent)) sent++;
  assert.ok(sent > 10);
  let done = false;
  const sending = a.send('at last', 99).then(() => (done = true));
  await setTimeout(20);
  assert.equal(done, false);
  for (let i = 0; i < sent; i++) assert.equal((await b.recv()).typeId, i);
  await sending;
  assert.equal((await b.recv()).data.toString(), 'at last');
});

test('a waiting receive leaves the event loop free', async (t) => {
  const [a, b] = await ends(t);
  const waiting = b.recv();
  let turns = 0;
  while (turns < 100) {
    await setImmediate();
    turns++;
  }
  await a.send('now');
  assert.equal((await waiting).data.toString(), 'now');
});

test('receives that never have to wait leave the event loop free as well', async (t) => {
  const [a, b] = await ends(t);
  let turned = 0;
  let over = false;
  (async () => {
    for (; !over; turned++) await setImmediate();
  })();
  for (let i = 0; i < 20_000; i++) {
    await a.send('x');
    await b.recv();
  }
  over = true;
  assert.ok(turned > 5, `the loop turned ${turned} times`);
});

test('timeouts and signals end waits, and nothing is lost', async (t) => {
  const [a, b] = await ends(t);
  await assert.rejects(b.recv({ timeout: 0 }), TimeoutError);
  await assert.rejects(b.recv({ timeout: 10 }), TimeoutError);
  const controller = new AbortController();
  const waiting = b.recv({ signal: controller.signal });
  await setImmediate();
  controller.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(b.recv({ signal: controller.signal }), /enough/);
  await a.send('still here');
  assert.equal((await b.recv()).data.toString(), 'still here');
});

test('many waits on one signal are no leak of listeners', async (t) => {
  const [, b] = await ends(t);
  const warnings = [];
  const warn = (warning) => warnings.push(warning);
  process.on('warning', warn);
  t.after(() => process.off('warning', warn));
  const controller = new AbortController();
  const waiting = Array.from({ length: 30 }, () => b.recv({ signal: controller.signal }));
  await setImmediate();
  controller.abort(null);
  for (const ending of waiting) await assert.rejects(ending, (reason) => reason === null);
  assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
  assert.deepEqual(warnings, []);
});

test('a batch is what there is, at most so many, and the end comes after it', async (t) => {
  const [a, b] = await ends(t);
  const waiting = b.recvBatch();
  await setImmediate();
  await a.send('0', 7);
  const [{ data, typeId }] = await waiting;
  assert.deepEqual([data.toString(), typeId], ['0', 7]);
  for (let i = 1; i <= 25; i++) await a.send(i % 5 ? `${i}` : Buffer.alloc(5000 + i));
  a.close();
  const sizes = [];
  for (const max of [10, 10, undefined]) sizes.push((await b.recvBatch({ max })).map((message) => message.data.length));
  assert.deepEqual(sizes.map(({ length }) => length), [10, 10, 5]);
  assert.deepEqual(sizes.flat(), Array.from({ length: 25 }, (_, i) => ((i + 1) % 5 ? `${i + 1}`.length : 5001 + i)));
  await assert.rejects(b.recvBatch(), ClosedError);
  await assert.rejects(b.recvBatch({ max: 0 }), RangeError);
  assert.throws(() => b.recvBatchSync({ timeout: 1 }), ClosedError);
});

test('how long a wait looks before it sleeps can be chosen', async (t) => {
  const [a, b] = await ends(t, { spin: 0.5 });
  assert.equal(a.properties().spin, 0.5);
  const [c] = await ends(t, { spin: 0 });
  assert.equal(c.properties().spin, 0);
  await assert.rejects(a.recv({ timeout: 1 }), TimeoutError);
  await b.send('x');
  assert.equal((await a.recv()).data.toString(), 'x');
  for (const spin of [-1, NaN, '1']) assert.throws(() => new Listener(newPath(), { spin }), RangeError);
});

test('who is pinned to one core of several looks before it sleeps, too', async (t) => {
  const child = script(t, `
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    const [, core] = readFileSync('/proc/self/status', 'latin1').match(/^Cpus_allowed_list:\\s*(\\d+)/m);
    execFileSync('taskset', ['-acp', core, String(process.pid)]); // before the binding looks how many there are
    const { Bus } = await import('tachyon');
    const [a, b] = await Promise.all([Bus.listen(process.argv.at(-1)), Bus.connect(process.argv.at(-1))]);
    const sendSoon = async () => {
      for (let i = 0; i < 20; i++) await null;
      a.trySend('x');
    };
    for (let i = 0; i < 1000; i++) await Promise.all([b.recv(), sendSoon()]);
    console.log(a.stats().doorbells);
    a.close();
  `, newPath());
  const slept = Number(await child.printed); // each sleep is ended by a doorbell
  assert.equal(await child.ended, 0);
  assert.equal(slept < 500, cpus().length > 1, `slept ${slept} times of 1000`);
});

test('receives that wait at the same time get a message each; one that gave up takes none', async (t) => {
  const [a, b] = await ends(t);
  const first = b.recv();
  const second = b.recv({ timeout: 10 });
  const third = b.recv();
  await assert.rejects(second, TimeoutError);
  await a.send('1');
  await a.send('3');
  assert.equal((await first).data.toString(), '1');
  assert.equal((await third).data.toString(), '3');
});

test('calls that block do not wait for those that wait in the same thread', async (t) => {
  const [a, b] = await ends(t);
  const waiting = b.recv();
  await setImmediate();
  assert.throws(() => b.recvSync(), (error) => error.code === 'EBUSY');
  assert.equal(b.tryRecv(), null);
  a.sendSync('x', 1, { timeout: 1000 });
  assert.equal((await waiting).typeId, 1);
  assert.throws(() => b.recvSync({ timeout: 1 }), TimeoutError);
  a.sendSync('y');
  assert.equal(b.recvSync().data.toString(), 'y');
});

test('closing ends the waits of the same side', async (t) => {
  const [, b] = await ends(t);
  const waiting = [b.recv(), b.recvLease(), b.recvRecords(8)];
  await setImmediate();
  b.close();
  b.close();
  for (const wait of waiting) await assert.rejects(wait, ClosedError);
  assert.equal(b.closed, true);
  assert.throws(() => b.tryRecv(), ClosedError);
  assert.throws(() => b.stats(), ClosedError);
});

test('what is no message is refused, and nothing is sent', async (t) => {
  const [a, b] = await ends(t);
  await assert.rejects(a.send(42), TypeError);
  assert.throws(() => a.trySend('x', -1), RangeError);
  assert.throws(() => a.trySend('x', 2 ** 32), RangeError);
  assert.throws(() => a.trySend('x', 1.5), RangeError);
  await assert.rejects(a.send(Buffer.alloc(a.properties().maxSendSize + 1)), MessageSizeError);
  await assert.rejects(a.sendRecords(Buffer.alloc(10), 3), RangeError);
  await assert.rejects(a.recv({ timeout: -1 }), TypeError);
  assert.equal(b.tryRecv(), null);
  await a.send(Buffer.alloc(a.properties().maxSendSize, 7));
  assert.equal((await b.recv()).data.length, a.properties().maxSendSize);
});

test('paths and options that cannot be', async () => {
  const path = newPath();
  const listener = new Listener(path);
  assert.throws(() => new Listener(path), (error) => error.code === 'EADDRINUSE' && error.message.includes(path));
  await assert.rejects(Bus.connect('/nowhere/at/all'), (error) => {
    return error instanceof TachyonError && error.code === 'ENOENT' && error.message.includes('/nowhere/at/all');
  });
  await assert.rejects(Bus.connect(newPath(), { timeout: 20 }), TimeoutError);
  await assert.rejects(Bus.listen(newPath(), { capacityy: 1 }), /capacityy/);
  assert.throws(() => new Listener(newPath(), { capacity: -1 }), RangeError);
  assert.throws(() => new Listener(newPath(), { allowedUids: [] }), RangeError);
  assert.throws(() => new Listener(newPath(), { allowedUids: [-1] }), RangeError);
  new Listener(newPath(), { allowedUids: [0, 1000] }).close();
  const file = newPath();
  writeFileSync(file, '');
  assert.throws(() => new Listener(file), (error) => error.code === 'EEXIST');
  const accepting = listener.accept();
  await setImmediate();
  listener.close();
  await assert.rejects(accepting, ClosedError);
  assert.equal(existsSync(path), false);
});

test('a listener accepts many, and a refused one is told why', async (t) => {
  const path = newPath();
  const listener = new Listener(path, { capacity: 4096 });
  t.after(() => listener.close());
  const connecting = [1, 2, 3].map(() => Bus.connect(path));
  const accepted = [];
  for await (const bus of listener) {
    accepted.push(bus);
    if (accepted.length === 3) break;
  }
  const connected = await Promise.all(connecting);
  for (const [i, bus] of connected.entries()) await bus.send(`${i}`);
  const words = await Promise.all(accepted.map(async (bus) => (await bus.recv()).data.toString()));
  assert.deepEqual(words.sort(), ['0', '1', '2']);
  for (const bus of [...connected, ...accepted]) bus.close();
  assert.equal(listener.path, path);
});

test('leases that fill the ring are an error of their own', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096 });
  const leases = [];
  const sending = (async () => {
    for (let i = 0; i < 200; i++) await a.send(Buffer.alloc(100));
  })();
  await assert.rejects(async () => {
    for (;;) leases.push(await b.recvLease());
  }, LeasesError);
  const kept = leases.length;
  for (const lease of leases) lease.release();
  for (let i = kept; i < 200; i++) await b.recv();
  await sending;
});

test('properties and stats', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096, replyCapacity: 8192 });
  assert.equal(b.properties().sendCapacity, 4096);
  assert.equal(a.properties().sendCapacity, 8192);
  assert.equal(a.properties().peerPid, process.pid);
  await a.send('four');
  await b.recv();
  assert.deepEqual(
    [a.stats().sentMessages, a.stats().sentBytes, b.stats().receivedMessages, b.stats().leases],
    [1, 4, 1, 0],
  );
});
