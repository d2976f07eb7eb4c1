/** The text of a fleet file: read, checked, and what is wrong told with its line. */
import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument, type Node as YamlNode } from 'yaml';
import type { z } from 'zod';
import { messageOf, UserError } from '../domain/errors.ts';
import type { FleetProblem } from '../domain/fleet.ts';
import { nearest } from '../domain/nearest.ts';
import { FleetDocument } from './fleet-document.ts';
import { keysAt } from './schema-keys.ts';

/** Nobody writes a larger one by hand. */
const maxCharacters = 2_000_000;
/** More would hide the first. */
const maxProblems = 50;
/** Of `nodes.red5.files.0.mode` up to `nodes`. */
const maxAround = 6;

export interface FleetText {
  /** As people know the file. */
  readonly name: string;
  readonly text: string;
  /** The files that it names as sources. */
  readonly sources: Readonly<Record<string, string>>;
}

export interface FleetFile {
  /** Without what is wrong in it, so that the rest can be looked at. */
  readonly document: FleetDocument;
  /** @throws UserError bad-input that tells these and what is wrong in the file itself, each with its line, if there are any */
  readonly refuse: (problems: readonly FleetProblem[]) => void;
}

/** @throws UserError bad-input with all that is wrong */
export function readFleetFile(file: FleetText): FleetDocument {
  const { document, refuse } = lookAtFleetFile(file);
  refuse([]);
  return document;
}

/** Whoever calls it must call `refuse`. @throws UserError bad-input for what is no fleet file at all */
export function lookAtFleetFile({ name, text, sources }: FleetText): FleetFile {
  const { yaml, lines } = parseYaml(name, text);
  const own: FleetProblem[] = [];
  const refuse = (problems: readonly FleetProblem[]): void => {
    const told = [...own, ...problems].map((problem) => ({ line: lineOf(yaml, lines, problem.path), message: problem.message }));
    if (told.length === 0) {
      return;
    }
    const shown = told.toSorted((a, b) => a.line - b.line).slice(0, maxProblems);
    const more = told.length > shown.length ? [`  and ${told.length - shown.length} more`] : [];
    const list = [...shown.map(({ line, message }) => `  line ${line}: ${message}`), ...more];
    const count = told.length === 1 ? 'one place' : `${told.length} places`;
    throw new UserError('bad-input', `${name} is wrong in ${count}:\n${list.join('\n')}`, {
      hint: 'Nothing was changed. cardless config schema prints what may stand in it',
    });
  };
  const value: unknown = inlineSources(plainValue(name, yaml) ?? {}, sources, own);
  const result = FleetDocument.safeParse(value);
  if (result.success) {
    return { document: result.data, refuse };
  }
  own.push(...result.error.issues.flatMap((issue) => describe(issue, value)));
  const document = withoutWrong(value, result.error.issues);
  if (!document) {
    refuse([]);
    throw result.error;
  }
  return { document, refuse };
}

/** What is left when each wrong key is taken out; more of what is around it, where that is not enough. */
function withoutWrong(value: unknown, issues: readonly z.core.$ZodIssue[]): FleetDocument | undefined {
  const rest = structuredClone(value);
  let wrong = issues;
  for (let around = 0; around < maxAround; around += 1) {
    for (const issue of wrong) {
      for (const path of issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path]) {
        removeAt(rest, path.slice(0, Math.max(1, path.length - around)));
      }
    }
    const result = FleetDocument.safeParse(rest);
    if (result.success) {
      return result.data;
    }
    wrong = result.error.issues;
  }
  return undefined;
}

/** An entry of a list goes with its list: the places of the others would no longer be right. */
function removeAt(value: unknown, path: readonly PropertyKey[]): void {
  const holders = path.map((_key, at) => valueAt(value, path.slice(0, at)));
  const at = holders.findLastIndex(isRecord);
  const [holder, key] = [holders[at], path[at]];
  if (isRecord(holder) && key !== undefined) {
    Reflect.deleteProperty(holder, key);
  }
}

/** The files that a fleet file names, relative to itself. @throws UserError bad-input */
export function sourcesOf(name: string, text: string): string[] {
  const found = new Set<string>();
  visitSources(plainValue(name, parseYaml(name, text).yaml), (entry) => {
    found.add(entry.source);
  });
  return [...found];
}

function parseYaml(name: string, text: string): { yaml: Document.Parsed; lines: LineCounter } {
  if (text.length > maxCharacters) {
    throw new UserError('bad-input', `${name} is ${text.length} characters long`, { hint: 'A fleet file has at most 2 million' });
  }
  const lines = new LineCounter();
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: true });
  const [error] = yaml.errors;
  if (error) {
    throw new UserError('bad-input', `${name} is not valid YAML: ${error.message}`, { cause: error });
  }
  keepAsWritten(yaml);
  return { yaml, lines };
}

