// peer.js ROLE MODE PATH COUNT BLOCK: one side of the matrix, in JavaScript. See run-matrix.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { Bus, Caller, ClosedError, PeerDeadError, RpcError, Server } from 'tachyon';

const LARGEST = 1048448;
const RECORD_TYPE = 7;
const FAILING_TYPE = 9;
const FAILING_CODE = 42;
const FAILING_TEXT = 'not today';
const TURN = 4096; // records of one call
const RECORD = 24;
const WORD = (1n << 64n) - 1n;
const TYPES = [Float32Array, Float64Array, Int16Array, Uint8Array];

function mix(number) {
  let z = ((BigInt(number) + 1n) * 0x9e3779b97f4a7c15n) & WORD;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & WORD;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & WORD;
  return z ^ (z >> 31n);
}

function ruleOf(number) {
  const random = mix(number);
  const bits = (shift, mask) => Number((random >> BigInt(shift)) & BigInt(mask));
  const mask = (1 << Number((random >> 10n) % 13n)) - 1;
  return {
    size: random % 1024n === 0n ? LARGEST : bits(16, 0xffffffff) & mask,
    start: bits(40, 0xfffff),
    typeId: bits(20, 0xffffffff),
    type: TYPES[Number(random % 4n)],
    shape: [Number((random >> 8n) % 5n), Number((random >> 16n) % 7n), Number((random >> 24n) % 33n)],
  };
}

function elements({ type, shape, start }) {
  const array = new type(shape[0] * shape[1] * shape[2]);
  for (let i = 0; i < array.length; i++) array[i] = (start + i) % 120;
  return array;
}

async function produce(mode, bus, count, block) {
  if (mode === 'stream') {
    for (let i = 0; i < count; i++) {
      const { start, size, typeId } = ruleOf(i);
      const payload = block.subarray(start, start + size);
      if (i % 2) await bus.send(payload, typeId);
      else await bus.sendInPlace(size, (slot) => slot.set(payload), typeId);
    }
  } else if (mode === 'records') {
    for (let first = 0; first < count; first += TURN) {
      const turn = Math.min(TURN, count - first);
      const view = new DataView(new ArrayBuffer(turn * RECORD));
      for (let i = 0; i < turn; i++) {
        view.setBigUint64(i * RECORD, BigInt(first + i), true);
        view.setBigUint64(i * RECORD + 8, mix(first + i), true);
        view.setFloat64(i * RECORD + 16, (first + i) / 2, true);
      }
      assert.equal(await bus.sendRecords(view, RECORD, RECORD_TYPE), turn);
    }
  } else if (mode === 'arrays') {
    for (let i = 0; i < count; i++) {
      const rule = ruleOf(i);
      await bus.sendArray(elements(rule), rule.shape);
    }
  } else {
    await assert.rejects(async () => {
      for (;;) await bus.send(block.subarray(0, 1000));
    }, PeerDeadError);
  }
}

async function consume(mode, bus, count, block) {
  if (mode === 'stream') {
    let i = 0;
    for await (const message of bus) {
      const { start, size, typeId } = ruleOf(i++);
      assert.equal(message.typeId, typeId);
      assert.equal(message.data.length, size);
      assert.ok(message.data.equals(block.subarray(start, start + size)), `message ${i - 1}`);
    }
    assert.equal(i, count);
  } else if (mode === 'records') {
    for (let received = 0; received < count; ) {
      const records = await bus.recvRecords(RECORD, { typeId: RECORD_TYPE });
      for (let i = 0; i < records.length; i++, received++) {
        assert.equal(records.getBigUint64(i, 0), BigInt(received));
        assert.equal(records.getBigUint64(i, 8), mix(received));
        assert.equal(records.getFloat64(i, 16), received / 2);
      }
      records.release();
    }
  } else if (mode === 'arrays') {
    for (let i = 0; i < count; i++) {
      const rule = ruleOf(i);
      const array = await bus.recvArray();
      assert.deepEqual(array.shape, rule.shape);
      assert.deepEqual(array.data, elements(rule));
    }
  } else {
    await assert.rejects(async () => {
      for (;;) await bus.recv();
    }, PeerDeadError);
  }
}

async function call(path, count, block) {
  const caller = await Caller.connect(path);
  for (let i = 0; i < count; i++) {
    const { start, size } = ruleOf(i);
    const request = block.subarray(start, start + (size % 4096));
    if (i % 97) {
      const reply = await caller.call(request, 1);
      assert.ok(reply.equals(request.map((byte) => byte ^ 0x5a)), `call ${i}`);
    } else {
      await assert.rejects(caller.call(request, FAILING_TYPE), (error) => {
        return error instanceof RpcError && error.code === FAILING_CODE && error.message === FAILING_TEXT;
      });
    }
  }
  caller.close();
}

async function serve(path, count) {
  const server = await Server.listen(path);
  let served = 0;
  await server.serve((request) => {
    served++;
    if (request.typeId === FAILING_TYPE) throw new RpcError(FAILING_CODE, FAILING_TEXT);
    return request.data.map((byte) => byte ^ 0x5a);
  });
  assert.equal(served, count);
  await assert.rejects(server.recv(), ClosedError);
}

const [role, mode, path, number, blockPath] = process.argv.slice(2);
const count = Number(number);
const block = readFileSync(blockPath);
if (mode === 'rpc') {
  await (role === 'producer' ? call(path, count, block) : serve(path, count));
} else if (role === 'producer') {
  const bus = await Bus.connect(path);
  await produce(mode, bus, count, block);
  bus.close();
} else {
  const bus = await Bus.listen(path);
  await consume(mode, bus, count, block);
  bus.close();
}
console.log('ok');
