import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import { Caller, ClosedError, RpcCode, RpcError, Server, ServerListener, TachyonError, TimeoutError } from 'tachyon';

import { newPath, script } from './ends.js';

async function pair(t, options) {
  const path = newPath();
  const [server, caller] = await Promise.all([Server.listen(path, options), Caller.connect(path, options)]);
  t.after(() => [server, caller].forEach((end) => end.close()));
  return [server, caller];
}

test('calls are answered, many at a time and in any order', async (t) => {
  const [server, caller] = await pair(t);
  const serving = server.serve(async (request) => {
    for (let i = 0; i < request.data[0] % 5; i++) await setImmediate();
    return Buffer.concat([request.data, Buffer.from([request.typeId])]);
  });
  const calls = Array.from({ length: 2000 }, (_, i) => caller.call(Buffer.from([i % 256, i >> 8]), i % 100));
  for (const [i, reply] of (await Promise.all(calls)).entries()) {
    assert.deepEqual([...reply], [i % 256, i >> 8, i % 100]);
  }
  caller.close();
  await serving;
});

test('failures keep their code and words', async (t) => {
  const [server, caller] = await pair(t, { capacity: 4096 });
  server.serve((request) => {
    if (request.typeId === 1) throw new RpcError(42, 'not today');
    if (request.typeId === 2) throw new RangeError('too far');
    if (request.typeId === 3) return Buffer.alloc(1 << 20);
    if (request.typeId === 4) throw 'a word';
    return undefined;
  });
  const failsWith = (code, words) => (error) => {
    return error instanceof RpcError && error.code === code && words.test(error.message);
  };
  await assert.rejects(caller.call('', 1), failsWith(42, /^not today$/));
  await assert.rejects(caller.call('', 2), failsWith(RpcCode.EXCEPTION, /^RangeError: too far$/));
  await assert.rejects(caller.call('', 3), failsWith(RpcCode.TOO_LARGE, /./));
  await assert.rejects(caller.call('', 4), failsWith(RpcCode.EXCEPTION, /a word/));
  assert.equal((await caller.call('', 5)).length, 0);
});

test('a call that was given up does not disturb the others', async (t) => {
  const [server, caller] = await pair(t);
  await assert.rejects(caller.call('late', 1, { timeout: 10 }), TimeoutError);
  const controller = new AbortController();
  const aborted = caller.call('never', 2, { signal: controller.signal });
  const third = caller.call('third', 3);
  controller.abort(new Error('enough'));
  await assert.rejects(aborted, /enough/);
  for await (const request of server) {
    await request.reply(`${request.data} replied`);
    if (request.typeId === 3) break;
  }
  assert.equal((await third).toString(), 'third replied');
});

test('a call that was given up is over: it is forgotten, and its late reply dropped', async (t) => {
  const [server, caller] = await pair(t);
  await assert.rejects(caller.call('late', 1, { timeout: 5 }), TimeoutError);
  assert.throws(() => caller.callSync('later', 2, { timeout: 5 }), TimeoutError);
  assert.deepEqual([caller.stats().requests, caller.stats().outstanding], [2, 0]);
  for (let i = 0; i < 2; i++) await (await server.recv()).reply('too late');
  const third = caller.call('in time', 3);
  await (await server.recv()).reply('3');
  assert.equal((await third).toString(), '3');
  const { dropped, replies, stored } = caller.stats();
  assert.deepEqual([dropped, replies, stored, server.stats().replies], [2, 1, 0, 3]);
});

test('a process does not live on for a call that was given up', { timeout: 60_000 }, async (t) => {
  const path = newPath();
  const source = `
    import { Caller } from 'tachyon';
    const caller = await Caller.connect(process.argv.at(-1));
    await caller.call('x', 1, { timeout: 20 }).catch((error) => console.log(error.name));
  `;
  const child = script(t, source, path);
  const server = await Server.listen(path);
  t.after(() => server.close());
  assert.equal(await child.ended, 0);
  assert.equal((await child.printed).trim(), 'TimeoutError');
});