/** YAML takes the serial 00012345 for a number, and 1234e567 for an infinite one. */
function keepAsWritten(yaml: Document.Parsed): void {
  const asText = (node: unknown): void => {
    if (isSeq(node)) {
      node.items.forEach(asText);
    } else if (isScalar(node) && typeof node.value === 'number' && node.source !== undefined) {
      node.value = node.source;
    }
  };
  const each = (node: unknown, visit: (value: unknown) => void): void => {
    for (const item of isMap(node) ? node.items : []) {
      visit(item.value);
    }
  };
  const inSettings = (node: unknown): void => {
    if (isMap(node)) {
      for (const key of ['serial', 'mac', 'ip']) {
        asText(node.get(key, true));
      }
      each(node.get('labels', true), asText);
      asText(node.getIn(['power', 'port'], true));
    }
  };
  if (isMap(yaml.contents)) {
    inSettings(yaml.contents.get('settings', true));
    each(yaml.contents.get('groups', true), inSettings);
    each(yaml.contents.get('nodes', true), inSettings);
  }
}

/** The library refuses aliases that unfold into very much. */
function plainValue(name: string, yaml: Document.Parsed): unknown {
  try {
    return yaml.toJS();
  } catch (error) {
    throw new UserError('bad-input', `${name} cannot be read: ${messageOf(error)}`, { cause: error, hint: 'Use fewer aliases' });
  }
}

interface SourceEntry {
  readonly path: readonly PropertyKey[];
  readonly source: string;
  /** What the text goes into. */
  readonly into: 'content' | 'script';
  readonly holder: Record<string, unknown>;
}

const sourceLists = { files: 'content', firstBoot: 'script', everyBoot: 'script' } as const;

function visitSources(value: unknown, visit: (entry: SourceEntry) => void): void {
  const settingsAt = (path: readonly PropertyKey[], settings: unknown): void => {
    for (const [list, into] of Object.entries(sourceLists)) {
      const entries = isRecord(settings) ? settings[list] : undefined;
      for (const [index, holder] of (Array.isArray(entries) ? entries : []).entries()) {
        if (isRecord(holder) && typeof holder['source'] === 'string') {
          visit({ path: [...path, list, index], source: holder['source'], into, holder });
        }
      }
    }
  };
  if (!isRecord(value)) {
    return;
  }
  settingsAt(['settings'], value['settings']);
  for (const part of ['groups', 'nodes']) {
    for (const [key, settings] of Object.entries(isRecord(value[part]) ? value[part] : {})) {
      settingsAt([part, key], settings);
    }
  }
}

function inlineSources(value: unknown, sources: Readonly<Record<string, string>>, problems: FleetProblem[]): unknown {
  visitSources(value, ({ path, source, into, holder }) => {
    const text = Object.hasOwn(sources, source) ? sources[source] : undefined;
    if (text === undefined) {
      problems.push({ path: [...path, 'source'], message: `the source "${source}" cannot be read as text` });
    } else if (holder[into] !== undefined) {
      problems.push({ path, message: `needs ${into} or source, not both` });
    }
    delete holder['source'];
    holder[into] = text ?? '-';
  });
  return value;
}

function describe(issue: z.core.$ZodIssue, value: unknown): FleetProblem[] {
  const place = placeOf(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const meant = nearest(key, keysAt(FleetDocument, issue.path, value));
      const where = place === '' ? '' : `${place}: `;
      return {
        path: [...issue.path, key],
        message: `${where}there is no key "${key}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`,
      };
    });
  }
  const wrong = valueAt(value, issue.path);
  const message = wrong === undefined ? 'is missing' : withValue(shown(wrong), issue.message);
  return [{ path: issue.path, message: `${place === '' ? 'the file' : place}: ${message}` }];
}

/** `nodes.red[5-7].files[0].mode` */
function placeOf(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, key) => (typeof inner === 'object' && inner !== null ? Reflect.get(inner, key) : undefined), value);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Of the deepest part of the path that is there. */
function lineOf(yaml: Document.Parsed, lines: LineCounter, path: readonly PropertyKey[]): number {
  let node: unknown = yaml.contents;
  let at = 0;
  for (const key of path) {
    const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key)) : undefined;
    const next: unknown = pair ? (pair.key as YamlNode) : isCollection(node) ? node.get(key, true) : undefined;
    const range = hasRange(next) ? next.range : undefined;
    if (!range) {
      break;
    }
    at = range[0];
    node = pair ? pair.value : next;
  }
  return lines.linePos(at).line;
}

function isCollection(node: unknown): node is { get: (key: unknown, keepScalar: true) => unknown } {
  return typeof node === 'object' && node !== null && 'get' in node && typeof node.get === 'function';
}

function hasRange(node: unknown): node is { range?: [number, number, number] | null } {
  return typeof node === 'object' && node !== null && 'range' in node;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Our own parsers name the value themselves. */
function withValue(value: string, message: string): string {
  return message.startsWith(value) ? message : `${value}: ${message}`;
}
