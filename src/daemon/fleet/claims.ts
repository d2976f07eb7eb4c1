/** Unknown boards become nodes: one that is named, or one after the other as they are plugged in. */
import type { Clock } from '../../domain/clock.ts';
import { UserError } from '../../domain/errors.ts';
import { type GroupName, parseGroupName } from '../../domain/group.ts';
import { type Mac, parseMac } from '../../domain/mac.ts';
import { type Node, type NodeName, parseNodeName, type UnclaimedBoard } from '../../domain/node.ts';
import { isPiSerial, parseSerial, type Serial } from '../../domain/serial.ts';
import type { Logger } from '../../log/logger.ts';
import { expandNames } from '../../policy/node-set.ts';
import type { ClaimAdmin } from '../../servers/http/admin/claim-routes.ts';
import type { Claim, ClaimStore, ClaimWindow } from '../../store/claims.ts';
import type { FleetChange, NodeStore } from '../../store/nodes.ts';
import type { BootSessions } from '../boot-sessions.ts';
import type { UnclaimedBoards } from '../unclaimed.ts';
import type { NodeContents } from './node-contents.ts';
import { refuseSettingProblems } from './setting-problems.ts';

/** Older ones cannot be undone. */
const keptClaims = 200;

export interface ClaimsOptions {
  readonly store: ClaimStore;
  readonly nodes: NodeStore;
  readonly unclaimed: UnclaimedBoards;
  readonly sessions: Pick<BootSessions, 'end'>;
  /** A board is not to become a node that could not be given what its settings say. */
  readonly contents: Pick<NodeContents, 'problemsOf'>;
  /** A node is registered no longer: its boots, overlays and keys go too. */
  readonly afterRemoval: (names: readonly NodeName[]) => Promise<void>;
  /** Whether boards can ask at all. */
  readonly isServing: () => boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onChange: () => void;
}

type Board = Claim['board'];

export class Claims implements ClaimAdmin {
  readonly #options: ClaimsOptions;

  constructor(options: ClaimsOptions) {
    this.#options = options;
    options.unclaimed.watch(
      (board) => this.isDenied(board),
      (board) => this.#onKnock(board),
    );
  }

  isDenied(board: Pick<UnclaimedBoard, 'mac' | 'serial'>): boolean {
    const { denied } = this.#options.store.record;
    return denied.includes(board.mac) || (board.serial !== undefined && denied.includes(board.serial));
  }

  readonly status = (): object => {
    const { claims, denied } = this.#options.store.record;
    const window = this.#window();
    return { ...(window ? { window } : {}), claims: claims.toReversed(), denied };
  };

  readonly claim = ({
    board: text,
    as,
    replace,
    group: groupText,
  }: {
    board: string;
    as: string;
    replace: boolean;
    group?: string | undefined;
  }): Node => {
    const name = parseNodeName(as);
    const board = this.#boardOf(text);
    const group = groupText === undefined ? undefined : this.#groupOf(groupText);
    const known = this.#options.nodes.get(name);
    const has = known && (known.serial ?? known.macs[0]);
    if (known && has !== undefined && !replace && !isSameBoard(known, board)) {
      throw new UserError('already-exists', `${name} has a board already: ${has}`, {
        hint: `--replace gives its name, address and disks to the other board; ${has} is then unknown`,
      });
    }
    this.#refuseTaken(board, name);
    this.#check([this.#change(name, board, group)]);
    return this.#take(name, board, group);
  };

  /** Replaces a window that is open. */
  readonly open = (request: { names: string; seconds: number; waiting: boolean; group?: string | undefined }): object => {
    const { nodes, store, clock, unclaimed, isServing } = this.#options;
    if (!isServing()) {
      throw new UserError('unavailable', 'No interface is served, so no board can be heard', {
        hint: 'Start the server first: sudo ./cardless up --interface eth0',
      });
    }
    const names = expandNames(request.names).map(parseNodeName);
    const taken = names.filter((name) => hasBoard(nodes.get(name)));
    if (taken.length > 0) {
      throw new UserError('already-exists', `These have a board already: ${taken.join(', ')}`, {
        hint: 'Leave them out, or give one of them another board: cardless node claim SERIAL --as NAME --replace',
      });
    }
    const group = request.group === undefined ? undefined : this.#groupOf(request.group);
    this.#check(names.map((name) => this.#change(name, { macs: [] }, group)));
    const window = {
      names,
      endsAt: clock.now() + request.seconds * 1000,
      passed: request.waiting ? [] : unclaimed.list().map(({ mac }) => mac),
      ...(group === undefined ? {} : { group }),
    };
    store.save({ ...store.record, window });
    if (request.waiting) {
      for (const board of unclaimed.list().toSorted((a, b) => a.firstSeen - b.firstSeen)) {
        this.#onKnock(board);
      }
    }
    return this.status();
  };

