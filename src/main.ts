import { runCli } from './cli/program.ts';

// The first signal asks everything to end in order; the second one ends it at once.
const abort = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    if (abort.signal.aborted) {
      process.exit(130);
    }
    abort.abort();
  });
}
// A reader that went away (`cardless node list | head`) is no error of ours.
process.stdout.on('error', () => abort.abort());

process.exitCode = await runCli(process.argv, abort.signal);
