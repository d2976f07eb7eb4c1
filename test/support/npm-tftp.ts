/** The client of the npm package `tftp` as a program: get|put host port file local blksize windowsize. */
import { createRequire } from 'node:module';

interface Client {
  get(remote: string, local: string, done: (error?: Error) => void): void;
  put(local: string, remote: string, done: (error?: Error) => void): void;
}
const peer = createRequire(import.meta.url)('tftp') as { createClient(options: object): Client };

const [verb, host, port, file = '', local = '', blksize, windowsize] = process.argv.slice(2);
const client = peer.createClient({ host, port: Number(port), blockSize: Number(blksize), windowSize: Number(windowsize), retries: 10 });
const done = (error?: Error): void => {
  if (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
};
if (verb === 'get') {
  client.get(file, local, done);
} else {
  client.put(local, file, done);
}