  readonly close = (): object => {
    const { window: _window, ...rest } = this.#options.store.record;
    this.#options.store.save(rest);
    return this.status();
  };

  /** The newest claim is taken back: the node has again what it had, or is gone if there was none. */
  readonly undo = async (): Promise<object> => {
    const { store, nodes, sessions, afterRemoval } = this.#options;
    const { claims, window, ...rest } = store.record;
    const last = claims.at(-1);
    if (!last) {
      throw new UserError('not-found', 'There is no claim to take back', { hint: 'cardless node claims shows them' });
    }
    const node = nodes.get(last.name);
    if (node && !isSameBoard(node, last.board)) {
      throw new UserError('in-use', `${last.name} has another board by now`, { hint: `cardless node show ${last.name}` });
    }
    if (node && last.before) {
      const { serial = null, macs, group = null } = last.before;
      nodes.update(last.name, { serial, macs, group });
      sessions.end(last.name);
    } else if (node) {
      nodes.remove(last.name);
    }
    // The next board gets this name.
    const again = window ? { window: { ...window, names: [last.name, ...window.names.filter((name) => name !== last.name)] } } : {};
    store.save({ ...rest, ...again, claims: claims.slice(0, -1) });
    if (node && !last.before) {
      await afterRemoval([last.name]);
    }
    this.#options.onChange();
    return last;
  };

  readonly deny = (text: string): object => {
    const { store, nodes, unclaimed } = this.#options;
    const { serial, macs } = this.#boardOf(text);
    const node = (serial && nodes.bySerial(serial)) ?? (macs[0] && nodes.byMac(macs[0]));
    if (node) {
      throw new UserError('in-use', `${text} is ${node.name}`, { hint: `cardless node hold ${node.name} keeps it from booting` });
    }
    const keys = [...(serial ? [serial] : []), ...macs].filter((key) => !store.record.denied.includes(key));
    store.save({ ...store.record, denied: [...store.record.denied, ...keys] });
    for (const { mac } of unclaimed.list().filter((board) => this.isDenied(board))) {
      unclaimed.forget(mac);
    }
    return this.status();
  };

  readonly allow = (text: string): object => {
    const { store } = this.#options;
    const key = parseBoard(text);
    if (!store.record.denied.includes(key)) {
      throw new UserError('not-found', `${text} is not denied`, { hint: 'cardless node claims shows who is' });
    }
    store.save({ ...store.record, denied: store.record.denied.filter((other) => other !== key) });
    return this.status();
  };

