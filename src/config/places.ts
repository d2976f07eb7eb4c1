import { existsSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';

/** Where everything lives: below one state folder, so that nothing outside it is touched. */
export interface Places {
  readonly state: string;
  readonly database: string;
  readonly images: string;
  readonly overlays: string;
  readonly data: string;
  /** What is mounted for the operator to look at. */
  readonly mounts: string;
  readonly keys: string;
  readonly run: string;
  readonly exports: string;
  /** Which processes of nbd-server may have which disk open. */
  readonly fences: string;
  readonly adminSocket: string;
  readonly lock: string;
  /** Half-made things; emptied at every start. */
  readonly work: string;
  /** What nodes mount is below it. */
  readonly shared: string;
  /** What may be deleted at any time: downloads and built trees. */
  readonly cache: string;
  readonly settingsFile: string;
}

const installedState = '/var/lib/cardless';

/** The root of this checkout or installation. */
export const projectRoot: string = resolve(import.meta.dirname, '../..');

/**
 * `--state`, else /var/lib/cardless where the system was set up for it, else .cardless in this checkout.
 * The cache follows CARDLESS_CACHE, so that several states can share one.
 */
export function findPlaces(options: { readonly state?: string | undefined; readonly env: NodeJS.ProcessEnv }): Places {
  const usual = existsSync(installedState) ? installedState : join(projectRoot, '.cardless');
  const named = options.state === undefined ? usual : resolve(options.state);
  const installed = named === installedState;
  const state = realPath(named);
  const run = installed ? '/run/cardless' : join(state, 'run');
  const cache = options.env['CARDLESS_CACHE'];
  return {
    state,
    database: join(state, 'state.db'),
    images: join(state, 'images'),
    overlays: join(state, 'overlays'),
    data: join(state, 'data'),
    mounts: join(state, 'mounts'),
    keys: join(state, 'keys'),
    run,
    // Not below run: nodes must find their disks again after the server's machine was rebooted.
    exports: join(state, 'exports'),
    fences: join(run, 'fences'),
    adminSocket: join(run, 'admin.sock'),
    lock: join(state, 'lock'),
    work: join(state, 'work'),
    shared: installed ? '/srv/cardless' : join(state, 'srv'),
    cache: cache === undefined || cache === '' ? join(state, 'cache') : realPath(resolve(cache.replace(/^~(?=\/)/, homedir()))),
    settingsFile: installed ? '/etc/cardless/cardless.yaml' : join(state, 'cardless.yaml'),
  };
}

/** Without links in it: the kernel names open files so, and who has one open is told by that name. */
function realPath(path: string): string {
  if (existsSync(path)) {
    return realpathSync(path);
  }
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), basename(path));
}
