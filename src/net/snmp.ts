/** Single integers of an SNMP agent, SNMPv2c (RFC 3416). */
import { createSession, isVarbindError, ObjectType, type Varbind, Version2c, varbindError } from 'net-snmp';
import { UserError } from '../domain/errors.ts';

export interface SnmpTarget {
  readonly host: string;
  readonly port: number;
  /** Never part of a message. */
  readonly community: string;
  readonly oid: string;
}

const timeoutMs = 2000;
const retries = 2;

/** @throws UserError unavailable when nobody answers, failed when it is refused */
export async function getInteger(target: SnmpTarget): Promise<number> {
  const value = (await ask(target, undefined)).value;
  if (typeof value !== 'number') {
    throw new UserError('failed', `${target.host} has no number at ${target.oid}`, { hint: 'Is the port right?' });
  }
  return value;
}

/** @throws UserError unavailable when nobody answers, failed when it is refused */
export async function setInteger(target: SnmpTarget, value: number): Promise<void> {
  await ask(target, value);
}

async function ask({ host, port, community, oid }: SnmpTarget, value: number | undefined): Promise<Varbind> {
  const session = createSession(host, community, { port, timeout: timeoutMs, retries, version: Version2c });
  try {
    return await new Promise((resolve, reject) => {
      const onAnswer = (error: Error | null, varbinds?: Varbind[]): void => {
        const [varbind] = varbinds ?? [];
        if (error || !varbind) {
          reject(refusal(host, error));
        } else if (isVarbindError(varbind)) {
          reject(new UserError('failed', `${host} refuses ${oid}: ${varbindError(varbind)}`, { hint: 'Is the port right?' }));
        } else {
          resolve(varbind);
        }
      };
      // A name that is not found, or no way to the network, is told by the session alone.
      (session as unknown as NodeJS.EventEmitter).on('error', (error: Error) => reject(refusal(host, error)));
      if (value === undefined) {
        session.get([oid], onAnswer);
      } else {
        session.set([{ oid, type: ObjectType.Integer, value }], onAnswer);
      }
    });
  } finally {
    session.close();
  }
}

function refusal(host: string, error: Error | null): UserError {
  if (error?.name === 'RequestTimedOutError') {
    return new UserError('unavailable', `${host} does not answer by SNMP`, { hint: 'Switches do not answer a wrong community either' });
  }
  return new UserError('failed', `${host} refused: ${error?.message ?? 'it said nothing'}`, {
    hint: 'Switches refuse a community that may only read',
  });
}