  #window(): ClaimWindow | undefined {
    const { window } = this.#options.store.record;
    return window && window.endsAt > this.#options.clock.now() && window.names.length > 0 ? window : undefined;
  }

  #onKnock(board: UnclaimedBoard): void {
    const window = this.#window();
    if (!window || window.passed.includes(board.mac) || this.isDenied(board)) {
      return;
    }
    const { nodes, store, unclaimed, log } = this.#options;
    // It may have asked once more before it was told that it is one.
    if (nodes.byMac(board.mac) ?? (board.serial && nodes.bySerial(board.serial))) {
      unclaimed.forget(board.mac);
      return;
    }
    const name = window.names.find((candidate) => !hasBoard(nodes.get(candidate)));
    if (name === undefined) {
      return;
    }
    // A group may be gone since the window was opened.
    const group = nodes.fleet.groups.find((known) => known.name === window.group)?.name;
    const taken = { macs: [board.mac], ...(board.serial === undefined ? {} : { serial: board.serial }) };
    try {
      this.#check([this.#change(name, taken, group)]);
    } catch (error) {
      if (!(error instanceof UserError)) {
        throw error;
      }
      log.warn({ node: name, serial: board.serial, mac: board.mac, reason: error.message }, 'board not claimed');
      return;
    }
    // Before the node: a crash in between must not give one board two names.
    store.save({ ...store.record, window: { ...window, names: window.names.filter((other) => other !== name) } });
    this.#take(name, taken, group);
    log.info({ node: name, serial: board.serial, mac: board.mac }, 'board claimed');
  }

  #take(name: NodeName, board: Board, group: GroupName | undefined): Node {
    const { nodes, store, unclaimed, sessions, clock, onChange } = this.#options;
    const known = nodes.get(name);
    const claim: Claim = {
      name,
      at: clock.now(),
      board,
      ...(known ? { before: beforeOf(known) } : {}),
    };
    if (known && !isSameBoard(known, board)) {
      sessions.end(name);
    }
    const { add, update } = this.#change(name, board, group);
    nodes.add(add);
    for (const { change } of update) {
      nodes.update(name, change);
    }
    store.save({ ...store.record, claims: [...store.record.claims, claim].slice(-keptClaims) });
    for (const mac of board.macs) {
      unclaimed.forget(mac);
    }
    onChange();
    return nodes.require(name);
  }

  /** What a claim is to the registry. */
  #change(name: NodeName, board: Board, group: GroupName | undefined): Pick<FleetChange, 'add' | 'update'> {
    const more = {
      ...(board.serial !== undefined && !isPiSerial(board.serial) ? { model: 'PC' } : {}),
      ...(group === undefined ? {} : { group }),
    };
    return this.#options.nodes.get(name)
      ? { add: [], update: [{ name, change: { serial: board.serial ?? null, macs: board.macs, ...more } }] }
      : { add: [{ name, own: {}, reimage: false, ...board, ...more }], update: [] };
  }

  /** @throws UserError bad-input */
  #check(changes: readonly Pick<FleetChange, 'add' | 'update'>[]): void {
    const { nodes, contents } = this.#options;
    const [add, update] = [changes.flatMap((change) => change.add), changes.flatMap((change) => change.update)];
    refuseSettingProblems(nodes.preview({ ...nodes.fleet, add, update, remove: [] }), nodes.list(), contents);
  }

  /** With the MAC that it asked from, if it did. */
  #boardOf(text: string): Board {
    const key = parseBoard(text);
    const seen = this.#options.unclaimed.list().find((board) => board.mac === key || board.serial === key);
    if (seen) {
      return { macs: [seen.mac], ...(seen.serial === undefined ? {} : { serial: seen.serial }) };
    }
    return isMac(key) ? { macs: [key] } : { serial: key, macs: [] };
  }

  #groupOf(text: string): GroupName {
    const group = parseGroupName(text.replace(/^@/, ''));
    if (!this.#options.nodes.fleet.groups.some(({ name }) => name === group)) {
      throw new UserError('not-found', `There is no group "${group}"`, { hint: 'cardless group list shows all' });
    }
    return group;
  }

  #refuseTaken({ serial, macs }: Board, name: NodeName): void {
    const { nodes } = this.#options;
    const owner = (serial && nodes.bySerial(serial)) ?? macs.map((mac) => nodes.byMac(mac)).find((node) => node !== undefined);
    if (owner && owner.name !== name) {
      throw new UserError('already-exists', `${serial ?? macs[0]} is ${owner.name}`, { hint: `cardless node show ${owner.name}` });
    }
    if (this.isDenied({ mac: macs[0] ?? ('' as Mac), ...(serial === undefined ? {} : { serial }) })) {
      throw new UserError('not-permitted', `${serial ?? macs[0]} is denied`, { hint: `cardless node allow ${serial ?? macs[0]}` });
    }
  }
}

function beforeOf({ macs, serial, group }: Node): NonNullable<Claim['before']> {
  return { macs: [...macs], ...(serial === undefined ? {} : { serial }), ...(group === undefined ? {} : { group }) };
}

function hasBoard(node: Node | undefined): boolean {
  return node !== undefined && (node.serial !== undefined || node.macs.length > 0);
}

function isSameBoard(node: Node, board: Board): boolean {
  return node.serial === undefined && board.serial === undefined
    ? board.macs.some((mac) => node.macs.includes(mac))
    : node.serial === board.serial;
}

function isMac(key: Mac | Serial): key is Mac {
  return key.includes(':');
}

/** @throws UserError bad-input */
function parseBoard(text: string): Mac | Serial {
  return /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(text.trim()) ? parseMac(text) : parseSerial(text);
}
