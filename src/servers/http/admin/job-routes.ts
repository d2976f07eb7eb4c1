import type { Router } from 'express';

export interface JobAdmin {
  readonly get: (id: string) => object;
  readonly cancel: (id: string) => object;
}

export function addJobRoutes(api: Router, jobs: JobAdmin): void {
  api.get('/jobs/:id', (request, response) => void response.json(jobs.get(request.params.id)));
  api.delete('/jobs/:id', (request, response) => void response.json(jobs.cancel(request.params.id)));
}
