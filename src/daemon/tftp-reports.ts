/** What became of TFTP transfers: a line of the log, and one of the timeline of the boot that it belongs to. */
import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Logger } from '../log/logger.ts';
import { stageOfFile } from '../policy/boot-progress.ts';
import { RateLimit } from '../policy/rate-limit.ts';
import { readTftpPath } from '../policy/tftp-path.ts';
import type { TftpReport } from '../servers/tftp/tftp-server.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { NodeFinder } from './node-finder.ts';

export interface TftpReportsOptions {
  readonly finder: NodeFinder;
  readonly sessions: BootSessions;
  readonly tftpPrefixes: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class TftpReports {
  readonly #options: TftpReportsOptions;
  readonly #limit = new RateLimit({ lines: 20, everyMs: 10_000, maxKeys: 4096 });

  constructor(options: TftpReportsOptions) {
    this.#options = options;
  }

  /** A board that finds nothing asks ten times in 15 ms, again and again (rpi-eeprom#74): its log is cut, never its answers. */
  async note(report: TftpReport): Promise<void> {
    const name = readTftpPath(report.filename, this.#options.tftpPrefixes);
    const owner = await this.#options.finder.ownerOf(report.peer.address);
    const node = name.kind === 'path' ? this.#options.finder.behind(name.serial, name.mac ?? owner) : undefined;
    const { log, sessions } = this.#options;
    const fields = { node: node?.name, peer: report.peer.address, file: report.filename, ms: report.ms };
    const { outcome } = report;
    const path = name.kind === 'path' ? name.path : report.filename;
    switch (outcome.kind) {
      case 'sent':
        log.debug({ ...fields, bytes: outcome.bytes }, 'file sent');
        if (node) {
          sessions.record(node.name, stageOfFile(path), 'file sent', `${path} ${outcome.bytes} bytes ${report.ms} ms`);
        }
        return;
      case 'missing':
        this.#say(outcome.expected ? 'debug' : 'info', fields, 'file missing');
        return;
      case 'refused':
        this.#say('warn', { ...fields, reason: outcome.reason }, 'file refused');
        return;
      case 'stopped':
        this.#say(
          outcome.probe ? 'debug' : 'info',
          { ...fields, code: outcome.code, message: outcome.message },
          'client stopped the transfer',
        );
        return;
      case 'timed-out':
        log.warn({ ...fields, block: outcome.block }, 'transfer timed out');
        if (node) {
          sessions.record(node.name, stageOfFile(path), 'transfer timed out', `${path} at block ${outcome.block}`);
        }
        return;
      case 'restarted':
        log.info(fields, 'client began anew');
        return;
      default:
        outcome satisfies never;
    }
  }

  #say(level: 'debug' | 'info' | 'warn', fields: { readonly peer: Ipv4; readonly [field: string]: unknown }, message: string): void {
    const { log, clock } = this.#options;
    const turn = this.#limit.take(fields.peer, clock.now());
    const leftOut = turn.kind === 'pass' && turn.leftOut > 0 ? { leftOut: turn.leftOut } : {};
    log[turn.kind === 'pass' ? level : 'trace']({ ...fields, ...leftOut }, message);
  }
}
