// bench.js ROLE PATH: what `tachyon bench languages` measures, in JavaScript. See
// bindings/bench/README.md.

import { createInterface } from 'node:readline';

import { Bus } from 'tachyon';

import { allocate, native } from '../lib/native.js';
import { optionsFor } from '../lib/options.js';

const DATA = Buffer.alloc(32);
const RECORD = 32;
const TURN = 16384; // records of one call: a quarter of their ring
const RING = 4 << 20;
const PAIRS = 1000;
const now = process.hrtime.bigint;

async function ping(bus, count) {
  const begin = now();
  for (let i = 0; i < count; i++) {
    await bus.send(DATA);
    await bus.recv();
  }
  return now() - begin;
}

async function echo(bus, count) {
  for (let i = 0; i < count; i++) await bus.send((await bus.recv()).data);
  return 'done';
}

async function produce(bus, count) {
  for (let i = 0; i < count; i++) await bus.send(DATA);
  return 'done';
}

async function consume(bus, count) {
  await bus.recv();
  const begin = now();
  for (let i = 1; i < count; i++) await bus.recv();
  return now() - begin;
}

async function produceRecords(bus, count) {
  const records = Buffer.alloc(TURN * RECORD);
  for (let i = 0; i < TURN; i++) records.writeDoubleLE(0.5, i * RECORD + 16);
  for (let sent = 0; sent < count; sent += TURN) {
    await bus.sendRecords(records.subarray(0, Math.min(TURN, count - sent) * RECORD), RECORD);
  }
  return 'done';
}

async function consumeRecords(bus, count) {
  let begin = 0n;
  let total = 0;
  for (let left = count; left > 0; ) {
    const records = await bus.recvRecords(RECORD, { max: Math.min(left, TURN) });
    begin ||= now();
    for (let i = 0; i < records.length; i++) total += records.getFloat64(i, 16);
    left -= records.length;
    records.release();
  }
  if (total !== 0.5 * count) throw new Error('the prices do not add up');
  return now() - begin;
}

/** Both ends of a bus as koffi calls them quickest: addresses that are BigInts, nothing checked. */
async function rawEnds(path) {
  const listener = allocate(8);
  const ends = [allocate(8), allocate(8)];
  const address = ({ bytes }) => new BigUint64Array(bytes)[0];
  if (native.listenerCreate(listener.address, path, optionsFor('stream'))) throw new Error(`listen on ${path}`);
  const connecting = new Promise((resolve) => {
    native.connect.async(ends[1].address, path, optionsFor('stream'), 10e9, (error, result) => resolve(result));
  });
  while (native.listenerAccept(address(listener), ends[0].address, 0)) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  if (await connecting) throw new Error(`connect to ${path}`);
  native.listenerFree(address(listener));
  return ends.map(address);
}

async function calls(path) {
  let ends = await Promise.all([Bus.listen(path), Bus.connect(path)]);
  let raw = await rawEnds(path);
  const { address } = allocate(64);
  const type = allocate(8).address;
  const { trySend, recvCopy } = native;
  const pairs = (count) => {
    const [start, end] = ends;
    const begin = now();
    for (let i = 0; i < count; i++) {
      if (!start.trySend(DATA) || end.tryRecv() === null) throw new Error('it did not arrive');
    }
    ends = [end, start];
    return Number(now() - begin);
  };
  const rawPairs = (count) => {
    const [start, end] = raw;
    const begin = now();
    for (let i = 0; i < count; i++) {
      trySend(start, address, 32, 0);
      if (recvCopy(end, address, 32, type, 0) !== 32) throw new Error('it did not arrive');
    }
    raw = [end, start];
    return Number(now() - begin);
  };
  return (count) => {
    let binding = 0;
    let cheapest = 0;
    for (let done = 0; done < count; done += PAIRS) {
      const turn = Math.min(PAIRS, count - done);
      binding += pairs(turn);
      cheapest += rawPairs(turn);
    }
    return `${(binding / count).toFixed(3)} ${(cheapest / count).toFixed(3)}`;
  };
}

const ROLES = {
  ping: [Bus.connect, ping],
  echo: [Bus.listen, echo],
  produce: [Bus.connect, produce],
  consume: [Bus.listen, consume],
  'records-produce': [Bus.connect, produceRecords],
  'records-consume': [(path) => Bus.listen(path, { capacity: RING }), consumeRecords],
};

async function start(role, path) {
  if (role === 'calls') return calls(path);
  const [open, round] = ROLES[role];
  const bus = await open(path);
  return (count) => round(bus, count);
}

const [role, path] = process.argv.slice(2);
const round = await start(role, path);
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(`${await round(Number(line))}`);
}
