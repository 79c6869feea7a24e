// A worker thread that blocks: sends what it receives back, with the next tag.

import { workerData } from 'node:worker_threads';

import { Bus, ClosedError } from 'tachyon';

const bus = Bus.connectSync(workerData);
try {
  for (;;) {
    const message = bus.recvSync();
    bus.sendSync(message.data, message.typeId + 1);
  }
} catch (error) {
  bus.close();
  if (!(error instanceof ClosedError)) throw error;
}
