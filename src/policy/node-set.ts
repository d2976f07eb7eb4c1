/**
 * Sets of nodes as people write them, parts joined by commas:
 *
 *   red[1-3,7]      names and ranges of names
 *   @workers        a group with the groups below it; @rack[1-3]; @all
 *   rack=a          nodes whose label has this value
 *   ~^red.*5$       nodes whose name matches the expression
 *   -red2 or !red2  without these, whatever stands before or behind
 */
import { UserError } from '../domain/errors.ts';
import { everybody } from '../domain/group.ts';
import { nearest } from '../domain/nearest.ts';
import { isNodeName } from '../domain/node.ts';
import { expandRange } from '../domain/range.ts';

export interface SetMember {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Its own group first, then what that inherits from. */
  readonly groups: readonly string[];
}

export interface SetFacts {
  /** In the order in which results are given. */
  readonly members: readonly SetMember[];
  readonly groups: readonly string[];
}

const examples = 'Examples: red5, red[1-3,7], @workers, @all, rack=a, ~^red, and @workers,-red2 to leave one out';

/** Every name once, in the order of the members. @throws UserError bad-input, not-found with all that is unknown */
export function selectNodes(text: string, facts: SetFacts): string[] {
  const parts = splitParts(text);
  const wanted = new Set<string>();
  const unwanted = new Set<string>();
  const unknown: string[] = [];
  for (const part of parts) {
    const isMinus = /^[-!]/.test(part);
    const found = selectPart(isMinus ? part.slice(1) : part, facts, unknown);
    for (const name of found) {
      (isMinus ? unwanted : wanted).add(name);
    }
  }
  if (unknown.length > 0) {
    throw new UserError('not-found', unknown.join('. '), { hint: 'cardless node list shows all' });
  }
  // "-red2" alone is all the others.
  const isRest = parts.every((part) => /^[-!]/.test(part));
  return facts.members.map(({ name }) => name).filter((name) => (isRest || wanted.has(name)) && !unwanted.has(name));
}

/** Names alone, for nodes that are to be: ranges and lists of them, in the order written. @throws UserError bad-input */
export function expandNames(text: string): string[] {
  return splitParts(text).flatMap(expandRange);
}

/** Commas within brackets are part of a range. */
function splitParts(text: string): string[] {
  const parts = text.split(/,(?![^[]*\])/).map((part) => part.trim());
  if (parts.some((part) => part === '' || part === '-' || part === '!')) {
    throw new UserError('bad-input', `"${text}" is not a set of nodes: a part of it is empty`, { hint: examples });
  }
  return parts;
}

function selectPart(part: string, facts: SetFacts, unknown: string[]): string[] {
  if (part.startsWith('~')) {
    return matching(part.slice(1), facts);
  }
  if (part.startsWith('@')) {
    return expandRange(part.slice(1)).flatMap((group) => inGroup(group, facts, unknown));
  }
  const [, label, value] = /^([A-Za-z0-9_./-]+)=(.*)$/.exec(part) ?? [];
  if (label !== undefined && value !== undefined) {
    return facts.members.filter(({ labels }) => Object.hasOwn(labels, label) && labels[label] === value).map(({ name }) => name);
  }
  const known = new Set(facts.members.map(({ name }) => name));
  return expandRange(part).filter((name) => {
    if (!isNodeName(name)) {
      throw new UserError('bad-input', `"${name}" is not a node name`, { hint: examples });
    }
    if (!known.has(name)) {
      unknown.push(`There is no node "${name}"`);
    }
    return true;
  });
}

function inGroup(group: string, { members, groups }: SetFacts, unknown: string[]): string[] {
  if (group === everybody) {
    return members.map(({ name }) => name);
  }
  if (!groups.includes(group)) {
    const meant = nearest(group, groups);
    unknown.push(`There is no group "${group}"${meant === undefined ? '' : `; did you mean @${meant}?`}`);
  }
  return members.filter((member) => member.groups.includes(group)).map(({ name }) => name);
}

function matching(source: string, { members }: SetFacts): string[] {
  let expression: RegExp;
  try {
    expression = new RegExp(source);
  } catch (error) {
    throw new UserError('bad-input', `"${source}" is not a regular expression`, { cause: error, hint: examples });
  }
  return members.filter(({ name }) => expression.test(name)).map(({ name }) => name);
}