test('who looks for a message holds nothing up: a reply goes out meanwhile, and the event loop turns', async (t) => {
  const spin = 20_000;
  const [server, caller] = await pair(t, { spin });
  const serving = server.serve(async (request) => {
    await null;
    return request.data;
  });
  const begin = performance.now();
  for (let i = 0; i < 300; i++) assert.equal((await caller.call(`${i}`)).toString(), `${i}`);
  await setImmediate();
  assert.ok(performance.now() - begin < spin);
  caller.close();
  await serving;
});

test('a full ring is waited for at every size: those of 41 to 48 bytes need a second line for their id', async (t) => {
  for (const size of [40, 41, 48, 49]) {
    const [server, caller] = await pair(t, { capacity: 4096 });
    const calls = Array.from({ length: 200 }, () => caller.call(Buffer.alloc(size)));
    await setImmediate(); // those that find no room wait now
    const serving = server.serve((request) => request.data);
    for (const reply of await Promise.all(calls)) assert.equal(reply.length, size);
    caller.close();
    await serving;
  }
});

test('a listener that runs out of descriptors goes on when there are some', async (t) => {
  const path = newPath();
  const listener = new ServerListener(path);
  t.after(() => listener.close());
  const accept = listener.accept;
  let short = 2;
  listener.accept = async function (options) {
    if (short-- > 0) throw new TachyonError('accept: no descriptors', 'EMFILE', 24);
    return accept.call(this, options);
  };
  const serving = listener.serve((request) => request.data);
  serving.catch(() => {}); // looked at below
  const caller = await Caller.connect(path, { timeout: 10_000 });
  assert.equal((await caller.call('x')).toString(), 'x');
  listener.accept = async () => {
    throw new TachyonError('accept: no', 'EPERM', 1);
  };
  (await Caller.connect(path)).close(); // the accept that was under way takes this one
  await assert.rejects(serving, (error) => error.code === 'EPERM');
  await assert.rejects(caller.call('y'), ClosedError); // it was served until then
});

test('a call that blocks does not get between others', async (t) => {
  const [server, caller] = await pair(t);
  const calling = caller.call('x');
  const request = await server.recv();
  assert.throws(() => caller.callSync('y'), (error) => error.code === 'EBUSY');
  await request.reply('z');
  assert.equal((await calling).toString(), 'z');
  assert.throws(() => caller.callSync('y', 0, { timeout: 1 }), TimeoutError);
});

test('a request is answered once', async (t) => {
  const [server, caller] = await pair(t);
  const calling = caller.call('x');
  const request = await server.recv();
  await request.reply('y');
  await assert.rejects(request.reply('z'), TypeError);
  await assert.rejects(request.fail(1, 'z'), TypeError);
  assert.equal((await calling).toString(), 'y');
});

test('calls that are out fail when the server closes, and when this side does', async (t) => {
  const [server, caller] = await pair(t);
  const first = caller.call('1');
  await server.recv();
  server.close();
  await assert.rejects(first, (error) => error instanceof ClosedError && error.code === 'EPIPE');
  const [, other] = await pair(t);
  const second = other.call('2');
  await setImmediate();
  other.close();
  await assert.rejects(second, ClosedError);
  await assert.rejects(other.call('3'), ClosedError);
});

test('a stream and a caller do not fit together', async () => {
  const path = newPath();
  const { Bus } = await import('tachyon');
  const listening = Bus.listen(path, { timeout: 2000 });
  const refused = listening.catch((error) => error);
  await assert.rejects(Caller.connect(path), (error) => error instanceof TachyonError && error.code === 'EPROTONOSUPPORT');
  const bus = await Bus.connect(path);
  bus.close();
  (await refused).close();
});

test('a server of many callers, in their own processes', async (t) => {
  const path = newPath();
  const listener = new ServerListener(path);
  const serving = listener.serve((request) => `${request.data}!`);
  const source = `
    import { Caller } from 'tachyon';
    const caller = await Caller.connect(process.argv.at(-1));
    for (let i = 0; i < 300; i++) {
      const word = (i % 2 ? caller.callSync('c' + i) : await caller.call('c' + i)).toString();
      if (word !== 'c' + i + '!') throw new Error(word);
    }
    console.log('well');
  `;
  const children = [1, 2, 3].map(() => script(t, source, path));
  for (const child of children) {
    assert.equal(await child.ended, 0);
    assert.equal((await child.printed).trim(), 'well');
  }
  listener.close();
  await serving;
});
