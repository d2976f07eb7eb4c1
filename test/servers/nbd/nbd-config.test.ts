import { expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { renderNbdConfig } from '#src/servers/nbd/nbd-config.ts';

const config = (directory: string): string =>
  renderNbdConfig({
    address: parseIpv4('10.0.0.1'),
    port: 10_809,
    exports: '/exports',
    fence: { script: `${directory}/fence.sh`, records: `${directory}/fences` },
  });

test('what nodes write to is flushed, trimmed and fenced; the root is read-only', () => {
  const sections = new Map(
    config('/run')
      .split(/^\[/m)
      .map((text) => [text.split(']')[0], text]),
  );
  for (const name of ['overlay', 'data']) {
    expect(sections.get(name)).toContain('flush = true\nfua = true\ntrim = true\n');
    expect(sections.get(name)).toContain("prerun = sh '/run/fence.sh' serve '/run/fences' '%s'\n");
    expect(sections.get(name)).not.toContain('readonly');
  }
  expect(sections.get('root')).toContain('readonly = true');
});

test('a path goes through the key file, printf and the shell unchanged', () => {
  expect(config("/it's 100%")).toContain("prerun = sh '/it'\\\\''s 100%%/fence.sh' serve '/it'\\\\''s 100%%/fences' '%s'\n");
});
