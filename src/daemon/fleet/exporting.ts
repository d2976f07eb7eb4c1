/** Exports in all their ways: asked for, kept in files, and as what the operator's ssh is told. */
import type { Settings } from '../../config/schema.ts';
import type { Clock } from '../../domain/clock.ts';
import type { Logger } from '../../log/logger.ts';
import type { ExportAdmin } from '../../servers/http/admin/export-routes.ts';
import type { SshAdmin } from '../../servers/http/admin/ssh-routes.ts';
import type { SshCa } from '../ssh-ca.ts';
import { ExportFiles } from './export-files.ts';
import { createExportService, type ExportServiceOptions } from './export-service.ts';
import { createSshAccess } from './ssh-access.ts';

export interface Exporting {
  readonly service: ExportAdmin;
  readonly files: ExportFiles;
  readonly ssh: SshAdmin;
}

export interface ExportingOptions extends Omit<ExportServiceOptions, 'hostCa' | 'domain'> {
  readonly settings: Settings;
  readonly ca: SshCa;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createExporting({ settings, ca, clock, log, ...registry }: ExportingOptions): Exporting {
  const known = { ...registry, hostCa: () => ca.publicKey(), domain: settings.domain };
  const service = createExportService(known);
  return {
    service,
    files: new ExportFiles({ wanted: settings.exports, exports: service, clock, log }),
    ssh: createSshAccess({ ...known, ca, exported: service, log }),
  };
}
