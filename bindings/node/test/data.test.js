import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Bus, ClosedError, MessageSizeError, ReleasedError, RingView, TachyonError } from 'tachyon';

import { collectUntil, ends } from './ends.js';

test('a lease shows the message where it lies, and nothing after its release', async (t) => {
  const [a, b] = await ends(t);
  const data = Buffer.alloc(200);
  data.writeDoubleLE(2.5, 8);
  data.writeBigUInt64LE(2n ** 63n, 16);
  data.writeInt16LE(-3, 24);
  await a.send(data, 5);
  const lease = await b.recvLease();
  assert.deepEqual([lease.typeId, lease.byteLength, b.stats().leases], [5, 200, 1]);
  assert.deepEqual([lease.getFloat64(8), lease.getBigUint64(16), lease.getInt16(24)], [2.5, 2n ** 63n, -3]);
  assert.throws(() => lease.getFloat64(193), RangeError);
  assert.deepEqual(lease.toBuffer(), data);
  const part = new Float64Array(1);
  assert.equal(lease.copyTo(part, 8), 8);
  assert.equal(part[0], 2.5);
  lease.release();
  lease.release();
  assert.equal(b.stats().leases, 0);
  for (const use of [() => lease.getUint8(0), () => lease.byteLength, () => lease.toBuffer(), () => lease.copyTo(part)]) {
    assert.throws(use, ReleasedError);
  }
});

test('a lease outlives its bus, until it is released', async (t) => {
  const [a, b] = await ends(t);
  await a.send(Buffer.alloc(1000, 6));
  const lease = await b.recvLease();
  a.close();
  b.close();
  assert.equal(lease.getUint8(999), 6);
  lease.release();
  assert.throws(() => lease.getUint8(0), ReleasedError);
});

test('leases that nobody kept are given back by the collector', async (t) => {
  const [a, b] = await ends(t);
  await a.send('forgotten');
  await a.sendRecords(new Float64Array(4), 8);
  await (async () => void (await b.recvLease()))();
  await (async () => void (await b.recvRecords(8)))();
  assert.equal(b.stats().leases, 2);
  assert.ok(await collectUntil(() => b.stats().leases === 0));
});

test('a message is written in the ring, as much of it as was used', async (t) => {
  const [a, b] = await ends(t);
  let kept;
  await a.sendInPlace(
    100,
    (slot) => {
      kept = slot;
      assert.equal(slot.byteLength, 100);
      slot.fill(0);
      slot.set(new Uint16Array([1, 2]), 4);
      slot.setFloat32(8, 0.5);
      slot.setBigInt64(16, -1n);
      return 24;
    },
    3,
  );
  assert.throws(() => kept.setUint8(0, 1), ReleasedError);
  const { data, typeId } = await b.recv();
  assert.deepEqual([data.length, typeId], [24, 3]);
  assert.deepEqual([data.readUInt16LE(6), data.readFloatLE(8), data.readBigInt64LE(16)], [2, 0.5, -1n]);
});

test('what fails while it is written is not sent, and the next one is', async (t) => {
  const [a, b] = await ends(t);
  const failing = a.sendInPlace(100, () => {
    throw new Error('no');
  });
  await assert.rejects(failing, /no/);
  await assert.rejects(
    a.sendInPlace(8, () => 9),
    TypeError,
  );
  await assert.rejects(
    a.sendInPlace(8, async () => {}),
    TypeError,
  );
  a.sendInPlaceSync(8, (slot) => slot.setFloat64(0, 1));
  assert.equal((await b.recv()).data.readDoubleLE(), 1);
  assert.equal(b.tryRecv(), null);
});

test('a bus that is closed while a message is written in it ends the slot', async (t) => {
  const [a, b] = await ends(t);
  const writing = a.sendInPlace(1000, (slot) => {
    a.close();
    slot.setUint8(999, 1);
  });
  await assert.rejects(writing, ReleasedError);
  await assert.rejects(b.recv(), ClosedError);
});

test('records go by the thousand, and end where another size or tag begins', async (t) => {
  const [a, b] = await ends(t);
  const numbers = Float64Array.from({ length: 3000 }, (_, i) => i);
  assert.equal(await a.sendRecords(numbers, 24, 7), 1000);
  await a.send('another');
  let seen = 0;
  let kept;
  while (seen < 1000) {
    const records = await b.recvRecords(24, { typeId: 7, max: 400 });
    for (let i = 0; i < records.length; i++, seen++) {
      assert.equal(records.getFloat64(i, 0), seen * 3);
      assert.equal(records.getFloat64(i, 16), seen * 3 + 2);
    }
    const all = new Float64Array(new Uint8Array(records.toBuffer()).buffer);
    assert.equal(all.at(-1), seen * 3 - 1);
    assert.throws(() => records.getFloat64(records.length, 0), RangeError);
    assert.throws(() => records.getFloat64(0, 17), RangeError);
    assert.throws(() => records.getFloat64(-1, 0), RangeError);
    assert.throws(() => records.getFloat64(NaN, 0), RangeError);
    kept = records;
    records.release();
    records.release();
  }
  assert.throws(() => kept.getFloat64(0, 0), ReleasedError);
  assert.throws(() => kept.toBuffer(), ReleasedError);
  await assert.rejects(b.recvRecords(24), MessageSizeError);
  await assert.rejects(b.recvRecords(7, { typeId: 7 }), (error) => error.code === 'EBADMSG');
  assert.equal((await b.recv()).data.toString(), 'another');
});

