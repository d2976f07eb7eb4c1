/** Bytes from the network that do not follow their format. Counted and logged at debug; never a crash. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  readonly reason: string;
  /** Byte position at which reading stopped. */
  readonly offset: number;

  constructor(reason: string, offset: number) {
    super(`${reason} at byte ${offset}`);
    this.reason = reason;
    this.offset = offset;
  }
}

export type UserErrorCode =
  | 'bad-input'
  | 'not-found'
  | 'already-exists'
  | 'in-use'
  | 'not-permitted'
  | 'unavailable'
  | 'no-space'
  | 'cancelled'
  | 'failed';

/** Something the operator can act on. `hint` says what to do. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly code: UserErrorCode;
  readonly hint: string | undefined;

  constructor(code: UserErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** The message of whatever was thrown, for logs and for wrapping. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error (ENOENT, EADDRINUSE, ...), if it has one. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** For the catch of a promise: undefined where nothing is there, and thrown on when it is anything else. */
export function undefinedIfMissing(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') {
    throw error;
  }
}
