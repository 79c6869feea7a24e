// Other processes, workers, the collector, and the end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { Bus, Caller, ClosedError, PeerDeadError, Server, TimeoutError } from 'tachyon';

import { collectUntil, ends, newPath, script } from './ends.js';

test('a killed peer is an error of its own, for who receives and for who sends', async (t) => {
  const path = newPath();
  const source = `
    import { Bus } from 'tachyon';
    const bus = await Bus.connect(process.argv.at(-1));
    await bus.send('I live');
    setInterval(() => {}, 1000);
  `;
  const child = script(t, source, path);
  const bus = await Bus.listen(path, { capacity: 4096, replyCapacity: 4096 });
  assert.equal((await bus.recv()).data.toString(), 'I live');
  const receiving = bus.recv();
  while (bus.trySend(Buffer.alloc(100)));
  const sending = bus.send('no room');
  child.kill('SIGKILL');
  await Promise.all([assert.rejects(receiving, PeerDeadError), assert.rejects(sending, PeerDeadError)]);
  await assert.rejects(bus.recv(), PeerDeadError);
  bus.close();
});

test('a process that ends in good order closes its buses, whatever it forgot', async (t) => {
  const path = newPath();
  const source = `
    import { Bus } from 'tachyon';
    const bus = await Bus.connect(process.argv.at(-1));
    await bus.send('the last word');
  `;
  const child = script(t, source, path);
  const bus = await Bus.listen(path);
  const words = [];
  for await (const message of bus) words.push(message.data.toString()); // PeerDeadError, were it not closed
  assert.deepEqual(words, ['the last word']);
  assert.equal(await child.ended, 0);
  bus.close();
});

test('a process that ends in good order leaves no socket behind', async (t) => {
  const path = newPath();
  const source = `
    import { Listener } from 'tachyon';
    new Listener(process.argv.at(-1));
    console.log('listens');
  `;
  const child = script(t, source, path);
  assert.equal(await child.ended, 0);
  assert.equal((await child.printed).trim(), 'listens');
  assert.equal(existsSync(path), false);
});

test('a process lives while it waits, and no longer', { timeout: 60_000 }, async (t) => {
  const path = newPath();
  const source = `
    import { Bus } from 'tachyon';
    const bus = await Bus.connect(process.argv.at(-1));
    await bus.send('I wait');
    console.log((await bus.recv()).data.toString());
    await bus.recv({ timeout: 1 }).catch(() => {}); // what it watched for this must not keep it alive
  `;
  const child = script(t, source, path);
  const bus = await Bus.listen(path);
  t.after(() => bus.close());
  await bus.recv();
  await setTimeout(50); // it sleeps by now, most likely
  await bus.send('waited for');
  assert.equal(await child.ended, 0);
  assert.equal((await child.printed).trim(), 'waited for');
});

test('a bus that nobody kept is closed by the collector', async (t) => {
  const path = newPath();
  const listening = Bus.listen(path);
  await (async () => void (await Bus.connect(path)))();
  const bus = await listening;
  t.after(() => bus.close());
  const end = bus.recv().catch((error) => error);
  let ended = null;
  end.then((error) => (ended = error));
  assert.ok(await collectUntil(() => ended !== null));
  assert.ok(ended instanceof ClosedError);
});

const collectSomeTimes = async () => {
  for (let i = 0; i < 20; i++) {
    global.gc();
    await setImmediate();
  }
};

test('a bus that is waited on is kept, although nobody else keeps it', async (t) => {
  const waits = {
    recv: (bus) => bus.recv(),
    'for await': async (bus) => {
      for await (const message of bus) return message;
    },
    send: async (bus) => {
      while (bus.trySend(Buffer.alloc(100)));
      await bus.send('waited for room');
      return null;
    },
  };
  for (const [name, wait] of Object.entries(waits)) {
    const path = newPath();
    const listening = Bus.listen(path, { capacity: 4096, replyCapacity: 4096 });
    const waiting = (async () => wait(await Bus.connect(path)))();
    const bus = await listening;
    t.after(() => bus.close());
    await collectSomeTimes();
    let last;
    if (name === 'send') while (last !== 'waited for room') last = (await bus.recv()).data.toString();
    else await bus.send(name);
    const got = await waiting;
    assert.equal(got ? got.data.toString() : last, got ? name : 'waited for room');
  }
});

