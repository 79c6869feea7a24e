// bindings/node/examples/order_book_client.js
import { Caller } from 'tachyon';

const caller = await Caller.connect('/tmp/books');
const instrument = Buffer.alloc(8);
instrument.writeBigUInt64LE(2330n);
const snapshot = await caller.call(instrument, 1, { timeout: 10_000 }); // an RpcError where the server failed it
console.log('best bid', snapshot.readDoubleLE(16).toFixed(1));
await caller.call('', 2); // stop
caller.close();
