/** One file of what a node is given. */
export interface SeedFile {
  /** Relative to the root. */
  readonly path: string;
  readonly mode: number;
  readonly text?: string;
  readonly bytes?: Buffer;
  /** In place of text: where it leads to. */
  readonly link?: string;
  /** `user` or `user:group`, by the names that the node knows. Absent: root. */
  readonly owner?: string;
  /** A change reaches nodes that run. */
  readonly live?: boolean;
  /** The file is not to be there. */
  readonly gone?: true;
  /** It could not be rendered: what the node has stays. */
  readonly kept?: true;
  /** The operator's own: put in place when the node has its users, through whatever links its directories are. */
  readonly own?: true;
}