test('more records than the ring holds', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096 });
  const sending = a.sendRecords(Float64Array.from({ length: 1000 }, (_, i) => i), 8);
  for (let seen = 0; seen < 1000; ) {
    const records = await b.recvRecords(8);
    for (let i = 0; i < records.length; i++) assert.equal(records.getFloat64(i, 0), seen++);
    records.release();
  }
  assert.equal(await sending, 1000);
});

test('records that the time was not enough for are told by their number', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096, replyCapacity: 4096 });
  const records = Float64Array.from({ length: 1000 }, (_, i) => i);
  const sent = await a.sendRecords(records, 8, 0, { timeout: 10 });
  assert.ok(sent > 10 && sent < 1000, `${sent}`);
  assert.equal(a.sendRecordsSync(records, 8, 0, { timeout: 0 }), 0);
  const received = await b.recvRecords(8);
  assert.equal(received.length, sent);
  received.release();
});

test('memory that is taken away while records wait is not read', async (t) => {
  const [a, b] = await ends(t, { capacity: 4096, replyCapacity: 4096 });
  const memory = new ArrayBuffer(1 << 24, { maxByteLength: 1 << 24 });
  const shrunk = a.sendRecords(new Uint8Array(memory), 64);
  memory.resize(0);
  (await b.recvRecords(64)).release(); // room: it goes on
  await assert.rejects(shrunk, TypeError);
  const array = new Float64Array(100_000);
  while (a.trySend(''));
  const moved = a.sendRecords(array, 8);
  structuredClone(array, { transfer: [array.buffer] });
  while (b.tryRecv());
  await assert.rejects(moved, TypeError);
});

test('messages are received beside memory that was transferred to another thread', async (t) => {
  const [a, b] = await ends(t);
  await a.send('first');
  const first = await b.recv();
  const moved = structuredClone(first.data, { transfer: [first.data.buffer] });
  await a.send('second');
  const second = await b.recv();
  assert.deepEqual([Buffer.from(moved).toString(), second.data.toString()], ['first', 'second']);
});

test('what lies in memory of C is made by nobody but the package', async (t) => {
  const [a, b] = await ends(t);
  await a.send('x');
  await a.sendRecords(new Float64Array(1), 8);
  const lease = await b.recvLease();
  const records = await b.recvRecords(8);
  const made = [
    [lease.constructor, {}, { data: 1n, size: 8, lease: 1n, typeId: 0 }],
    [records.constructor, {}, { data: 1n, count: 1, stride: 64, lease: 1n }, 8],
    [RingView, 1n, 8],
    [Bus, { bus: 1n }],
  ];
  const who = /comes? from|is made by/;
  const key = Symbol('made by the package');
  for (const [Class, ...rest] of made) assert.throws(() => new Class(key, ...rest), who);
  assert.deepEqual(Object.getOwnPropertyNames(RingView).sort(), ['length', 'name', 'prototype']);
  lease.release();
  records.release();
});

test('arrays keep their shape and type', async (t) => {
  const [a, b] = await ends(t);
  const arrays = [
    [new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3], '<f4'],
    [new Float64Array([0.5]), [], '<f8'],
    [new Int8Array([-1]), [1], '|i1'],
    [new Uint8Array(0), [0, 3], '|u1'],
    [new Int16Array([-2]), undefined, '<i2'],
    [new Uint16Array([2]), undefined, '<u2'],
    [new Int32Array([-4]), undefined, '<i4'],
    [new Uint32Array([4]), undefined, '<u4'],
    [new BigInt64Array([-8n]), undefined, '<i8'],
    [new BigUint64Array([8n]), undefined, '<u8'],
    [new Float32Array(50_000).fill(7), [50, 1000], '<f4'],
  ];
  for (const [data, shape, dtype] of arrays) {
    await a.sendArray(data, shape, 4);
    const got = await b.recvArray();
    assert.deepEqual(got, { data, shape: shape ?? [data.length], dtype });
  }
  a.sendArraySync(new Float32Array([1, 2]));
  const message = await b.recv();
  assert.deepEqual(message.array().data, new Float32Array([1, 2]));
});

test('what is no array stays the next message; what cannot be one is refused', async (t) => {
  const [a, b] = await ends(t);
  await a.send(Buffer.alloc(300), 8);
  await assert.rejects(b.recvArray(), (error) => error instanceof TachyonError && error.code === 'EBADMSG');
  assert.equal((await b.recv()).typeId, 8);
  await assert.rejects(a.sendArray(new Float32Array(6), [4, 2]), RangeError);
  await assert.rejects(a.sendArray(new Float32Array(6), [-6]), RangeError);
  await assert.rejects(a.sendArray([1, 2, 3]), TypeError);
  assert.equal(b.tryRecv(), null);
});
