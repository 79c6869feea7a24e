// bindings/node/examples/hello_receive.js
import { Bus } from 'tachyon';

const bus = await Bus.listen('/tmp/hello');
for await (const message of bus) { // until the sender closes
  console.log(message.typeId, message.data.toString());
}
bus.close();
