/** The admin face with all that it can do. */
import { join } from 'node:path';
import type { Express } from 'express';
import type { Places } from '../config/places.ts';
import type { Settings } from '../config/schema.ts';
import type { Clock } from '../domain/clock.ts';
import type { ImageDigest } from '../domain/image.ts';
import type { Ipv4, Subnet } from '../domain/ipv4.ts';
import type { Node, NodeName } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import type { DataVolumes } from '../overlays/data-volumes.ts';
import type { MergedViews } from '../overlays/merged-view.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import type { StoreSpace } from '../overlays/store-space.ts';
import type { Turns } from '../overlays/turns.ts';
import { createAdminFace } from '../servers/http/admin-face.ts';
import type { ClaimStore } from '../store/claims.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { SessionStore } from '../store/sessions.ts';
import type { AgentOrders } from './agent-orders.ts';
import type { BootSessions } from './boot-sessions.ts';
import { createCommitService } from './commit-service.ts';
import type { DiskCopies } from './disk-copies.ts';
import type { Exports } from './exports.ts';
import { Claims } from './fleet/claims.ts';
import type { Exporting } from './fleet/exporting.ts';
import { createFleetService } from './fleet/fleet-service.ts';
import type { NodeContents } from './fleet/node-contents.ts';
import { createNodeOrders } from './fleet/node-orders.ts';
import { nodesOf } from './fleet/select-nodes.ts';
import type { HostKeys } from './identity.ts';
import { createVersionService, ImageInspection } from './image-inspection.ts';
import { createImageService } from './image-service.ts';
import type { ImageVersions } from './image-versions.ts';
import { JobSpace } from './job-space.ts';
import type { Jobs } from './jobs.ts';
import type { LiveRefresh } from './live-refresh.ts';
import type { NodeDisksMaker } from './node-disks.ts';
import { createNodeService, removeLeftovers } from './node-service.ts';
import type { NodeVitals } from './node-vitals.ts';
import { createOverlayService } from './overlay-service.ts';
import { createPowerService } from './power/power-service.ts';
import type { NodeSecrets } from './secrets.ts';
import type { Services } from './services/services.ts';
import type { UnclaimedBoards } from './unclaimed.ts';

/** What the services of the operator share with the rest of the server. */
export interface OperatorFaceOptions {
  readonly places: Places;
  readonly settings: Settings;
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly claims: ClaimStore;
  readonly sessionStore: SessionStore;
  readonly sessions: BootSessions;
  readonly unclaimed: UnclaimedBoards;
  readonly images: ImageCatalog;
  readonly versions: ImageVersions;
  readonly contents: NodeContents;
  readonly overlays: OverlayDisks;
  readonly data: DataVolumes;
  readonly views: MergedViews;
  readonly disks: NodeDisksMaker;
  readonly exports: Exports;
  readonly space: StoreSpace;
  readonly turns: Turns;
  readonly hostKeys: HostKeys;
  readonly copies: DiskCopies;
  readonly secrets: NodeSecrets;
  readonly refresh: LiveRefresh;
  readonly jobs: Jobs;
  readonly agents: AgentOrders;
  readonly vitals: NodeVitals;
  readonly exporting: Exporting;
  readonly services: Services;
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  /** Subnets whose addresses we give out, and our own address in each. They change with the interfaces. */
  readonly served: () => readonly { readonly address: Ipv4; readonly subnet: Subnet }[];
  /** Whether any interface is served. */
  readonly isServing: () => boolean;
  readonly status: () => Promise<object>;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createOperatorFace(options: OperatorFaceOptions): Express {
  const { places, settings, leases, versions, jobs, log } = options;
  const facts = {
    domain: settings.domain,
    get served() {
      return options.served();
    },
    leaseHolder: (address: Ipv4) => leases.nodeOf(address),
  };
  const imageRef = versions.assignable.bind(versions);
  const afterRemoval = (names: readonly NodeName[]): Promise<void> => removeLeftovers(names, options);
  const onChange = (): void => {
    options.exporting.files.touch();
    options.refresh.changed();
  };
  const listens = options.agents.listens.bind(options.agents);
  const room = new JobSpace({ space: options.space, folder: places.state, clock: options.clock });
  const nextImages = async (node: Node): Promise<readonly ImageDigest[]> => (await versions.nextOf([node]))[0] ?? [];
  return createAdminFace({
    status: options.status,
    nodes: createNodeService({ ...options, facts, imageRef, nextImages, onChange }),
    orders: createNodeOrders(options),
    power: createPowerService(options),
    exports: options.exporting.service,
    ssh: options.exporting.ssh,
    fleet: createFleetService({ ...options, facts, imageRef, listens, afterRemoval, onChange }),
    claims: new Claims({ ...options, store: options.claims, afterRemoval, onChange }),
    secrets: {
      list: () => options.secrets.list(options.nodes.list()),
      rotate: (name, nodes) => options.secrets.rotate(name, nodes === undefined ? options.nodes.list() : nodesOf(options.nodes, nodes)),
    },
    images: createImageService({ places, versions, jobs, room }),
    versions: createVersionService(versions, new ImageInspection({ ...options, places, settings, versions, jobs, room })),
    commits: createCommitService({ ...options, room }),
    overlays: createOverlayService({ ...options, viewsDirectory: join(places.state, 'views'), quotaBytes: settings.overlayQuotaBytes }),
    jobs,
    services: options.services,
    onFailure: (error) => log.error({ err: error }, 'request failed'),
  });
}
