/** Carries out single steps of switching nodes. What they are told may be secret: no message has it. */
import { systemCode, UserError } from '../../domain/errors.ts';
import type { NodeName } from '../../domain/node.ts';
import { getInteger, setInteger } from '../../net/snmp.ts';
import { type PowerState, type PowerStep, readPowerState, snmpPowerState } from '../../policy/power.ts';
import { streamChild } from '../../process/stream-child.ts';
import type { AgentOrders } from '../agent-orders.ts';

const httpTimeoutMs = 10_000;
const commandTimeoutMs = 30_000;
/** Of an answer, and of what a command prints. */
const maxAnswerBytes = 65_536;

type Does<K extends PowerStep['kind']> = Extract<PowerStep, { kind: K }>;

/** @throws UserError with the reason */
export async function carryOut(step: Exclude<PowerStep, { kind: 'wait' }>, node: NodeName, agents: AgentOrders): Promise<PowerState> {
  switch (step.kind) {
    case 'listen':
      return agents.listens(node) ? 'on' : 'unknown';
    case 'order': {
      const result = await agents.tell(node, { verb: step.verb });
      if ('reason' in result) {
        throw new UserError('unavailable', result.reason);
      }
      return 'unknown';
    }
    case 'snmp':
      if (step.set === undefined) {
        return snmpPowerState(await getInteger(step));
      }
      await setInteger(step, step.set);
      return 'unknown';
    case 'http':
      return readPowerState(await callWebhook(step));
    case 'command':
      return readPowerState(await runCommand(step));
  }
}

async function callWebhook({ url, method, headers, body }: Does<'http'>): Promise<string> {
  const { host } = URL.parse(url) ?? { host: 'the webhook' };
  let response: Response;
  try {
    const signal = AbortSignal.timeout(httpTimeoutMs);
    response = await fetch(url, { method, headers, redirect: 'manual', signal, ...(body === undefined ? {} : { body }) });
  } catch (error) {
    // What the error says itself may have the URL or a header in it.
    const cause = error instanceof Error ? error.cause : undefined;
    const reason = systemCode(cause) ?? (cause instanceof Error ? cause.message : error instanceof Error ? error.name : 'it failed');
    throw new UserError('unavailable', `${host} did not answer: ${reason === 'TypeError' ? 'its headers cannot be sent' : reason}`);
  }
  const text = (await response.text().catch(() => '')).slice(0, maxAnswerBytes);
  if (!response.ok) {
    throw new UserError('failed', `${host} answered ${response.status}`);
  }
  return text;
}

async function runCommand({ line }: Does<'command'>): Promise<string> {
  const said: Buffer[] = [];
  let bytes = 0;
  const outcome = await streamChild('sh', ['-c', line], {
    signal: new AbortController().signal,
    timeoutMs: commandTimeoutMs,
    noStdin: true,
    onStdout: (chunk) => {
      if (bytes < maxAnswerBytes) {
        said.push(chunk);
        bytes += chunk.length;
      }
      return Promise.resolve();
    },
    onStderr: () => Promise.resolve(),
  });
  if (outcome.kind === 'exited' && outcome.exitCode === 0) {
    return Buffer.concat(said).toString();
  }
  throw new UserError('failed', `its command ${outcome.kind === 'exited' ? `ended with exit code ${outcome.exitCode}` : outcome.kind}`);
}
