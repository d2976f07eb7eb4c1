import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';

/** Which folder of src/ may import which others. `domain` is for all. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  protocol: [],
  policy: ['protocol'],
  config: [],
  log: [],
  process: [],
  net: ['process'],
  store: ['config'],
  images: ['protocol', 'config', 'process'],
  overlays: ['protocol', 'process'],
  servers: ['protocol', 'policy', 'net', 'process'],
  sim: ['net', 'process', 'config'],
  daemon: ['protocol', 'policy', 'config', 'log', 'net', 'process', 'store', 'images', 'overlays', 'servers'],
  cli: ['config', 'log', 'net', 'process', 'images', 'sim', 'daemon'],
  'main.ts': ['cli'],
};

const pure = ['domain', 'protocol', 'policy'];
const impureModules = /^node:(dgram|net|http|https|fs|fs\/promises|child_process|process|timers|timers\/promises|os|crypto)$/;
const impureWords = /\b(Date\.now|Math\.random|setTimeout|setInterval|process\.env)\b|\basync\b/;
/** The only places that may open sockets of datagrams or start programs. */
const owners: Readonly<Record<string, string>> = {
  'node:dgram': 'net',
  koffi: 'net',
  execa: 'process',
  'node:child_process': 'process',
  'node:sqlite': 'store',
};

function violations(files: ReadonlyMap<string, string>): string[] {
  const bad: string[] = [];
  for (const [file, text] of files) {
    const from = file.split('/')[1] ?? '';
    if (pure.includes(from) && impureWords.test(text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''))) {
      bad.push(`${file}: pure folder uses time, chance or waiting`);
    }
    for (const [, spec = ''] of text.matchAll(/from\s+'([^']+)'/g)) {
      if (spec.startsWith('.')) {
        const to = normalize(join(dirname(file), spec)).split('/')[1] ?? '';
        if (to !== from && to !== 'domain' && !allowed[from]?.includes(to)) {
          bad.push(`${file}: ${from} -> ${to}`);
        }
        if (from === 'servers' && to === 'servers' && normalize(join(dirname(file), spec)).split('/')[2] !== file.split('/')[2]) {
          bad.push(`${file}: one server imports another`);
        }
      } else if (pure.includes(from) && (impureModules.test(spec) || spec === 'zod')) {
        bad.push(`${file}: pure folder imports ${spec}`);
      } else if (owners[spec] !== undefined && owners[spec] !== from && !(spec === 'node:sqlite' && from === 'store')) {
        bad.push(`${file}: only ${owners[spec]} may import ${spec}`);
      }
    }
  }
  return bad;
}

test('imports go one way, and pure folders are pure', () => {
  const files = new Map(globSync('src/**/*.ts').map((file) => [file, readFileSync(file, 'utf8')]));
  expect(files.size).toBeGreaterThan(50);
  expect(violations(files)).toEqual([]);
});

test('a planted violation is found', () => {
  const planted = new Map([
    ['src/protocol/x.ts', "import { a } from '../servers/dhcp/dhcp-server.ts';\nimport d from 'node:dgram';"],
    ['src/policy/y.ts', 'const now = Date.now();'],
    ['src/servers/tftp/z.ts', "import { b } from '../dhcp/dhcp-server.ts';\nimport { NodeStore } from '../../store/nodes.ts';"],
  ]);
  expect(violations(planted)).toEqual([
    'src/protocol/x.ts: protocol -> servers',
    'src/protocol/x.ts: pure folder imports node:dgram',
    'src/policy/y.ts: pure folder uses time, chance or waiting',
    'src/servers/tftp/z.ts: one server imports another',
    'src/servers/tftp/z.ts: servers -> store',
  ]);
});
