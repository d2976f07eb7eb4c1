import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { CsvError, parse } from 'csv-parse/sync';
import { UserError } from '../../domain/errors.ts';
import { nearest } from '../../domain/nearest.ts';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { FleetResult, fleetText } from '../fleet/fleet-view.ts';
import { show } from './node-view.ts';

const columns = ['name', 'serial', 'mac', 'ip', 'group', 'image', 'overlay', 'dataVolume'];
const labelPrefix = 'label:';

export function addNodeImport(node: Command, contextOf: () => Context): void {
  node
    .command('import')
    .description('register the nodes of a list in CSV, for example of a class; nodes that are there are changed')
    .argument('<file>', `its first line names the columns: ${columns.join(', ')}, ${labelPrefix}<name>`)
    .option('--dry-run', 'check, and tell what would change')
    .option('--force', 'also with images that are not there yet')
    .action(async (file: string, { dryRun = false, force = false }: { dryRun?: boolean; force?: boolean }) => {
      const context = contextOf();
      const content = await readFile(file, 'utf8').catch((error: unknown) => {
        throw new UserError('bad-input', `${file} cannot be read`, { cause: error, hint: 'It must be a text file in CSV' });
      });
      const request = { name: file, text: fleetOfCsv(file, content), dryRun, force, merge: true, remember: false };
      const result = FleetResult.parse(await withServer(context, (client) => client.call('POST', '/fleet', request)));
      show(context, result, () => fleetText(result, 'list'));
    });
}

/** Each row becomes one line of a fleet file, the first the line "nodes:", so that what is wrong is told with its line of the list. */
export function fleetOfCsv(file: string, content: string): string {
  const rows = csvRows(file, content);
  const [columnsOf = [], ...body] = rows;
  const head = columnsOf.map((name) => columns.find((column) => column.toLowerCase() === name.toLowerCase()) ?? name);
  const problems = head
    .filter((name) => !columns.includes(name) && !name.startsWith(labelPrefix))
    .map((column) => {
      const meant = nearest(column, columns);
      return `there is no column "${column}"${meant === undefined ? '' : `; did you mean ${meant}?`}`;
    });
  if (!head.includes('name')) {
    problems.push('it has no column "name"');
  }
  const seen = new Map<string, number>();
  const lines = body.map((row, index) => {
    const cells = head.map((column, index) => [column, (row[index] ?? '').trim()] as const).filter(([, value]) => value !== '');
    const labels = Object.fromEntries(
      cells.filter(([column]) => column.startsWith(labelPrefix)).map(([column, value]) => [column.slice(labelPrefix.length), value]),
    );
    const entry = Object.fromEntries(cells.filter(([column]) => column !== 'name' && !column.startsWith(labelPrefix)));
    const name = cells.find(([column]) => column === 'name')?.[1] ?? '';
    if (cells.length === 0) {
      // It keeps its place, or the numbers of the lines below would be wrong.
      return '';
    }
    const before = seen.get(name);
    if (name === '' && head.includes('name')) {
      problems.push(`line ${index + 2} has no name`);
    } else if (before !== undefined && name !== '') {
      problems.push(`${name} stands in line ${before} and in line ${index + 2}`);
    }
    seen.set(name, index + 2);
    return `  ${JSON.stringify(name)}: ${JSON.stringify(Object.keys(labels).length === 0 ? entry : { ...entry, labels })}`;
  });
  if (problems.length > 0) {
    throw new UserError('bad-input', `${file}: ${problems.join('\n  ')}`, {
      hint: `Nothing was changed. Columns: ${columns.join(', ')}, ${labelPrefix}<name>`,
    });
  }
  return ['nodes:', ...lines, ''].join('\n');
}

function csvRows(file: string, content: string): string[][] {
  try {
    const delimiter = content.split('\n', 1)[0]?.includes(';') ? ';' : ',';
    return parse(content, { bom: true, delimiter, trim: true, relaxColumnCountLess: true });
  } catch (error) {
    if (error instanceof CsvError) {
      throw new UserError('bad-input', `${file} is not valid CSV: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
