// Compiled only, by tsc: a program that uses what index.d.ts promises.
import { Bus, Caller, ClosedError, Listener, RpcError, Server, ServerListener, type NdArray } from 'tachyon';

export async function stream(signal: AbortSignal): Promise<number> {
  const bus: Bus = await Bus.listen('/tmp/hello', { capacity: 1 << 20, signal });
  let bytes = 0;
  for await (const message of bus) {
    bytes += message.data.length + message.typeId;
    const array: NdArray = message.array();
    await bus.sendArray(array.data, array.shape);
    if (array.dtype === '<f4') bytes += array.data.reduce((sum, element) => sum + element, 0);
    if (array.dtype === '<i8') bytes += Number(array.data[0]);
  }
  for (const message of await bus.recvBatch({ max: 10 })) bytes += message.data.length;
  {
    using lease = await bus.recvLease({ timeout: 100 });
    bytes += lease.getFloat64(0);
  }
  const records = await bus.recvRecords(32, { max: 10, typeId: 7 });
  bytes += records.getFloat64(0, 16);
  await bus.sendInPlace(8, (slot) => slot.setFloat64(0, 1), 3);
  const word: string | undefined = bus.tryRecv()?.data.toString();
  // @ts-expect-error: numbers are no payload
  await bus.send(42);
  // @ts-expect-error: buses are made by listen and connect
  new Bus();
  return bytes + (word?.length ?? 0);
}

export async function calls(): Promise<void> {
  const server: Server = await Server.listen('/tmp/rpc');
  await server.serve(async (request) => {
    if (request.typeId === 9) throw new RpcError(42, 'not today');
    return request.data;
  });
  const listener = new ServerListener('/tmp/rpc');
  await listener.serve((request) => request.data, { concurrency: 4 });
  const caller = await Caller.connect('/tmp/rpc');
  const reply: Buffer = await caller.call('hello', 1, { timeout: 1000 });
  for await (const bus of new Listener('/tmp/many')) bus.sendSync(reply);
  try {
    caller.callSync('');
  } catch (error) {
    if (error instanceof ClosedError) console.log(error.code);
    if (error instanceof RpcError) console.log(error.code + 1);
  }
}
