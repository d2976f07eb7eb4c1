/** What holds for a node: what all, its groups from the widest to its own, and the node itself say. */
import type { CloudInit, JsonObject, JsonValue, NodeSettings } from './node-settings.ts';

/**
 * The narrower wins. Lists of lines (kernel arguments, config.txt, keys, hooks) are joined, the wider first; lists of things
 * with a name or path are joined by it; cloud-init's data as cloud-init merges it: `dict(recurse_array)+list(append)`.
 * @param layers the widest first
 */
export function inheritSettings(layers: readonly NodeSettings[]): NodeSettings {
  return layers.reduce<NodeSettings>(join, {});
}

function join(wide: NodeSettings, narrow: NodeSettings): NodeSettings {
  return dropAbsent({
    ...wide,
    ...narrow,
    kernelArguments: lines(wide.kernelArguments, narrow.kernelArguments),
    configTxt: all(wide.configTxt, narrow.configTxt),
    authorizedKeys: lines(wide.authorizedKeys, narrow.authorizedKeys),
    users: byKey(wide.users, narrow.users, ({ name }) => name),
    userGroups: byKey(wide.userGroups, narrow.userGroups, ({ name }) => name),
    files: byKey(wide.files, narrow.files, ({ path }) => path),
    firstBoot: byKey(wide.firstBoot, narrow.firstBoot, ({ name }) => name),
    everyBoot: byKey(wide.everyBoot, narrow.everyBoot, ({ name }) => name),
    cloudInit: joinCloudInit(wide.cloudInit, narrow.cloudInit),
    secrets: byKey(wide.secrets, narrow.secrets, ({ name }) => name),
    shared: byKey(wide.shared, narrow.shared, ({ name }) => name),
    resolver: wide.resolver || narrow.resolver ? { ...wide.resolver, ...narrow.resolver } : undefined,
    variables: wide.variables && narrow.variables ? joinObjects(wide.variables, narrow.variables) : (narrow.variables ?? wide.variables),
    labels: wide.labels || narrow.labels ? { ...wide.labels, ...narrow.labels } : undefined,
  });
}

function lines<T extends string>(wide: readonly T[] | undefined, narrow: readonly T[] | undefined): readonly T[] | undefined {
  const joined = all(wide, narrow);
  return joined && [...new Set(joined)];
}

function all<T>(wide: readonly T[] | undefined, narrow: readonly T[] | undefined): readonly T[] | undefined {
  return wide && narrow ? [...wide, ...narrow] : (narrow ?? wide);
}

/** What the narrower says about a thing takes the place of what the wider said, and keeps its place in the list. */
function byKey<T>(wide: readonly T[] | undefined, narrow: readonly T[] | undefined, keyOf: (item: T) => string): readonly T[] | undefined {
  const joined = all(wide, narrow);
  return joined && [...new Map(joined.map((item) => [keyOf(item), item])).values()];
}

function joinCloudInit(wide: CloudInit | undefined, narrow: CloudInit | undefined): CloudInit | undefined {
  if (!wide || !narrow) {
    return narrow ?? wide;
  }
  const part = (key: keyof CloudInit): JsonObject | undefined =>
    wide[key] && narrow[key] ? joinObjects(wide[key], narrow[key]) : (narrow[key] ?? wide[key]);
  const [userData, metaData, networkConfig] = [part('userData'), part('metaData'), part('networkConfig')];
  return { ...(userData && { userData }), ...(metaData && { metaData }), ...(networkConfig && { networkConfig }) };
}

export function joinObjects(wide: JsonObject, narrow: JsonObject): JsonObject {
  const joined = new Map<string, JsonValue>(Object.entries(wide));
  for (const [key, value] of Object.entries(narrow)) {
    const before = joined.get(key);
    joined.set(key, before === undefined ? value : joinValues(before, value));
  }
  return Object.fromEntries(joined);
}

function joinValues(wide: JsonValue, narrow: JsonValue): JsonValue {
  if (Array.isArray(wide) && Array.isArray(narrow)) {
    return [...wide, ...narrow];
  }
  return isObject(wide) && isObject(narrow) ? joinObjects(wide, narrow) : narrow;
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `{ a: undefined }` as `{}`, so that a merge cannot put an absence over a value. */
function dropAbsent(settings: { readonly [Key in keyof NodeSettings]: NodeSettings[Key] | undefined }): NodeSettings {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as NodeSettings;
}
