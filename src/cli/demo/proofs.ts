/** What the demo promises about a node, checked on the node itself. */
import { randomBytes } from 'node:crypto';
import { UserError } from '../../domain/errors.ts';
import type { Machine } from '../../sim/machines.ts';
import type { DemoServer } from './demo-server.ts';
import { waitReady } from './wait-ready.ts';

const bootTimeoutMs = 15 * 60_000;
const proofFile = '/root/proof';

export interface ProofContext {
  readonly server: DemoServer;
  readonly name: string;
  readonly machine: Machine;
  readonly signal: AbortSignal;
  readonly note: (line: string) => void;
}

/** Hostname, and that `/` is an overlay over a block device that cannot be written. */
export async function proveIdentity({ server, name, signal, note }: ProofContext): Promise<void> {
  const facts = await server.ssh(name, 'hostname; findmnt -n -o FSTYPE /; findmnt -n -o OPTIONS /; cat /sys/block/nbd0/ro', signal);
  const [hostname, type, options = '', readOnly] = facts.split('\n');
  expect(hostname === name, `the host name is ${hostname}, not ${name}`);
  expect(type === 'overlay' && options.includes('lowerdir=/mnt/root'), `/ is ${type} (${options})`);
  expect(readOnly === '1', 'the shared root can be written');
  note(`${name}: hostname ${hostname}, / is an overlay over the shared read-only root`);
}

/** A file that was written is there after a reboot. */
export async function provePersistent(context: ProofContext): Promise<void> {
  const secret = await writeProof(context);
  await reboot(context);
  expect((await readProof(context)) === secret, 'a file written before the reboot is gone');
  context.note(`${context.name}: the file survived a reboot`);
}

/** After a reimage and a reboot it is gone. */
export async function proveReimage(context: ProofContext): Promise<void> {
  await context.server.client.call('POST', `/nodes/${context.name}/reimage`);
  expect((await readProof(context)) !== '', 'reimage took the overlay away from a running node');
  await reboot(context);
  expect((await readProof(context)) === '', 'a file from before the reimage is still there');
  context.note(`${context.name}: the file is gone after reimage and reboot`);
}

/** With an ephemeral overlay it is gone after any reboot. */
export async function proveEphemeral(context: ProofContext): Promise<void> {
  await context.server.client.call('PATCH', `/nodes/${context.name}`, { overlay: 'ephemeral' });
  await reboot(context);
  await writeProof(context);
  await reboot(context);
  expect((await readProof(context)) === '', 'a file in an ephemeral overlay survived a reboot');
  context.note(`${context.name}: in ephemeral mode the file is gone after a reboot`);
}

async function writeProof({ server, name, signal }: ProofContext): Promise<string> {
  const secret = randomBytes(16).toString('hex');
  await server.ssh(name, `echo ${secret} >${proofFile} && sync`, signal);
  return secret;
}

async function readProof({ server, name, signal }: ProofContext): Promise<string> {
  return (await server.ssh(name, `cat ${proofFile} 2>/dev/null || true`, signal)).trim();
}

async function reboot({ server, name, machine, signal, note }: ProofContext): Promise<void> {
  const before = await server.node(name);
  note(`${name}: rebooting`);
  // The connection may go down before the command has ended.
  await server.sshOnce(name, 'systemctl reboot', signal).catch(() => '');
  await waitReady({ server, name, after: before.boot?.id, timeoutMs: bootTimeoutMs, consoleFile: machine.consoleFile, signal });
}

function expect(condition: boolean, otherwise: string): void {
  if (!condition) {
    throw new UserError('failed', `The promise does not hold: ${otherwise}`);
  }
}
