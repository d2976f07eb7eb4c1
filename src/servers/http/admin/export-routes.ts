import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

/** What an export may be asked for besides its format. */
export const ExportQuery = z.strictObject({
  /** A set of nodes. */
  nodes: z.string().optional(),
  /** Through which host nodes are reached. */
  jump: z
    .string()
    .regex(/^[A-Za-z0-9_.@:[\]-]{1,255}$/, 'is not a host, for example root@server')
    .optional(),
  /** Who logs in. */
  user: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/, 'is not the name of a user')
    .optional(),
  /** Of the exporter that Prometheus asks. */
  port: z.coerce.number().int().min(1).max(65_535).optional(),
});
export type ExportQuery = z.infer<typeof ExportQuery>;

export interface Exported {
  readonly text: string;
  readonly mediaType: string;
}

export interface ExportAdmin {
  readonly formats: () => readonly object[];
  readonly render: (format: string, query: ExportQuery) => Promise<Exported>;
}

/** What comes is the export itself, so that curl on the server's socket is all that it takes. */
export function addExportRoutes(api: Router, exports: ExportAdmin): void {
  api.get('/export', (_request, response) => void response.json(exports.formats()));
  api.get('/export/:format', async (request, response) => {
    const { text, mediaType } = await exports.render(request.params.format, body(ExportQuery, request.query));
    response.type(mediaType).send(text);
  });
}
