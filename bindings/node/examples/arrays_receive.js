// bindings/node/examples/arrays_receive.js
import { Bus } from 'tachyon';

const bus = await Bus.listen('/tmp/arrays', { capacity: 4 << 20 });
const eye = await bus.recvArray(); // a typed array, copied once
console.log(eye.data, eye.shape);
const image = await bus.recvArray();
console.log(image.shape, image.dtype, image.data[0]);

let count = 0;
let sum = 0;
while (count < 100_000) {
  const ticks = await bus.recvRecords(16); // as many as there are, where they lie
  for (let i = 0; i < ticks.length; i++) sum += ticks.getFloat64(i, 8);
  count += ticks.length;
  ticks.release();
}
console.log(`${count} ticks, mean price ${(sum / count).toFixed(3)}`);
bus.close();