test('calls keep their caller, and requests their server, although nobody else does', async (t) => {
  const path = newPath();
  const asked = (async () => (await Server.listen(path)).recv())();
  const calling = (async () => (await Caller.connect(path)).call('x'))();
  const request = await asked;
  await collectSomeTimes();
  await request.reply('y');
  assert.equal((await calling).toString(), 'y');
});

const worker = (t, path) => {
  const made = new Worker(new URL('echo-worker.js', import.meta.url), { workerData: path });
  t.after(() => made.terminate());
  return made;
};

test('workers have buses of their own, and may block', async (t) => {
  const paths = [newPath(), newPath(), newPath()];
  const exits = paths.map((path) => once(worker(t, path), 'exit'));
  const buses = await Promise.all(paths.map((path) => Bus.listen(path)));
  await Promise.all(
    buses.map(async (bus, n) => {
      for (let i = 0; i < 500; i++) {
        await bus.send(`${n} ${i}`, i);
        const message = await bus.recv();
        assert.deepEqual([message.data.toString(), message.typeId], [`${n} ${i}`, i + 1]);
      }
      bus.close();
    }),
  );
  assert.deepEqual(await Promise.all(exits), [[0], [0], [0]]);
});

test('a worker that blocks in a receive can be terminated', async (t) => {
  const path = newPath();
  const one = worker(t, path);
  const bus = await Bus.listen(path);
  t.after(() => bus.close());
  await bus.send('x');
  await bus.recv(); // it is in its loop now
  await one.terminate();
});

test('a bus cannot be posted to another thread: it has no methods there', async (t) => {
  const [a] = await ends(t);
  const copy = structuredClone(a);
  assert.equal(copy instanceof Bus, false);
  assert.equal(copy.send, undefined);
});

test('with many buses that wait, each is served', async (t) => {
  const pairs = [];
  for (let i = 0; i < 50; i++) pairs.push(await ends(t, { capacity: 4096 }));
  const waiting = pairs.map(([, b]) => b.recv());
  for (const [i, [a]] of [...pairs.entries()].reverse()) await a.send(`${i}`);
  for (const [i, message] of (await Promise.all(waiting)).entries()) assert.equal(message.data.toString(), `${i}`);
});

test('connections that wait for their listener leave the threads of files alone', async (t) => {
  const controller = new AbortController();
  t.after(() => controller.abort());
  const waiting = Array.from({ length: 8 }, () => Bus.connect(newPath(), { signal: controller.signal }));
  let read = 0;
  const reading = (async () => {
    for (; read < 100; read++) await readFile(new URL(import.meta.url));
  })();
  // On those threads, they held each operation up for a quarter of a second.
  await Promise.race([reading, setTimeout(20_000, null, { ref: false })]);
  assert.equal(read, 100);
  controller.abort(new Error('enough'));
  for (const connecting of waiting) await assert.rejects(connecting, /enough/);
});

test('a listener that takes long is given longer each time: large rings are not made in a moment', async (t) => {
  const path = newPath();
  let tries = 0;
  const mute = createServer((socket) => {
    tries++;
    socket.on('error', () => {});
  }).listen(path);
  t.after(() => mute.close());
  await once(mute, 'listening');
  await assert.rejects(Bus.connect(path, { timeout: 1600 }), TimeoutError);
  assert.ok(tries >= 1 && tries <= 3, `${tries} tries`); // at 0, 0.25 and 0.75 s; else at each quarter
});
