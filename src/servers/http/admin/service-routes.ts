import type { Router } from 'express';

export interface ServiceAdmin {
  readonly list: () => readonly object[];
}

export function addServiceRoutes(api: Router, services: ServiceAdmin): void {
  api.get('/services', (_request, response) => void response.json(services.list()));
}
